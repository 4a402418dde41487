use super::error::BuildError;
use super::lowering::Globals;
use super::settings::BuildSettings;

/// What `SOURCE_DATE_EPOCH` stands for: the build argument, else the environment, else the Dockerfile's default. An empty one is none.
pub fn epoch(globals: &Globals, settings: &BuildSettings) -> Option<i64> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    match globals.given.get(NAME) {
        Some(given) => given.parse().ok(),
        None => settings.source_date_epoch.or_else(|| globals.scope.get(NAME)?.parse().ok()),
    }
}

/// Now, or what stands for it, as RFC 3339.
pub fn now(epoch: Option<i64>) -> Result<String, BuildError> {
    let time = match epoch {
        Some(seconds) => {
            time::OffsetDateTime::from_unix_timestamp(seconds).map_err(|e| BuildError::because("SOURCE_DATE_EPOCH is out of range", e))?
        }
        None => time::OffsetDateTime::now_utc(),
    };
    time.format(&time::format_description::well_known::Rfc3339).map_err(|e| BuildError::because("the time cannot be written", e))
}
