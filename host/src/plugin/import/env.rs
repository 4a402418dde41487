use crate::plugin::grant::Ask;
use crate::plugin::state::State;
use crate::plugin::v0_1::wit::env;
use crate::plugin::v0_1::wit::types::Error;

impl env::Host for State {
    fn get(&mut self, name: String) -> Result<Option<String>, Error> {
        self.granted(Ask::Env(&name), &format!("read the environment variable {name}"), || format!("env={name}"))?;
        let value = self.variable(&name);
        if is_secret(&name) {
            self.hide(value.clone());
        }
        Ok(value)
    }
}

/// Whether a variable's name says that its value is not to be shown.
fn is_secret(name: &str) -> bool {
    let says = ["TOKEN", "SECRET", "PASSWORD", "IDENTITY_HEADER"].iter().any(|word| name.contains(word));
    // Those say where something is.
    says && !["_FILE", "_URL", "_URI"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::is_secret;

    #[test]
    fn names_that_say_secret() {
        for name in ["CI_JOB_TOKEN", "AWS_SECRET_ACCESS_KEY", "KANIKO_X_PASSWORD", "AZURE_FEDERATED_TOKEN", "IDENTITY_HEADER"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["AWS_WEB_IDENTITY_TOKEN_FILE", "ACTIONS_ID_TOKEN_REQUEST_URL", "CI_REGISTRY", "AWS_ACCESS_KEY_ID"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
