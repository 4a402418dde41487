//! Durations as Go writes them, which kaniko's flags are given in; days and weeks besides.

use std::time::Duration;

/// A duration such as `336h`, `1h30m`, `1.5s` or `2w`.
///
/// # Errors
/// The text is none, or is longer than can be counted.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "want a duration, for instance 336h, 1h30m or 7d".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        seconds += number
            * match unit {
                "w" => 604_800.0,
                "d" => 86_400.0,
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" | "μs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(wrong()),
            };
        rest = tail;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go() {
        for (text, seconds) in
            [("336h", 1_209_600.0), ("1h30m", 5400.0), ("1.5s", 1.5), ("0", 0.0), ("250ms", 0.25), ("+2m", 120.0), ("2w1d", 1_296_000.0)]
        {
            assert_eq!(duration(text).map(|duration| duration.as_secs_f64()), Ok(seconds), "{text}");
        }
        for text in ["", "1", "h", "1y", "-1h", "1h-", "1e99h", "99999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
