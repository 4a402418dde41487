//! Runs Docker credential helpers (docker-credential-helpers, "Development": `get` reads the server from standard input and prints JSON).

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::helper;
use crate::plugin::grant::{Ask, helper_name};
use crate::plugin::state::{Ambient, State, error};
use crate::plugin::text::{one_line, redact};
use crate::plugin::v0_1::wit::credential_helper::{Entry, Host};
use crate::plugin::v0_1::wit::types::{Error, ErrorCode};

const PATIENCE: Duration = Duration::from_secs(30);
/// What a helper prints where it has nothing (docker-credential-helpers, `credentials/error.go`).
const NOTHING: &str = "credentials not found in native keychain";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Host for State {
    fn get(&mut self, name: String, server: String) -> Result<Option<Entry>, Error> {
        if !helper_name(&name) {
            return Err(error(ErrorCode::Invalid, "a credential helper is named by letters, digits, `.`, `_` and `-`"));
        }
        if server.len() > 4096 || server.contains(['\n', '\r', '\0']) {
            return Err(error(ErrorCode::Invalid, "that is no server"));
        }
        let call = format!("run docker-credential-{name}");
        self.granted(Ask::CredentialHelper(&name), &call, || format!("credential-helper={name}"))?;

        let program = format!("docker-credential-{name}");
        let Some(path) = find(&program, &self.who.ambient.search_path) else {
            return Err(Error {
                code: ErrorCode::NotFound,
                message: format!("{program} is not installed"),
                hint: Some(format!("put {program} into a folder of PATH")),
            });
        };
        let ambient = std::sync::Arc::clone(&self.who.ambient);
        let printed = self.waiting(PATIENCE, |_, patience| run(&path, &server, &ambient, patience))?;
        let (succeeded, printed) = printed.map_err(|why| error(ErrorCode::Failed, format!("{program}: {why}")))?;
        let text = String::from_utf8_lossy(&printed);
        if !succeeded {
            if text.trim() == NOTHING {
                return Ok(None);
            }
            let why = one_line(&redact(&text, &self.secrets), 512);
            return Err(error(ErrorCode::Failed, format!("{program} failed: {why}")));
        }
        let entry: Printed = serde_json::from_slice(&printed)
            .map_err(|_| error(ErrorCode::Failed, format!("{program} printed something else than credentials")))?;
        self.hide([entry.secret.clone()]);
        Ok(Some(Entry { username: entry.username, secret: entry.secret }))
    }
}

/// The first executable file of a name.
fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders
        .iter()
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|path| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0))
}

/// Runs `PROGRAM get`; returns whether it succeeded and what it printed.
fn run(program: &Path, server: &str, ambient: &Ambient, patience: Duration) -> io::Result<(bool, Vec<u8>)> {
    let mut command = Command::new(program);
    command.arg("get").env_clear().envs(&ambient.environment);
    helper::run(command, server.as_bytes(), patience)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::progress::Silent;

    fn helper(name: &str, script: &str) -> (PathBuf, Ambient) {
        let folder = std::env::temp_dir().join(format!("layerwright-helper-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("docker-credential-test");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let environment = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned()), ("GIVEN".to_owned(), "yes".to_owned())]);
        (path, Ambient { environment, home: None, search_path: vec![folder], reporter: Arc::new(Silent), secrets: Arc::default() })
    }

    #[test]
    fn a_helper_gets_the_server_and_the_given_environment_alone() {
        let (path, ambient) = helper("echo", r#"printf '%s %s %s %s' "$1" "$(cat)" "$GIVEN" "$CARGO_MANIFEST_DIR""#);
        let (succeeded, output) = run(&path, "https://r.io", &ambient, PATIENCE).unwrap();
        assert!(succeeded);
        assert_eq!(String::from_utf8_lossy(&output), "get https://r.io yes ");
        assert_eq!(find("docker-credential-test", &ambient.search_path), Some(path));
        assert_eq!(find("docker-credential-other", &ambient.search_path), None);
    }
}
