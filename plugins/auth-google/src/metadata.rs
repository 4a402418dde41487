//! The access token of the machine's service account, from the metadata service of Compute Engine, GKE and Cloud Run.

use layerwright_plugin::http::{self, Request};
use layerwright_plugin::{Error, ErrorCode, env, log};

use crate::token::{self, Token};

pub(crate) const HOST: &str = "GCE_METADATA_HOST";
pub(crate) const SKIP: &str = "NO_GCE_CHECK";

const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// The service is a hop away, or not there at all.
const PATIENCE: u32 = 3_000;

/// None where there is no such service, or the machine has no service account.
pub(crate) fn token() -> Result<Option<Token>, Error> {
    if env::optional(SKIP)?.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let host = env::optional(HOST)?.unwrap_or_else(|| "metadata.google.internal".to_owned());
    let request = Request::new("GET", format!("http://{}{PATH}", host.trim())).header("metadata-flavor", "Google").timeout_ms(PATIENCE);
    match http::send(&request) {
        // Whoever answers in its place without saying so, a captive portal for instance, is not asked for tokens.
        Ok(response) if response.header("metadata-flavor") == Some("Google") => match response.status {
            404 => Ok(None),
            _ => token::read(&response, "the metadata service").map(Some),
        },
        Ok(_) => Ok(None),
        Err(error) if matches!(error.code, ErrorCode::Unavailable | ErrorCode::Denied) => {
            log::debug(format!("no metadata of Google's: {}", error.message));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
