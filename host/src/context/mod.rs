//! Where build inputs come from: a directory or an archive, what in it is ignored, and the Dockerfile.

mod archive;
mod bucket;
mod directory;
mod ignore;
mod location;
mod pattern;

pub use archive::{ArchiveError, Extracted, extract};
pub use bucket::{BucketObject, Provider};
pub use directory::{BuildContext, ContextError, DockerfileText, Kept, LookFirst, read_dockerfile};
pub use ignore::{IgnoreError, IgnoreFile, Verdict};
pub use layerwright_git_reference::GitReference;
pub use location::{Location, LocationError};
pub use pattern::{BadPattern, PathPattern, filepath_match};
