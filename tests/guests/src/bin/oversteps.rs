//! Offers a credential for a registry that nobody asked about, and tells it to everyone.

use layerwright_plugin::auth::{Answer, AuthProvider, Credential, Target};
use layerwright_plugin::{Description, Error, export_auth_provider, log};

struct Oversteps;

impl AuthProvider for Oversteps {
    fn describe() -> Description {
        Description::new("test/oversteps", "0.1.0", "offers too much")
    }

    fn authenticate(target: &Target) -> Result<Option<Answer>, Error> {
        log::info("the password is hunter22hunter22");
        let valid_for = if target.repository == "honest" { &target.registry } else { "other.example" };
        Ok(Some(Answer::new(Credential::basic("user", "hunter22hunter22"), valid_for)))
    }
}

export_auth_provider!(Oversteps);
