//! What an image's history says of an instruction, in the words that BuildKit writes: tools that read histories know them.

use layerwright_plugin::instruction::Instruction;
use layerwright_plugin::operation::{ConfigChange, Healthcheck, Operation};

/// The text; none where the host's is the right one, as for what runs a command.
pub(crate) fn text(instruction: &Instruction, operations: &[Operation]) -> Option<String> {
    let name = &instruction.name;
    if matches!(name.as_str(), "COPY" | "ADD") {
        return Some(transfer(instruction, operations));
    }
    let changes: Vec<&ConfigChange> = operations.iter().filter_map(change).collect();
    let rest = match changes.first() {
        Some(ConfigChange::Env(_) | ConfigChange::Label(_)) => pairs(&changes),
        Some(
            ConfigChange::Author(value) | ConfigChange::User(value) | ConfigChange::WorkingDir(value) | ConfigChange::StopSignal(value),
        ) => value.clone(),
        // It is told where it runs.
        Some(ConfigChange::OnBuild(_)) => return Some(String::new()),
        Some(ConfigChange::Shell(words)) => format!("[{}]", words.join(" ")),
        Some(ConfigChange::Entrypoint(words) | ConfigChange::Command(words)) => {
            format!("[{}]", words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
        }
        Some(ConfigChange::Healthcheck(check)) => healthcheck(check.as_ref()),
        Some(ConfigChange::ExposedPort(_)) => list(&changes, true),
        Some(ConfigChange::Volume(_)) => list(&changes, false),
        // All of the ports were empty variables.
        None if name == "EXPOSE" => "[]".to_owned(),
        None => return None,
    };
    Some(format!("{name} {rest}"))
}

fn change(operation: &Operation) -> Option<&ConfigChange> {
    match operation {
        Operation::Configure(change) => Some(change),
        _ => None,
    }
}

fn pairs(changes: &[&ConfigChange]) -> String {
    let pair = |change: &&ConfigChange| match change {
        ConfigChange::Env(pair) | ConfigChange::Label(pair) => Some(format!("{}={}", pair.name, pair.value)),
        _ => None,
    };
    changes.iter().filter_map(pair).collect::<Vec<_>>().join(" ")
}

fn list(changes: &[&ConfigChange], sorted: bool) -> String {
    let item = |change: &&ConfigChange| match change {
        ConfigChange::ExposedPort(item) | ConfigChange::Volume(item) => Some(item.clone()),
        _ => None,
    };
    let mut items: Vec<String> = changes.iter().filter_map(item).collect();
    if sorted {
        items.sort();
        items.dedup();
    }
    format!("[{}]", items.join(" "))
}

/// The flags that change what arrives, then sources and destination.
fn transfer(instruction: &Instruction, operations: &[Operation]) -> String {
    let copy = operations.iter().find_map(|operation| match operation {
        Operation::Copy(copy) => Some((copy.parents, copy.ownership.owner.as_deref(), copy.ownership.mode.as_deref())),
        _ => None,
    });
    let (parents, owner, mode) = copy.unwrap_or_default();
    let mut words = vec![instruction.name.clone()];
    words.extend(parents.then(|| "--parents".to_owned()));
    words.extend(owner.map(|owner| format!("--chown={owner}")));
    words.extend(mode.map(|mode| format!("--chmod={mode}")));
    let heredoc = |word: &String| {
        let name = crate::heredoc::delimiter(word)?;
        instruction.heredocs.iter().any(|heredoc| heredoc.name == name).then(|| format!("<<{name}"))
    };
    // Files come before here-documents, whatever their order.
    words.extend(
        instruction.words().split_last().into_iter().flat_map(|(_, sources)| sources).filter(|word| heredoc(word).is_none()).cloned(),
    );
    words.extend(instruction.words().iter().filter_map(heredoc));
    words.extend(instruction.words().last().cloned());
    words.push("# buildkit".to_owned());
    words.join(" ")
}

fn healthcheck(check: Option<&Healthcheck>) -> String {
    let (test, retries) = match check {
        Some(check) => (check.test.join(" "), check.retries.unwrap_or(0)),
        None => ("NONE".to_owned(), 0),
    };
    let time = |of: fn(&Healthcheck) -> Option<u64>| crate::duration::text(check.and_then(of).unwrap_or(0));
    let (interval, timeout) = (time(|check| check.interval_ms), time(|check| check.timeout_ms));
    let (period, start) = (time(|check| check.start_period_ms), time(|check| check.start_interval_ms));
    format!("{{Test:[{test}] Interval:{interval} Timeout:{timeout} StartPeriod:{period} StartInterval:{start} Retries:{retries}}}")
}

/// As Go quotes a string.
fn quoted(word: &str) -> String {
    let mut text = String::with_capacity(word.len() + 2);
    text.push('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\u{7}' => text.push_str("\\a"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{b}' => text.push_str("\\v"),
            ' ' => text.push(c),
            c if c.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() || c.is_whitespace() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use crate::testing::{exec, pairs, stage, text as line, words};
    use layerwright_plugin::instruction::Instruction;

    fn history(instruction: &Instruction) -> Option<String> {
        crate::lower(instruction, &stage()).unwrap().history
    }

    #[test]
    fn every_instruction_is_told_in_its_way() {
        for (instruction, expected) in [
            (pairs("ENV", &[("a", "b c"), ("d", "")]), "ENV a=b c d="),
            (pairs("LABEL", &[("x", "1")]), "LABEL x=1"),
            (exec("CMD", &["a", "b \"c\"\t\u{1}\u{a0}é"]), r#"CMD ["a" "b \"c\"\t\x01\u00a0é"]"#),
            (line("ENTRYPOINT", "top"), r#"ENTRYPOINT ["/bin/sh" "-c" "top"]"#),
            (exec("ENTRYPOINT", &[]), "ENTRYPOINT []"),
            (exec("SHELL", &["/bin/bash", "-c"]), "SHELL [/bin/bash -c]"),
            (words("EXPOSE", &["80", "53/udp", "443", "80"]), "EXPOSE [443/tcp 53/udp 80/tcp]"),
            (words("EXPOSE", &[""]), "EXPOSE []"),
            (words("VOLUME", &["/b", "/a"]), "VOLUME [/b /a]"),
            (line("ONBUILD", "RUN x"), ""),
            (
                line("HEALTHCHECK", "CMD a").with_flag("interval", "1h").with_flag("timeout", "1500ms").with_flag("start-interval", "20ms"),
                "HEALTHCHECK {Test:[CMD-SHELL a] Interval:1h0m0s Timeout:1.5s StartPeriod:0s StartInterval:20ms Retries:0}",
            ),
            (words("COPY", &["a", "b"]).with_flag("link", "true").with_flag("exclude", "q"), "COPY a b # buildkit"),
            (
                words("COPY", &["a", "b"]).with_flag("chmod", "1").with_flag("chown", "2").with_flag("parents", "true"),
                "COPY --parents --chown=2 --chmod=1 a b # buildkit",
            ),
            (words("COPY", &["<<E", "f", "/d"]).with_heredoc("E", "x"), "COPY f <<E /d # buildkit"),
            (words("COPY", &["<<-'E'", "/d"]).with_heredoc("E", "x"), "COPY <<E /d # buildkit"),
            (words("ADD", &["http://x/y?z", "/d"]).with_flag("unpack", "true"), "ADD http://x/y?z /d # buildkit"),
        ] {
            assert_eq!(history(&instruction).as_deref(), Some(expected));
        }
        assert_eq!(history(&line("RUN", "x")), None);
    }
}
