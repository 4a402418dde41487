//! Where the image goes and in which form: the flags, and what they mean.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::args::switch;
use super::env;
use super::settings::{UsageError, usage};
use crate::export::Outputs;
use crate::layer::Compression;
use crate::oci::Reference;

/// The flags for outputs.
#[derive(Debug, Args)]
pub struct OutputArguments {
    /// Where to push the image; may be given several times
    #[arg(short, long = "destination", value_name = "REFERENCE")]
    pub destinations: Vec<String>,
    /// Do not push
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub no_push: bool,
    /// Write the image as an OCI layout too
    #[arg(long, value_name = "DIR")]
    pub oci_layout_path: Option<PathBuf>,
    /// Write the image as a `docker save` archive too
    #[arg(long, alias = "tarPath", value_name = "FILE")]
    pub tar_path: Option<PathBuf>,
    /// Write the digest of the image
    #[arg(long, value_name = "FILE")]
    pub digest_file: Option<PathBuf>,
    /// Write `repository@digest` for each destination
    #[arg(long, value_name = "FILE")]
    pub image_name_with_digest_file: Option<PathBuf>,
    /// Write `repository:tag@digest` for each destination
    #[arg(long, value_name = "FILE")]
    pub image_name_tag_with_digest_file: Option<PathBuf>,
    /// How new layers are compressed
    #[arg(long, value_enum, default_value = "gzip")]
    pub compression: CompressionKind,
    /// How hard new layers are compressed
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "LEVEL")]
    pub compression_level: i32,
    /// Take a tag that the registry does not let change as pushed
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub push_ignore_immutable_tag_errors: bool,
    /// Do not check before the build that the destination may be pushed to
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub skip_push_permission_check: bool,
}

/// How new layers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompressionKind {
    /// RFC 1952
    Gzip,
    /// RFC 8878; OCI images only
    Zstd,
}

/// Where the image goes, from the flags and the environment.
///
/// # Errors
/// A destination that is no reference, or no destination where one is needed.
pub fn outputs(args: &OutputArguments) -> Result<Outputs, UsageError> {
    let no_push = args.no_push || env::is_true(env::KANIKO_NO_PUSH);
    let destination = |text: &String| {
        let reference: Reference = text.parse().map_err(|e| usage("destination", e))?;
        match reference.digest() {
            Some(_) => Err(usage("destination", format!("{text} has a digest; an image is pushed to a tag"))),
            None => Ok(reference),
        }
    };
    let destinations = args.destinations.iter().map(destination).collect::<Result<Vec<_>, _>>()?;
    if destinations.is_empty() && !no_push {
        return Err(usage("destination", "none is given; name one, or say --no-push"));
    }
    Ok(Outputs {
        destinations,
        no_push,
        oci_layout_path: args.oci_layout_path.clone(),
        tar_path: args.tar_path.clone(),
        digest_file: args.digest_file.clone().filter(|path| !is_url(path)),
        digest_url: args.digest_file.as_ref().filter(|path| is_url(path)).map(|path| path.display().to_string()),
        image_name_with_digest_file: args.image_name_with_digest_file.clone(),
        image_name_tag_with_digest_file: args.image_name_tag_with_digest_file.clone(),
        ignore_immutable_tags: args.push_ignore_immutable_tag_errors,
    })
}

/// `--digest-file` takes a file, or a URL that the digest is put to.
fn is_url(path: &std::path::Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(b"https://")
}

/// How new layers are compressed.
///
/// # Errors
/// A level that the kind does not have.
pub fn compression(args: &OutputArguments) -> Result<Compression, UsageError> {
    let level = |range: std::ops::RangeInclusive<i32>| match args.compression_level {
        level if range.contains(&level) => Ok(level),
        level => Err(usage("compression-level", format!("{level} is not between {} and {}", range.start(), range.end()))),
    };
    Ok(match args.compression {
        CompressionKind::Gzip if args.compression_level == -1 => Compression::GZIP,
        CompressionKind::Gzip => Compression::Gzip(level(1..=9)?.unsigned_abs()),
        CompressionKind::Zstd if args.compression_level == -1 => Compression::ZSTD,
        CompressionKind::Zstd => Compression::Zstd(level(1..=22)?),
    })
}
