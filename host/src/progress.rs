//! The library's only way to speak: events, and who takes them.

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
