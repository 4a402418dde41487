use super::*;

fn git(remote: &str, revision: &str, directory: &str) -> Option<GitReference> {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Some(GitReference { remote: remote.to_owned(), revision: some(revision), directory: some(directory), ..GitReference::default() })
}

#[test]
fn what_is_a_repository() {
    for (source, expected) in [
        ("https://h/a.git", git("https://h/a.git", "", "")),
        ("HTTPS://h/a.git", git("https://h/a.git", "", "")),
        ("http://h/a.git#", git("http://h/a.git", "", "")),
        ("https://u:p@h/a.git#v1", git("https://u:p@h/a.git", "v1", "")),
        ("https://h/a.git#:sub", git("https://h/a.git", "", "sub")),
        ("https://h/a.git#baz/qux:/x/y/", git("https://h/a.git", "baz/qux", "x/y")),
        ("https://h/a.git#v:a/../b", git("https://h/a.git", "v", "b")),
        ("ssh://git@h:22/a", git("ssh://git@h:22/a", "", "")),
        ("git://h/a", git("git://h/a", "", "")),
        ("git@h:a/b.git#v:d", git("git@h:a/b.git", "v", "d")),
        ("user@h:a", git("user@h:a", "", "")),
        ("git@h:a?ref=x", git("git@h:a", "x", "")),
        ("https://h/a.git?tag=v1", git("https://h/a.git", "refs/tags/v1", "")),
        ("https://h/a.git?branch=b%2Fc", git("https://h/a.git", "refs/heads/b/c", "")),
        ("https://h/a.git?tag=v1#refs/tags/v1", git("https://h/a.git", "refs/tags/v1", "")),
        ("https://h/a.git?subdir=/s#x:s", git("https://h/a.git", "x", "s")),
        ("https://h/a", None),
        ("https://h/a.git/", None),
        ("https://h/a.GIT", None),
        ("https://h/a.git.tar", None),
        ("http://h/a.git:#branch", None),
        ("custom.xyz/a/b.git", None),
        ("./a.git", None),
        ("a", None),
        ("a:b", None),
        ("a/b@c:d", None),
        ("httpx://h/a.git", None),
        ("file:///a.git", None),
        ("ext::sh -c true", None),
    ] {
        assert_eq!(parse(source).unwrap(), expected, "{source}");
    }
    let github = parse("github.com/a/b#main").unwrap().unwrap();
    assert!(github.maybe_local && github.remote == "github.com/a/b" && github.revision.as_deref() == Some("main"));
}

#[test]
fn options() {
    let text = "https://h/a.git?keep-git-dir=1&submodules=false&mtime=commit&fetch-by-commit&checksum=deadbeef#refs/heads/b";
    let parsed = parse(text).unwrap().unwrap();
    assert_eq!((parsed.keep_git_dir, parsed.submodules, parsed.times), (Some(true), Some(false), Some(Times::Commit)));
    assert_eq!((parsed.revision.as_deref(), parsed.checksum.as_deref()), (Some("refs/heads/b"), Some("deadbeef")));
    assert!(parsed.fetch_by_commit);
}

#[test]
fn errors() {
    for (query, expected) in [
        ("?ref=x#y", "ref conflicts: \"y\" vs \"x\""),
        ("?ref=v1&tag=v1", "ref conflicts: \"v1\" vs \"refs/tags/v1\""),
        ("?tag=a&branch=a", "branch conflicts with tag"),
        ("?subdir=a#x:b", "subdir conflicts: \"b\" vs \"a\""),
        ("?keep-git-dir=maybe", "invalid keep-git-dir value: \"maybe\""),
        ("?fetch-by-commit=maybe", "invalid fetch-by-commit value: \"maybe\""),
        ("?fetch-by-commit", "fetch-by-commit needs a checksum"),
        ("?mtime=x", "invalid mtime value: \"x\" (must be \"checkout\" or \"commit\")"),
        ("?unknown=1", "unexpected query \"unknown\""),
        ("?ref=", "query \"ref\" has no value"),
        ("?ref=a&ref=b", "query \"ref\" has multiple values"),
        ("?checksum=zz", "invalid commit: \"zz\""),
    ] {
        assert_eq!(parse(&format!("https://h/a.git{query}")).unwrap_err().to_string(), expected);
    }
}

/// Row 45 of the adversarial list.
#[test]
fn nothing_is_taken_for_an_option_and_nothing_leads_out() {
    for source in [
        "https://h/a.git#--upload-pack=x",
        "https://h/a.git?ref=--upload-pack%3Dx",
        "https://h/a.git?branch=../../x",
        "ssh://-oProxyCommand=x/a.git",
        "ssh://-o@h/a.git",
        "-o@h:a",
        "a@-oProxyCommand:b",
        "git@h:-x",
        "https://h/a.git#main:../..",
        "https://h/a.git?subdir=x/../../y",
        "https://h/a.git#a\nb",
        "https://h/a.git?ref=a%0ab",
        "https://h/a.git#a b",
    ] {
        assert!(parse(source).is_err(), "{source:?}: {:?}", parse(source));
    }
}

#[test]
fn passwords_are_not_shown() {
    let shown = |text: &str| GitUrl::parse(text).unwrap().shown();
    assert_eq!(shown("https://u:p@h/a.git"), "https://h/a.git");
    assert_eq!(shown("https://token@h/a.git"), "https://h/a.git");
    assert_eq!(shown("ssh://git:x@h/a.git"), "ssh://git@h/a.git");
    assert_eq!(shown("git@h:a"), "git@h:a");
}
