use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;

use crate::cli::args::{LoginArguments, LogoutArguments};
use crate::cli::docker_config::{DockerConfig, key, registry_name};
use crate::cli::env;
use crate::progress::Silent;
use crate::registry::{AuthAnswer, AuthError, AuthProvider, AuthTarget, Client, Credential, RegistrySettings, Secret};

/// The longest password, in bytes: it has to fit into a header.
const LONGEST: u64 = 64 << 10;

/// Gives one registry one credential.
struct Given {
    registry: String,
    credential: Credential,
}

#[async_trait]
impl AuthProvider for Given {
    async fn credential(&self, target: &AuthTarget) -> Result<Option<AuthAnswer>, AuthError> {
        let answer = || AuthAnswer { credential: self.credential.clone(), valid_for: self.registry.clone(), expires: None };
        Ok((target.registry == self.registry).then(answer))
    }
}

/// Checks a credential at its registry, and keeps it as docker does.
pub fn login(args: &LoginArguments) -> Result<()> {
    let registry = registry_name(&args.registry)?;
    let username = args.username.clone().filter(|name| !name.is_empty()).context("no user: name one with --username")?;
    if username.contains([':', '\n', '\r']) {
        bail!("a user name holds neither colons nor line ends");
    }
    let password = Secret::new(password(args)?);
    // Before anybody is shown the password.
    let mut config = DockerConfig::open(&config_path()?)?;
    verify(args, &registry, &username, &password)?;
    match config.helper(&registry).map(str::to_owned) {
        Some(helper) => {
            let entry = serde_json::json!({ "ServerURL": key(&registry), "Username": username, "Secret": password.expose() });
            tell_helper(&helper, "store", &entry.to_string())?;
            config.set(&registry, None);
        }
        None => config.set(&registry, Some((&username, &password))),
    }
    config.save()?;
    say(&format!("Login Succeeded: {registry} in {}", config.path().display()))
}

/// Forgets what `login` kept.
pub fn logout(args: &LogoutArguments) -> Result<()> {
    let registry = registry_name(&args.registry)?;
    let mut config = DockerConfig::open(&config_path()?)?;
    let helper = config.helper(&registry).map(str::to_owned);
    if let Some(helper) = &helper {
        tell_helper(helper, "erase", key(&registry))?;
    }
    if config.remove(&registry) {
        config.save()?;
    } else if helper.is_none() {
        return say(&format!("Not logged in to {registry}"));
    }
    say(&format!("Removed the login for {registry}"))
}

fn verify(args: &LoginArguments, registry: &str, username: &str, password: &Secret) -> Result<()> {
    let mut certificates = BTreeMap::new();
    for text in &args.registry_certificates {
        let (host, file) = text.split_once('=').with_context(|| format!("--registry-certificate: {text:?} is not HOST[:PORT]=FILE"))?;
        certificates.insert(host.to_owned(), PathBuf::from(file));
    }
    let settings = RegistrySettings {
        insecure_pull: args.insecure,
        skip_tls_verify: args.skip_tls_verify,
        certificates,
        trusted_hosts: args.trusted_hosts.iter().cloned().collect(),
        ..RegistrySettings::default()
    };
    let credential = Credential::Basic { username: username.to_owned(), password: password.clone() };
    let provider = Arc::new(Given { registry: registry.to_owned(), credential });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start")?;
    let client = Client::new(settings, vec![provider], Vec::new(), Arc::new(Silent))?;
    Ok(runtime.block_on(client.check_login(registry))?)
}

fn password(args: &LoginArguments) -> Result<String> {
    let password = match (&args.password, args.password_stdin) {
        (Some(_), true) => bail!("--password and --password-stdin exclude each other"),
        (Some(password), false) => password.clone(),
        (None, true) => {
            let mut text = String::new();
            let read = std::io::stdin().lock().take(LONGEST + 1).read_to_string(&mut text);
            read.context("failed to read the password from standard input")?;
            text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).unwrap_or(&text).to_owned()
        }
        (None, false) => bail!("no password: hand it in with --password-stdin"),
    };
    if password.is_empty() || password.len() as u64 > LONGEST || password.contains(['\n', '\r', '\0']) {
        bail!("the password is empty, has several lines, or is larger than 64 KiB");
    }
    Ok(password)
}

fn config_path() -> Result<PathBuf> {
    let folder =
        env::get(env::DOCKER_CONFIG).map(PathBuf::from).or_else(|| env::get(env::HOME).map(|home| PathBuf::from(home).join(".docker")));
    folder.map(|folder| folder.join("config.json")).context("there is no place for config.json: set HOME or DOCKER_CONFIG")
}

/// Runs `docker-credential-NAME VERB` (docker-credential-helpers, "Development").
fn tell_helper(name: &str, verb: &str, input: &str) -> Result<()> {
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        bail!("config.json names a credential helper that cannot be one");
    }
    let program = format!("docker-credential-{name}");
    let path = env::get(env::PATH).unwrap_or_default();
    let found =
        std::env::split_paths(&path).filter(|folder| folder.is_absolute()).map(|folder| folder.join(&program)).find(|file| file.is_file());
    let found = found.with_context(|| format!("{program}, which config.json names, is not installed"))?;
    let spawned = Command::new(&found).arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = spawned.with_context(|| format!("failed to start {}", found.display()))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A helper that does not read its input says why in its own way.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("{program} failed"))?;
    if !output.status.success() {
        let said: String = String::from_utf8_lossy(&output.stdout).chars().filter(|letter| !letter.is_control()).take(300).collect();
        bail!("{program} {verb} failed: {}", said.replace(input, "***"));
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("failed to write to standard output")
}
