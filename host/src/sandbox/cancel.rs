//! Ending a step from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// A handle that ends every step run with it, now and from now on. Clones are the same handle.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    flag: AtomicBool,
    event: OwnedFd,
}

impl Cancel {
    /// A handle that has not been used yet.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let flag = AtomicBool::new(false);
        Ok(Self(Arc::new(Inner { flag, event })))
    }

    /// Kills the steps that run with this handle. Calling it again does nothing.
    pub fn cancel(&self) {
        self.0.flag.store(true, Ordering::SeqCst);
        // The counter only ever has to be above zero; a full one is.
        let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
    }

    /// Whether [`Cancel::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.flag.load(Ordering::SeqCst)
    }

    /// Readable from the moment of cancelling on.
    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}
