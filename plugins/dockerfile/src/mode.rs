//! Permissions as `--chmod` takes them.

use layerwright_plugin::Error;

const MAX: u32 = 0o7777;

/// Checks an octal or symbolic mode.
pub(crate) fn check(mode: &str) -> Result<(), Error> {
    let valid = match u32::from_str_radix(mode, 8) {
        Ok(number) => number <= MAX && !mode.starts_with('+'),
        Err(_) => mode.split(',').all(is_clause),
    };
    if valid {
        return Ok(());
    }
    Err(Error::invalid(format!("invalid chmod parameter: '{mode}'. it should be octal string and between 0 and 07777"))
        .hint("symbolic modes such as `u=rwX,go=rX` are understood as well"))
}

/// `[ugoa]*` and then one or more of an operator with `[rwxXst]*` or one of `[ugo]`.
fn is_clause(clause: &str) -> bool {
    let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    let Some(actions) = actions.strip_prefix(['+', '-', '=']) else { return false };
    actions.split(['+', '-', '=']).all(|permissions| {
        matches!(permissions, "u" | "g" | "o") || permissions.chars().all(|c| matches!(c, 'r' | 'w' | 'x' | 'X' | 's' | 't'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for mode in [
            "0755",
            "644",
            "0",
            "07777",
            "00644",
            "a+x",
            "+x",
            "-t",
            "ug=,o=r",
            "u=rwX,go=rX",
            "u=g",
            "a=rw-x",
            "u++x",
            "+",
            "a=",
            "u=rw-w+x",
            "g-s",
        ] {
            assert!(check(mode).is_ok(), "{mode}");
        }
        for mode in ["", "64a", "10000", "9", "a", "x", "u+z", "z+x", "u+x,", "u+x,,g+x", "-755", "+755", "u=gr"] {
            assert!(check(mode).is_err(), "{mode}");
        }
    }
}
