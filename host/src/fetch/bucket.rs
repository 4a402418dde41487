//! Objects in buckets of Amazon, Google and Azure, and of what speaks their protocols, over the connections of this module.

mod ask;
mod aws;
mod google;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::{ClientOptions, Error, ObjectStore, ObjectStoreExt as _, RetryConfig, StaticCredentialProvider};
use reqwest::Url;

use super::exchange::Web;
use super::{FetchError, Fetcher, address};
use crate::context::{BucketObject, Provider};
use crate::progress::{Event, reasons};

/// How long a metadata service may take: it answers at once, or the machine has none.
const METADATA: Duration = Duration::from_secs(5);
/// Of a server's answer, so many characters are shown.
const LONGEST_ANSWER: usize = 400;
/// Where Azure tells programs that it has an identity for them.
const IDENTITY_ENDPOINT: &str = "IDENTITY_ENDPOINT";

/// The variables that say how to log in to buckets, by name: those that begin with `AWS_`, `AZURE_`, `GOOGLE_` or `S3_`, and few others.
#[derive(Clone, Default)]
pub struct CloudVariables(BTreeMap<String, String>);

impl CloudVariables {
    /// Takes from all variables of an environment those that count, without empty ones.
    pub fn of(environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let counts = |name: &str| {
            ["AWS_", "AZURE_", "GOOGLE_", "S3_"].iter().any(|prefix| name.starts_with(prefix))
                || ["HOME", "CLOUDSDK_CONFIG", "STORAGE_EMULATOR_HOST", IDENTITY_ENDPOINT].contains(&name)
        };
        Self(environment.into_iter().filter(|(name, value)| !value.is_empty() && counts(name)).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names that begin with `prefix` in the spelling that `object_store` has, and their values.
    fn settings<'a, K: std::str::FromStr>(&'a self, prefix: &'a str) -> impl Iterator<Item = (K, &'a str)> {
        let known = self.0.iter().filter(move |(name, _)| name.starts_with(prefix));
        known.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value.as_str())))
    }
}

impl fmt::Debug for CloudVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Fetcher {
    /// Whether this is Azure's and nobody has said how to log in there: a public blob, to be had like anything on the web.
    pub(super) fn is_public(&self, object: &BucketObject) -> bool {
        let variables = &self.web.settings.clouds;
        let login = |name: &String| name.starts_with("AZURE_") || name == IDENTITY_ENDPOINT;
        matches!(object.provider, Provider::Azure { .. }) && !variables.0.keys().any(login)
    }

    /// Writes an object to a new file, and says when it was last changed, in seconds since 1970.
    pub(super) async fn bring_object(&self, object: &BucketObject, to: &Path) -> Result<i64, FetchError> {
        let whole = self.web.settings.whole;
        match tokio::time::timeout(whole, self.copy_object(object, to)).await {
            Ok(done) => done,
            Err(_) => Err(FetchError::Slow { url: object.shown.clone(), seconds: whole.as_secs() }),
        }
    }

    async fn copy_object(&self, object: &BucketObject, to: &Path) -> Result<i64, FetchError> {
        let settings = &self.web.settings;
        let failed = |error: Error| refused(object, &error);
        let store = open(object, &self.web).await?;
        let path = object_store::path::Path::parse(&object.object).map_err(|error| failed(error.into()))?;
        let found = store.get(&path).await.map_err(failed)?;
        if found.meta.size > settings.largest {
            return Err(FetchError::TooLarge { url: object.shown.clone(), limit: settings.largest });
        }
        let (modified, announced) = (found.meta.last_modified.timestamp(), found.meta.size);
        let kept = |error: std::io::Error| FetchError::Store { path: to.to_owned(), why: error.to_string() };
        let mut file = File::create_new(to).map_err(kept)?;
        let mut pieces = found.into_stream();
        let mut size = 0;
        loop {
            let piece = match tokio::time::timeout(settings.idle, pieces.next()).await {
                Err(_) => return Err(FetchError::Silent { host: object.shown.clone(), seconds: settings.idle.as_secs() }),
                Ok(None) => break,
                Ok(Some(piece)) => piece.map_err(failed)?,
            };
            size += piece.len() as u64;
            if size > settings.largest {
                return Err(FetchError::TooLarge { url: object.shown.clone(), limit: settings.largest });
            }
            file.write_all(&piece).map_err(kept)?;
        }
        if size != announced {
            let why = format!("{size} bytes came, {announced} were announced");
            return Err(FetchError::Broken { url: object.shown.clone(), why });
        }
        self.reporter.event(Event::Transfer { what: "downloaded", digest: object.object.clone(), size, place: object.shown.clone() });
        Ok(modified)
    }
}

/// The bucket of an object, with the login of whoever builds.
async fn open(object: &BucketObject, web: &Arc<Web>) -> Result<Box<dyn ObjectStore>, FetchError> {
    let variables = &web.settings.clouds;
    let connector = Connector(Arc::clone(web));
    let retry = RetryConfig {
        max_retries: web.settings.tries.saturating_sub(1) as usize,
        retry_timeout: web.settings.whole.min(Duration::from_secs(180)),
        ..RetryConfig::default()
    };
    let store: Result<Box<dyn ObjectStore>, Error> = match &object.provider {
        Provider::S3 => {
            let mut builder = AmazonS3Builder::new();
            for (key, value) in variables.settings("AWS_") {
                builder = builder.with_config(key, value);
            }
            let login = aws::login(web).await.map_err(|refused| bucket_error(object, refused.why, refused.hint))?;
            builder = builder.with_region(login.region);
            if let Some(credential) = login.credential {
                builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(credential)));
            }
            let forced = variables.get("S3_FORCE_PATH_STYLE").and_then(|value| value.to_ascii_lowercase().parse::<bool>().ok());
            match variables.get("S3_ENDPOINT") {
                // A bucket of an endpoint that is somebody's own is a directory unless it is said to be a host.
                Some(endpoint) if forced == Some(false) => {
                    let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
                    let endpoint = format!("{scheme}://{}.{host}", object.bucket);
                    builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(true);
                }
                Some(endpoint) if endpoint.contains("://") => builder = builder.with_endpoint(endpoint),
                Some(endpoint) => builder = builder.with_endpoint(format!("https://{endpoint}")),
                None => {}
            }
            let builder = builder.with_bucket_name(&object.bucket).with_retry(retry).with_http_connector(connector);
            builder.build().map(|store| Box::new(store) as _)
        }
        Provider::Google => {
            let mut builder = GoogleCloudStorageBuilder::new();
            for (key, value) in variables.settings("GOOGLE_") {
                builder = builder.with_config(key, value);
            }
            builder = match google::login(web).await.map_err(|why| bucket_error(object, why, GOOGLE_LOGIN))? {
                google::Login::Token(bearer) => builder.with_credentials(Arc::new(StaticCredentialProvider::new(GcpCredential { bearer }))),
                google::Login::File(path) => builder.with_application_credentials(path.display().to_string()),
                google::Login::Library => builder,
            };
            if let Some(host) = variables.get("STORAGE_EMULATOR_HOST") {
                let url = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
                builder = builder.with_base_url(&url).with_skip_signature(true);
            }
            let builder = builder.with_bucket_name(&object.bucket).with_retry(retry).with_http_connector(connector);
            builder.build().map(|store| Box::new(store) as _)
        }
        Provider::Azure { account, endpoint } => {
            let mut builder = MicrosoftAzureBuilder::new().with_account(account).with_endpoint(endpoint.clone());
            for (key, value) in variables.settings("AZURE_") {
                builder = builder.with_config(key, value);
            }
            if let Some(identity) = variables.get(IDENTITY_ENDPOINT) {
                builder = builder.with_msi_endpoint(identity);
            }
            // The URL says which account; the environment's may be another.
            let builder = builder.with_account(account).with_container_name(&object.bucket);
            builder.with_retry(retry).with_http_connector(connector).build().map(|store| Box::new(store) as _)
        }
    };
    store.map_err(|error| refused(object, &error))
}

const S3_LOGIN: &str = "credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a web identity, the profile AWS_PROFILE of \
    ~/.aws/credentials and ~/.aws/config, or the endpoint of a container or an instance; the region from AWS_REGION, another server from S3_ENDPOINT";
const GOOGLE_LOGIN: &str = "credentials come from GOOGLE_APPLICATION_CREDENTIALS or the metadata service; \
    GOOGLE_SKIP_SIGNATURE=true reads public buckets without any";
const AZURE_LOGIN: &str = "credentials come from AZURE_STORAGE_ACCESS_KEY, from AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET or \
    AZURE_FEDERATED_TOKEN_FILE, or a managed identity";

fn bucket_error(object: &BucketObject, why: String, hint: &'static str) -> FetchError {
    FetchError::Bucket { url: object.shown.clone(), why, hint }
}

/// What a server says of a blob that turns out not to be public, with what can be done.
pub(super) fn not_public(object: &BucketObject, error: FetchError) -> FetchError {
    match error {
        FetchError::Status { status, .. } => bucket_error(object, format!("{status} without a login"), AZURE_LOGIN),
        error => error,
    }
}

/// An error of the library as one of ours: short, and with what can be done.
fn refused(object: &BucketObject, error: &Error) -> FetchError {
    let why = match error {
        Error::NotFound { .. } => "there is no such bucket or object".to_owned(),
        Error::PermissionDenied { source, .. } | Error::Unauthenticated { source, .. } => {
            format!("access is denied: {}", shortened(&reasons(source.as_ref())))
        }
        Error::Generic { source, .. } => shortened(&reasons(source.as_ref())),
        error => shortened(&reasons(error)),
    };
    let hint = match object.provider {
        Provider::S3 => S3_LOGIN,
        Provider::Google => GOOGLE_LOGIN,
        Provider::Azure { .. } => AZURE_LOGIN,
    };
    bucket_error(object, why, hint)
}

fn shortened(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_ANSWER).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Hands out the connections of this module.
#[derive(Clone)]
struct Connector(Arc<Web>);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let url = Url::parse(&request.uri().to_string()).map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let metadata = address::is_metadata_service(url.host_str().unwrap_or_default());
        // A machine without a metadata service must not be asked again and again.
        let kind = if metadata { HttpErrorKind::Unknown } else { HttpErrorKind::Connect };
        let client = self.0.client_for_operator(&url).await.map_err(|error| HttpError::new(kind, error))?;
        let idle = if metadata { METADATA } else { self.0.settings.idle };
        match tokio::time::timeout(idle, client.call(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                let host = super::exchange::authority(&url);
                let silent = FetchError::Silent { host, seconds: idle.as_secs() };
                Err(HttpError::new(if metadata { HttpErrorKind::Unknown } else { HttpErrorKind::Timeout }, silent))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_show_their_names_alone() {
        let given = [("AWS_SECRET_ACCESS_KEY", "hidden"), ("PATH", "/bin"), ("AZURE_CLIENT_ID", "")];
        let variables = CloudVariables::of(given.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(format!("{variables:?}"), r#"{"AWS_SECRET_ACCESS_KEY"}"#);
    }

    #[test]
    fn answers_are_one_short_line() {
        assert_eq!(shortened("a\n  b\u{1b}c"), "a b c");
        assert!(shortened(&"x".repeat(9999)).len() <= LONGEST_ANSWER);
    }
}
