//! `HEALTHCHECK`: how to tell whether a container is well.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, FlagSpec, Instruction, Keyword};
use layerwright_plugin::operation::{ConfigChange, Healthcheck, Operation};

const NANOSECONDS_IN_MILLISECOND: i64 = 1_000_000;

pub(crate) fn keyword() -> Keyword {
    Keyword::new("HEALTHCHECK", ArgumentForm::Text)
        .flag(FlagSpec::value("interval"))
        .flag(FlagSpec::value("timeout"))
        .flag(FlagSpec::value("start-period"))
        .flag(FlagSpec::value("start-interval"))
        .flag(FlagSpec::value("retries"))
        .last_counts()
}

pub(crate) fn lower(instruction: &Instruction) -> Result<Vec<Operation>, Error> {
    let text = instruction.text_argument().trim();
    let (kind, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim_start();
    let check = match kind.to_ascii_uppercase().as_str() {
        "" => return Err(crate::at_least_one(instruction)),
        "NONE" if rest.is_empty() => None,
        "NONE" => return Err(Error::invalid("HEALTHCHECK NONE takes no arguments")),
        "CMD" => Some(Healthcheck {
            test: test(rest)?,
            interval_ms: duration(instruction, "interval")?,
            timeout_ms: duration(instruction, "timeout")?,
            start_period_ms: duration(instruction, "start-period")?,
            start_interval_ms: duration(instruction, "start-interval")?,
            retries: retries(instruction)?,
        }),
        other => return Err(Error::invalid(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"))),
    };
    Ok(vec![ConfigChange::Healthcheck(check).into()])
}

fn test(command: &str) -> Result<Vec<String>, Error> {
    let missing = || Error::invalid("Missing command after HEALTHCHECK CMD");
    match json_strings(command)? {
        Some(arguments) if arguments.is_empty() => Err(missing()),
        Some(arguments) => Ok(["CMD".to_owned()].into_iter().chain(arguments).collect()),
        None if command.is_empty() => Err(missing()),
        None => Ok(vec!["CMD-SHELL".to_owned(), command.to_owned()]),
    }
}

/// The strings of a JSON array; none where the text is no JSON array.
fn json_strings(text: &str) -> Result<Option<Vec<String>>, Error> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    match serde_json::from_str(text) {
        Ok(strings) => Ok(Some(strings)),
        // What is JSON up to the wrong element may still not be JSON after it: then it is a line for the shell.
        Err(error) if error.is_data() && serde_json::from_str::<Vec<serde_json::Value>>(text).is_ok() => {
            Err(Error::invalid("when using JSON array syntax, arrays must be comprised of strings only"))
        }
        Err(_) => Ok(None),
    }
}

/// A duration in milliseconds; none where it is not given, or 0, which stands for the runtime's default.
fn duration(instruction: &Instruction, flag: &str) -> Result<Option<u64>, Error> {
    let Some(value) = instruction.flag(flag).filter(|value| !value.is_empty()) else { return Ok(None) };
    let nanoseconds = crate::duration::nanoseconds(value).ok_or_else(|| {
        Error::invalid(format!("--{flag} is not a duration: {value}")).hint("write a number with a unit, for instance `30s` or `1m30s`")
    })?;
    if nanoseconds == 0 {
        return Ok(None);
    }
    if nanoseconds < NANOSECONDS_IN_MILLISECOND {
        return Err(Error::invalid(format!("Interval {flag:?} cannot be less than 1ms")));
    }
    Ok(u64::try_from(nanoseconds / NANOSECONDS_IN_MILLISECOND).ok())
}

fn retries(instruction: &Instruction) -> Result<Option<u32>, Error> {
    let Some(value) = instruction.flag("retries").filter(|value| !value.is_empty()) else { return Ok(None) };
    let retries: i32 = value.parse().map_err(|_| Error::invalid(format!("--retries is not a number: {value}")))?;
    let retries = u32::try_from(retries).map_err(|_| Error::invalid(format!("--retries cannot be negative ({retries})")))?;
    Ok((retries > 0).then_some(retries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{change, lower, message, text};

    fn check(test: &[&str]) -> Healthcheck {
        Healthcheck {
            test: test.iter().map(|&word| word.to_owned()).collect(),
            interval_ms: None,
            timeout_ms: None,
            start_period_ms: None,
            start_interval_ms: None,
            retries: None,
        }
    }

    #[test]
    fn forms() {
        for (line, expected) in [
            ("NONE", None),
            ("none", None),
            ("CMD curl -f http://x || exit 1", Some(check(&["CMD-SHELL", "curl -f http://x || exit 1"]))),
            ("cmd a", Some(check(&["CMD-SHELL", "a"]))),
            ("CMD [\"a\", \"b\"]", Some(check(&["CMD", "a", "b"]))),
            ("CMD [\"a\"] x", Some(check(&["CMD-SHELL", "[\"a\"] x"]))),
            ("CMD [ -f /x ]", Some(check(&["CMD-SHELL", "[ -f /x ]"]))),
        ] {
            assert_eq!(lower(&text("HEALTHCHECK", line)).unwrap(), [change(ConfigChange::Healthcheck(expected))], "{line}");
        }
    }

    #[test]
    fn flags() {
        let instruction = text("HEALTHCHECK", "CMD a")
            .with_flag("interval", "5m")
            .with_flag("timeout", "3s")
            .with_flag("start-period", "0s")
            .with_flag("start-interval", "500ms")
            .with_flag("retries", "2");
        let expected = Healthcheck {
            interval_ms: Some(300_000),
            timeout_ms: Some(3_000),
            start_interval_ms: Some(500),
            retries: Some(2),
            ..check(&["CMD-SHELL", "a"])
        };
        assert_eq!(lower(&instruction).unwrap(), [change(ConfigChange::Healthcheck(Some(expected)))]);
    }

    #[test]
    fn errors() {
        let with = |flag: &str, value: &str| message(&text("HEALTHCHECK", "CMD a").with_flag(flag, value));
        assert_eq!(with("interval", "500us"), "Interval \"interval\" cannot be less than 1ms");
        assert_eq!(with("timeout", "-5s"), "Interval \"timeout\" cannot be less than 1ms");
        assert_eq!(with("timeout", "5"), "--timeout is not a duration: 5");
        assert_eq!(with("retries", "-1"), "--retries cannot be negative (-1)");
        assert_eq!(with("retries", "x"), "--retries is not a number: x");
        for (line, expected) in [
            ("", "HEALTHCHECK requires at least one argument"),
            ("FOO x", "Unknown type \"FOO\" in HEALTHCHECK (try CMD)"),
            ("NONE x", "HEALTHCHECK NONE takes no arguments"),
            ("CMD", "Missing command after HEALTHCHECK CMD"),
            ("CMD []", "Missing command after HEALTHCHECK CMD"),
            ("CMD [\"a\", 1]", "when using JSON array syntax, arrays must be comprised of strings only"),
        ] {
            assert_eq!(message(&text("HEALTHCHECK", line)), expected, "{line}");
        }
    }
}
