//! `USERADD [--uid=N] [--gid=N] [--home=DIR] [--shell=FILE] NAME`: a user with a group of the same name and a home directory.
//!
//! Base images disagree on `useradd`, `adduser` and their flags, and some have neither. This instruction edits `/etc/passwd` and
//! `/etc/group` itself, so it works on all of them, without running anything.

use layerwright_plugin::inspect::{self, Place};
use layerwright_plugin::instruction::{ArgumentForm, Capabilities, FlagSpec, Instruction, InstructionHandler, Keyword, Lowered, Rule, Stage, Warning};
use layerwright_plugin::operation::{MakeDirectory, WriteFile};
use layerwright_plugin::{Description, Error, ErrorCode, export_instruction_handler, log};

/// Where ordinary users' numbers start.
const FIRST_ID: u32 = 1000;

/// The build check of this plugin.
const CHANGING_ID: &str = "UserAddChangingId";

struct UserAdd;

impl InstructionHandler for UserAdd {
    fn describe() -> Capabilities {
        let useradd = Keyword::new("USERADD", ArgumentForm::Words)
            .expanded()
            .flag(FlagSpec::value("uid").expanded())
            .flag(FlagSpec::value("gid").expanded())
            .flag(FlagSpec::value("home").expanded())
            .flag(FlagSpec::value("shell").expanded());
        Capabilities::new(
            Description::new("example/useradd", env!("CARGO_PKG_VERSION"), "adds a user, a group and a home directory"),
            [useradd],
        )
        .with_rules([Rule::new(CHANGING_ID, "An account without a fixed number may get another one when the base image changes")])
    }

    fn lower(instruction: &Instruction, _stage: &Stage) -> Result<Lowered, Error> {
        let [name] = instruction.words() else {
            return Err(Error::invalid("USERADD takes one name").hint("write `USERADD --uid=1000 app`"));
        };
        if !is_name(name) {
            return Err(Error::invalid(format!("{name:?} is not a user's name")));
        }
        let home = field(instruction, "home")?.map_or_else(|| format!("/home/{name}"), str::to_owned);
        let shell = field(instruction, "shell")?.unwrap_or("/bin/sh");

        let mut passwd = Database::read("/etc/passwd")?;
        let mut group = Database::read("/etc/group")?;
        if passwd.has(name) {
            return Err(Error::invalid(format!("user {name} exists already")));
        }
        let uid = id(instruction, "uid", &passwd)?;
        let gid = id(instruction, "gid", &group)?;
        passwd.lines.push(format!("{name}:x:{uid}:{gid}::{home}:{shell}"));
        if !group.has(name) {
            group.lines.push(format!("{name}:x:{gid}:"));
        }
        log::debug(format!("{name} is {uid}:{gid}"));
        let lowered = Lowered::new(vec![
            WriteFile::new("/etc/passwd", passwd.text()).into(),
            WriteFile::new("/etc/group", group.text()).into(),
            MakeDirectory::new(home).owner(format!("{uid}:{gid}")).into(),
        ]);
        Ok(match instruction.flag("uid") {
            Some(_) => lowered,
            None => lowered.warn(Warning::new(CHANGING_ID, format!("User {name} gets the next free number, {uid}: fix it with --uid"))),
        })
    }
}

export_instruction_handler!(UserAdd);

/// `/etc/passwd` or `/etc/group`, line by line.
struct Database {
    lines: Vec<String>,
}

impl Database {
    fn read(path: &str) -> Result<Self, Error> {
        let content = match inspect::read(&Place::Rootfs, path) {
            Ok(content) => String::from_utf8_lossy(&content).into_owned(),
            // `FROM scratch` has none yet.
            Err(error) if error.code == ErrorCode::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { lines: content.lines().map(str::to_owned).collect() })
    }

    fn has(&self, name: &str) -> bool {
        self.lines.iter().any(|line| line.split(':').next() == Some(name))
    }

    /// The lowest free number for an ordinary user.
    fn free_id(&self) -> u32 {
        let taken: Vec<u32> = self.lines.iter().filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect();
        (FIRST_ID..).find(|id| !taken.contains(id)).unwrap_or(FIRST_ID)
    }

    fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

fn id(instruction: &Instruction, flag: &str, database: &Database) -> Result<u32, Error> {
    match instruction.flag(flag) {
        Some(value) => value.parse().map_err(|_| Error::invalid(format!("--{flag} is not a number: {value}"))),
        None => Ok(database.free_id()),
    }
}

/// A flag's value, which becomes one field of a line.
fn field<'a>(instruction: &'a Instruction, flag: &str) -> Result<Option<&'a str>, Error> {
    match instruction.flag(flag) {
        Some(value) if !value.starts_with('/') || value.contains([':', '\n']) => {
            Err(Error::invalid(format!("--{flag} is not an absolute path: {value}")))
        }
        value => Ok(value),
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use layerwright_plugin::fake;
    use layerwright_plugin::instruction::Arguments;

    use super::*;

    fn useradd(words: &[&str]) -> Instruction {
        Instruction::new("USERADD", Arguments::Words(words.iter().map(|&word| word.to_owned()).collect()))
    }

    fn busybox() -> fake::Host {
        fake::Host::new()
            .rootfs_file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nbin:x:1000:1000::/:/bin/sh\n")
            .rootfs_file("/etc/group", "root:x:0:\n")
    }

    #[test]
    fn a_user_takes_the_next_numbers() {
        let _host = busybox().install();
        let lowered = UserAdd::lower(&useradd(&["app"]), &Stage::default()).unwrap();
        assert_eq!(lowered.warnings, [Warning::new(CHANGING_ID, "User app gets the next free number, 1001: fix it with --uid")]);
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbin:x:1000:1000::/:/bin/sh\napp:x:1001:1000::/home/app:/bin/sh\n";
        assert_eq!(
            lowered.operations,
            [
                WriteFile::new("/etc/passwd", passwd).into(),
                WriteFile::new("/etc/group", "root:x:0:\napp:x:1000:\n").into(),
                MakeDirectory::new("/home/app").owner("1001:1000").into(),
            ]
        );
    }

    #[test]
    fn flags_say_it_exactly_even_from_scratch() {
        let _host = fake::Host::new().install();
        let instruction =
            useradd(&["app"]).with_flag("uid", "7").with_flag("gid", "8").with_flag("home", "/srv").with_flag("shell", "/bin/false");
        let Lowered { operations, warnings, .. } = UserAdd::lower(&instruction, &Stage::default()).unwrap();
        assert!(warnings.is_empty());
        assert_eq!(operations[0], WriteFile::new("/etc/passwd", "app:x:7:8::/srv:/bin/false\n").into());
        assert_eq!(operations[2], MakeDirectory::new("/srv").owner("7:8").into());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let _host = busybox().install();
        let message = |instruction: Instruction| UserAdd::lower(&instruction, &Stage::default()).unwrap_err().message;
        assert_eq!(message(useradd(&[])), "USERADD takes one name");
        assert_eq!(message(useradd(&["a:b"])), "\"a:b\" is not a user's name");
        assert_eq!(message(useradd(&["root"])), "user root exists already");
        assert_eq!(message(useradd(&["app"]).with_flag("uid", "x")), "--uid is not a number: x");
        assert_eq!(message(useradd(&["app"]).with_flag("home", "srv")), "--home is not an absolute path: srv");
    }
}
