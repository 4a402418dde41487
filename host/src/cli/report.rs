use std::io::{IsTerminal, Write};
use std::sync::Mutex;

use serde_json::{Value, json};

use super::log::{LogFormat, now};
use crate::progress::{Event, Level, Reporter};

/// Writes events to standard error, a line each.
pub struct Terminal {
    least: Level,
    steps: bool,
    form: Form,
    timestamp: bool,
    lock: Mutex<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Colour,
    Json,
}

impl Terminal {
    /// Says messages from `least` up; steps and their output only where `steps` is set.
    pub fn new(least: Level, steps: bool, format: Option<LogFormat>, timestamp: bool) -> Self {
        let form = match format {
            Some(LogFormat::Json) => Form::Json,
            Some(LogFormat::Color) => Form::Colour,
            Some(LogFormat::Text) => Form::Plain,
            None if std::io::stderr().is_terminal() && super::env::get(super::env::NO_COLOR).is_none() => Form::Colour,
            None => Form::Plain,
        };
        Self { least, steps, form, timestamp, lock: Mutex::new(()) }
    }

    fn write(&self, line: &[u8]) {
        let time = if self.timestamp && self.form != Form::Json { self.paint("2", &now()) + " " } else { String::new() };
        let _held = self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut out = std::io::stderr().lock();
        // A log that cannot be written must not end a build.
        let _ = out.write_all(time.as_bytes()).and_then(|()| out.write_all(line)).and_then(|()| out.write_all(b"\n"));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.form == Form::Colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// An event as an object, as logrus writes it.
    fn object(&self, event: &Event) -> Option<Value> {
        let mut object = match event {
            Event::Log { level, source, message } if *level >= self.least => {
                let level = match level {
                    Level::Debug => "debug",
                    Level::Info => "info",
                    Level::Warning => "warning",
                };
                let mut object = json!({ "level": level, "msg": message });
                if source != "layerwright" {
                    object["source"] = json!(source);
                }
                object
            }
            _ if !self.steps => return None,
            Event::StepStarted { step, text } => json!({ "level": "info", "msg": text, "step": step }),
            Event::StepOutput { step, line } => {
                json!({ "level": "info", "msg": String::from_utf8_lossy(line), "step": step, "output": true })
            }
            Event::StepFinished { step, milliseconds } => {
                json!({ "level": "info", "msg": "done", "step": step, "milliseconds": milliseconds })
            }
            Event::StepCached { step } => json!({ "level": "info", "msg": "cached", "step": step }),
            Event::Transfer { what, digest, size, place } => {
                json!({ "level": "info", "msg": what, "digest": digest, "size": size, "place": place })
            }
            Event::Log { .. } => return None,
        };
        object["time"] = json!(now());
        Some(object)
    }
}

impl Reporter for Terminal {
    fn event(&self, event: Event) {
        if self.form == Form::Json {
            if let Some(object) = self.object(&event) {
                self.write(object.to_string().as_bytes());
            }
            return;
        }
        match event {
            Event::Log { level, source, message } if level >= self.least => {
                let word = match level {
                    Level::Debug => self.paint("2", "debug: "),
                    Level::Info => String::new(),
                    Level::Warning => self.paint("33", "warning: "),
                };
                let source = if source == "layerwright" { String::new() } else { format!("{source}: ") };
                self.write(format!("{word}{source}{message}").as_bytes());
            }
            Event::StepStarted { step, text } if self.steps => self.write(format!("{} {text}", self.paint("36", &step)).as_bytes()),
            Event::StepOutput { step, line } if self.steps => {
                let mut out = format!("{} ", self.paint("2", &step)).into_bytes();
                out.extend(line.iter().filter(|b| **b == b'\t' || **b >= b' ').copied());
                self.write(&out);
            }
            Event::StepFinished { step, milliseconds } if self.steps => {
                let seconds = format!("{}.{:02} s", milliseconds / 1000, milliseconds % 1000 / 10);
                self.write(format!("{} {}", self.paint("36", &step), self.paint("2", &format!("done in {seconds}"))).as_bytes());
            }
            Event::StepCached { step } if self.steps => self.write(format!("{} CACHED", self.paint("36", &step)).as_bytes()),
            Event::Transfer { what, digest, size, place } if self.steps => {
                let short: String = digest.chars().take(19).collect();
                self.write(format!("{what} {short} ({}) {place}", human(size)).as_bytes());
            }
            _ => {}
        }
    }
}

/// A size for people: `12 B`, `3.4 MB`.
pub fn human(bytes: u64) -> String {
    const UNITS: &[&str] = &["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes / 100;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (999_999, "999.9 kB"), (123_456_789, "123.4 MB"), (u64::MAX, "18446744.0 TB")]
        {
            assert_eq!(human(bytes), text);
        }
    }
}
