//! `--chmod`: octal numbers and the symbolic modes of chmod(1).

use std::str::FromStr;

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

/// A change of permissions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Chmod {
    /// These bits and no others, 0 to 0o7777.
    Octal(u32),
    /// Changes one after the other.
    Symbolic(Vec<Change>),
}

/// One operator of a symbolic mode and what it applies to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    user: bool,
    group: bool,
    other: bool,
    operator: Operator,
    permissions: Permissions,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Permissions {
    Named {
        /// `rwx` as the lowest three bits.
        bits: u32,
        /// `X`: execution for directories and for what someone may execute already.
        search: bool,
        /// `s`
        set_id: bool,
        /// `t`
        sticky: bool,
    },
    /// Those that user, group or others have: how far to the right their bits go.
    CopyOf(u32),
}

/// Why a text is not a mode.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid mode {0:?}: want an octal number up to 7777, or a symbolic mode such as u=rwX,go=rX")]
pub struct BadMode(String);

impl Chmod {
    /// The permissions of something that had those of `mode`.
    pub fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(changes) => changes.iter().fold(mode & 0o7777, |mode, change| change.apply(mode, directory)),
        }
    }

    /// The mode of directories that are made on the way: what an octal mode says of permissions, else 0755.
    pub fn implied(&self) -> u32 {
        match self {
            Self::Octal(bits) => bits & 0o777,
            Self::Symbolic(_) => 0o755,
        }
    }
}

impl Change {
    fn apply(&self, mode: u32, directory: bool) -> u32 {
        let named = [(self.user, 6), (self.group, 3), (self.other, 0)].into_iter().filter(|(named, _)| *named);
        let shifts: Vec<u32> = named.map(|(_, shift)| shift).collect();
        let spread = |bits: u32| shifts.iter().fold(0, |all, shift| all | (bits << shift));
        let mut bits = match self.permissions {
            Permissions::CopyOf(shift) => spread((mode >> shift) & 0o7),
            Permissions::Named { bits, search, .. } => {
                let execute = u32::from(search && (directory || mode & 0o111 != 0));
                spread(bits | execute)
            }
        };
        let mut cleared = spread(0o7);
        if let Permissions::Named { set_id, sticky, .. } = self.permissions {
            if set_id {
                bits |= if self.user { SET_UID } else { 0 } | if self.group { SET_GID } else { 0 };
            }
            // The sticky bit is nobody's own, and `=` leaves it.
            if sticky && self.user && self.group && self.other {
                bits |= STICKY;
            }
            // `=` also takes away the set-id bits of whom it names.
            cleared |= if self.user { SET_UID } else { 0 } | if self.group { SET_GID } else { 0 };
        }
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => (mode & !cleared) | bits,
        }
    }
}

impl FromStr for Chmod {
    type Err = BadMode;

    fn from_str(text: &str) -> Result<Self, BadMode> {
        let bad = || BadMode(text.chars().take(100).collect());
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).map_err(|_| bad())?;
            return if bits <= 0o7777 { Ok(Self::Octal(bits)) } else { Err(bad()) };
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            parse_clause(clause, &mut changes).ok_or_else(bad)?;
        }
        Ok(Self::Symbolic(changes))
    }
}

fn parse_clause(clause: &str, changes: &mut Vec<Change>) -> Option<()> {
    let start = clause.find(['+', '-', '='])?;
    let (who, mut rest) = clause.split_at_checked(start)?;
    if !who.chars().all(|c| "ugoa".contains(c)) {
        return None;
    }
    let is = |class| who.is_empty() || who.contains('a') || who.contains(class);
    while let Some(operator) = rest.chars().next() {
        let operator = match operator {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            _ => Operator::Set,
        };
        rest = rest.get(1..)?;
        let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
        let (text, later) = rest.split_at_checked(end)?;
        rest = later;
        let permissions = parse_permissions(text)?;
        changes.push(Change { user: is('u'), group: is('g'), other: is('o'), operator, permissions });
    }
    Some(())
}

fn parse_permissions(text: &str) -> Option<Permissions> {
    match text {
        "u" => return Some(Permissions::CopyOf(6)),
        "g" => return Some(Permissions::CopyOf(3)),
        "o" => return Some(Permissions::CopyOf(0)),
        _ => {}
    }
    let (mut bits, mut search, mut set_id, mut sticky) = (0, false, false, false);
    for c in text.chars() {
        match c {
            'r' => bits |= 4,
            'w' => bits |= 2,
            'x' => bits |= 1,
            'X' => search = true,
            's' => set_id = true,
            't' => sticky = true,
            _ => return None,
        }
    }
    Some(Permissions::Named { bits, search, set_id, sticky })
}
