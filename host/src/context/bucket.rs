//! The names of objects in buckets, as contexts are given by them.

use percent_encoding::percent_decode_str;

/// What the object of a bucket is called where nothing else is said.
const DEFAULT_OBJECT: &str = "context.tar.gz";

/// The domains of Azure's storage, by cloud.
const AZURE: [&str; 4] =
    [".blob.core.windows.net", ".blob.core.chinacloudapi.cn", ".blob.core.cloudapi.de", ".blob.core.usgovcloudapi.net"];

/// An object in a bucket, or in a container of Azure's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketObject {
    /// Whose bucket it is.
    pub provider: Provider,
    /// The bucket, or the container.
    pub bucket: String,
    /// The name of the object.
    pub object: String,
    /// As it may be shown.
    pub shown: String,
}

/// Who keeps buckets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Provider {
    /// Amazon S3, and whatever speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure {
        /// The storage account.
        account: String,
        /// `https://` and its host.
        endpoint: String,
    },
}

impl BucketObject {
    /// Reads `s3://bucket/object`, `gs://bucket/object` or the URL of a blob of Azure's; none where it is something else. A URL that is
    /// signed needs no login and is a download like any other.
    ///
    /// # Errors
    /// There is no bucket in it, or no object.
    pub fn parse(text: &str) -> Result<Option<Self>, &'static str> {
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(None) };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let provider = match scheme.to_ascii_lowercase().as_str() {
            "s3" => Provider::S3,
            "gs" => Provider::Google,
            "https" => return Self::azure(text, host, path),
            _ => return Ok(None),
        };
        if host.is_empty() {
            return Err("it names no bucket");
        }
        let object = if path.is_empty() { DEFAULT_OBJECT.to_owned() } else { decoded(path) };
        Ok(Some(Self { provider, bucket: host.to_owned(), object, shown: text.to_owned() }))
    }

    fn azure(text: &str, host: &str, path: &str) -> Result<Option<Self>, &'static str> {
        let host = host.to_ascii_lowercase();
        let Some(account) = AZURE.iter().find_map(|domain| host.strip_suffix(domain)) else { return Ok(None) };
        if account.is_empty() || account.contains(['.', '@', ':']) || path.contains('?') {
            return Ok(None);
        }
        let decoded = percent_decode_str(path).decode_utf8_lossy().into_owned();
        let Some((container, object)) = decoded.split_once('/').filter(|(container, object)| !container.is_empty() && !object.is_empty())
        else {
            return Err("it names no blob: want https://ACCOUNT.blob…/CONTAINER/BLOB");
        };
        Ok(Some(Self {
            provider: Provider::Azure { account: account.to_owned(), endpoint: format!("https://{host}") },
            bucket: container.to_owned(),
            object: object.to_owned(),
            shown: text.to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects() {
        let read = |text: &str| BucketObject::parse(text).unwrap().map(|found| (found.provider, found.bucket, found.object));
        let text = str::to_owned;
        assert_eq!(read("s3://b/dir/a.tar"), Some((Provider::S3, text("b"), text("dir/a.tar"))));
        assert_eq!(read("s3://b/a%20b.tar"), Some((Provider::S3, text("b"), text("a b.tar"))));
        assert_eq!(read("gs://b"), Some((Provider::Google, text("b"), text("context.tar.gz"))));
        let azure = Provider::Azure { account: text("acme"), endpoint: text("https://acme.blob.core.windows.net") };
        assert_eq!(read("https://Acme.blob.core.windows.net/c/d/a.tgz"), Some((azure, text("c"), text("d/a.tgz"))));
        for other in [
            "https://h/a.tar",
            "https://acme.blob.core.windows.net.evil.test/c/a",
            "https://blob.core.windows.net/c/a",
            "https://acme.blob.core.windows.net/c/a.tar?sig=x",
            "http://acme.blob.core.windows.net/c/a",
            "dir:///x",
            "x",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        for bad in ["s3://", "gs:///x", "https://acme.blob.core.windows.net/c"] {
            assert!(BucketObject::parse(bad).is_err(), "{bad}");
        }
    }
}
