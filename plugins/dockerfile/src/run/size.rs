//! Sizes of memory as Docker writes them: `64m`, `1.5GiB`, `100`.

/// Reads a size into bytes; units are powers of 1024. None where it is not a size.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let power = match unit.strip_suffix('i').filter(|prefix| !prefix.is_empty()).unwrap_or(unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let scale = 1024_u64.pow(power);
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale);
    }
    let (whole, fraction) = number.split_once('.')?;
    let whole: u64 = whole.parse().ok()?;
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(scale) / divisor;
    whole.checked_mul(scale)?.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("100", Some(100)),
            ("1k", Some(1024)),
            ("64m", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            ("1 GB", Some(1 << 30)),
            ("1.5g", Some(3 << 29)),
            ("32b", Some(32)),
            ("0", Some(0)),
            ("", None),
            ("m", None),
            ("1x", None),
            ("1ib", None),
            ("1.", None),
            ("-1", None),
            ("99999999999p", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
