//! Dockerfile instructions: the trait to implement, and what it is given.

pub use crate::bindings::instruction_handler::exports::layerwright::plugin::instruction::{
    ArgumentForm, Arguments, Capabilities, FlagSpec, Heredoc, Instruction, Keyword, Lowered, Rule, Stage, Warning,
};
use crate::operation::Operation;
use crate::{Description, Error, Platform, Property};

/// Turns Dockerfile instructions into operations, and does nothing itself.
pub trait InstructionHandler {
    /// Says what the handler is and which instructions it handles.
    fn describe() -> Capabilities;

    /// Says what an instruction stands for. The same arguments, and the same answers from [`crate::inspect`], give the
    /// same answer.
    ///
    /// # Errors
    /// Where the instruction is not right, with [`Error::invalid`]; the host shows it at the instruction's line.
    fn lower(instruction: &Instruction, stage: &Stage) -> Result<Lowered, Error>;
}

impl Capabilities {
    /// Says what a handler is and which instructions it handles.
    pub fn new(about: Description, keywords: impl IntoIterator<Item = Keyword>) -> Self {
        Self { about, keywords: keywords.into_iter().collect(), rules: Vec::new() }
    }

    /// Declares the build checks that its warnings belong to.
    #[must_use]
    pub fn with_rules(mut self, rules: impl IntoIterator<Item = Rule>) -> Self {
        self.rules.extend(rules);
        self
    }
}

impl Rule {
    /// Declares a build check.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self { name: name.into(), description: description.into(), url: None, experimental: false }
    }

    /// Says where to read more.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// Applies it only where the user asks for it.
    #[must_use]
    pub fn experimental(mut self) -> Self {
        self.experimental = true;
        self
    }
}

impl Warning {
    /// Warns by one of the handler's rules.
    pub fn new(rule: impl Into<String>, message: impl Into<String>) -> Self {
        Self { rule: rule.into(), message: message.into() }
    }
}

impl Lowered {
    /// An instruction that stands for operations.
    pub fn new(operations: Vec<Operation>) -> Self {
        Self { operations, warnings: Vec::new(), history: None }
    }

    /// Warns of something.
    #[must_use]
    pub fn warn(mut self, warning: Warning) -> Self {
        self.warnings.push(warning);
        self
    }

    /// Says what the image's history shows, in place of the text as it is written.
    #[must_use]
    pub fn history(mut self, text: impl Into<String>) -> Self {
        self.history = Some(text.into());
        self
    }
}

impl From<Vec<Operation>> for Lowered {
    fn from(operations: Vec<Operation>) -> Self {
        Self::new(operations)
    }
}

impl Keyword {
    /// Declares an instruction without flags or here-documents whose arguments are not expanded.
    pub fn new(name: impl Into<String>, arguments: ArgumentForm) -> Self {
        let (flags, warning) = (Vec::new(), None);
        Self { name: name.into(), arguments, flags, heredocs: false, expands: false, last_counts: false, stage_only: false, warning }
    }

    /// Expands variables in the arguments.
    #[must_use]
    pub fn expanded(mut self) -> Self {
        self.expands = true;
        self
    }

    /// Takes here-documents.
    #[must_use]
    pub fn with_heredocs(mut self) -> Self {
        self.heredocs = true;
        self
    }

    /// Counts only the last of several in a stage.
    #[must_use]
    pub fn last_counts(mut self) -> Self {
        self.last_counts = true;
        self
    }

    /// Stands in a stage alone, never as a trigger in an image.
    #[must_use]
    pub fn stage_only(mut self) -> Self {
        self.stage_only = true;
        self
    }

    /// Warns wherever it stands.
    #[must_use]
    pub fn warned_of(mut self, warning: Warning) -> Self {
        self.warning = Some(warning);
        self
    }

    /// Takes a flag.
    #[must_use]
    pub fn flag(mut self, flag: FlagSpec) -> Self {
        self.flags.push(flag);
        self
    }
}

impl FlagSpec {
    /// Declares `--name=value`.
    pub fn value(name: impl Into<String>) -> Self {
        Self { name: name.into(), is_switch: false, repeats: false, expands: false }
    }

    /// Declares `--name`, also written `--name=true` and `--name=false`.
    pub fn switch(name: impl Into<String>) -> Self {
        Self { is_switch: true, ..Self::value(name) }
    }

    /// Allows it more than once.
    #[must_use]
    pub fn repeated(mut self) -> Self {
        self.repeats = true;
        self
    }

    /// Expands variables in the value.
    #[must_use]
    pub fn expanded(mut self) -> Self {
        self.expands = true;
        self
    }
}

impl Instruction {
    /// Creates an instruction as the host would, for tests.
    pub fn new(name: impl Into<String>, arguments: Arguments) -> Self {
        Self { name: name.into(), flags: Vec::new(), arguments, heredocs: Vec::new(), text: String::new() }
    }

    /// Adds a flag, for tests.
    #[must_use]
    pub fn with_flag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.flags.push(Property::new(name, value));
        self
    }

    /// Adds a here-document, for tests.
    #[must_use]
    pub fn with_heredoc(mut self, name: impl Into<String>, content: impl Into<String>) -> Self {
        self.heredocs.push(Heredoc { name: name.into(), content: content.into(), descriptor: 0 });
        self
    }

    /// The keyword as it is written.
    pub fn keyword(&self) -> &str {
        self.text.split_whitespace().next().unwrap_or(&self.name)
    }

    /// The value of a flag, the last one where it repeats.
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().rfind(|flag| flag.name == name).map(|flag| flag.value.as_str())
    }

    /// The values of a flag, in the order given.
    pub fn flag_values<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.flags.iter().filter(move |flag| flag.name == name).map(|flag| flag.value.as_str())
    }

    /// Whether a switch is on: given, and not as `=false`.
    pub fn switch(&self, name: &str) -> bool {
        self.flag(name).is_some_and(|value| !value.eq_ignore_ascii_case("false"))
    }

    /// The words, also where they were written as a JSON array; empty for other forms.
    pub fn words(&self) -> &[String] {
        match &self.arguments {
            Arguments::Words(words) | Arguments::Exec(words) => words,
            Arguments::Pairs(_) | Arguments::Text(_) => &[],
        }
    }

    /// The pairs; empty for other forms.
    pub fn pairs(&self) -> &[Property] {
        match &self.arguments {
            Arguments::Pairs(pairs) => pairs,
            _ => &[],
        }
    }

    /// The text; empty for other forms.
    pub fn text_argument(&self) -> &str {
        match &self.arguments {
            Arguments::Text(text) => text,
            _ => "",
        }
    }
}

impl Stage {
    /// The value of a variable in the image's environment.
    pub fn env(&self, name: &str) -> Option<&str> {
        find(&self.env, name)
    }

    /// The value of a build argument in scope.
    pub fn build_arg(&self, name: &str) -> Option<&str> {
        find(&self.build_args, name)
    }

    /// The argument list that runs a command line in the stage's shell.
    pub fn shell_command(&self, line: impl Into<String>) -> Vec<String> {
        let mut arguments = self.shell.clone();
        arguments.push(line.into());
        arguments
    }
}

impl Default for Stage {
    /// An empty stage for linux/amd64, as it is after `FROM scratch`; for tests.
    fn default() -> Self {
        let linux = Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None };
        Self {
            target: linux.clone(),
            build: linux,
            build_args: Vec::new(),
            env: Vec::new(),
            labels: Vec::new(),
            user: String::new(),
            working_dir: "/".to_owned(),
            working_dir_set: false,
            shell: vec!["/bin/sh".to_owned(), "-c".to_owned()],
            shell_set: false,
        }
    }
}

fn find<'a>(properties: &'a [Property], name: &str) -> Option<&'a str> {
    properties.iter().rev().find(|property| property.name == name).map(|property| property.value.as_str())
}
