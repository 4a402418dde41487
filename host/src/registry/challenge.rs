//! Reads `WWW-Authenticate` (RFC 9110 section 11.6.1, Docker's token authentication).

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants to know who is asking.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Challenge {
    /// RFC 7617.
    Basic,
    /// Docker's and the OCI's token authentication.
    Bearer(Bearer),
}

/// Where tokens come from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Bearer {
    /// A URL, not yet checked.
    pub(super) realm: String,
    /// Names the registry to the token server.
    pub(super) service: Option<String>,
    /// Why the token that was shown is not enough (RFC 6750 section 3.1).
    pub(super) error: Option<String>,
}

/// Challenges beyond these, and longer ones, are not looked at.
const MOST: usize = 16;
const LONGEST: usize = 8192;

/// The challenges of an answer in order; those of unknown schemes are left out, and so is a bearer challenge without a
/// realm.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE).iter().take(MOST) {
        // Visible ASCII only: line breaks and controls make the value void.
        let Ok(text) = value.to_str() else { continue };
        if text.len() <= LONGEST {
            parse(text, &mut found);
        }
    }
    found.truncate(MOST);
    found
}

fn parse(text: &str, found: &mut Vec<Challenge>) {
    let mut rest = text;
    let mut current: Option<(String, Bearer)> = None;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = split_token(rest);
        if word.is_empty() {
            break;
        }
        let gap = after.trim_start_matches([' ', '\t']);
        match gap.strip_prefix('=') {
            // `name=value`; a token68 that ends in `=` is no scheme that is known here and falls out as an odd parameter.
            Some(value) => {
                let (value, after) = split_value(value.trim_start_matches([' ', '\t']));
                if let Some((_, bearer)) = &mut current {
                    match word.to_ascii_lowercase().as_str() {
                        "realm" => bearer.realm = value,
                        "service" => bearer.service = Some(value),
                        "error" => bearer.error = Some(value),
                        _ => {}
                    }
                }
                rest = after;
            }
            None => {
                close(current.take(), found);
                current = Some((word.to_ascii_lowercase(), Bearer::default()));
                rest = after;
            }
        }
    }
    close(current, found);
}

fn close(challenge: Option<(String, Bearer)>, found: &mut Vec<Challenge>) {
    match challenge {
        Some((scheme, _)) if scheme == "basic" => found.push(Challenge::Basic),
        Some((scheme, bearer)) if scheme == "bearer" && !bearer.realm.is_empty() => found.push(Challenge::Bearer(bearer)),
        _ => {}
    }
}

fn split_token(text: &str) -> (&str, &str) {
    let end = text.find([' ', '\t', ',', '=', '"']).unwrap_or(text.len());
    match end {
        // A stray quote or equals sign: take it as a word, so that the scan goes on.
        0 if !text.is_empty() => text.split_at(1),
        end => text.split_at(end),
    }
}

fn split_value(text: &str) -> (String, &str) {
    let Some(inside) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return (value.to_owned(), after);
    };
    let mut value = String::new();
    let mut letters = inside.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, inside.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        challenges(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer(Bearer { realm: realm.into(), service: service.map(str::to_owned), error: None })
    }

    #[test]
    fn what_registries_send() {
        assert_eq!(read(&[r#"Bearer realm="https://a/t",service="s",scope="repository:x:pull,push""#]), [bearer("https://a/t", Some("s"))]);
        assert_eq!(read(&["BASIC realm=\"Nexus\""]), [Challenge::Basic]);
        assert_eq!(read(&["Basic"]), [Challenge::Basic]);
        assert_eq!(read(&["bearer realm=https://a/t , service = \"a \\\"b\\\"\""]), [bearer("https://a/t", Some("a \"b\""))]);
        assert_eq!(
            read(&[r#"Negotiate, Basic realm="x, y", Bearer realm="https://a/t""#, "Digest qop=auth"]),
            [Challenge::Basic, bearer("https://a/t", None)]
        );
    }

    #[test]
    fn nonsense_ends() {
        for text in ["", ",,,", "=", "\"", "Bearer", "Bearer realm=", "Bearer realm=\"", "Bearer realm=\"\\", "=\"=\"=", "Bearer ,realm"] {
            assert_eq!(read(&[text]), [], "{text}");
        }
        assert_eq!(read(&[&"a".repeat(100_000)]), []);
    }
}
