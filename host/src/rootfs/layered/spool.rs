//! Content that has no other place: one nameless file, appended to and read at offsets.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::rootfs::tree::{Result, TreeError};

/// Made when it is first needed; the kernel takes it away with the last who has it open.
pub(super) struct Spool {
    directory: PathBuf,
    file: Mutex<Option<(Arc<File>, u64)>>,
}

impl Spool {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), file: Mutex::default() }
    }

    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> TreeError {
        move |source| TreeError::Io { action, path: self.directory.clone(), source }
    }

    /// Where the content begins and how long it is. One at a time.
    pub(super) fn append(&self, content: &mut dyn Read) -> Result<(u64, u64)> {
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some((Arc::new(nameless(&self.directory).map_err(self.failed("make a file in"))?), 0));
        }
        let Some((file, end)) = slot.as_mut() else { return Err(self.failed("find a file in")(io::ErrorKind::NotFound.into())) };
        let start = *end;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match content.read(&mut buffer) {
                Ok(0) => return Ok((start, *end - start)),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed("read what goes to")(error)),
            };
            file.write_all_at(buffer.get(..length).unwrap_or_default(), *end).map_err(self.failed("write to a file in"))?;
            *end += length as u64;
        }
    }

    pub(super) fn read(&self, offset: u64, size: u64) -> Result<SpoolReader> {
        let slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((file, _)) = slot.as_ref() else { return Err(self.failed("find a file in")(io::ErrorKind::NotFound.into())) };
        Ok(SpoolReader { file: Arc::clone(file), at: offset, end: offset + size })
    }
}

fn nameless(directory: &Path) -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("spool-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = directory.join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

pub(super) struct SpoolReader {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let read = self.file.read_at(buffer.get_mut(..length).unwrap_or_default(), self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
