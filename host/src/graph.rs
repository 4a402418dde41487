//! Which stages a Dockerfile has, what each is based on, and which one is wanted.

use crate::dockerfile::{Dockerfile, StageSource};
use crate::oci::{Platform, Reference};

/// The stages of a Dockerfile with their bases resolved, and the target.
#[derive(Clone, Debug)]
pub struct BuildGraph {
    /// In the order written.
    pub stages: Vec<Stage>,
    /// The stage to build.
    pub target: usize,
}

/// A stage and what it starts from.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its place among the stages.
    pub index: usize,
    /// What it starts from.
    pub base: Base,
    /// The platform that its base image is pulled for.
    pub platform: Platform,
    /// Its text.
    pub source: StageSource,
}

/// What a stage starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// A source that the user named.
    Named(String),
    /// An image.
    Image(Reference),
}

/// Why a Dockerfile's stages make no graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// The target is no stage.
    #[error("target stage {name:?} could not be found{}", suggestion.as_ref().map(|s| format!(" (did you mean {s}?)")).unwrap_or_default())]
    NoTarget {
        /// As asked.
        name: String,
        /// The stage that was meant, perhaps.
        suggestion: Option<String>,
    },
}

impl BuildGraph {
    /// Makes the graph of stages whose bases are known.
    ///
    /// # Errors
    /// The target is no stage. Names of stages are looked up without regard to case; the last stage of a name counts.
    pub fn new(stages: Vec<Stage>, target: Option<&str>) -> Result<Self, GraphError> {
        let last = stages.len().saturating_sub(1);
        let target = match target {
            None => last,
            Some(name) => find_target(&stages, name)?,
        };
        Ok(Self { stages, target })
    }

    /// Targets besides the main one.
    ///
    /// # Errors
    /// One of them is no stage.
    pub fn targets(&self, names: &[String]) -> Result<Vec<usize>, GraphError> {
        names.iter().map(|name| find_target(&self.stages, name)).collect()
    }

    /// The stage that `name` means in the stage at `before`: the last of that name before it, else the one of that number.
    pub fn earlier(&self, name: &str, before: usize) -> Option<usize> {
        find_stage(&self.stages, name, before)
    }

    /// The stage of that name or number at or after `from`, for telling why it cannot be used.
    pub fn later(&self, name: &str, from: usize) -> Option<usize> {
        find_stage(&self.stages, name, self.stages.len()).filter(|index| *index >= from)
    }
}

fn find_target(stages: &[Stage], name: &str) -> Result<usize, GraphError> {
    stages.iter().rposition(|stage| is_called(stage, name)).ok_or_else(|| GraphError::NoTarget {
        name: name.to_owned(),
        suggestion: crate::dockerfile::suggest(&name.to_lowercase(), stages.iter().filter_map(|s| s.source.from.alias.as_deref())),
    })
}

/// Whether a stage has a name, in any case.
fn is_called(stage: &Stage, name: &str) -> bool {
    stage.source.from.alias.as_deref().is_some_and(|alias| alias.eq_ignore_ascii_case(name))
}

/// The last stage of a name before `before`, else the stage of that number.
pub fn find_stage(stages: &[Stage], name: &str, before: usize) -> Option<usize> {
    let visible = stages.get(..before.min(stages.len()))?;
    visible.iter().rposition(|stage| is_called(stage, name)).or_else(|| name.parse().ok().filter(|index| *index < visible.len()))
}

/// What a stage is called in messages: its name, else its number.
pub fn stage_label(source: &Dockerfile, index: usize) -> String {
    let alias = source.stages.get(index).and_then(|stage| stage.from.alias.clone());
    alias.unwrap_or_else(|| format!("stage-{index}"))
}
