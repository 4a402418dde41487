//! The library's only way to speak: events, who takes them, and what must never be in them.

use std::sync::{Arc, PoisonError, RwLock};

/// What a secret is shown as.
const REDACTED: &str = "***";

/// The shortest text that is treated as a secret, in bytes: shorter ones would blank out ordinary words.
const SHORTEST_SECRET: usize = 6;

/// How much a message matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// For finding faults.
    Debug,
    /// For everyone.
    Info,
    /// Something that the user should look at.
    Warning,
}

/// What happens in a build.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A message; `source` is who says it, for instance a plugin's name.
    Log {
        /// How much it matters.
        level: Level,
        /// Who says it.
        source: String,
        /// One line, without terminal controls.
        message: String,
    },
    /// A step of a stage begins.
    StepStarted {
        /// Names the step in later events.
        step: String,
        /// The instruction.
        text: String,
    },
    /// A running command wrote a line; bytes as written, without the line end.
    StepOutput {
        /// The step.
        step: String,
        /// The line.
        line: Vec<u8>,
    },
    /// A step is done.
    StepFinished {
        /// The step.
        step: String,
        /// Its duration in milliseconds.
        milliseconds: u64,
    },
    /// A step has been taken from the cache.
    StepCached {
        /// The step.
        step: String,
    },
    /// A blob was pulled or pushed.
    Transfer {
        /// `pulled`, `pushed`, `mounted`, `exists`.
        what: &'static str,
        /// Of the blob or manifest.
        digest: String,
        /// In bytes.
        size: u64,
        /// The repository.
        place: String,
    },
}

/// Takes events, in order for each step. May be called from any thread; never blocks for long, never fails.
pub trait Reporter: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);

    /// Says a message in the host's own name.
    fn log(&self, level: Level, message: &str) {
        self.event(Event::Log { level, source: "layerwright".to_owned(), message: message.to_owned() });
    }
}

/// Drops every event.
pub struct Silent;

impl Reporter for Silent {
    fn event(&self, _: Event) {}
}

/// Texts that must not be shown, collected while the program runs: whatever it prints goes past them.
#[derive(Default)]
pub struct Secrets(RwLock<Vec<String>>);

impl Secrets {
    /// Takes secrets in.
    pub fn add(&self, secrets: impl IntoIterator<Item = String>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets {
            if secret.len() >= SHORTEST_SECRET && !known.contains(&secret) {
                known.push(secret);
            }
        }
    }

    /// A text without them.
    pub fn redact(&self, text: &str) -> String {
        redact(text, &self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

// By hand: it holds nothing but what must not be shown.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(***)")
    }
}

/// Blanks out every secret in a text.
pub fn redact(text: &str, secrets: &[String]) -> String {
    let mut secrets: Vec<&str> = secrets.iter().map(String::as_str).filter(|secret| secret.len() >= SHORTEST_SECRET).collect();
    // The longest first: one may hold another.
    secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.into_iter().fold(text.to_owned(), |text, secret| if text.contains(secret) { text.replace(secret, REDACTED) } else { text })
}

/// Passes events on without the secrets.
pub struct Redacting {
    inner: Arc<dyn Reporter>,
    secrets: Arc<Secrets>,
}

impl Redacting {
    /// Passes events on to `inner`.
    pub fn new(inner: Arc<dyn Reporter>, secrets: Arc<Secrets>) -> Self {
        Self { inner, secrets }
    }

    fn line(&self, line: Vec<u8>) -> Vec<u8> {
        match String::from_utf8(line) {
            Ok(text) => self.secrets.redact(&text).into_bytes(),
            // Secrets are texts: a line of other bytes is looked at as far as it is one.
            Err(other) => {
                let shown = String::from_utf8_lossy(other.as_bytes());
                let clean = self.secrets.redact(&shown);
                if clean == shown { other.into_bytes() } else { clean.into_bytes() }
            }
        }
    }
}

impl Reporter for Redacting {
    fn event(&self, event: Event) {
        let text = |text: String| self.secrets.redact(&text);
        self.inner.event(match event {
            Event::Log { level, source, message } => Event::Log { level, source, message: text(message) },
            Event::StepStarted { step, text: shown } => Event::StepStarted { step, text: text(shown) },
            Event::StepOutput { step, line } => Event::StepOutput { step, line: self.line(line) },
            other => other,
        });
    }
}

/// An error with all its reasons, but for those that only say that it happened in a request.
pub fn reasons(error: &dyn std::error::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(reason) = next {
        let text = reason.to_string();
        let says_nothing =
            text == "error sending request" || text == "request or response body error" || text.starts_with("client error (");
        if !says_nothing && parts.last().is_none_or(|last| !last.ends_with(&text)) {
            parts.push(text);
        }
        next = reason.source();
    }
    if parts.is_empty() { error.to_string() } else { parts.join(": ") }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl Reporter for Heard {
        fn event(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    #[test]
    fn secrets_are_blanked_out() {
        let secrets = ["hunter22".to_owned(), "hunter22-long".to_owned(), "x".to_owned()];
        assert_eq!(redact("x: hunter22-long and hunter22", &secrets), "x: *** and ***");
    }

    #[test]
    fn no_event_carries_a_secret() {
        let (heard, secrets) = (Arc::new(Heard::default()), Arc::new(Secrets::default()));
        let reporter = Redacting::new(heard.clone(), secrets.clone());
        secrets.add(["hunter22".to_owned()]);
        reporter.log(Level::Info, "it is hunter22");
        reporter.event(Event::StepStarted { step: "1".to_owned(), text: "RUN echo hunter22".to_owned() });
        reporter.event(Event::StepOutput { step: "1".to_owned(), line: b"\xffhunter22".to_vec() });
        reporter.event(Event::StepOutput { step: "1".to_owned(), line: b"\xffother".to_vec() });
        let events = format!("{:?}", heard.0.lock().unwrap());
        assert!(!events.contains("hunter22") && !events.contains("104, 117, 110, 116"), "{events}");
        assert!(events.contains("255, 111, 116"), "{events}");
        assert!(!format!("{secrets:?}").contains("hunter22"));
    }
}
