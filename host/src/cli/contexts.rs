//! Where the build's files come from, as the command line says it.

use std::path::{Path, PathBuf};

use clap::Args;
use layerwright_git_reference::{GitUrl, Scheme};

use super::args::{BuildArguments, path, switch};
use super::env;
use super::settings::{UsageError, pair, usage};
use crate::build::settings::{BuildContextFlag, NamedContext, context_name};
use crate::context::Location;
use crate::oci::{Digest, Platform};

/// The flags for the build's files.
#[derive(Debug, Args)]
pub struct ContextArguments {
    /// What COPY and ADD read: a directory, `tar://FILE`, a git repository, a URL, or `-` for standard input
    #[arg(short, long, default_value = "/workspace/", value_name = "CONTEXT")]
    pub context: String,
    /// Former way to name a context: a bucket, or any other source with `://`
    #[arg(short, long, hide = true, value_name = "BUCKET")]
    pub bucket: Option<String>,
    /// Directory of the context to use in its place
    #[arg(long, value_parser = path(), value_name = "DIR")]
    pub context_sub_path: Option<PathBuf>,
    /// Option for a context from git, for instance `branch=main`; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub git: Vec<String>,
    /// Dockerfile, looked up in the working directory and then in the context; a URL, or `-` for standard input
    #[arg(short = 'f', long, default_value = "Dockerfile", value_name = "FILE")]
    pub dockerfile: String,
    /// In place of a stage, an image or a source of that name: anything that --context takes, `docker-image://…` or `oci-layout://…`
    #[arg(long = "build-context", value_name = "NAME[::PLATFORM]=SOURCE")]
    pub build_contexts: Vec<String>,
    /// Host that downloads may go to although it lies on this machine or in a private network
    #[arg(long = "allow-private-host", value_name = "HOST[:PORT]")]
    pub private_hosts: Vec<String>,
    /// The largest download, and all that one git repository may bring
    #[arg(long, default_value = "16g", value_name = "SIZE")]
    pub max_download_size: String,
}

impl ContextArguments {
    /// The context: a bucket counts where the context is none or has a scheme, as in kaniko, and is one of Google's where it says no other.
    pub fn named(&self) -> String {
        match self.bucket.as_ref().filter(|bucket| !bucket.is_empty()) {
            Some(bucket) if self.context.is_empty() || self.context.contains("://") => {
                if bucket.contains("://") {
                    bucket.clone()
                } else {
                    format!("gs://{bucket}")
                }
            }
            _ => self.context.clone(),
        }
    }
}

/// The build argument that asks for `.git` in contexts from git.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// Where the main context is.
///
/// # Errors
/// It is nowhere, or the options for git make no sense.
pub fn main_context(args: &BuildArguments) -> Result<Location, UsageError> {
    let method = env::get(env::GIT_PULL_METHOD).unwrap_or_else(|| "https".to_owned());
    if !matches!(method.as_str(), "https" | "http" | "git") {
        return Err(usage("context", format!("GIT_PULL_METHOD is {method:?}; want https, http or git")));
    }
    let mut location = Location::parse_pulled_by(&args.context.named(), &method).map_err(|error| usage("context", error))?;
    // What the URL says counts before the option, and of several options the last.
    let is_open = matches!(&location, Location::Git(reference) if reference.revision.is_none());
    for option in &args.context.git {
        let (name, value) = pair("git", option)?;
        let flag = || switch(&value).map_err(|why| usage("git", format!("{name}={value}: {why}")));
        match (name.as_str(), &mut location) {
            ("branch", Location::Git(reference)) if is_open && !value.is_empty() => reference.revision = Some(value),
            ("recurse-submodules", Location::Git(reference)) => reference.submodules = Some(flag()?),
            // Only what is built is fetched, whatever is asked for.
            ("branch", _) => {}
            ("depth", _) => match value.parse::<u32>() {
                Ok(_) => {}
                Err(_) => return Err(usage("git", format!("depth={value}: want a number of commits, or 0 for all"))),
            },
            ("single-branch" | "recurse-submodules" | "insecure-skip-tls", _) => drop(flag()?),
            _ => {
                let known = "branch, single-branch, depth, recurse-submodules or insecure-skip-tls";
                return Err(usage("git", format!("{name:?} is not known; want {known}")));
            }
        }
    }
    if keeps_git_dir(args) {
        keep_git_dir(&mut location);
    }
    Ok(location)
}

/// `host:port` of the main context's repository where its certificate is not to be verified.
pub fn unverified_git(args: &BuildArguments, location: &Location) -> Option<String> {
    let Location::Git(reference) = location else { return None };
    let mut options = args.context.git.iter().filter_map(|option| option.split_once('='));
    let asked = options.rfind(|(name, _)| *name == "insecure-skip-tls").is_some_and(|(_, value)| switch(value) == Ok(true));
    let url = GitUrl::parse(&reference.remote).filter(|url| asked && url.scheme == Scheme::Https)?;
    let has_port = url.host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    Some(if has_port { url.host } else { format!("{}:443", url.host) })
}

/// The same contexts, those from git with `.git` where the build argument for that asks for it.
pub fn keep_git_dirs(args: &BuildArguments, mut contexts: Vec<BuildContextFlag>) -> Vec<BuildContextFlag> {
    for context in contexts.iter_mut().filter(|_| keeps_git_dir(args)) {
        if let NamedContext::Files(location) = &mut context.source {
            keep_git_dir(location);
        }
    }
    contexts
}

/// Whether `BUILDKIT_CONTEXT_KEEP_GIT_DIR` says so; the last one counts.
fn keeps_git_dir(args: &BuildArguments) -> bool {
    let given = args.given_build_args();
    given
        .iter()
        .rfind(|(name, _)| name == KEEP_GIT_DIR)
        .is_some_and(|(_, value)| matches!(value.as_str(), "1" | "t" | "T" | "true" | "True" | "TRUE"))
}

/// What the URL itself says counts before that.
fn keep_git_dir(location: &mut Location) {
    if let Location::Git(reference) = location {
        reference.keep_git_dir.get_or_insert(true);
    }
}

/// `NAME[::PLATFORM]=SOURCE`.
///
/// # Errors
/// The source is nothing that files or an image can come from.
pub fn build_context(text: &str) -> Result<BuildContextFlag, UsageError> {
    let (name, source) = pair("build-context", text)?;
    let (name, platform) = match name.split_once("::") {
        Some((name, platform)) => {
            let platform: Platform = platform.parse().map_err(|error| usage("build-context", format!("{name}: {error}")))?;
            (name.to_owned(), Some(platform))
        }
        None => (name, None),
    };
    if name.is_empty() {
        return Err(usage("build-context", format!("{text:?} has no name")));
    }
    Ok(BuildContextFlag { name: context_name(&name), platform, source: named(&name, &source)? })
}

fn named(name: &str, source: &str) -> Result<NamedContext, UsageError> {
    let refused = |why: &dyn std::fmt::Display| usage("build-context", format!("{name}: {why}"));
    if let Some(image) = source.strip_prefix("docker-image://") {
        return match image {
            "scratch" => Ok(NamedContext::Scratch),
            image => Ok(NamedContext::Image(image.parse().map_err(|error| refused(&error))?)),
        };
    }
    if let Some(layout) = source.strip_prefix("oci-layout://") {
        let (path, name, digest) = layout_reference(layout).map_err(|error| refused(&error))?;
        return Ok(NamedContext::Layout { path, name, digest });
    }
    if source.starts_with("target:") {
        return Err(refused(&"target: names a target of a bake file, which this is not; build that target first and name its image"));
    }
    match Location::parse(source).map_err(|error| refused(&format!("{error}, docker-image:// or oci-layout://")))? {
        Location::StandardInput => Err(refused(&"standard input can only be the main context")),
        location => Ok(NamedContext::Files(location)),
    }
}

/// `path[:tag][@digest]`; a directory that is there is meant as a whole.
fn layout_reference(text: &str) -> Result<(PathBuf, Option<String>, Option<Digest>), String> {
    if Path::new(text).is_dir() {
        return Ok((text.into(), None, None));
    }
    let (rest, digest) = match text.rsplit_once("@sha256:") {
        Some((rest, hex)) => (rest, Some(format!("sha256:{hex}").parse::<Digest>().map_err(|error| error.to_string())?)),
        None => (text, None),
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') && !tag.is_empty() && !Path::new(rest).is_dir() => (path, Some(tag.to_owned())),
        _ => (rest, None),
    };
    Ok((path.into(), tag, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_images_and_stages() {
        for (text, name) in [
            ("alpine=/x", "alpine"),
            ("Alpine:latest=/x", "alpine"),
            ("docker.io/library/alpine:latest=/x", "alpine"),
            ("docker.io/acme/x:1=/x", "acme/x:1"),
            ("quay.io/a/b:latest=/x", "quay.io/a/b"),
            ("base::linux/arm64=/x", "base"),
        ] {
            assert_eq!(build_context(text).unwrap().name, name, "{text}");
        }
        assert_eq!(build_context("base::linux/arm64=/x").unwrap().platform, Some("linux/arm64".parse().unwrap()));
    }

    #[test]
    fn sources() {
        let source = |text: &str| build_context(&format!("x={text}")).map(|flag| flag.source);
        assert_eq!(source("docker-image://scratch").unwrap(), NamedContext::Scratch);
        assert!(matches!(source("docker-image://alpine:3").unwrap(), NamedContext::Image(_)));
        assert!(matches!(source("https://h/a.git#main").unwrap(), NamedContext::Files(Location::Git(_))));
        assert!(matches!(source("https://h/a.tar").unwrap(), NamedContext::Files(Location::Web(_))));
        let digest = format!("sha256:{}", "a".repeat(64));
        let layout = |name: Option<&str>, digest: Option<&str>| NamedContext::Layout {
            path: "/no/lay".into(),
            name: name.map(str::to_owned),
            digest: digest.map(|digest| digest.parse().unwrap()),
        };
        assert_eq!(source("oci-layout:///no/lay").unwrap(), layout(None, None));
        assert_eq!(source("oci-layout:///no/lay:v1").unwrap(), layout(Some("v1"), None));
        assert_eq!(source(&format!("oci-layout:///no/lay@{digest}")).unwrap(), layout(None, Some(&digest)));
        assert_eq!(source(&format!("oci-layout:///no/lay:v1@{digest}")).unwrap(), layout(Some("v1"), Some(&digest)));
        for (bad, said) in [("target:base", "bake file"), ("-", "main context"), ("s9://x", "s9:// is not supported"), ("", "empty")] {
            let error = source(bad).unwrap_err().to_string();
            assert!(error.contains(said), "{bad}: {error}");
        }
    }
}
