use crate::{ReferenceError, Times, error};

/// What the query of a reference says.
#[derive(Default)]
pub(crate) struct Query {
    pub(crate) reference: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) checksum: Option<String>,
    pub(crate) directory: Option<String>,
    pub(crate) keep_git_dir: Option<bool>,
    pub(crate) submodules: Option<bool>,
    pub(crate) times: Option<Times>,
    pub(crate) fetch_by_commit: bool,
}

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Self, ReferenceError> {
        let mut query = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.contains(&key) {
                return Err(error(format!("query {key:?} has multiple values")));
            }
            seen.push(key);
            query.set(key, &percent_decoded(value))?;
        }
        Ok(query)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), ReferenceError> {
        let text = || match value {
            "" => Err(error(format!("query {key:?} has no value"))),
            value if value.chars().any(char::is_control) => Err(error(format!("query {key:?} holds control characters"))),
            value => Ok(Some(value.to_owned())),
        };
        let switch = || match value {
            "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            other => Err(error(format!("invalid {key} value: {other:?}"))),
        };
        match key {
            "ref" => self.reference = text()?,
            "tag" => self.tag = text()?,
            "branch" => self.branch = text()?,
            "subdir" => self.directory = text()?,
            "checksum" | "commit" => self.checksum = agree("checksum", [self.checksum.take(), text()?])?,
            "keep-git-dir" => self.keep_git_dir = Some(switch()?),
            "fetch-by-commit" => self.fetch_by_commit = switch()?,
            "submodules" => self.submodules = Some(switch()?),
            "mtime" => {
                self.times = match value {
                    "commit" => Some(Times::Commit),
                    "checkout" => Some(Times::Checkout),
                    other => return Err(error(format!("invalid mtime value: {other:?} (must be \"checkout\" or \"commit\")"))),
                };
            }
            other => return Err(error(format!("unexpected query {other:?}"))),
        }
        Ok(())
    }
}

/// The one value that all agree on.
pub(crate) fn agree(what: &str, values: impl IntoIterator<Item = Option<String>>) -> Result<Option<String>, ReferenceError> {
    let mut agreed: Option<String> = None;
    for value in values.into_iter().flatten() {
        match &agreed {
            Some(other) if *other != value => return Err(error(format!("{what} conflicts: {other:?} vs {value:?}"))),
            _ => agreed = Some(value),
        }
    }
    Ok(agreed)
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
