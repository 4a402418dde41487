//! Builds with a cache of layers.

use std::process::Command;

use serde_json::Value;

use super::{Finished, run};

/// Ten instructions beside the FROM, of which seven make layers.
pub const TEN: &str = "COPY one /one
RUN cat /one > /two
ENV A=1
WORKDIR /srv
COPY two dir/
RUN echo $A > /srv/three
LABEL a=b
RUN echo four > /four
COPY --chown=1:1 three /five
CMD [\"true\"]
";

/// The flags that keep every layer; where they are kept is said beside them.
pub const CACHED: [&str; 2] = ["--cache", "--cache-copy-layers"];

/// For each step that does something, in the order in which they were done: `h` where it was taken from the cache, `.` where it was carried
/// out.
pub fn hits(finished: &Finished) -> String {
    assert_eq!(finished.code, Some(0), "the build failed:\n{}", finished.stderr);
    let line = |line: &str| {
        let (_, rest) = line.strip_prefix('[')?.split_once("] ")?;
        match rest {
            "CACHED" => Some('h'),
            rest if rest.starts_with("done in ") => Some('.'),
            _ => None,
        }
    };
    finished.stderr.lines().filter_map(line).collect()
}

/// The tags of a repository.
pub fn tags(repository: &str) -> Vec<String> {
    let text = run(Command::new("skopeo").args(["list-tags", "--tls-verify=false", &format!("docker://{repository}")]));
    let list: Value = serde_json::from_str(&text).expect("tags are listed as JSON");
    let tags = list["Tags"].as_array().expect("tags");
    tags.iter().map(|tag| tag.as_str().expect("a tag").to_owned()).collect()
}
