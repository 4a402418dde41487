//! What the commands of a build are given and allowed: its flags, and what they mean.

use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::env;
use super::settings::{UsageError, usage};
use crate::build::settings::{Entitlements, RunSettings, SecretSource};
use crate::build::ssh::{Agent, Keys, SshSource};
use crate::operation::Network;
use crate::sandbox::{GroupLimits, ProcessLimit};

/// Largest secret, in bytes.
const SECRET_LIMIT: u64 = 500 * 1024;
/// Largest file that is taken for a key, in bytes.
const KEY_LIMIT: u64 = 100 * 1024;
/// How much of a step's output is shown where nothing is said, in bytes.
const LOG_LIMIT: u64 = 16 << 20;
/// The longest name of a machine, in bytes.
const LONGEST_HOSTNAME: usize = 64;

/// The flags for what RUN is given and allowed.
#[derive(Debug, Default, Args)]
pub struct RunArguments {
    /// Secret for RUN --mount=type=secret
    #[arg(long = "secret", value_name = "id=ID[,src=FILE][,env=NAME][,type=file|env]")]
    pub secrets: Vec<String>,
    /// SSH agent for RUN --mount=type=ssh: yours, the one behind a socket, or one that holds keys of files
    #[arg(long = "ssh", value_name = "default|ID[=SOCKET|KEY[,KEY]]")]
    pub ssh: Vec<String>,
    /// Let RUN ask for more than the sandbox: network.host, security.insecure, device, device=NAME
    #[arg(long = "allow", value_name = "ENTITLEMENT")]
    pub allow: Vec<String>,
    /// Network of RUN where it does not choose
    #[arg(long, value_enum, default_value = "default")]
    pub network: NetworkMode,
    /// Host name in RUN
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Host name for RUN
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    pub add_hosts: Vec<String>,
    /// Size of /dev/shm in RUN, for instance 64m
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,
    /// Limit of each process in RUN, for instance nofile=1024:2048
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    pub ulimits: Vec<String>,
    /// Control group for the processes of RUN
    #[arg(long, value_name = "GROUP")]
    pub cgroup_parent: Option<String>,
    /// Memory for the processes of a RUN together, for instance 2g
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Memory and swap for the processes of a RUN together
    #[arg(long, value_name = "SIZE")]
    pub memory_swap: Option<String>,
    /// How many processes and threads a RUN may have at a time
    #[arg(long, value_name = "N")]
    pub pids_limit: Option<u64>,
    /// Weight of RUN when processors are short; 1024 is usual
    #[arg(long, value_name = "N")]
    pub cpu_shares: Option<u64>,
    /// Length of a period for --cpu-quota, in microseconds
    #[arg(long, value_name = "N")]
    pub cpu_period: Option<u64>,
    /// Processor time for RUN in each period, in microseconds
    #[arg(long, value_name = "N")]
    pub cpu_quota: Option<u64>,
    /// Processors for RUN, for instance 0-2,4
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes for RUN, for instance 0
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Where devices are described for RUN --device; /etc/cdi and /var/run/cdi where none is named
    #[arg(long = "cdi-spec-dir", value_name = "DIR")]
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Carry every instruction out again; cache mounts that an instruction sets up start anew
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub no_cache: bool,
    /// A stage of which every instruction is carried out again
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,
}

/// The network of commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NetworkMode {
    /// The builder's
    #[default]
    Default,
    /// None but a loopback
    None,
    /// The machine's; also lets RUN --network=host
    Host,
}

/// What the flags and the environment say.
///
/// # Errors
/// The first flag that makes no sense, or a secret or key that cannot be read.
pub fn run_settings(args: &RunArguments) -> Result<RunSettings, UsageError> {
    let mut entitlements = Entitlements { network_host: args.network == NetworkMode::Host, ..Entitlements::default() };
    args.allow.iter().try_for_each(|text| allow(text, &mut entitlements))?;
    if let Some(name) = &args.hostname {
        hostname(name).map_err(|why| usage("hostname", why))?;
    }
    let bytes = |flag, text: &Option<String>| {
        let read = |text: &String| size(text).ok_or_else(|| usage(flag, format!("{text:?} is no size; want for instance 64m")));
        text.as_ref().map(read).transpose()
    };
    let directories = || ["/etc/cdi", "/var/run/cdi"].map(PathBuf::from).to_vec();
    let named = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Ok(RunSettings {
        secrets: args.secrets.iter().map(|text| secret(text)).collect::<Result<_, _>>()?,
        ssh: args.ssh.iter().map(|text| ssh(text)).collect::<Result<_, _>>()?,
        entitlements,
        network: match args.network {
            NetworkMode::Default => Network::Default,
            NetworkMode::None => Network::None,
            NetworkMode::Host => Network::Host,
        },
        hostname: args.hostname.clone(),
        extra_hosts: args.add_hosts.iter().map(|text| extra_host(text)).collect::<Result<_, _>>()?,
        shm_size: bytes("shm-size", &args.shm_size)?,
        process_limits: args.ulimits.iter().map(|text| process_limit(text)).collect::<Result<_, _>>()?,
        group_limits: GroupLimits {
            parent: named(&args.cgroup_parent),
            memory: bytes("memory", &args.memory)?,
            memory_and_swap: bytes("memory-swap", &args.memory_swap)?,
            processes: args.pids_limit,
            cpu_shares: args.cpu_shares,
            cpu_period: args.cpu_period,
            cpu_quota: args.cpu_quota,
            cpuset_cpus: named(&args.cpuset_cpus),
            cpuset_mems: named(&args.cpuset_mems),
        },
        cdi_directories: if args.cdi_spec_dirs.is_empty() { directories() } else { args.cdi_spec_dirs.clone() },
        no_cache: args.no_cache,
        fresh_stages: args.no_cache_filter.clone(),
        log_limit: match env::get(env::BUILDKIT_STEP_LOG_MAX_SIZE).and_then(|text| text.parse::<i64>().ok()) {
            None => Some(LOG_LIMIT),
            Some(bytes) => u64::try_from(bytes).ok(),
        },
    })
}

fn allow(text: &str, entitlements: &mut Entitlements) -> Result<(), UsageError> {
    match text.split_once('=') {
        None if text == "network.host" => entitlements.network_host = true,
        None if text == "security.insecure" => entitlements.security_insecure = true,
        None if text == "device" => entitlements.all_devices = true,
        Some(("device", name)) if !name.is_empty() => entitlements.devices.push(name.to_owned()),
        _ => return Err(usage("allow", format!("{text:?} is none of network.host, security.insecure, device and device=NAME"))),
    }
    Ok(())
}

/// Whether a machine can have that name.
fn hostname(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || name.len() > LONGEST_HOSTNAME || !name.chars().all(fits) {
        return Err(format!("{name:?} is no name of a machine"));
    }
    Ok(())
}

/// `id=ID[,src=FILE][,env=NAME][,type=file|env]`; without a source, the variable of that name, else the file.
fn secret(text: &str) -> Result<SecretSource, UsageError> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in fields(text).map_err(|why| usage("secret", why))? {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => file = Some(value.to_owned()),
            Some(("env", value)) => variable = Some(value.to_owned()),
            Some(("type", value @ ("file" | "env"))) => kind = Some(value.to_owned()),
            Some(("type", value)) => return Err(usage("secret", format!("type {value:?} is neither file nor env"))),
            _ => {
                let name = field.split('=').next().unwrap_or_default();
                return Err(usage("secret", format!("unknown field {name:?}; want id, src, env or type")));
            }
        }
    }
    let id = id.or_else(|| file.as_deref().and_then(|f| f.rsplit('/').next()).map(str::to_owned)).filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| usage("secret", "id is missing"))?;
    if kind.as_deref() == Some("env") && variable.is_none() {
        variable = Some(file.take().unwrap_or_else(|| id.clone()));
    }
    if file.is_none() && variable.is_none() {
        match std::env::var_os(&id) {
            Some(_) if kind.as_deref() != Some("file") => variable = Some(id.clone()),
            _ => file = Some(id.clone()),
        }
    }
    let too_large = || usage("secret", format!("{id}: it is larger than 500 KiB"));
    let value = match (file, variable) {
        (Some(path), _) => {
            read_limited(Path::new(&path), SECRET_LIMIT).map_err(|e| usage("secret", format!("{id}: cannot read {path}: {e}")))?
        }
        (None, Some(name)) => {
            std::env::var_os(&name).ok_or_else(|| usage("secret", format!("{id}: the environment has no {name}")))?.into_vec()
        }
        (None, None) => Vec::new(),
    };
    if value.len() as u64 > SECRET_LIMIT {
        return Err(too_large());
    }
    Ok(SecretSource { id, value: Arc::from(value) })
}

/// `default`, `ID`, `ID=SOCKET` or `ID=KEY[,KEY]`; without a source, the agent that the environment names.
fn ssh(text: &str) -> Result<SshSource, UsageError> {
    let failed = |why: String| usage("ssh", why);
    let (id, sources) = text.split_once('=').map_or((text, ""), |(id, sources)| (id, sources));
    if id.is_empty() {
        return Err(failed("the id is missing".to_owned()));
    }
    let mut paths: Vec<&str> = sources.split(',').filter(|path| !path.is_empty()).collect();
    let mut raw = false;
    paths.retain(|field| match field.strip_prefix("raw=") {
        Some(value) => {
            raw = matches!(value, "true" | "1");
            false
        }
        None => true,
    });
    let agent = match paths.as_slice() {
        [] => {
            let socket = env::get(env::SSH_AUTH_SOCK);
            let socket = socket.ok_or_else(|| failed(format!("{id}: there is no agent, SSH_AUTH_SOCK is not set")))?;
            if raw { Agent::Raw(socket.into()) } else { Agent::Socket(socket.into()) }
        }
        [path] if is_socket(path).map_err(|e| failed(format!("{id}: cannot use {path}: {e}")))? => {
            if raw {
                Agent::Raw(path.into())
            } else {
                Agent::Socket(path.into())
            }
        }
        _ if raw => return Err(failed(format!("{id}: raw is for one socket"))),
        paths => {
            let mut keys = Keys::default();
            for path in paths {
                let content = read_limited(Path::new(path), KEY_LIMIT).map_err(|e| failed(format!("{id}: cannot read {path}: {e}")))?;
                keys.add(&content).map_err(|why| {
                    failed(format!(
                        "{id}: {path}: {why}; give an agent that has the key, or a key that `ssh-keygen -p -f` has written without one"
                    ))
                })?;
            }
            Agent::Keys(Arc::new(keys))
        }
    };
    Ok(SshSource { id: id.to_owned(), agent })
}

fn is_socket(path: &str) -> std::io::Result<bool> {
    Ok(std::fs::metadata(path)?.file_type().is_socket())
}

/// A file's content, one byte too many where it is larger than it may be.
fn read_limited(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// `NAME=SOFT[:HARD]`; -1 is no limit.
fn process_limit(text: &str) -> Result<ProcessLimit, UsageError> {
    let wrong = || usage("ulimit", format!("{text:?} is not NAME=SOFT[:HARD]"));
    let (name, values) = text.split_once('=').ok_or_else(wrong)?;
    if !ProcessLimit::names().any(|known| known == name) {
        let names: Vec<_> = ProcessLimit::names().collect();
        return Err(usage("ulimit", format!("{name:?} is none of {}", names.join(", "))));
    }
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(None),
        text => text.parse::<u64>().map(Some).map_err(|_| wrong()),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if let Some(most) = hard
        && soft.is_none_or(|soft| soft > most)
    {
        return Err(usage("ulimit", format!("{text:?} has a soft limit above the hard one")));
    }
    Ok(ProcessLimit { name: name.to_owned(), soft, hard })
}

fn extra_host(text: &str) -> Result<(String, String), UsageError> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    match split {
        Some((name, address)) => {
            let bare = address.trim_start_matches('[').trim_end_matches(']');
            bare.parse::<std::net::IpAddr>().map_err(|_| usage("add-host", format!("{address:?} is no IP address")))?;
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(usage("add-host", format!("{name:?} is no host name")));
            }
            Ok((name.to_owned(), bare.to_owned()))
        }
        None => Err(usage("add-host", format!("{text:?} is not NAME:ADDRESS"))),
    }
}

/// `64m`, `1g`, `65536`.
pub(super) fn size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower.get(digits.len()..).unwrap_or_default() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The fields of a record; one in quotes may hold commas.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let (Some(c), Some(field)) = (chars.next(), fields.last_mut()) {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    if quoted { Err("a quote is not closed".to_owned()) } else { Ok(fields) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("64m", Some(64 << 20)),
            ("1G", Some(1 << 30)),
            ("5", Some(5)),
            ("x", None),
            ("", None),
            ("99999999999999999999", None),
            ("18446744073709551615k", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn hosts() {
        assert!(extra_host("a:1.2.3.4").is_ok());
        assert!(extra_host("a=::1").is_ok());
        assert!(extra_host("a:b").is_err());
        assert!(extra_host("a b:1.2.3.4").is_err());
        assert!(hostname("box-1.local").is_ok());
        for name in ["", "a b", "a\nb", &"x".repeat(65)] {
            assert!(hostname(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn limits() {
        let limit = process_limit("nofile=10:20").unwrap();
        assert_eq!((limit.soft, limit.hard), (Some(10), Some(20)));
        assert_eq!(process_limit("core=-1").unwrap().soft, None);
        for text in ["nofile", "files=1", "nofile=x", "nofile=20:10", "nofile=-1:10", "nofile=1:2:3"] {
            assert!(process_limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn entitlements() {
        let mut found = Entitlements::default();
        for text in ["network.host", "security.insecure", "device=v.com/d=x"] {
            allow(text, &mut found).unwrap();
        }
        assert!(found.network_host && found.security_insecure && !found.all_devices);
        assert_eq!(found.devices, ["v.com/d=x"]);
        assert!(allow("network", &mut found).is_err() && allow("device=", &mut found).is_err());
    }

    #[test]
    fn secrets_are_read_once_and_limited() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a,b");
        std::fs::write(&path, "value").unwrap();
        let read = secret(&format!("id=x,\"src={}\"", path.display())).unwrap();
        assert_eq!((read.id.as_str(), &*read.value), ("x", &b"value"[..]));
        std::fs::write(&path, vec![0; 500 * 1024 + 1]).unwrap();
        assert!(secret(&format!("id=x,\"src={}\"", path.display())).unwrap_err().why.contains("500 KiB"));
        for text in ["", "src=", "id=x,type=other", "id=x,what=1", "id=x,src=/nowhere", "id=x,env=NO_SUCH_VARIABLE_HERE", "id=x,\"src=a"] {
            assert!(secret(text).is_err(), "{text}");
        }
        assert!(secret("id=PATH").is_ok_and(|secret| !secret.value.is_empty()), "a variable of that name");
        assert!(secret("id=PATH,type=file").is_err());
    }

    #[test]
    fn a_secret_does_not_show_its_value() {
        let secret = SecretSource { id: "x".to_owned(), value: Arc::from(b"hidden".as_slice()) };
        assert!(!format!("{secret:?}").contains("hidden"));
    }
}
