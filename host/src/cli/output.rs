//! Where the image goes and in which form: the flags, and what they mean.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::args::{path, switch};
use super::env;
use super::settings::{UsageError, pair, usage};
use crate::export::Outputs;
use crate::layer::Compression;
use crate::oci::Reference;

/// The flags for where an image is pushed, and for the files that say so.
#[derive(Debug, Args)]
pub struct DestinationArguments {
    /// Where to push the image; may be given several times
    #[arg(short, long = "destination", value_name = "REFERENCE")]
    pub destinations: Vec<String>,
    /// Write the digest of the image; to a URL of https it is sent with PUT
    #[arg(long, value_parser = path(), value_name = "FILE|URL")]
    pub digest_file: Option<PathBuf>,
    /// Write `repository@digest` for each destination
    #[arg(long, value_parser = path(), value_name = "FILE")]
    pub image_name_with_digest_file: Option<PathBuf>,
    /// Write `repository:tag@digest` for each destination
    #[arg(long, value_parser = path(), value_name = "FILE")]
    pub image_name_tag_with_digest_file: Option<PathBuf>,
    /// Write digests, descriptor and names as JSON, as buildx does
    #[arg(long, value_parser = path(), value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// Take a tag that the registry does not let change as pushed
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub push_ignore_immutable_tag_errors: bool,
    /// Do not check before the build that the destination may be pushed to
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub skip_push_permission_check: bool,
}

/// The flags for outputs.
#[derive(Debug, Args)]
pub struct OutputArguments {
    /// Where it is pushed.
    #[command(flatten)]
    pub to: DestinationArguments,
    /// Do not push
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub no_push: bool,
    /// Write the image as an OCI layout too
    #[arg(long, value_parser = path(), value_name = "DIR")]
    pub oci_layout_path: Option<PathBuf>,
    /// Write the image as a `docker save` archive too
    #[arg(long, value_parser = path(), value_name = "FILE")]
    pub tar_path: Option<PathBuf>,
    /// Media types of manifest, configuration and layers; the base image's where nothing is said
    #[arg(long, value_enum)]
    pub image_format: Option<ImageFormat>,
    /// How new layers are compressed
    #[arg(long, value_enum, default_value = "gzip")]
    pub compression: CompressionKind,
    /// How hard new layers are compressed: gzip 1 to 9, zstd 1 to 22; less for the usual
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "LEVEL")]
    pub compression_level: i32,
    /// Annotation of the manifest
    #[arg(long = "annotation", value_name = "NAME=VALUE")]
    pub annotations: Vec<String>,
    /// Label of the image
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
    /// Join the layers that a stage makes to one
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub single_snapshot: bool,
    /// Show no time of the build: those of files and of the image are SOURCE_DATE_EPOCH at most, or 0
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub reproducible: bool,
}

/// A family of media types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImageFormat {
    /// Docker's, image manifest version 2 schema 2
    Docker,
    /// The OCI's
    Oci,
}

/// How new layers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompressionKind {
    /// RFC 1952
    Gzip,
    /// RFC 8878; OCI images only
    Zstd,
}

/// Where the image goes, from the flags and the environment. `old_tar_path` is what the former spelling of that flag says.
///
/// # Errors
/// A destination that is no reference, or no destination where one is needed.
pub fn outputs(args: &OutputArguments, old_tar_path: Option<&Path>) -> Result<Outputs, UsageError> {
    let no_push = args.no_push || env::is_true(env::KANIKO_NO_PUSH);
    if args.to.destinations.is_empty() && !no_push {
        return Err(usage("destination", "none is given; name one, or say --no-push"));
    }
    check_forms(args)?;
    let outputs = Outputs {
        no_push,
        oci_layout_path: given(&args.oci_layout_path),
        tar_path: given(&args.tar_path).or_else(|| old_tar_path.filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned)),
        ..destinations(&args.to)?
    };
    match &outputs.oci_layout_path {
        Some(path) if path.exists() && !path.is_dir() => {
            return Err(usage("oci-layout-path", format!("{} is no directory", path.display())));
        }
        _ => {}
    }
    writable("tar-path", outputs.tar_path.as_deref())?;
    Ok(outputs)
}

/// Where an image is pushed, and the files that say so.
///
/// # Errors
/// A destination that is no reference.
pub fn destinations(args: &DestinationArguments) -> Result<Outputs, UsageError> {
    let destination = |text: &String| {
        let reference: Reference = text.parse().map_err(|e| usage("destination", e))?;
        match reference.digest() {
            Some(_) => Err(usage("destination", format!("{text} has a digest; an image is pushed to a tag"))),
            None => Ok(reference),
        }
    };
    let digest = given(&args.digest_file);
    if digest.as_ref().is_some_and(|path| path.as_os_str().as_encoded_bytes().starts_with(b"http://")) {
        return Err(usage("digest-file", "a digest is put to a URL of https alone"));
    }
    let files = [
        ("digest-file", digest.clone().filter(|path| !is_url(path))),
        ("image-name-with-digest-file", given(&args.image_name_with_digest_file)),
        ("image-name-tag-with-digest-file", given(&args.image_name_tag_with_digest_file)),
        ("metadata-file", given(&args.metadata_file)),
    ];
    files.iter().try_for_each(|(flag, path)| writable(flag, path.as_deref()))?;
    let [digest_file, image_name_with_digest_file, image_name_tag_with_digest_file, metadata_file] = files.map(|(_, path)| path);
    Ok(Outputs {
        destinations: args.destinations.iter().map(destination).collect::<Result<_, _>>()?,
        digest_file,
        digest_url: digest.filter(|path| is_url(path)).map(|path| path.display().to_string()),
        image_name_with_digest_file,
        image_name_tag_with_digest_file,
        metadata_file,
        builder_output: env::get(env::BUILDER_OUTPUT).map(PathBuf::from),
        ignore_immutable_tags: args.push_ignore_immutable_tag_errors,
        ..Outputs::default()
    })
}

/// A path, where one is given: a variable of a pipeline that is empty gives none, as in kaniko.
fn given(path: &Option<PathBuf>) -> Option<PathBuf> {
    path.clone().filter(|path| !path.as_os_str().is_empty())
}

/// Refuses a directory before anything is built or pushed, where a file is to be written afterwards.
pub(super) fn writable(flag: &'static str, path: Option<&Path>) -> Result<(), UsageError> {
    match path {
        Some(path) if path.is_dir() => Err(usage(flag, format!("{} is a directory", path.display()))),
        _ => Ok(()),
    }
}

/// Refuses forms that do not go together.
fn check_forms(args: &OutputArguments) -> Result<(), UsageError> {
    let zstd = args.compression == CompressionKind::Zstd;
    if zstd && args.image_format == Some(ImageFormat::Docker) {
        return Err(usage("image-format", "Docker's media types have none for Zstandard; use oci, or --compression=gzip"));
    }
    let archive = given(&args.tar_path).is_some();
    if archive && zstd {
        return Err(usage("tar-path", "`docker load` does not read Zstandard; use --compression=gzip, or --oci-layout-path"));
    }
    if archive && args.image_format == Some(ImageFormat::Oci) {
        return Err(usage("tar-path", "a `docker save` archive is of Docker's format and not of the OCI's; use --oci-layout-path"));
    }
    Ok(())
}

/// Annotations of the manifest, the last of each name.
///
/// # Errors
/// One without a name or a value.
pub fn annotations(args: &OutputArguments) -> Result<Vec<(String, String)>, UsageError> {
    args.annotations.iter().map(|text| pair("annotation", text)).collect()
}

/// Whether the image is to have Docker's media types or the OCI's, where it is said.
pub fn docker(args: &OutputArguments) -> Option<bool> {
    args.image_format.map(|format| format == ImageFormat::Docker)
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
        CompressionKind::Gzip if args.compression_level <= 0 => Compression::GZIP,
        CompressionKind::Gzip => Compression::Gzip(level(1..=9)?.unsigned_abs()),
        CompressionKind::Zstd if args.compression_level <= 0 => Compression::ZSTD,
        CompressionKind::Zstd => Compression::Zstd(level(1..=22)?),
    })
}
