//! From a target to its credential.

use layerwright_plugin::auth::{Answer, Credential, Target};
use layerwright_plugin::{Error, ErrorCode, credential_helper, log};

use crate::config::{Config, Entry};
use crate::key::{self, Key};
use crate::sources::{self, Source};

/// A helper's way to say that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// A credential and the path within the registry that it is for; empty for all of it.
struct Found {
    credential: Credential,
    path: String,
}

/// Asks one source after the other.
pub(crate) fn authenticate(target: &Target) -> Result<Option<Answer>, Error> {
    let registry = key::canonical(&target.registry);
    let mut narrower = false;
    for source in sources::all()? {
        let Some(config) = source.read()? else { continue };
        narrower |= has_paths(&config, registry);
        if let Some(found) = find(&source, &config, registry, &target.repository)? {
            log::debug(format!("{} has a credential for {registry}", source.name()));
            // Another repository of the same registry may have a login of its own: let the host ask again for it.
            let path = if narrower { target.repository.as_str() } else { found.path.as_str() };
            let valid_for = if path.is_empty() { target.registry.clone() } else { format!("{}/{path}", target.registry) };
            return Ok(Some(Answer::new(found.credential, valid_for)));
        }
    }
    Ok(None)
}

fn has_paths(config: &Config, registry: &str) -> bool {
    config.auths().map(|(key, _)| Key::parse(key)).any(|key| key.is_for(registry) && !key.path.is_empty())
}

/// A source's credential: the registry's own helper, then the helper of all, then the login in the file.
fn find(source: &Source, config: &Config, registry: &str, repository: &str) -> Result<Option<Found>, Error> {
    let own = config.helpers().find(|(key, _)| Key::parse(key).is_for(registry));
    let helped = match (own, config.store()) {
        // Whoever names a helper for a registry means it: without it, the build would go on as somebody else.
        // But for those whose work a provider of ours does.
        (Some((_, helper)), _) => match ask(helper, registry) {
            Err(error) if error.code == ErrorCode::NotFound && stands_in(helper, registry) => {
                log::info(format!(
                    "docker-credential-{helper}, which {} names, is not installed; its work is done without it",
                    source.name()
                ));
                None
            }
            answer => answer?,
        },
        (None, Some(store)) => match ask(store, registry) {
            Err(error) if matches!(error.code, ErrorCode::Denied | ErrorCode::NotFound) => {
                log::debug(format!("the credential store {store} of {} is passed over: {}", source.name(), error.message));
                None
            }
            answer => answer?,
        },
        (None, None) => None,
    };
    if let Some(credential) = helped {
        return Ok(Some(Found { credential, path: String::new() }));
    }
    login(source, config, registry, repository)
}

/// Whether the host comes with a provider that does what a helper does for a registry.
fn stands_in(helper: &str, registry: &str) -> bool {
    let below = |domains: &[&str]| domains.iter().any(|domain| registry == *domain || registry.ends_with(&format!(".{domain}")));
    match helper {
        "ecr-login" => registry == "public.ecr.aws" || registry.contains(".dkr.ecr.") || registry.contains(".dkr-ecr."),
        "gcr" | "gcloud" => below(&["gcr.io", "pkg.dev"]),
        "acr-env" => below(&["azurecr.io", "azurecr.cn", "azurecr.us"]),
        _ => false,
    }
}

fn ask(helper: &str, registry: &str) -> Result<Option<Credential>, Error> {
    let Some(entry) = credential_helper::get(helper, key::server(registry))? else { return Ok(None) };
    Ok(match (entry.username.as_str(), entry.secret.as_str()) {
        (_, "") => None,
        (TOKEN_USER, secret) => Some(Credential::IdentityToken(secret.to_owned())),
        ("", _) => None,
        (username, secret) => Some(Credential::basic(username, secret)),
    })
}

/// The login whose key is closest to the repository. Of two that are equally close, the first by its key.
fn login(source: &Source, config: &Config, registry: &str, repository: &str) -> Result<Option<Found>, Error> {
    let mut logins: Vec<(Key<'_>, &Entry)> = config
        .auths()
        .map(|(key, entry)| (Key::parse(key), entry))
        .filter(|(key, _)| key.is_for(registry) && key.holds(repository))
        .collect();
    logins.sort_by_key(|(key, _)| std::cmp::Reverse(key.closeness()));
    for (key, entry) in logins {
        let malformed = |_| Error::invalid(format!("the login for {registry} in {} is malformed", source.name()));
        if let Some(credential) = entry.credential().map_err(malformed)? {
            return Ok(Some(Found { credential, path: key.path.to_owned() }));
        }
    }
    Ok(None)
}
