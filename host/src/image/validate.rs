//! Whether an image makes sense, and whether a configuration from outside keeps within bounds.

use crate::oci::ImageConfig;

use super::Image;

/// Why an image is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImageError {
    /// Layers and diff-ids do not go together.
    #[error("{layers} layers but {diff_ids} diff-ids")]
    Counts {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// A layer is not the one that the configuration names.
    #[error("layer {0} is not the one that the configuration names")]
    Order(usize),
    /// More of something than any honest image has.
    #[error("{count} {what}; at most {limit} are taken")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        count: usize,
        /// How much is taken.
        limit: usize,
    },
    /// A value that would mean something else to whoever reads it next.
    #[error("{field} holds {value:?}, which is not taken: {why}")]
    Value {
        /// Where it stands.
        field: &'static str,
        /// Its beginning.
        value: String,
        /// The rule.
        why: &'static str,
    },
    /// It cannot be written as JSON.
    #[error("cannot be written as JSON: {0}")]
    Unwritable(String),
}

const MOST_LAYERS: usize = 4096;
const MOST_ENTRIES: usize = 20_000;
const LONGEST: usize = 1024 * 1024;

pub(super) fn check_counts(layers: usize, config: &ImageConfig) -> Result<(), ImageError> {
    let diff_ids = config.rootfs.diff_ids.len();
    few("layers", layers, MOST_LAYERS)?;
    if layers == diff_ids { Ok(()) } else { Err(ImageError::Counts { layers, diff_ids }) }
}

/// Whether layers and configuration go together.
pub(super) fn check(image: &Image) -> Result<(), ImageError> {
    check_counts(image.layers.len(), &image.config)?;
    let named = image.layers.iter().zip(&image.config.rootfs.diff_ids);
    match named.enumerate().find(|(_, (layer, diff_id))| layer.diff_id != **diff_id) {
        Some((place, _)) => Err(ImageError::Order(place)),
        None => Ok(()),
    }
}

/// Whether a configuration from outside keeps within bounds: few entries, no line breaks where users and paths stand,
/// absolute volumes.
///
/// # Errors
/// The first bound that it does not keep within.
pub fn check_config(config: &ImageConfig) -> Result<(), ImageError> {
    let inner = &config.config;
    for (what, count) in [
        ("history entries", config.history.len()),
        ("environment variables", inner.env.len()),
        ("labels", inner.labels.len()),
        ("volumes", inner.volumes.len()),
        ("exposed ports", inner.exposed_ports.len()),
        ("ONBUILD instructions", inner.on_build.len()),
    ] {
        few(what, count, MOST_ENTRIES)?;
    }
    few("diff-ids", config.rootfs.diff_ids.len(), MOST_LAYERS)?;
    for pair in &inner.env {
        sound("Env", pair, |text| (!text.contains('\0')).then_some(()).ok_or("it holds a NUL"))?;
    }
    sound("User", &inner.user, one_line)?;
    sound("WorkingDir", &inner.working_dir, one_line)?;
    sound("StopSignal", &inner.stop_signal, one_line)?;
    sound("os", &config.os, one_line)?;
    sound("architecture", &config.architecture, one_line)?;
    for volume in inner.volumes.keys() {
        sound("Volumes", volume, one_line)?;
    }
    Ok(())
}

fn few(what: &'static str, count: usize, limit: usize) -> Result<(), ImageError> {
    if count <= limit { Ok(()) } else { Err(ImageError::TooMany { what, count, limit }) }
}

fn one_line(text: &str) -> Result<(), &'static str> {
    if text.chars().any(char::is_control) { Err("it holds a control character") } else { Ok(()) }
}

fn sound(field: &'static str, value: &str, rule: impl Fn(&str) -> Result<(), &'static str>) -> Result<(), ImageError> {
    let short = if value.len() <= LONGEST { Ok(()) } else { Err("it is too long") };
    let shown = || value.chars().take(100).collect();
    short.and_then(|()| rule(value)).map_err(|why| ImageError::Value { field, value: shown(), why })
}
