//! Asks for what nobody granted, and says what it was told.

use layerwright_plugin::auth::{Answer, AuthProvider, Target};
use layerwright_plugin::http::Request;
use layerwright_plugin::{Description, Error, Want, credential_helper, env, export_auth_provider, files, http};

struct Escapes;

impl AuthProvider for Escapes {
    fn describe() -> Description {
        // While it says what it is, nothing is granted either.
        let early = env::get("GRANTED").err().map_or("given", |_| "refused");
        Description::new("test/escapes", "0.1.0", format!("asked early and was {early}")).wants([
            Want::Env("GRANTED".into()),
            Want::File("/granted".into()),
            Want::Host("https://granted.example".into()),
            Want::CredentialHelper("granted".into()),
        ])
    }

    fn authenticate(target: &Target) -> Result<Option<Answer>, Error> {
        let (kind, what) = target.repository.split_once('/').unwrap_or_default();
        let outcome = match kind {
            "env" => env::get(what).map(|value| value.unwrap_or_default()),
            "file" => files::read(&what.replace('!', "/")).map(|content| String::from_utf8_lossy(&content).into_owned()),
            "http" => http::send(&Request::new("GET", what.replace('!', "/"))).map(|answer| answer.status.to_string()),
            "helper" => credential_helper::get(what, "https://index.docker.io/v1/").map(|entry| format!("{entry:?}")),
            _ => Ok("nothing asked".to_owned()),
        };
        match outcome {
            Ok(got) => Err(Error::failed(format!("got {got}"))),
            Err(error) => Err(Error::failed(format!("{:?}: {}", error.code, error.message))),
        }
    }
}

export_auth_provider!(Escapes);
