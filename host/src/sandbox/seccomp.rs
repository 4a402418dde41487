//! The system call filter of a step: Docker's default profile, as a program for the kernel's filter machine.
//!
//! What the profile names is allowed; the rest is refused with EPERM, and with ENOSYS where it is newer than the
//! profile, so that programs fall back to what they did before. `clone3` is ENOSYS as well: its flags are out of the
//! filter's sight, and C libraries then use `clone`. 32-bit programs of the same machine are filtered by their own
//! numbers; any other way into the kernel is ENOSYS.

use libc::sock_filter;

use super::syscalls::{ABSENT, ALLOWED};

/// What becomes of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    Refuse,
    Unknown,
    /// No kernel crypto (38), no virtual machine sockets (40).
    Socket,
    /// The two standard personalities, with and without a 3 GB limit or fixed addresses, and asking.
    Personality,
    /// No new namespaces.
    Clone,
}

/// One architecture's numbers.
struct Architecture {
    /// AUDIT_ARCH_*
    id: u32,
    number: fn(&(&str, u32, u32, u32)) -> u32,
    socket: u32,
    personality: u32,
    clone: u32,
}

const X86_64: Architecture = Architecture { id: 0xc000_003e, number: |row| row.1, socket: 41, personality: 135, clone: 56 };
const I386: Architecture = Architecture { id: 0x4000_0003, number: |row| row.2, socket: 359, personality: 136, clone: 120 };
const ARM64: Architecture = Architecture { id: 0xc000_00b7, number: |row| row.3, socket: 198, personality: 92, clone: 220 };

/// The same number everywhere.
const CLONE3: u32 = 435;

/// The CLONE_NEW* flags, but for the time namespace, which `clone` cannot make.
const NAMESPACES: u32 = 0x7e02_0000;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Where `struct seccomp_data` has the number, the architecture, and the low half of the first argument.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = if cfg!(target_endian = "big") { 20 } else { 16 };

/// The program for the machine this was compiled for.
///
/// None for a machine that the table has no numbers of.
pub(super) fn program() -> Option<Vec<sock_filter>> {
    let architectures: &[Architecture] = if cfg!(target_arch = "x86_64") {
        &[X86_64, I386]
    } else if cfg!(target_arch = "aarch64") {
        &[ARM64]
    } else {
        return None;
    };
    let mut program = vec![step(LOAD, ARCHITECTURE)];
    for architecture in architectures {
        let mut body = vec![step(LOAD, NUMBER)];
        body.extend(decide(&verdicts(architecture)));
        let length = u32::try_from(body.len()).ok()?;
        program.push(branch(JUMP_IF_EQUAL, architecture.id, 1, 0));
        program.push(step(JUMP, length));
        program.extend(body);
    }
    program.push(refuse(ENOSYS));
    Some(program)
}

/// The verdict on every number: each holds from its number to the next one's. The first is for 0.
fn verdicts(architecture: &Architecture) -> Vec<(u32, Verdict)> {
    let numbers = ALLOWED.iter().map(architecture.number).filter(|number| *number != ABSENT);
    let mut known: Vec<(u32, Verdict)> = numbers.map(|number| (number, Verdict::Allow)).collect();
    known.extend([
        (architecture.socket, Verdict::Socket),
        (architecture.personality, Verdict::Personality),
        (architecture.clone, Verdict::Clone),
        (CLONE3, Verdict::Unknown),
    ]);
    known.sort_unstable_by_key(|(number, _)| *number);

    let mut ranges = vec![(0, Verdict::Refuse)];
    let mut next = 0;
    for (number, verdict) in known {
        if number > next {
            ranges.push((next, Verdict::Refuse));
        }
        ranges.push((number, verdict));
        next = number + 1;
    }
    ranges.push((next, Verdict::Unknown));
    ranges.dedup_by(|later, earlier| {
        // Two for one number: the later one holds. The same verdict twice: one range.
        if later.0 == earlier.0 {
            earlier.1 = later.1;
            return true;
        }
        later.1 == earlier.1
    });
    ranges
}

/// A binary search through `ranges` with the number loaded.
fn decide(ranges: &[(u32, Verdict)]) -> Vec<sock_filter> {
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (Some((first, _)), false) = (high.first(), low.is_empty()) else {
        return ranges.first().map_or_else(Vec::new, |(_, verdict)| carry_out(*verdict));
    };
    let low = decide(low);
    let mut program = match u8::try_from(low.len()) {
        Ok(length) => vec![branch(JUMP_IF_AT_LEAST, *first, length, 0)],
        Err(_) => vec![branch(JUMP_IF_AT_LEAST, *first, 0, 1), step(JUMP, u32::try_from(low.len()).unwrap_or(u32::MAX))],
    };
    program.extend(low);
    program.extend(decide(high));
    program
}

fn carry_out(verdict: Verdict) -> Vec<sock_filter> {
    const ALLOW: sock_filter = step(RETURN, 0x7fff_0000);
    match verdict {
        Verdict::Allow => vec![ALLOW],
        Verdict::Refuse => vec![refuse(EPERM)],
        Verdict::Unknown => vec![refuse(ENOSYS)],
        Verdict::Socket => {
            vec![step(LOAD, FIRST_ARGUMENT), branch(JUMP_IF_EQUAL, 38, 2, 0), branch(JUMP_IF_EQUAL, 40, 1, 0), ALLOW, refuse(EPERM)]
        }
        Verdict::Personality => vec![
            step(LOAD, FIRST_ARGUMENT),
            branch(JUMP_IF_EQUAL, 0x0, 5, 0),
            branch(JUMP_IF_EQUAL, 0x8, 4, 0),
            branch(JUMP_IF_EQUAL, 0x2_0000, 3, 0),
            branch(JUMP_IF_EQUAL, 0x2_0008, 2, 0),
            branch(JUMP_IF_EQUAL, 0xffff_ffff, 1, 0),
            refuse(EPERM),
            ALLOW,
        ],
        Verdict::Clone => vec![step(LOAD, FIRST_ARGUMENT), branch(JUMP_IF_ANY_BIT, NAMESPACES, 1, 0), ALLOW, refuse(EPERM)],
    }
}

const fn refuse(error: u32) -> sock_filter {
    step(RETURN, 0x0005_0000 | error)
}

const fn step(code: u16, k: u32) -> sock_filter {
    branch(code, k, 0, 0)
}

/// `jt` and `jf` are how many steps to leave out when the comparison holds and when it does not.
const fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn run(program: &[sock_filter], architecture: u32, number: u32, argument: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let holds = match code {
                LOAD if k == NUMBER => {
                    value = number;
                    continue;
                }
                LOAD if k == ARCHITECTURE => {
                    value = architecture;
                    continue;
                }
                LOAD => {
                    assert_eq!(k, FIRST_ARGUMENT);
                    value = argument;
                    continue;
                }
                JUMP => {
                    at += k as usize;
                    continue;
                }
                RETURN => return k,
                JUMP_IF_EQUAL => value == k,
                JUMP_IF_AT_LEAST => value >= k,
                JUMP_IF_ANY_BIT => value & k != 0,
                other => panic!("step {other:#x}"),
            };
            at += usize::from(if holds { jt } else { jf });
        }
    }

    const ALLOWED_ANSWER: u32 = 0x7fff_0000;

    #[test]
    fn every_number_has_its_verdict() {
        for architecture in [X86_64, I386, ARM64] {
            let mut program = vec![step(LOAD, NUMBER)];
            program.extend(decide(&verdicts(&architecture)));
            assert!(program.len() < 1500, "{}", program.len());
            let allowed: Vec<u32> = ALLOWED.iter().map(architecture.number).collect();
            let newest = *allowed.iter().filter(|number| **number != ABSENT).max().unwrap();
            let special = [architecture.socket, architecture.personality, architecture.clone];
            for number in 0..2000 {
                let wanted = if allowed.contains(&number) || special.contains(&number) {
                    ALLOWED_ANSWER
                } else if number > newest || number == CLONE3 {
                    0x5_0000 | ENOSYS
                } else {
                    0x5_0000 | EPERM
                };
                let argument = 0;
                assert_eq!(run(&program, architecture.id, number, argument), wanted, "{number}");
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn arguments_count() {
        let program = program().unwrap();
        let answer = |number, argument| run(&program, X86_64.id, number, argument) == ALLOWED_ANSWER;
        assert!(answer(41, 2) && answer(41, 39) && answer(41, 41));
        assert!(!answer(41, 38) && !answer(41, 40));
        assert!(answer(56, 17) && !answer(56, 0x2_0000) && !answer(56, 0x1000_0000));
        assert!(answer(135, 0x2_0000) && answer(135, u32::MAX) && !answer(135, 0x40_0000));
        assert_eq!(run(&program, I386.id, 11, 0), ALLOWED_ANSWER);
        assert_eq!(run(&program, I386.id, 21, 0), 0x5_0000 | EPERM);
        assert_eq!(run(&program, ARM64.id, 0, 0), 0x5_0000 | ENOSYS);
        assert_eq!(run(&program, X86_64.id, 0x4000_0000, 0), 0x5_0000 | ENOSYS);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn numbers_are_the_systems() {
        let number = |name| ALLOWED.iter().find(|row| row.0 == name).map(|row| i64::from(row.1));
        assert_eq!(number("openat"), Some(libc::SYS_openat));
        assert_eq!(number("statx"), Some(libc::SYS_statx));
        assert_eq!(number("seccomp"), Some(libc::SYS_seccomp));
        assert_eq!(number("mount"), None);
        assert_eq!(number("keyctl"), None);
    }
}
