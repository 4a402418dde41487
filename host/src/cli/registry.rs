//! How registries are spoken to: the flags, and what they mean.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::switch;
use super::env;
use super::settings::{UsageError, pair, usage};
use crate::registry::RegistrySettings;

/// The flags for registries.
#[derive(Debug, Args)]
pub struct RegistryArguments {
    /// Push over plain HTTP where the registry offers nothing else
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub insecure: bool,
    /// Pull over plain HTTP where the registry offers nothing else
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub insecure_pull: bool,
    /// Registry that may be spoken to over plain HTTP
    #[arg(long = "insecure-registry", value_name = "HOST[:PORT]")]
    pub insecure_registries: Vec<String>,
    /// Do not verify the TLS certificate of any registry
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub skip_tls_verify: bool,
    /// Do not verify TLS certificates when pulling
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub skip_tls_verify_pull: bool,
    /// Registry whose TLS certificate is not verified
    #[arg(long = "skip-tls-verify-registry", value_name = "HOST[:PORT]")]
    pub skip_tls_verify_registries: Vec<String>,
    /// Certificate authority for one registry
    #[arg(long = "registry-certificate", value_name = "HOST[:PORT]=FILE")]
    pub registry_certificates: Vec<String>,
    /// Client certificate for one registry
    #[arg(long = "registry-client-cert", value_name = "HOST[:PORT]=CERT,KEY")]
    pub registry_client_certs: Vec<String>,
    /// Private address that a registry may send on to: as its token server, by a redirect, for an upload
    #[arg(long = "trusted-host", value_name = "HOST[:PORT]")]
    pub trusted_hosts: Vec<String>,
    /// Token server that registries may name; once one is given, they may name no other but themselves
    #[arg(long = "trusted-realm", value_name = "HOST[:PORT]")]
    pub trusted_realms: Vec<String>,
    /// Mirror of Docker Hub; may be given several times
    #[arg(long = "registry-mirror", value_name = "HOST[/PREFIX]")]
    pub registry_mirrors: Vec<String>,
    /// Where to look for the images of a registry
    #[arg(long = "registry-map", value_name = "REGISTRY=HOST[/PREFIX][;…]")]
    pub registry_maps: Vec<String>,
    /// Do not pull from the registry itself when its mirrors fail
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub skip_default_registry_fallback: bool,
    /// Mirrors as containers-registries.conf(5) has them, from this file and from `*.conf` in FILE.d
    #[arg(long, value_name = "FILE")]
    pub registries_conf: Option<PathBuf>,
    /// Mirrors as containerd has them: a directory of `HOST/hosts.toml`
    #[arg(long, value_name = "DIR")]
    pub registry_hosts_dir: Option<PathBuf>,
    /// Mirrors of Docker Hub and insecure registries as docker's daemon.json has them
    #[arg(long, value_name = "FILE")]
    pub docker_daemon_config: Option<PathBuf>,
    /// Retries of a failed push
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_name = "N")]
    pub push_retry: u32,
    /// Retries of a failed download
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_name = "N")]
    pub image_download_retry: u32,
    /// How long a registry may be silent, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub registry_timeout: u64,
}

/// A registry by the name that it is known under, however it is written.
fn registry(text: &str) -> String {
    let name = text.trim().trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/').to_ascii_lowercase();
    crate::registry::canonical(&name).to_owned()
}

/// What registries are told: the program, and who calls it where that is said.
fn user_agent() -> String {
    let own = RegistrySettings::default().user_agent;
    env::get(env::UPSTREAM_CLIENT_TYPE).map_or_else(|| own.clone(), |client| format!("{own},{client}"))
}

/// How registries are spoken to, from the flags.
///
/// # Errors
/// A certificate without a registry.
pub fn registry_settings(args: &RegistryArguments) -> Result<RegistrySettings, UsageError> {
    let mut certificates = BTreeMap::new();
    for text in &args.registry_certificates {
        let (host, path) = pair("registry-certificate", text)?;
        certificates.insert(registry(&host), PathBuf::from(path));
    }
    let mut client_certificates = BTreeMap::new();
    for text in &args.registry_client_certs {
        let (host, paths) = pair("registry-client-cert", text)?;
        let (certificate, key) =
            paths.split_once(',').ok_or_else(|| usage("registry-client-cert", format!("{text:?} is not HOST=CERT,KEY")))?;
        client_certificates.insert(registry(&host), (PathBuf::from(certificate), PathBuf::from(key)));
    }
    Ok(RegistrySettings {
        insecure_registries: args.insecure_registries.iter().map(|name| registry(name)).collect(),
        insecure_push: args.insecure,
        insecure_pull: args.insecure_pull,
        skip_tls_verify: args.skip_tls_verify,
        skip_tls_verify_pull: args.skip_tls_verify_pull,
        skip_tls_verify_registries: args.skip_tls_verify_registries.iter().map(|name| registry(name)).collect(),
        certificates,
        client_certificates,
        trusted_hosts: args.trusted_hosts.iter().map(|name| registry(name)).collect(),
        trusted_realms: args.trusted_realms.iter().map(|name| registry(name)).collect(),
        push_retry: args.push_retry,
        download_retry: args.image_download_retry,
        idle_timeout: Duration::from_secs(args.registry_timeout),
        connect_timeout: Duration::from_secs(args.registry_timeout.min(15)),
        no_http2: env::is_true(env::FF_KANIKO_DISABLE_HTTP2),
        user_agent: user_agent(),
        ..RegistrySettings::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_have_one_name() {
        for (text, name) in [
            ("r.io", "r.io"),
            ("https://R.io/", "r.io"),
            ("r.io:443", "r.io"),
            ("r.io:8443", "r.io:8443"),
            ("index.docker.io", "docker.io"),
            ("registry-1.docker.io", "docker.io"),
            ("[::1]:5000", "[::1]:5000"),
            ("[::443]", "[::443]"),
        ] {
            assert_eq!(registry(text), name, "{text}");
        }
    }
}
