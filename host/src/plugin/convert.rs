//! Between the host's values and those of the generated bindings. What comes from a plugin is checked here, and nowhere believed later.

use std::collections::BTreeSet;

use super::text::one_line;
use super::v0_1::instruction_handler::exports::layerwright::plugin::instruction as guest;
use super::v0_1::wit::operation as op;
use super::v0_1::wit::types::{Platform as GuestPlatform, Property};
use crate::build::handler::{HandlerArguments, HandlerInput, Lowered, StageState};
use crate::dockerfile::lint::{Rule, RuleMessage};
use crate::dockerfile::{ArgumentForm, FlagSpec, Keyword};
use crate::oci::Platform;
use crate::operation as host;

/// Of one instruction.
const MOST_OPERATIONS: usize = 10_000;
/// Of one list in an operation.
const MOST_ITEMS: usize = 100_000;
/// Of bytes that an instruction carries itself.
const LARGEST_CONTENT: usize = 1 << 20;
/// Of any other text; what Linux takes as one argument, and then some.
const LONGEST_TEXT: usize = 1 << 20;
const MOST_KEYWORDS: usize = 256;
const MOST_FLAGS: usize = 256;
const MOST_RULES: usize = 256;
/// Of what is shown to people, in bytes.
const LONGEST_MESSAGE: usize = 4096;

type Checked<T> = Result<T, String>;

/// An instruction for a handler.
pub(super) fn instruction(input: &HandlerInput) -> guest::Instruction {
    guest::Instruction {
        name: input.name.clone(),
        flags: properties(&input.flags),
        arguments: match &input.arguments {
            HandlerArguments::Exec(words) => guest::Arguments::Exec(words.clone()),
            HandlerArguments::Words(words) => guest::Arguments::Words(words.clone()),
            HandlerArguments::Pairs(pairs) => guest::Arguments::Pairs(properties(pairs)),
            HandlerArguments::Text(text) => guest::Arguments::Text(text.clone()),
        },
        heredocs: input
            .heredocs
            .iter()
            .map(|heredoc| guest::Heredoc { name: heredoc.name.clone(), content: heredoc.content.clone(), descriptor: heredoc.descriptor })
            .collect(),
        text: input.text.clone(),
    }
}

/// The state of a stage for a handler.
pub(super) fn stage(stage: &StageState) -> guest::Stage {
    guest::Stage {
        target: platform(&stage.target),
        build: platform(&stage.build),
        build_args: properties(&stage.build_args),
        env: properties(&stage.env),
        labels: properties(&stage.labels),
        user: stage.user.clone(),
        working_dir: stage.working_dir.clone(),
        working_dir_set: stage.working_dir_set,
        shell: stage.shell.clone(),
        shell_set: stage.shell_set,
    }
}

fn platform(platform: &Platform) -> GuestPlatform {
    GuestPlatform { os: platform.os.clone(), architecture: platform.architecture.clone(), variant: platform.variant.clone() }
}

fn properties(pairs: &[(String, String)]) -> Vec<Property> {
    pairs.iter().map(|(name, value)| Property { name: name.clone(), value: value.clone() }).collect()
}

/// The rules that a handler warns by.
pub(super) fn rules(said: Vec<guest::Rule>) -> Checked<Vec<Rule>> {
    let rule = |rule: guest::Rule| {
        let letters = |text: &str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if !letters(&rule.name) || !rule.name.starts_with(|c: char| c.is_ascii_uppercase()) {
            return Err("it declares a check whose name is not made of letters and digits, the first upper case".to_owned());
        }
        let url = rule.url.map(|url| one_line(&url, LONGEST_MESSAGE));
        if url.as_ref().is_some_and(|url| !url.starts_with("https://")) {
            return Err(format!("the page of its check {} is not on https", rule.name));
        }
        Ok(Rule::declared(rule.name, one_line(&rule.description, LONGEST_MESSAGE), url, rule.experimental))
    };
    list("its checks", said, MOST_RULES, rule)
}

fn warning(warning: guest::Warning, rules: &[Rule]) -> Checked<RuleMessage> {
    if !rules.iter().any(|rule| rule.name == warning.rule) {
        return Err(format!("it warns by {:?}, which is no check that it declares", one_line(&warning.rule, 64)));
    }
    Ok(RuleMessage { rule: warning.rule, message: one_line(&warning.message, LONGEST_MESSAGE) })
}

/// The keywords that a handler claims.
pub(super) fn keywords(said: Vec<guest::Keyword>, rules: &[Rule]) -> Checked<Vec<Keyword>> {
    if said.is_empty() {
        return Err("it handles no keyword".to_owned());
    }
    if said.len() > MOST_KEYWORDS {
        return Err(format!("it claims more than {MOST_KEYWORDS} keywords"));
    }
    let mut seen = BTreeSet::new();
    said.into_iter()
        .map(|keyword| {
            let name = keyword.name;
            if !is_word(&name, |b| b.is_ascii_uppercase()) {
                return Err("it claims a keyword that is not made of upper-case letters, digits, `_` and `-`".to_owned());
            }
            if !seen.insert(name.clone()) {
                return Err(format!("it claims {name} twice"));
            }
            let flags = flags(&name, keyword.flags)?;
            Ok(Keyword {
                name,
                form: match keyword.arguments {
                    guest::ArgumentForm::Words => ArgumentForm::Words,
                    guest::ArgumentForm::Pairs => ArgumentForm::Pairs,
                    guest::ArgumentForm::ExecOrShell => ArgumentForm::ExecOrShell,
                    guest::ArgumentForm::ExecOrWords => ArgumentForm::ExecOrWords,
                    guest::ArgumentForm::Text => ArgumentForm::Text,
                },
                flags,
                heredocs: keyword.heredocs,
                expands: keyword.expands,
                last_counts: keyword.last_counts,
                stage_only: keyword.stage_only,
                warning: keyword.warning.map(|said| warning(said, rules)).transpose()?,
            })
        })
        .collect()
}

fn flags(keyword: &str, said: Vec<guest::FlagSpec>) -> Checked<Vec<FlagSpec>> {
    if said.len() > MOST_FLAGS {
        return Err(format!("it gives {keyword} more than {MOST_FLAGS} flags"));
    }
    let mut seen = BTreeSet::new();
    said.into_iter()
        .map(|flag| {
            if !is_word(&flag.name, |b| b.is_ascii_lowercase()) || !seen.insert(flag.name.clone()) {
                return Err(format!("it gives {keyword} a flag twice, or one that is not made of lower-case letters, digits, `_` and `-`"));
            }
            Ok(FlagSpec { name: flag.name, is_switch: flag.is_switch, repeats: flag.repeats, expands: flag.expands })
        })
        .collect()
}

fn is_word(text: &str, letter: fn(u8) -> bool) -> bool {
    text.len() <= 64
        && text.bytes().next().is_some_and(letter)
        && text.bytes().all(|b| letter(b) || b.is_ascii_digit() || b"_-".contains(&b))
}

/// What an instruction was lowered to.
pub(super) fn lowered(lowered: guest::Lowered, rules: &[Rule]) -> Checked<Lowered> {
    Ok(Lowered {
        operations: list("its operations", lowered.operations, MOST_OPERATIONS, operation)?,
        warnings: list("its warnings", lowered.warnings, MOST_OPERATIONS, |said| warning(said, rules))?,
        history: optional("a line of the history", lowered.history)?,
    })
}

fn operation(operation: op::Operation) -> Checked<host::Operation> {
    Ok(match operation {
        op::Operation::Configure(change) => host::Operation::Configure(config_change(change)?),
        op::Operation::Exec(exec) => host::Operation::Exec(self::exec(exec)?),
        op::Operation::Copy(copy) => host::Operation::Copy(self::copy(copy)?),
        op::Operation::MakeDirectory(made) => {
            host::Operation::MakeDirectory(host::MakeDirectory { path: path(made.path)?, ownership: ownership(made.ownership)? })
        }
        op::Operation::WriteFile(file) => host::Operation::WriteFile(host::WriteFile {
            path: path(file.path)?,
            content: content(file.content)?,
            ownership: ownership(file.ownership)?,
        }),
        op::Operation::Symlink(link) => host::Operation::Symlink(host::Symlink { path: path(link.path)?, target: path(link.target)? }),
        op::Operation::Remove(removed) => host::Operation::Remove(path(removed)?),
    })
}

fn config_change(change: op::ConfigChange) -> Checked<host::ConfigChange> {
    use host::ConfigChange as To;
    use op::ConfigChange as From;
    Ok(match change {
        From::Env(property) => {
            let (name, value) = variable(property)?;
            To::Env(name, value)
        }
        From::Label(property) => To::Label(named("a label's name", property.name)?, text("a label's value", property.value)?),
        From::Author(author) => To::Author(text("an author", author)?),
        From::User(user) => To::User(text("a user", user)?),
        From::WorkingDir(folder) => To::WorkingDir(path(folder)?),
        From::Shell(words) => To::Shell(self::words("a shell", words)?),
        From::Entrypoint(words) => To::Entrypoint(self::words("an entry point", words)?),
        From::Command(words) => To::Command(self::words("a command", words)?),
        From::StopSignal(signal) => To::StopSignal(text("a signal", signal)?),
        From::Healthcheck(check) => To::Healthcheck(check.map(healthcheck).transpose()?),
        From::ExposedPort(port) => To::ExposedPort(named("a port", port)?),
        From::Volume(volume) => To::Volume(named("a volume", volume)?),
        From::OnBuild(line) => To::OnBuild(text("an instruction for later", line)?),
    })
}

fn healthcheck(check: op::Healthcheck) -> Checked<host::Healthcheck> {
    Ok(host::Healthcheck {
        test: words("a health check", check.test)?,
        interval_ms: check.interval_ms,
        timeout_ms: check.timeout_ms,
        start_period_ms: check.start_period_ms,
        start_interval_ms: check.start_interval_ms,
        retries: check.retries,
    })
}

fn exec(exec: op::Exec) -> Checked<host::Exec> {
    if exec.arguments.is_empty() {
        return Err("it asks for a process without a program".to_owned());
    }
    Ok(host::Exec {
        arguments: words("an argument", exec.arguments)?,
        env: list("variables", exec.env, MOST_ITEMS, variable)?,
        user: optional("a user", exec.user)?,
        working_dir: exec.working_dir.map(path).transpose()?,
        stdin: content(exec.stdin)?,
        mounts: list("mounts", exec.mounts, MOST_ITEMS, mount)?,
        network: match exec.network {
            op::Network::Default => host::Network::Default,
            op::Network::None => host::Network::None,
            op::Network::Host => host::Network::Host,
        },
        privileged: exec.privileged,
        devices: list("devices", exec.devices, MOST_ITEMS, |device| {
            Ok(host::Device { name: named("a device's name", device.name)?, required: device.required })
        })?,
    })
}

fn mount(mount: op::Mount) -> Checked<host::Mount> {
    use host::MountSource as To;
    use op::MountSource as From;
    let source = match mount.source {
        From::Bind(bind) => To::Bind { from: source(bind.from)?, path: text("a path", bind.path)?, writable: bind.writable },
        From::Cache(cache) => To::Cache {
            id: text("a cache's id", cache.id)?,
            from: cache.from.map(source).transpose()?,
            path: text("a path", cache.path)?,
            sharing: match cache.sharing {
                op::Sharing::Shared => host::Sharing::Shared,
                op::Sharing::Private => host::Sharing::Private,
                op::Sharing::Locked => host::Sharing::Locked,
            },
            writable: cache.writable,
            ownership: ownership(cache.ownership)?,
        },
        From::Tmpfs(size) => To::Tmpfs(size),
        From::Secret(secret) => To::Secret {
            id: named("a secret's id", secret.id)?,
            as_env: secret.as_env,
            as_file: secret.as_file,
            required: secret.required,
            ownership: ownership(secret.ownership)?,
        },
        From::Ssh(ssh) => To::Ssh { id: text("an agent's id", ssh.id)?, required: ssh.required, ownership: ownership(ssh.ownership)? },
    };
    Ok(host::Mount { target: text("a mount's target", mount.target)?, source })
}

fn copy(copy: op::CopyFiles) -> Checked<host::Copy> {
    Ok(host::Copy {
        from: source(copy.from)?,
        paths: words("a path", copy.paths)?,
        exclude: words("a pattern", copy.exclude)?,
        destination: path(copy.destination)?,
        ownership: ownership(copy.ownership)?,
        unpack: copy.unpack,
        parents: copy.parents,
        independent: copy.independent,
    })
}

fn source(source: op::Source) -> Checked<host::Source> {
    Ok(match source {
        op::Source::Context(name) => host::Source::Context(text("a context's name", name)?),
        op::Source::Stage(name) => host::Source::Stage(named("a stage's name", name)?),
        op::Source::Download(download) => {
            host::Source::Download { url: named("a URL", download.url)?, checksum: optional("a checksum", download.checksum)? }
        }
        op::Source::Git(git) => host::Source::Git {
            url: named("a URL", git.url)?,
            revision: optional("a revision", git.revision)?,
            directory: optional("a directory", git.directory)?,
            keep_git_dir: git.keep_git_dir,
            submodules: git.submodules,
            checksum: optional("a checksum", git.checksum)?,
        },
        op::Source::Inline(files) => host::Source::Inline(list("files", files, MOST_ITEMS, inline_file)?),
    })
}

fn inline_file(file: op::InlineFile) -> Checked<host::InlineFile> {
    let name = named("a file's name", file.name)?;
    if name.contains('/') || name == "." || name == ".." {
        return Err("it names a file by more than a file name".to_owned());
    }
    if file.mode > 0o7777 {
        return Err(format!("it gives a file the mode {:o}", file.mode));
    }
    Ok(host::InlineFile { name, content: content(file.content)?, mode: file.mode })
}

fn ownership(ownership: op::Ownership) -> Checked<host::Ownership> {
    Ok(host::Ownership { owner: optional("an owner", ownership.owner)?, mode: optional("a mode", ownership.mode)? })
}

fn variable(property: Property) -> Checked<(String, String)> {
    let name = named("a variable's name", property.name)?;
    if name.contains('=') {
        return Err("it sets a variable whose name has a `=`".to_owned());
    }
    Ok((name, text("a variable's value", property.value)?))
}

fn list<T, R>(what: &str, items: Vec<T>, most: usize, check: impl FnMut(T) -> Checked<R>) -> Checked<Vec<R>> {
    if items.len() > most {
        return Err(format!("{what} are {}, more than {most}", items.len()));
    }
    items.into_iter().map(check).collect()
}

fn words(what: &str, items: Vec<String>) -> Checked<Vec<String>> {
    list(what, items, MOST_ITEMS, |item| text(what, item))
}

/// A text that the kernel can take: no NUL, not endless.
fn text(what: &str, text: String) -> Checked<String> {
    if text.contains('\0') {
        return Err(format!("it gives {what} with a NUL character"));
    }
    if text.len() > LONGEST_TEXT {
        return Err(format!("it gives {what} of {} bytes", text.len()));
    }
    Ok(text)
}

/// The same, and there must be one.
fn named(what: &str, name: String) -> Checked<String> {
    if name.is_empty() { Err(format!("it leaves {what} empty")) } else { text(what, name) }
}

fn optional(what: &str, value: Option<String>) -> Checked<Option<String>> {
    value.map(|value| text(what, value)).transpose()
}

fn path(path: String) -> Checked<String> {
    named("a path", path)
}

fn content(content: Vec<u8>) -> Checked<Vec<u8>> {
    if content.len() > LARGEST_CONTENT { Err(format!("it carries {} bytes at once, more than 1 MiB", content.len())) } else { Ok(content) }
}
