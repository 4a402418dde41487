//! `index`: images that were built apart, joined by an index.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::build::{Stop, check_push};
use crate::build::error::BuildError;
use crate::cli::args::path;
use crate::cli::log::LogArguments;
use crate::cli::output::writable;
use crate::cli::plugins::PluginArguments;
use crate::cli::registry::RegistryArguments;
use crate::cli::session::Session;
use crate::cli::settings::{UsageError, pair, usage};
use crate::export::{Member, Outputs, push_index};
use crate::image::{BlobSource, Layout};
use crate::oci::{Descriptor, Digest, Document, ImageConfig, ImageIndex, Manifest, MediaType, Platform, Reference};
use crate::progress::{Level, Secrets};
use crate::registry::{Client, PushBlob, PushContent};

/// The largest configuration, in bytes.
const CONFIG_LIMIT: u64 = 8 << 20;

/// What can be done with an index.
#[derive(Debug, Subcommand)]
pub enum IndexCommand {
    /// Make an index of images that were built apart, one for each platform, and push it
    Create(Box<CreateArguments>),
}

/// The flags of making an index.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct CreateArguments {
    /// Name of the index
    pub name: String,
    /// Images: names in registries, or directories of OCI layouts; an index stands for all of its images
    #[arg(required = true)]
    pub images: Vec<String>,
    /// Annotation of the index
    #[arg(long = "annotation", value_name = "NAME=VALUE")]
    pub annotations: Vec<String>,
    /// Write the digest of the index
    #[arg(long, value_parser = path(), value_name = "FILE")]
    pub digest_file: Option<PathBuf>,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArguments,
    /// Who knows logins.
    #[command(flatten)]
    pub plugin: PluginArguments,
    /// What is said.
    #[command(flatten)]
    pub log: LogArguments,
}

/// Makes an index and pushes it.
pub fn create(args: &CreateArguments) -> ExitCode {
    let secrets = Arc::new(Secrets::default());
    attempt(args, &secrets).map_or_else(|stop| stop.finish_with(&secrets, &args.log, false), |()| ExitCode::SUCCESS)
}

fn attempt(args: &CreateArguments, secrets: &Arc<Secrets>) -> Result<(), Stop> {
    let name: Reference = args.name.parse().map_err(|e| usage("name", e))?;
    if name.digest().is_some() {
        return Err(usage("name", format!("{} has a digest; an index is pushed to a tag", args.name)).into());
    }
    let annotations = args.annotations.iter().map(|text| pair("annotation", text)).collect::<Result<BTreeMap<_, _>, UsageError>>()?;
    let digest_file = args.digest_file.as_deref().filter(|path| !path.as_os_str().is_empty());
    writable("digest-file", digest_file)?;
    let session = Session::open(&args.plugin, &args.registry, &args.log, secrets, None)?;
    let digest = session.runtime.block_on(make(args, &name, annotations, &session.client))?;
    session.reporter.log(Level::Info, &format!("index {digest}"));
    session.runtime.shutdown_background();
    if let Some(path) = digest_file {
        std::fs::write(path, digest.to_string()).map_err(|e| BuildError::because(format!("cannot write {}", path.display()), e))?;
    }
    let shown = writeln!(std::io::stdout(), "{}", name.at(digest));
    Ok(shown.map_err(|e| BuildError::because("failed to write to standard output", e))?)
}

async fn make(args: &CreateArguments, name: &Reference, annotations: BTreeMap<String, String>, client: &Client) -> Result<Digest, Stop> {
    check_push(&Outputs { destinations: vec![name.clone()], ..Outputs::default() }, client).await.map_err(Stop::Permission)?;
    let mut members: Vec<Member> = Vec::new();
    for image in &args.images {
        let found = match layout_of(image) {
            Some(path) => tokio::task::block_in_place(|| of_layout(&path)),
            None => of_registry(image, client).await,
        };
        members.extend(
            found.map_err(|error| BuildError::because(format!("cannot take {image} into the index"), std::io::Error::other(error)))?,
        );
    }
    let mut seen: Vec<&Member> = Vec::new();
    members.iter().try_for_each(|member| {
        let platform = member.entry.platform.as_ref();
        let same =
            |other: &&&Member| other.entry.platform.as_ref() == platform && platform.is_some_and(|platform| platform.os != "unknown");
        if let Some(other) = seen.iter().find(same) {
            let platform = platform.map(ToString::to_string).unwrap_or_default();
            let message = format!("two images are for {platform}: {} and {}", other.entry.digest, member.entry.digest);
            return Err(BuildError::Other {
                message,
                hint: Some("an index has one image for each platform; leave one out".to_owned()),
                source: None,
            });
        }
        seen.push(member);
        Ok(())
    })?;
    let docker = annotations.is_empty() && members.iter().all(|member| member.entry.media_type.is_docker());
    let kind = if docker { MediaType::DockerList } else { MediaType::OciIndex };
    let index = ImageIndex {
        schema_version: 2,
        media_type: Some(kind.clone()),
        manifests: members.iter().map(|member| member.entry.clone()).collect(),
        annotations,
        other: serde_json::Map::new(),
    };
    let index = serde_json::to_vec(&index).map_err(|e| BuildError::because("the index cannot be written", e))?;
    let pushed = push_index(&members, &index, &kind, name, client).await;
    pushed.map_err(|e| Stop::Push(BuildError::because("failed to push the index", e)))?;
    Ok(Digest::of(&index))
}

/// The directory that an image is in, where it is not in a registry.
fn layout_of(image: &str) -> Option<PathBuf> {
    let path = image.strip_prefix("oci-layout://").or_else(|| image.strip_prefix("oci:"));
    path.map(PathBuf::from).or_else(|| Some(PathBuf::from(image)).filter(|path| path.join("oci-layout").is_file()))
}

/// Why an image cannot be taken into an index.
type Unfit = Box<dyn std::error::Error + Send + Sync>;

fn of_layout(path: &Path) -> Result<Vec<Member>, Unfit> {
    let layout = Layout::open(path)?;
    let mut members = Vec::new();
    let mut todo = layout.entries()?;
    // Indexes may list indexes; nobody nests them deep.
    for _ in 0..3 {
        let mut inner = Vec::new();
        for entry in todo {
            let bytes = layout.document(&entry)?;
            match Document::parse(&bytes, &entry.media_type)? {
                Document::Index(index) => inner.extend(index.manifests),
                Document::Manifest(manifest) => {
                    for layer in &manifest.layers {
                        layout.verify(layer)?;
                    }
                    let config = layout.document(&manifest.config)?;
                    let content = |blob: &Descriptor| PushContent::File(layout.blob(blob.digest));
                    members.push(member(&entry, bytes, &manifest, &config, content)?);
                }
            }
        }
        todo = inner;
    }
    if members.is_empty() { Err("the layout holds no image".into()) } else { Ok(members) }
}

async fn of_registry(image: &str, client: &Client) -> Result<Vec<Member>, Unfit> {
    let reference: Reference = image.parse()?;
    let (fetched, source) = client.pull_manifest(&reference).await?;
    let kind = |document: &Document| match document {
        Document::Index(index) => index.media_type.clone().unwrap_or(MediaType::OciIndex),
        Document::Manifest(manifest) => manifest.media_type.clone().unwrap_or(MediaType::OciManifest),
    };
    let entry = Descriptor::new(kind(&fetched.document), fetched.digest, fetched.bytes.len() as u64);
    let Document::Index(index) = &fetched.document else {
        return Ok(vec![remote(&entry, fetched.bytes.to_vec(), &fetched.document, &source, client).await?]);
    };
    let mut members = Vec::new();
    for entry in &index.manifests {
        let (inner, source) = client.pull_manifest(&reference.at(entry.digest)).await?;
        members.push(remote(entry, inner.bytes.to_vec(), &inner.document, &source, client).await?);
    }
    Ok(members)
}

async fn remote(entry: &Descriptor, bytes: Vec<u8>, document: &Document, source: &BlobSource, client: &Client) -> Result<Member, Unfit> {
    let Document::Manifest(manifest) = document else { return Err("an index within an index is not taken apart; name its images".into()) };
    let config = client.read_blob(source, &manifest.config, CONFIG_LIMIT).await?;
    member(entry, bytes, manifest, &config, |_| PushContent::Remote(source.clone()))
}

/// An image with the entry that it gets: what its own index said of its platform, else what its configuration says.
fn member(
    entry: &Descriptor,
    bytes: Vec<u8>,
    manifest: &Manifest,
    config: &[u8],
    content: impl Fn(&Descriptor) -> PushContent,
) -> Result<Member, Unfit> {
    let platform = match &entry.platform {
        Some(platform) => platform.clone(),
        None => platform_of(config)?,
    };
    let mut named = Descriptor::new(entry.media_type.clone(), entry.digest, bytes.len() as u64);
    // What ties an attestation to its image stands there.
    named.annotations.clone_from(&entry.annotations);
    named.annotations.remove("org.opencontainers.image.ref.name");
    named.platform = Some(platform);
    let blobs = manifest.layers.iter().chain([&manifest.config]);
    let blobs = blobs.map(|blob| PushBlob { descriptor: blob.clone(), content: content(blob) }).collect();
    Ok(Member { entry: named, manifest: bytes, blobs })
}

fn platform_of(config: &[u8]) -> Result<Platform, Unfit> {
    let config: ImageConfig = serde_json::from_slice(config)?;
    let platform = config.platform();
    if platform.os.is_empty() || platform.architecture.is_empty() {
        return Err("its configuration names no platform".into());
    }
    Ok(platform)
}
