use std::fmt;

use serde::{Deserialize, Serialize};

/// A media type as a registry or a descriptor states it, parameters cut off (image-spec, media-types.md).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum MediaType {
    /// `application/vnd.oci.image.index.v1+json`
    OciIndex,
    /// `application/vnd.oci.image.manifest.v1+json`
    OciManifest,
    /// `application/vnd.oci.image.config.v1+json`
    OciConfig,
    /// `application/vnd.oci.image.layer.v1.tar`, with its compression
    OciLayer(LayerCompression),
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    DockerList,
    /// `application/vnd.docker.distribution.manifest.v2+json`
    DockerManifest,
    /// `application/vnd.docker.container.image.v1+json`
    DockerConfig,
    /// `application/vnd.docker.image.rootfs.diff.tar`, with its compression
    DockerLayer(LayerCompression),
    /// Anything else, as written.
    Other(String),
}

/// How a layer's tar is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LayerCompression {
    /// A plain tar.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

use LayerCompression::{Gzip, None as Plain, Zstd};

const KNOWN: &[(&str, MediaType)] = &[
    ("application/vnd.oci.image.index.v1+json", MediaType::OciIndex),
    ("application/vnd.oci.image.manifest.v1+json", MediaType::OciManifest),
    ("application/vnd.oci.image.config.v1+json", MediaType::OciConfig),
    ("application/vnd.oci.image.layer.v1.tar", MediaType::OciLayer(Plain)),
    ("application/vnd.oci.image.layer.v1.tar+gzip", MediaType::OciLayer(Gzip)),
    ("application/vnd.oci.image.layer.v1.tar+zstd", MediaType::OciLayer(Zstd)),
    ("application/vnd.docker.distribution.manifest.list.v2+json", MediaType::DockerList),
    ("application/vnd.docker.distribution.manifest.v2+json", MediaType::DockerManifest),
    ("application/vnd.docker.container.image.v1+json", MediaType::DockerConfig),
    ("application/vnd.docker.image.rootfs.diff.tar", MediaType::DockerLayer(Plain)),
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", MediaType::DockerLayer(Gzip)),
    ("application/vnd.docker.image.rootfs.diff.tar.zstd", MediaType::DockerLayer(Zstd)),
];

impl MediaType {
    /// Reads a media type; `; charset=…` and the like are ignored.
    pub fn parse(text: &str) -> Self {
        let bare = text.split(';').next().unwrap_or_default().trim();
        let known = KNOWN.iter().find(|(name, _)| name.eq_ignore_ascii_case(bare));
        known.map_or_else(|| Self::Other(bare.to_owned()), |(_, kind)| kind.clone())
    }

    /// The text that stands in descriptors and headers.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(text) => text,
            known => KNOWN.iter().find(|(_, kind)| kind == known).map_or("", |(name, _)| name),
        }
    }

    /// Whether it lists manifests by platform.
    pub fn is_index(&self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }

    /// Whether it is one image's manifest.
    pub fn is_manifest(&self) -> bool {
        matches!(self, Self::OciManifest | Self::DockerManifest)
    }

    /// Whether it belongs to Docker's family of types and not to the OCI's.
    pub fn is_docker(&self) -> bool {
        matches!(self, Self::DockerList | Self::DockerManifest | Self::DockerConfig | Self::DockerLayer(_))
    }

    /// How a layer of this type says that it is compressed; none where it is no layer that can be unpacked.
    pub fn layer_compression(&self) -> Option<LayerCompression> {
        match self {
            Self::OciLayer(how) | Self::DockerLayer(how) => Some(*how),
            _ => None,
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for MediaType {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::parse(&std::borrow::Cow::<str>::deserialize(from)?))
    }
}
