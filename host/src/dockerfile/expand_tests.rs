use std::time::Instant;

use super::*;

fn environment(name: &str) -> Option<String> {
    let known = [("x", "1"), ("E", ""), ("V", "foobarbaz"), ("S", "a b  c"), ("D", "a.b.c/d.tar.gz"), ("BIG", &"y".repeat(1000))];
    known.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
}

fn word(text: &str) -> Result<String, String> {
    expand_word(text, '\\', &environment).map_err(|error| error.kind.to_string())
}

#[test]
fn operators() {
    for (input, expected) in [
        ("a${x}b$x", "a1b1"),
        ("${N:-d}${N-d}${E:-d}${E-d}", "ddd"),
        ("${x:+a}${N:+a}${E:+a}${E+a}", "aa"),
        ("${x:?m}${E?m}", "1"),
        ("${N:-${M:-$x}}", "1"),
        ("${N:-'a \"b'}", "a \"b"),
        ("${V#f*b}|${V##f*b}|${V%b*}|${V%%b*}", "arbaz|az|foobar|foo"),
        ("${D/./-}|${D//./-}|${V//ba/\\$1}", "a-b.c/d.tar.gz|a-b-c/d-tar-gz|foo\\$1r\\$1z"),
        ("'$x' \"$x\" \\$x \"\\$x\" \"\\n\" \\n", "$x 1 $x $x \\n n"),
        ("$$ $ $. ${x}$", " $ $. 1$"),
        ("a\\", "a"),
    ] {
        assert_eq!(word(input).unwrap(), expected, "{input}");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    for (input, expected) in [
        ("${", "missing '}'"),
        ("${x", "missing '}'"),
        ("${}", "bad substitution"),
        ("${x=1}", "unsupported modifier (=)"),
        ("${x:#1}", "unsupported modifier (:#)"),
        ("${N:?}", "N: is not allowed to be unset"),
        ("${E:?}", "E: is not allowed to be empty"),
        ("${N?why not}", "N: why not"),
        ("${x/a}", "missing '/'"),
        ("${x#\\a}", "invalid escape '\\a'"),
        ("'a", "single-quote"),
        ("\"a", "double-quote"),
    ] {
        let error = word(input).unwrap_err();
        assert!(error.contains(expected), "{input}: {error}");
    }
}

#[test]
fn words_split_only_where_white_space_is_bare() {
    let words = |text| expand_words(text, '\\', &environment).unwrap();
    assert_eq!(words(" a$S \"$S\" a\\ b '' "), ["aa", "b", "c", "a b  c", "a b"]);
    assert_eq!(words("80${N:-80}/tcp"), ["8080/tcp"]);
}

#[test]
fn bodies_keep_their_quotes() {
    assert_eq!(expand_raw("'$x' \"\\$x\" \\n \\\\ it's", &environment).unwrap(), "'1' \"$x\" n \\ it's");
}

#[test]
fn variables_are_reported() {
    let expansion = Expander::new('\\', &environment).word("${x} ${N:-$M} '$Q'").unwrap();
    assert_eq!(expansion.used.into_iter().collect::<Vec<_>>(), ["x"]);
    assert_eq!(expansion.unset.into_iter().collect::<Vec<_>>(), ["M", "N"]);
}

#[test]
fn depth_length_and_time_are_bounded() {
    let start = Instant::now();
    let deep = format!("{}x{}", "${a:-".repeat(200_000), "}".repeat(200_000));
    assert!(word(&deep).unwrap_err().contains("nested more than"));
    assert!(word(&"$BIG".repeat(250_000)).unwrap_err().contains("over"));
    assert_eq!(word(&"$".repeat(1 << 20)).unwrap(), "");
    assert_eq!(word(&"\\a".repeat(1 << 19)).unwrap().len(), 1 << 19);
    assert!(word(&"\"${".repeat(300_000)).is_err());
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
