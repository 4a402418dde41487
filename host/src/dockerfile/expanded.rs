use super::error::{ExpandError, ExpandErrorKind};
use super::expand::{Environment, Expander, MAX_EXPANDED};
use super::heredoc::heredoc_of;
use super::instruction::{Arguments, Heredoc, Instruction, Pair};
use super::keyword::Keywords;
use super::source::cut;

/// An instruction with the values of variables in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpandedInstruction {
    /// The instruction.
    pub instruction: Instruction,
    /// The variables that are not set, defaults given or not, once for each word that asks for them.
    pub unset: Vec<String>,
}

/// Expands an instruction as its keyword says: the arguments, the flags that expand, and the bodies of heredocs whose delimiter is not
/// quoted.
///
/// In the result every heredoc's content is final, and its `expand` and `chomp` are false. Words that open a heredoc stay as they are.
/// Each word is expanded on its own: a value with spaces does not become two words.
///
/// # Errors
/// The first word that cannot be expanded, or after which the instruction has grown by more than [`MAX_EXPANDED`] bytes.
pub fn expand_instruction(
    instruction: &Instruction,
    escape: char,
    keywords: &Keywords,
    environment: &Environment<'_>,
) -> Result<ExpandedInstruction, ExpandError> {
    let keyword = keywords.get(&instruction.name);
    let mut run = Run { expander: Expander::new(escape, environment), unset: Vec::new(), added: 0 };
    let mut result = instruction.clone();
    for flag in &mut result.flags {
        let spec = keyword.and_then(|keyword| keyword.flags.iter().find(|spec| spec.name == flag.name));
        if let (Some(value), Some(spec)) = (&mut flag.value, spec.filter(|spec| spec.expands)) {
            *value = if spec.repeats { run.fields(value)? } else { run.word(value)? };
        }
    }
    let expands = keyword.is_some_and(|keyword| keyword.expands);
    if expands {
        match &mut result.arguments {
            Arguments::Exec(words) => run.words(words, false)?,
            Arguments::Words(words) => run.words(words, !instruction.heredocs.is_empty())?,
            Arguments::Pairs(pairs) => run.pairs(pairs)?,
            Arguments::Text(text) => *text = run.word(text)?,
        }
    }
    for heredoc in &mut result.heredocs {
        run.heredoc(heredoc, expands)?;
    }
    Ok(ExpandedInstruction { instruction: result, unset: run.unset })
}

/// An expander that remembers which variables its words asked for.
struct Run<'a> {
    expander: Expander<'a>,
    unset: Vec<String>,
    /// By how many bytes the words have grown so far.
    added: usize,
}

impl Run<'_> {
    fn with(&mut self, expander: Expander<'_>, word: &str) -> Result<String, ExpandError> {
        match expander.word(word) {
            Ok(expansion) => {
                self.unset.extend(expansion.unset);
                self.added = self.added.saturating_add(expansion.value.len().saturating_sub(word.len()));
                if self.added > MAX_EXPANDED {
                    let unset = std::mem::take(&mut self.unset);
                    return Err(ExpandError { word: cut(word), kind: ExpandErrorKind::TooLong(MAX_EXPANDED), unset });
                }
                Ok(expansion.value)
            }
            Err(error) => {
                let unset = self.unset.drain(..).chain(error.unset).collect();
                Err(ExpandError { unset, ..error })
            }
        }
    }

    fn word(&mut self, word: &str) -> Result<String, ExpandError> {
        self.with(self.expander, word)
    }

    fn words(&mut self, words: &mut [String], heredocs: bool) -> Result<(), ExpandError> {
        for word in words {
            let opens = heredocs && matches!(heredoc_of(word), Ok(Some(_)));
            if !opens {
                *word = self.word(word)?;
            }
        }
        Ok(())
    }

    fn pairs(&mut self, pairs: &mut [Pair]) -> Result<(), ExpandError> {
        for pair in pairs {
            pair.name = self.word(&pair.name)?;
            pair.value = self.word(&pair.value)?;
        }
        Ok(())
    }

    fn heredoc(&mut self, heredoc: &mut Heredoc, expands: bool) -> Result<(), ExpandError> {
        let body = heredoc.body().into_owned();
        let raw = Expander::new('\\', self.expander.environment()).ignoring_quotes();
        heredoc.content = if expands && heredoc.expand { self.with(raw, &body)? } else { body };
        (heredoc.expand, heredoc.chomp) = (false, false);
        Ok(())
    }

    /// Expands a value made of fields, `a=b,c,"d=e,f"`, each on its own, so that a comma in a variable separates nothing.
    ///
    /// A field `from` names a stage or image. It stays as written: the order of stages is known before any variable is.
    fn fields(&mut self, value: &str) -> Result<String, ExpandError> {
        let Some(mut fields) = split_fields(value) else { return Ok(value.to_owned()) };
        for field in &mut fields {
            match field.split_once('=') {
                Some((key, _)) if key.eq_ignore_ascii_case("from") => {}
                Some((key, value)) => *field = format!("{key}={}", self.word(value)?),
                None => {}
            }
        }
        Ok(fields.iter().map(|field| quote_field(field)).collect::<Vec<_>>().join(","))
    }
}

/// The fields of one CSV record; none where a quote stands in the wrong place.
pub fn split_fields(record: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let mut field = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let (part, after) = quoted.split_once('"')?;
                field.push_str(part);
                match after.strip_prefix('"') {
                    Some(more) => (field, quoted) = (field + "\"", more),
                    None => break rest = after,
                }
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (part, after) = rest.split_at_checked(end)?;
            if part.contains('"') {
                return None;
            }
            field.push_str(part);
            rest = after;
        }
        fields.push(field);
        if rest.is_empty() {
            return Some(fields);
        }
        rest = rest.strip_prefix(',')?;
    }
}

/// A field as CSV has it.
fn quote_field(field: &str) -> String {
    let plain = !field.contains([',', '"', '\n', '\r']) && !field.starts_with(' ');
    if plain { field.to_owned() } else { format!("\"{}\"", field.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::super::{ArgumentForm, FlagSpec, Keyword, Source, parse};
    use super::*;

    fn keywords() -> Keywords {
        let flag = |name: &str, repeats, expands| FlagSpec { name: name.to_owned(), is_switch: false, repeats, expands };
        let mut keywords = Keywords::new();
        let flags = vec![flag("chown", false, true), flag("from", false, false), flag("exclude", true, false)];
        for keyword in [
            Keyword { flags, heredocs: true, expands: true, ..Keyword::new("COPY", ArgumentForm::ExecOrWords) },
            Keyword { flags: vec![flag("mount", true, true)], heredocs: true, ..Keyword::new("RUN", ArgumentForm::ExecOrShell) },
            Keyword { expands: true, ..Keyword::new("ENV", ArgumentForm::Pairs) },
        ] {
            keywords.claim("test", keyword).unwrap();
        }
        keywords
    }

    fn expand(line: &str) -> Result<Instruction, String> {
        let environment =
            |name: &str| [("F", "a b"), ("C", "x,y"), ("U", "me")].into_iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_owned());
        let parsed = parse(&Source::new("D", &format!("FROM a\n{line}\n")), &keywords()).map_err(|e| e.to_string())?;
        expand_instruction(&parsed.stages[0].instructions[0], '\\', &keywords(), &environment)
            .map(|e| e.instruction)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn words_are_not_split_and_only_some_flags_expand() {
        let copy = expand("COPY --chown=$U:g --from=$U --exclude=$U $F /d/").unwrap();
        assert_eq!(copy.arguments, Arguments::Words(vec!["a b".to_owned(), "/d/".to_owned()]));
        assert_eq!((copy.flag("chown"), copy.flag("from"), copy.flag("exclude")), (Some("me:g"), Some("$U"), Some("$U")));
    }

    #[test]
    fn fields_are_expanded_one_by_one() {
        let run = expand("RUN --mount=type=cache,id=$C,from=$U,target='\"/a,$U\"' echo $U").unwrap();
        assert_eq!(run.flag("mount"), Some("type=cache,id=$C,from=$U,target=\"/a,$U\""));
        let run = expand("RUN --mount=type=cache,id=$C,from=$U,'\"target=/a,$U\"',ro echo $U").unwrap();
        assert_eq!(run.flag("mount"), Some("type=cache,\"id=x,y\",from=$U,\"target=/a,me\",ro"));
        assert_eq!(run.arguments, Arguments::Text("echo $U".to_owned()));
    }

    #[test]
    fn heredocs_expand_where_they_may() {
        let content = |line: &str| expand(line).unwrap().heredocs[0].content.clone();
        assert_eq!(content("COPY <<E /a\n\"$U\" \\$U\nE"), "\"me\" $U\n");
        assert_eq!(content("COPY <<'E' /a\n$U\nE"), "$U\n");
        assert_eq!(content("COPY <<-E /a\n\t\t$U\n\tE"), "me\n");
        assert_eq!(content("RUN <<E\n$U\nE"), "$U\n");
        let copy = expand("COPY <<\"E\" $U /a\nE").unwrap();
        assert_eq!(copy.arguments, Arguments::Words(["<<\"E\"", "me", "/a"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn what_is_not_set_is_named_once_a_word() {
        let parsed = parse(&Source::new("D", "FROM a\nENV a=$X$X b=${X:-1} c=${Y?}\n"), &keywords()).unwrap();
        let instruction = &parsed.stages[0].instructions[0];
        let set = |name: &str| (name == "Y").then(String::new);
        assert_eq!(expand_instruction(instruction, '\\', &keywords(), &set).unwrap().unset, ["X", "X"]);
        assert_eq!(expand_instruction(instruction, '\\', &keywords(), &|_| None).unwrap_err().unset, ["X", "X", "Y"]);
    }

    #[test]
    fn an_instruction_grows_in_bounds() {
        let words = "${F//?/01234567890123456789012345678901234567890123456789} \\\n".repeat(15_000);
        assert!(expand(&format!("COPY {words} /d")).unwrap_err().contains("over 1048576 bytes"));
        assert!(expand(&format!("COPY {} /d", "abcdefgh".repeat(8_000))).is_ok());
    }

    #[test]
    fn names_expand_too() {
        let pair = |name: &str, value: &str, legacy| Pair { name: name.to_owned(), value: value.to_owned(), legacy };
        assert_eq!(
            expand("ENV $U=\"$F\" b='$F'").unwrap().arguments,
            Arguments::Pairs(vec![pair("me", "a b", false), pair("b", "$F", false)])
        );
        assert_eq!(expand("ENV k $F \"x\"").unwrap().arguments, Arguments::Pairs(vec![pair("k", "a b x", true)]));
        assert!(expand("ENV a=${b:?no}").unwrap_err().contains("b: no"));
    }

    #[test]
    fn csv_is_strict_about_quotes() {
        assert_eq!(split_fields("a,\"b\"\"c,\",").unwrap(), ["a", "b\"c,", ""]);
        for bad in ["a\"b", "\"a", "\"a\"b"] {
            assert_eq!(split_fields(bad), None, "{bad}");
        }
    }
}
