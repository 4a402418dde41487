//! Paths as text.

/// Joins a path to a directory and takes `.`, `..` and double slashes out, without looking at links. The result is absolute.
pub(crate) fn join(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let directory = if path.starts_with('/') { "" } else { directory };
    for part in directory.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The last part of a path.
pub(crate) fn base(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_is_the_last_part() {
        for (path, expected) in [("/a/b", "b"), ("/a/b/", "b"), ("b", "b"), ("/", ""), ("", "")] {
            assert_eq!(base(path), expected);
        }
    }
}
