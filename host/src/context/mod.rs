//! Where build inputs come from: a directory, what in it is ignored, and the Dockerfile.

mod directory;
mod ignore;
mod pattern;

pub use directory::{BuildContext, ContextError, DockerfileText, read_dockerfile};
pub use ignore::{IgnoreError, IgnoreFile, Verdict};
pub use pattern::{BadPattern, PathPattern, filepath_match};
