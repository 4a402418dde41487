//! What one call of a plugin may use up.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// The bounds of one call.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of all linear memories together, in bytes.
    pub memory: usize,
    /// Of one table, in elements.
    pub table_elements: usize,
    /// Of computing; waiting for the host does not count.
    pub time: Duration,
    /// Of waiting for the host: HTTP, credential helpers.
    pub waiting: Duration,
    /// What a plugin may hand over at once, in bytes: as arguments of one call to the host, or as its answer.
    pub output: usize,
    /// Of a plugin's file, in bytes.
    pub file: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            table_elements: 1 << 20,
            time: Duration::from_secs(10),
            waiting: Duration::from_secs(120),
            output: 32 << 20,
            file: 64 << 20,
        }
    }
}

/// A bound that a call ran into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exceeded {
    /// [`Limits::memory`].
    Memory(usize),
    /// [`Limits::table_elements`].
    Table(usize),
    /// [`Limits::time`].
    Time(Duration),
    /// [`Limits::output`].
    Output(usize),
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "it needs more than {} MiB of memory", bytes >> 20),
            Self::Table(elements) => write!(f, "it needs a table of more than {elements} elements"),
            Self::Time(time) => write!(f, "it computed for more than {} s", time.as_secs_f32()),
            Self::Output(bytes) => write!(f, "it handed over more than {} KiB at once", bytes >> 10),
        }
    }
}

impl std::error::Error for Exceeded {}

/// Counts what a store holds.
#[derive(Debug)]
pub(super) struct Meter {
    memory: usize,
    used: usize,
    table_elements: usize,
}

impl Meter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { memory: limits.memory, used: 0, table_elements: limits.table_elements }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.memory {
            // A trap, not a refusal: what a guest makes of a refused page is a message about something else.
            return Err(Exceeded::Memory(self.memory).into());
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.table_elements {
            return Err(Exceeded::Table(self.table_elements).into());
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        1000
    }

    fn tables(&self) -> usize {
        100
    }

    fn memories(&self) -> usize {
        100
    }
}
