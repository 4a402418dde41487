use std::collections::BTreeMap;

use super::error::KeywordError;
use super::lint::{Rule, RuleMessage, rules};

/// How the parser reads an instruction: what a handler says of each keyword that it claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyword {
    /// Upper case.
    pub name: String,
    /// What follows the flags.
    pub form: ArgumentForm,
    /// The flags that may stand before the arguments.
    pub flags: Vec<FlagSpec>,
    /// Whether the arguments may hold heredocs.
    pub heredocs: bool,
    /// Whether variables in the arguments are expanded before the handler sees them.
    pub expands: bool,
    /// Whether of several in a stage only the last counts.
    pub last_counts: bool,
    /// Whether it may not wait in an image, as a trigger, for the stages that are based on it.
    pub stage_only: bool,
    /// What to say wherever it stands.
    pub warning: Option<RuleMessage>,
}

impl Keyword {
    /// A keyword without flags and heredocs whose arguments are not expanded.
    pub fn new(name: &str, form: ArgumentForm) -> Self {
        let (flags, warning) = (Vec::new(), None);
        Self { name: name.to_owned(), form, flags, heredocs: false, expands: false, last_counts: false, stage_only: false, warning }
    }
}

/// The form of the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentForm {
    /// Split at white space, quotes kept.
    Words,
    /// `a=b c="d e"`, or the old `a b c`.
    Pairs,
    /// A JSON array of strings where the line is one, else the line as text.
    ExecOrShell,
    /// A JSON array of strings where the line is one, else words.
    ExecOrWords,
    /// The line as written.
    Text,
}

/// One flag of a keyword.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagSpec {
    /// Without the dashes.
    pub name: String,
    /// A flag with a value is `--name=value`; a switch may stand alone.
    pub is_switch: bool,
    /// Whether it may be given more than once. Such a flag's value is a list of its own: fields between commas.
    pub repeats: bool,
    /// Whether variables in the value are expanded.
    pub expands: bool,
}

/// The keywords that a Dockerfile may use and the rules that its checks may break, and who claims each.
#[derive(Clone, Debug)]
pub struct Keywords {
    claims: BTreeMap<String, Claim>,
    rules: BTreeMap<String, (Rule, String)>,
}

#[derive(Clone, Debug)]
struct Claim {
    keyword: Keyword,
    claimant: String,
}

/// Who claims the keywords that are grammar rather than effect.
const BUILT_IN: &str = "layerwright";

impl Default for Keywords {
    fn default() -> Self {
        Self::new()
    }
}

impl Keywords {
    /// The keywords that every Dockerfile has: FROM and ARG.
    pub fn new() -> Self {
        let platform = FlagSpec { name: "platform".to_owned(), is_switch: false, repeats: false, expands: true };
        let keyword = |name: &str, flags| Keyword { flags, expands: true, ..Keyword::new(name, ArgumentForm::Words) };
        let from = Keyword { stage_only: true, ..keyword("FROM", vec![platform]) };
        let claims =
            [from, keyword("ARG", Vec::new())].map(|keyword| (keyword.name.clone(), Claim { keyword, claimant: BUILT_IN.to_owned() }));
        let rules = rules::ALL.iter().map(|rule| (rule.name.to_string(), (Rule::clone(rule), BUILT_IN.to_owned()))).collect();
        Self { claims: claims.into(), rules }
    }

    /// Adds a keyword for a claimant.
    ///
    /// # Errors
    /// The keyword is taken, or its name or one of its flags could not be written in a Dockerfile.
    pub fn claim(&mut self, claimant: &str, keyword: Keyword) -> Result<(), KeywordError> {
        check(claimant, &keyword)?;
        if let Some(claim) = self.claims.get(&keyword.name) {
            let (keyword, first, second) = (keyword.name, claim.claimant.clone(), claimant.to_owned());
            return Err(KeywordError::Taken { keyword, first, second });
        }
        self.claims.insert(keyword.name.clone(), Claim { keyword, claimant: claimant.to_owned() });
        Ok(())
    }

    /// Adds a rule of build checks for a claimant.
    ///
    /// # Errors
    /// The name is taken.
    pub fn claim_rule(&mut self, claimant: &str, rule: Rule) -> Result<(), KeywordError> {
        let name = rule.name.to_string();
        if let Some((_, first)) = self.rules.get(&name) {
            return Err(KeywordError::Rule { rule: name, first: first.clone(), second: claimant.to_owned() });
        }
        self.rules.insert(name, (rule, claimant.to_owned()));
        Ok(())
    }

    /// The rule of a name.
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.get(name).map(|(rule, _)| rule)
    }

    /// The keyword of a name in any case.
    pub fn get(&self, name: &str) -> Option<&Keyword> {
        self.find(name).map(|claim| &claim.keyword)
    }

    /// Who claims the keyword of a name.
    pub fn claimant(&self, name: &str) -> Option<&str> {
        self.find(name).map(|claim| claim.claimant.as_str())
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.claims.keys().map(String::as_str)
    }

    fn find(&self, name: &str) -> Option<&Claim> {
        // No keyword is this long: a hostile word is not copied to be looked up.
        let sane = name.len() <= MAX_NAME;
        sane.then(|| self.claims.get(&name.to_ascii_uppercase())).flatten()
    }
}

/// The longest keyword or flag, in bytes.
const MAX_NAME: usize = 64;

fn check(claimant: &str, keyword: &Keyword) -> Result<(), KeywordError> {
    let fits = |name: &str, first: fn(&char) -> bool, rest: fn(char) -> bool| {
        name.len() <= MAX_NAME && name.chars().next().is_some_and(|c| first(&c)) && name.chars().all(rest)
    };
    if !fits(&keyword.name, char::is_ascii_uppercase, |c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_' || c == '-') {
        return Err(KeywordError::Name { keyword: keyword.name.clone(), claimant: claimant.to_owned() });
    }
    for (index, flag) in keyword.flags.iter().enumerate() {
        let repeated = keyword.flags.iter().take(index).any(|other| other.name == flag.name);
        let written = fits(&flag.name, char::is_ascii_lowercase, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
        if repeated || !written {
            let (keyword, flag) = (keyword.name.clone(), flag.name.clone());
            return Err(KeywordError::Flag { keyword, flag, claimant: claimant.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyword(name: &str) -> Keyword {
        Keyword::new(name, ArgumentForm::Text)
    }

    #[test]
    fn a_second_claim_names_both() {
        let mut keywords = Keywords::new();
        keywords.claim("acme/pip", keyword("PIP")).unwrap();
        let error = keywords.claim("other/pip", keyword("PIP")).unwrap_err().to_string();
        assert!(error.contains("acme/pip") && error.contains("other/pip") && error.contains("PIP"), "{error}");
        assert!(keywords.claim("acme/pip", keyword("FROM")).unwrap_err().to_string().contains("layerwright"));
        assert_eq!(keywords.claimant("pip"), Some("acme/pip"));
    }

    #[test]
    fn a_rule_belongs_to_one() {
        let mut keywords = Keywords::new();
        let rule = |name: &str| Rule::declared(name.to_owned(), String::new(), None, false);
        keywords.claim_rule("acme/pip", rule("AcmeUnpinned")).unwrap();
        let error = keywords.claim_rule("other/pip", rule("AcmeUnpinned")).unwrap_err().to_string();
        assert!(error.contains("acme/pip") && error.contains("other/pip") && error.contains("AcmeUnpinned"), "{error}");
        assert!(keywords.claim_rule("acme/pip", rule("UndefinedVar")).is_err());
    }

    #[test]
    fn names_are_checked() {
        for name in ["", "pip", "P P", "1P", "#P", "P=", &"P".repeat(65)] {
            assert!(Keywords::new().claim("a/b", keyword(name)).is_err(), "{name}");
        }
        for name in ["", "A", "a=b", "-a"] {
            let flag = FlagSpec { name: name.to_owned(), is_switch: true, repeats: false, expands: false };
            assert!(Keywords::new().claim("a/b", Keyword { flags: vec![flag], ..keyword("P") }).is_err(), "{name}");
        }
    }
}
