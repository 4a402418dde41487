//! `RUN --mount`.

use layerwright_plugin::Error;
use layerwright_plugin::operation::{BindMount, CacheMount, Mount, MountSource, Ownership, SecretMount, Sharing, Source, SshMount};

use super::{fields, switch};
use crate::path;
use crate::suggest::or_near;

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "required",
    "size",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "env",
];

/// The mounts of one instruction.
pub(super) struct Mounts {
    pub(super) mounts: Vec<Mount>,
    /// Where the first agent's socket lies.
    pub(super) agent: Option<String>,
}

/// Reads the values of `--mount`. Relative targets start at the working directory.
pub(super) fn parse_all<'a>(values: impl Iterator<Item = &'a str>, working_dir: &str) -> Result<Mounts, Error> {
    let mut mounts = Vec::new();
    let mut agents = Vec::new();
    for value in values {
        let options = Options::parse(value)?;
        let target = (!options.target.is_empty()).then(|| path::join(working_dir, &options.target));
        match options.kind {
            Kind::Secret => secret(&options, target, &mut mounts)?,
            Kind::Ssh => {
                let target = target.unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{}", agents.len()));
                agents.push(target.clone());
                mounts.push(Mount { target, source: ssh(&options)? });
            }
            kind => {
                let target = target.unwrap_or_else(|| path::join(working_dir, ""));
                if target == "/" {
                    return Err(Error::invalid(format!("invalid mount target {target:?}")));
                }
                mounts.push(Mount { target, source: directory(kind, &options) });
            }
        }
    }
    Ok(Mounts { mounts, agent: agents.into_iter().next() })
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

/// The options of one mount, as they were written.
#[derive(Default)]
struct Options {
    kind: Kind,
    from: Option<String>,
    source: String,
    target: String,
    writable: Option<bool>,
    required: bool,
    size: Option<u64>,
    id: String,
    sharing: Option<Sharing>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    env: Option<String>,
}

impl Options {
    fn parse(value: &str) -> Result<Self, Error> {
        let mut options = Self::default();
        for field in fields::split(value, "mounts")? {
            let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
            options.set(&key.to_ascii_lowercase(), value, &field)?;
        }
        options.check()?;
        Ok(options)
    }

    /// Takes one option. The order counts: what depends on the type comes after it.
    fn set(&mut self, key: &str, value: Option<&str>, field: &str) -> Result<(), Error> {
        match key {
            "readonly" | "ro" => {
                self.writable = Some(!switch(key, value)?);
                return Ok(());
            }
            "readwrite" | "rw" => {
                self.writable = Some(switch(key, value)?);
                return Ok(());
            }
            "required" => {
                self.only_for(key, &[Kind::Secret, Kind::Ssh])?;
                self.required = switch(key, value)?;
                return Ok(());
            }
            _ => {}
        }
        let value = value.ok_or_else(|| Error::invalid(format!("invalid field '{field}' must be a key=value pair")))?;
        if !KEYS.contains(&key) {
            return Err(Error::invalid(or_near(format!("unexpected key '{key}' in '{field}'"), key, &KEYS)));
        }
        let number = |radix| u32::from_str_radix(value, radix).map_err(|_| Error::invalid(format!("invalid value {value} for {key}")));
        match key {
            "type" => self.kind = kind(value)?,
            "from" if value.contains('$') => {
                return Err(Error::invalid("'from' doesn't support variable expansion, define alias stage instead"));
            }
            "from" => self.from = Some(value.to_owned()).filter(|from| !from.is_empty()),
            "source" | "src" => self.source = value.to_owned(),
            "target" | "dst" | "destination" => self.target = value.to_owned(),
            "size" => {
                self.only_for(key, &[Kind::Tmpfs])?;
                let size = super::size::bytes(value).ok_or_else(|| Error::invalid(format!("invalid value for size: {value}")))?;
                self.size = (size > 0).then_some(size);
            }
            "id" => self.id = value.to_owned(),
            "sharing" => self.sharing = Some(sharing(value)?),
            "mode" => self.mode = Some(number(8)?),
            "uid" => self.uid = Some(number(10)?),
            "gid" => self.gid = Some(number(10)?),
            _ => self.env = Some(value.to_owned()),
        }
        Ok(())
    }

    fn only_for(&self, key: &str, kinds: &[Kind]) -> Result<(), Error> {
        if kinds.contains(&self.kind) {
            return Ok(());
        }
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        Err(Error::invalid(format!("unexpected key '{key}' for mount type '{}'", self.kind.name()))
            .hint(format!("it is for type={}, which has to come first", kinds.join(" and type="))))
    }

    /// What only the whole shows.
    fn check(&self) -> Result<(), Error> {
        if !matches!(self.kind, Kind::Secret | Kind::Ssh | Kind::Cache) {
            for (key, given) in [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)] {
                if given.is_some() {
                    return Err(Error::invalid(format!("{key} not allowed for {:?} type mounts", self.kind.name())));
                }
            }
        }
        if self.sharing.is_some() && self.kind != Kind::Cache {
            return Err(Error::invalid(format!("invalid cache sharing set for {} mount", self.kind.name())));
        }
        if self.env.is_some() && self.kind != Kind::Secret {
            return Err(Error::invalid(format!("unexpected key 'env' for mount type '{}'", self.kind.name())));
        }
        Ok(())
    }

    fn ownership(&self) -> Ownership {
        let owner = (self.uid.is_some() || self.gid.is_some()).then(|| format!("{}:{}", self.uid.unwrap_or(0), self.gid.unwrap_or(0)));
        Ownership { owner, mode: self.mode.map(|mode| format!("{mode:04o}")) }
    }

    /// The path within where the files come from.
    fn path(&self) -> String {
        path::join("/", &self.source)
    }
}

fn kind(value: &str) -> Result<Kind, Error> {
    match value {
        "bind" => Ok(Kind::Bind),
        "cache" => Ok(Kind::Cache),
        "tmpfs" => Ok(Kind::Tmpfs),
        "secret" => Ok(Kind::Secret),
        "ssh" => Ok(Kind::Ssh),
        other => Err(Error::invalid(or_near(format!("unsupported mount type {other:?}"), other, &TYPES))),
    }
}

fn sharing(value: &str) -> Result<Sharing, Error> {
    match value {
        "shared" => Ok(Sharing::Shared),
        "private" => Ok(Sharing::Private),
        "locked" => Ok(Sharing::Locked),
        other => Err(Error::invalid(or_near(format!("unsupported sharing value {other:?}"), other, &["shared", "private", "locked"]))),
    }
}

/// A bind, cache or tmpfs mount.
fn directory(kind: Kind, options: &Options) -> MountSource {
    match kind {
        Kind::Cache => MountSource::Cache(CacheMount {
            id: if options.id.is_empty() { clean_target(&options.target) } else { options.id.clone() },
            from: options.from.clone().map(Source::Stage),
            path: options.path(),
            sharing: options.sharing.unwrap_or(Sharing::Shared),
            writable: options.writable.unwrap_or(true),
            ownership: options.ownership(),
        }),
        Kind::Tmpfs => MountSource::Tmpfs(options.size),
        _ => MountSource::Bind(BindMount {
            from: options.from.clone().map_or_else(Source::main_context, Source::Stage),
            path: options.path(),
            writable: options.writable.unwrap_or(false),
        }),
    }
}

/// A cache's name where it has none: its target as written, so that a relative one is shared between working directories.
fn clean_target(target: &str) -> String {
    let joined = path::join("/", target);
    if target.starts_with('/') { joined } else { joined.trim_start_matches('/').to_owned() }
}

/// A secret as a file, as a variable, or as both.
fn secret(options: &Options, target: Option<String>, mounts: &mut Vec<Mount>) -> Result<(), Error> {
    if options.from.is_some() {
        return Err(Error::invalid("secret mount should not have a from"));
    }
    if !options.source.is_empty() && !options.id.is_empty() {
        return Err(Error::invalid("both source and id can't be set"));
    }
    let id = [options.id.as_str(), options.source.as_str(), path::base(&options.target)].into_iter().find(|id| !id.is_empty());
    let id = id.ok_or_else(|| Error::invalid("invalid secret mount. one of source, target required"))?;
    let source = |as_env| {
        MountSource::Secret(SecretMount {
            id: id.to_owned(),
            as_env,
            as_file: !as_env,
            required: options.required,
            ownership: if as_env { Ownership::default() } else { options.ownership() },
        })
    };
    if let Some(variable) = &options.env {
        if variable.is_empty() || variable.contains('=') {
            return Err(Error::invalid(format!("invalid environment variable for a secret: {variable:?}")));
        }
        mounts.push(Mount { target: variable.clone(), source: source(true) });
    }
    if options.env.is_none() || target.is_some() {
        let target = target.unwrap_or_else(|| format!("/run/secrets/{}", path::base(id)));
        mounts.push(Mount { target, source: source(false) });
    }
    Ok(())
}

fn ssh(options: &Options) -> Result<MountSource, Error> {
    if !options.source.is_empty() {
        return Err(Error::invalid("ssh does not support source"));
    }
    let id = if options.id.is_empty() { "default" } else { &options.id };
    Ok(MountSource::Ssh(SshMount { id: id.to_owned(), required: options.required, ownership: options.ownership() }))
}

#[cfg(test)]
mod tests;
