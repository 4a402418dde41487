//! The engine that compiles and runs plugins, and the clock that interrupts them.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

use super::engine_config::engine_config;
use super::error::PluginError;

/// How often a running plugin is looked at.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// One engine for all plugins of a process.
#[derive(Clone)]
pub(super) struct Runtime {
    engine: Engine,
    ticker: Arc<Ticker>,
}

/// Advances the engine's epoch while a call runs, and sleeps while none does.
struct Ticker {
    state: Mutex<Ticking>,
    changed: Condvar,
}

#[derive(Default)]
struct Ticking {
    calls: usize,
    started: bool,
    stopped: bool,
}

/// Keeps the clock running; a call holds one.
pub(super) struct Running<'a>(&'a Ticker);

impl Runtime {
    pub(super) fn new() -> Result<Self, PluginError> {
        let engine = Engine::new(&engine_config()).map_err(|error| PluginError::Engine(error.to_string()))?;
        let ticker = Arc::new(Ticker { state: Mutex::default(), changed: Condvar::new() });
        Ok(Self { engine, ticker })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Starts the clock, if it does not run.
    pub(super) fn start(&self) -> Result<Running<'_>, PluginError> {
        let mut state = self.ticker.lock();
        state.calls += 1;
        if !state.started {
            state.started = true;
            let (weak, ticker) = (self.engine.weak(), Arc::downgrade(&self.ticker));
            let spawned = thread::Builder::new().name("plugin-clock".to_owned()).stack_size(64 * 1024).spawn(move || {
                while let Some(ticker) = ticker.upgrade() {
                    if !ticker.tick(&weak) {
                        return;
                    }
                }
            });
            if let Err(error) = spawned {
                state.started = false;
                state.calls -= 1;
                return Err(PluginError::Engine(format!("no thread for the clock: {error}")));
            }
        }
        drop(state);
        self.ticker.changed.notify_all();
        Ok(Running(&self.ticker))
    }
}

impl Ticker {
    fn lock(&self) -> std::sync::MutexGuard<'_, Ticking> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a call to run and for a tick to pass; false when there is nothing left to do.
    ///
    /// The wait for a call ends now and then, so that the thread sees that its engine is gone.
    fn tick(&self, engine: &EngineWeak) -> bool {
        let state = self.lock();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, Duration::from_secs(1), |state| state.calls == 0 && !state.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        let (idle, stopped) = (state.calls == 0, state.stopped);
        drop(state);
        if stopped {
            return false;
        }
        if !idle {
            thread::sleep(TICK);
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return false,
            }
        }
        true
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.calls = state.calls.saturating_sub(1);
    }
}
