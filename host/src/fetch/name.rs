//! What a download is called, and how its URL is shown.

use reqwest::Url;

/// The name of a file whose URL has no path.
pub const UNNAMED: &str = "__unnamed__";

/// A URL for messages: without user information, and without a query, which may be a signature.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Neither fails for a URL that has a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if url.query().is_some() {
        url.set_query(Some("…"));
    }
    url.set_fragment(None);
    url.to_string().replace("?%E2%80%A6", "?…")
}

/// Text that was to be a URL, for messages: what may be a password is left out.
pub(super) fn shown_text(text: &str) -> String {
    match (Url::parse(text), text.split_once("://")) {
        (Ok(url), _) => shown(&url),
        (Err(_), Some((scheme, rest))) => match rest.rsplit_once('@') {
            Some((_, rest)) => format!("{scheme}://{rest}"),
            None => text.to_owned(),
        },
        (Err(_), None) => text.to_owned(),
    }
}

/// The last part of a URL's path, decoded; none where there is no such name.
pub(super) fn of_url(url: &Url) -> Option<String> {
    let decoded = percent_decoded(url.path());
    plain(decoded.trim_end_matches('/').rsplit('/').next()?)
}

/// The file name of a `Content-Disposition` header (RFC 6266).
pub(super) fn of_disposition(header: &str) -> Option<String> {
    let mut name = None;
    for parameter in parameters(header) {
        let (key, value) = parameter.split_once('=')?;
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "filename*" => {
                let encoded = value.splitn(3, '\'').nth(2)?;
                return plain(percent_decoded(encoded).rsplit('/').next()?);
            }
            "filename" => {
                let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                name = plain(bare.map_or_else(|| value.to_owned(), |quoted| quoted.replace("\\\"", "\"")).rsplit('/').next()?);
            }
            _ => {}
        }
    }
    name
}

/// The parameters after the first `;`; those within quotes separate nothing.
fn parameters(header: &str) -> Vec<&str> {
    let (mut found, mut start, mut quoted) = (Vec::new(), None, false);
    for (at, c) in header.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ';' if !quoted => {
                found.extend(start.and_then(|start| header.get(start..at)));
                start = Some(at + 1);
            }
            _ => {}
        }
    }
    found.extend(start.and_then(|start| header.get(start..)));
    found.into_iter().filter(|text| !text.trim().is_empty()).collect()
}

fn plain(name: &str) -> Option<String> {
    let usable = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0', '\n', '\r']) && name.len() <= 255;
    usable.then(|| name.to_owned())
}

/// `%41` is `A`; a percent sign without two digits is itself.
pub(super) fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (url, expected) in [
            ("http://h/a/b.txt", Some("b.txt")),
            ("http://h/a/b.txt?x=/y", Some("b.txt")),
            ("http://h/a%20b", Some("a b")),
            ("http://h/a%2Fb", Some("b")),
            ("http://h/dir/", Some("dir")),
            ("http://h/", None),
            ("http://h", None),
            ("http://h/%2e%2e", None),
            ("http://h/..%2f..%2f..", None),
        ] {
            assert_eq!(of_url(&url.parse().unwrap()).as_deref(), expected, "{url}");
        }
        for (header, expected) in [
            ("attachment; filename=\"a b.txt\"", Some("a b.txt")),
            ("attachment; filename=a.txt", Some("a.txt")),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            ("attachment; filename=old; filename*=UTF-8''n%20w", Some("n w")),
            ("attachment; filename=\"a;b\"; size=1", Some("a;b")),
            ("attachment; filename=\"d/\"", None),
            ("inline", None),
            ("", None),
        ] {
            assert_eq!(of_disposition(header).as_deref(), expected, "{header}");
        }
    }

    #[test]
    fn a_shown_url_has_no_secrets() {
        assert_eq!(shown(&"https://u:p@h/a?sig=s#f".parse().unwrap()), "https://h/a?…");
        assert_eq!(shown_text("https://u:p@h:x/a"), "https://h:x/a");
        assert_eq!(shown_text("https://t0ken@h/a"), "https://h/a");
    }
}
