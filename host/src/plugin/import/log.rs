use std::mem;

use crate::plugin::state::State;
use crate::plugin::text::{one_line, redact};
use crate::plugin::v0_1::wit::log;
use crate::progress::{Event, Level, Reporter};

/// Of one message, in bytes.
const MESSAGE: usize = 8 << 10;
/// Of all messages of a call, in bytes.
const ALL: usize = 1 << 20;

/// A call's messages.
pub(in crate::plugin) struct Log {
    /// In bytes; none once it has been said that the rest is left out.
    left: Option<usize>,
    /// Messages that wait for the end of the call, when it is known what in them is secret; none: they go out at once.
    held: Option<Vec<(Level, String)>>,
    last: Option<String>,
}

impl Log {
    /// Messages go out as they come.
    pub(in crate::plugin) fn direct() -> Self {
        Self { left: Some(ALL), held: None, last: None }
    }

    /// Messages wait for [`Log::flush`].
    pub(in crate::plugin) fn held() -> Self {
        Self { held: Some(Vec::new()), ..Self::direct() }
    }

    /// The message that came last: before a trap, that is where a panic's message is.
    pub(in crate::plugin) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// Lets go of what waits, without the secrets.
    pub(in crate::plugin) fn flush(&mut self, source: &str, secrets: &[String], reporter: &dyn Reporter) {
        for (level, message) in self.held.as_mut().map(mem::take).unwrap_or_default() {
            reporter.event(Event::Log { level, source: source.to_owned(), message: redact(&message, secrets) });
        }
    }

    fn take(&mut self, level: Level, message: String, source: &str, reporter: &dyn Reporter) {
        let Some(left) = self.left else { return };
        self.left = left.checked_sub(message.len().max(1));
        let (level, message) = match self.left {
            Some(_) => (level, message),
            None => (Level::Warning, "it says too much; the rest is left out".to_owned()),
        };
        match &mut self.held {
            Some(held) => held.push((level, message)),
            None => reporter.event(Event::Log { level, source: source.to_owned(), message }),
        }
    }
}

impl log::Host for State {
    fn log(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warning => Level::Warning,
        };
        let message = one_line(&message, MESSAGE);
        self.log.last = Some(one_line(&message, 512));
        self.log.take(level, message, &self.who.name, &*self.who.ambient.reporter);
    }
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
    fn a_flood_ends_and_says_so() {
        let heard = Heard::default();
        let mut log = Log::direct();
        for _ in 0..200 {
            log.take(Level::Info, "x".repeat(MESSAGE), "test", &heard);
        }
        let events = heard.0.lock().unwrap();
        assert_eq!(events.len(), ALL / MESSAGE + 1);
        assert!(matches!(events.last(), Some(Event::Log { level: Level::Warning, .. })));
    }

    #[test]
    fn what_was_held_comes_without_secrets() {
        let heard = Heard::default();
        let mut log = Log::held();
        log.take(Level::Info, "token is hunter22".to_owned(), "test", &heard);
        assert!(heard.0.lock().unwrap().is_empty());
        log.flush("test", &["hunter22".to_owned()], &heard);
        let wanted = Event::Log { level: Level::Info, source: "test".to_owned(), message: "token is ***".to_owned() };
        assert_eq!(*heard.0.lock().unwrap(), [wanted]);
    }
}
