use std::sync::Arc;

use crate::dockerfile::{Source, Span};

/// Why a build failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile does not parse.
    #[error("{0}")]
    Dockerfile(Arc<DockerfileErrors>),
    /// Something failed at an instruction.
    #[error("{0}")]
    Step(Arc<StepError>),
    /// Something failed that belongs to no instruction.
    #[error("{message}")]
    Other {
        /// What failed.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// Why.
        #[source]
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },
    /// Several things are wrong, by line; more than one.
    #[error("{}", several(.0))]
    Several(Arc<Vec<BuildError>>),
    /// Another stage failed first.
    #[error("cancelled")]
    Cancelled,
}

fn several(errors: &[BuildError]) -> String {
    let first = errors.first().map(ToString::to_string).unwrap_or_default();
    format!("{first} (and {} more)", errors.len().saturating_sub(1))
}

impl From<Vec<BuildError>> for BuildError {
    fn from(mut errors: Vec<BuildError>) -> Self {
        match errors.pop() {
            Some(only) if errors.is_empty() => only,
            Some(last) => {
                errors.push(last);
                Self::Several(Arc::new(errors))
            }
            None => Self::other("nothing is known of what failed"),
        }
    }
}

/// The errors of a Dockerfile with the text that they are in.
#[derive(Debug, thiserror::Error)]
#[error("{errors}")]
pub struct DockerfileErrors {
    /// The text.
    pub text: Source,
    /// Each with its span.
    pub errors: crate::dockerfile::ParseErrors,
}

/// A failure at an instruction.
#[derive(Debug)]
pub struct StepError {
    /// The Dockerfile.
    pub source: Arc<Source>,
    /// The instruction.
    pub span: Span,
    /// What failed.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Why.
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// The status of a command that failed.
    pub exit_code: Option<i32>,
    /// Whether a signal ended the command.
    pub signalled: bool,
    /// The last lines that it wrote.
    pub output: Vec<String>,
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StepError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

impl BuildError {
    /// A failure that belongs to no instruction.
    pub fn other(message: impl Into<String>) -> Self {
        Self::Other { message: message.into(), hint: None, source: None }
    }

    /// A failure that belongs to no instruction, and why.
    pub fn because(message: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Other { message: message.into(), hint: None, source: Some(Arc::new(source)) }
    }

    /// A registry's failure outside of any instruction, with what to do about it.
    pub fn registry(message: impl Into<String>, error: crate::registry::RegistryError) -> Self {
        Self::Other { message: message.into(), hint: error.hint(), source: Some(Arc::new(error)) }
    }

    /// The line of the Dockerfile that it belongs to; 0 where it belongs to none.
    pub fn line(&self) -> u32 {
        match self {
            Self::Step(step) => step.span.start_line,
            Self::Dockerfile(all) => all.errors.errors.first().map_or(0, |error| error.span.start_line),
            Self::Several(errors) => errors.first().map_or(0, Self::line),
            Self::Other { .. } | Self::Cancelled => 0,
        }
    }

    /// The status to end with: that of a command that failed, else 1.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Step(step) => step.exit_code.unwrap_or(1),
            _ => 1,
        }
    }

    /// Whether a command failed because a signal ended it.
    pub fn is_signalled(&self) -> bool {
        matches!(self, Self::Step(step) if step.signalled)
    }
}

/// A failure on the way to becoming a [`StepError`], before it is known where it happened.
#[derive(Debug, Default)]
pub struct Failure {
    /// What failed.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Why.
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// The status of a command that failed.
    pub exit_code: Option<i32>,
    /// Whether a signal ended the command.
    pub signalled: bool,
    /// The last lines that it wrote.
    pub output: Vec<String>,
}

impl Failure {
    /// A failure with a message alone.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// A failure and why.
    pub fn because(message: impl Into<String>, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { message: message.into(), cause: Some(Box::new(cause)), ..Self::default() }
    }

    /// A registry's failure, with what to do about it.
    pub fn registry(error: crate::registry::RegistryError) -> Self {
        let hint = error.hint();
        Self { hint, ..error.into() }
    }

    /// A failure to read from the network, with what to do about it.
    pub fn fetch(error: crate::fetch::FetchError) -> Self {
        let hint = error.hint();
        Self { hint, ..error.into() }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says where it happened.
    pub fn at(self, source: &Arc<Source>, span: &Span) -> BuildError {
        let Self { message, hint, cause, exit_code, signalled, output } = self;
        BuildError::Step(Arc::new(StepError {
            source: Arc::clone(source),
            span: span.clone(),
            message,
            hint,
            cause,
            exit_code,
            signalled,
            output,
        }))
    }
}

/// Turns any error into a failure of its own words.
impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { message: error.to_string(), cause: None, ..Self::default() }.with_chain(&error)
    }
}

impl Failure {
    fn with_chain(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        // The first message is shown as the failure itself; what lies below it is kept as text, since an error cannot be split.
        let mut below = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            below.push(cause.to_string());
            next = cause.source();
        }
        let chain = below.into_iter().rev().fold(None, |inner, text| Some(Box::new(Said { text, inner })));
        self.cause = chain.map(|said| said as _);
        self
    }
}

/// An error's words.
#[derive(Debug)]
struct Said {
    text: String,
    inner: Option<Box<Said>>,
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Said {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.as_deref().map(|inner| inner as _)
    }
}
