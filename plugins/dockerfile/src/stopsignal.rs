//! `STOPSIGNAL`: what asks a container to end.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, Instruction, Keyword};
use layerwright_plugin::operation::{ConfigChange, Operation};

const NAMES: [&str; 34] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT",
    "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

pub(crate) fn keyword() -> Keyword {
    Keyword::new("STOPSIGNAL", ArgumentForm::Text).expanded()
}

/// The signal is checked, and kept as it was written.
pub(crate) fn lower(instruction: &Instruction) -> Result<Vec<Operation>, Error> {
    let signal = crate::exactly_one(instruction)?;
    if !is_signal(signal) {
        return Err(Error::invalid(format!("invalid signal: {signal}")).hint("use a name such as SIGTERM, or a number"));
    }
    Ok(vec![ConfigChange::StopSignal(signal.to_owned()).into()])
}

fn is_signal(signal: &str) -> bool {
    if signal.bytes().all(|byte| byte.is_ascii_digit()) {
        return signal.parse::<i32>().is_ok_and(|number| number > 0);
    }
    let upper = signal.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.contains(&name) || is_real_time(name)
}

/// `RTMIN`, `RTMIN+1` to `RTMIN+15`, `RTMAX-14` to `RTMAX-1`, `RTMAX`.
fn is_real_time(name: &str) -> bool {
    let within = |offset: &str, last: u8| !offset.starts_with(['0', '+']) && offset.parse::<u8>().is_ok_and(|offset| offset <= last);
    match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) | (_, Some("")) => true,
        (Some(offset), _) => offset.strip_prefix('+').is_some_and(|offset| within(offset, 15)),
        (_, Some(offset)) => offset.strip_prefix('-').is_some_and(|offset| within(offset, 14)),
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{change, lower, message, text, written};
    use layerwright_plugin::operation::ConfigChange;

    #[test]
    fn signals_are_kept_as_written() {
        for signal in ["SIGKILL", "sigterm", "9", "RTMIN+3", "SIGRTMAX-14", "rtmax", "Hup"] {
            assert_eq!(lower(&text("STOPSIGNAL", signal)).unwrap(), [change(ConfigChange::StopSignal(signal.to_owned()))]);
        }
    }

    #[test]
    fn what_is_no_signal() {
        for signal in ["0", "-1", "SIGFOO", "RTMIN+16", "RTMIN+0", "RTMAX-15", "RTMIN-1", "99999999999", "SIG 9"] {
            assert_eq!(message(&text("STOPSIGNAL", signal)), format!("invalid signal: {signal}"));
        }
        assert_eq!(message(&text("STOPSIGNAL", "")), "STOPSIGNAL requires exactly one argument");
        assert_eq!(message(&written("STOPSIGNAL", "", "STOPSIGNAL $NOPE")), "invalid signal: ");
    }
}
