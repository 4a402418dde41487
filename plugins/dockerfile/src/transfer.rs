//! What `COPY` and `ADD` have in common: sources, a destination, and the flags about what arrives there.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{Arguments, Instruction};
use layerwright_plugin::operation::{Copy, InlineFile, Ownership, Source};

/// The arguments of a `COPY` or an `ADD`, in the order written.
pub(crate) struct Transfer {
    pub(crate) sources: Vec<Word>,
    pub(crate) destination: String,
    ownership: Ownership,
    exclude: Vec<String>,
    independent: bool,
}

/// One source.
pub(crate) enum Word {
    /// A path, a pattern or a URL.
    Path(String),
    /// The body of a here-document.
    Inline(InlineFile),
}

impl Transfer {
    /// Reads arguments and flags.
    pub(crate) fn read(instruction: &Instruction) -> Result<Self, Error> {
        let name = &instruction.name;
        let Some((destination, sources)) = instruction.words().split_last().filter(|(_, sources)| !sources.is_empty()) else {
            return Err(Error::invalid(format!(
                "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
            )));
        };
        let sources = words(instruction, sources, destination)?;
        let owner = given(instruction, "chown");
        let mode = given(instruction, "chmod");
        mode.as_deref().map_or(Ok(()), crate::mode::check)?;
        Ok(Self {
            sources,
            // An empty destination is the working directory, and a directory.
            destination: if destination.is_empty() { "./".to_owned() } else { destination.clone() },
            // A symbolic mode may depend on what is there, so BuildKit makes no linked layer with any mode.
            independent: instruction.switch("link") && mode.is_none(),
            ownership: Ownership { owner, mode },
            exclude: instruction.flag_values("exclude").map(str::to_owned).collect(),
        })
    }

    /// A copy of paths of a source, or of all of it where there are none, with what the flags say.
    pub(crate) fn copy(&self, from: Source, paths: Vec<String>) -> Copy {
        let excludes = !matches!(from, Source::Inline(_) | Source::Download(_));
        Copy {
            ownership: self.ownership.clone(),
            exclude: if excludes { self.exclude.clone() } else { Vec::new() },
            independent: self.independent,
            ..Copy::new(from, paths, self.destination.clone())
        }
    }
}

/// Appends a copy to those before it, or to the last one where the two can be one.
pub(crate) fn append(copies: &mut Vec<Copy>, copy: Copy) {
    if let Some(last) = copies.last_mut() {
        match (&mut last.from, &copy.from) {
            (Source::Context(_), Source::Context(_)) | (Source::Stage(_), Source::Stage(_)) if last.unpack == copy.unpack => {
                last.paths.extend(copy.paths);
                return;
            }
            // A name twice stands for two files, one after the other.
            (Source::Inline(files), Source::Inline(more)) if !more.iter().any(|file| files.iter().any(|f| f.name == file.name)) => {
                files.extend(more.iter().cloned());
                return;
            }
            _ => {}
        }
    }
    copies.push(copy);
}

/// The value of a flag, unless it is empty.
fn given(instruction: &Instruction, flag: &str) -> Option<String> {
    instruction.flag(flag).filter(|value| !value.is_empty()).map(str::to_owned)
}

fn words(instruction: &Instruction, sources: &[String], destination: &str) -> Result<Vec<Word>, Error> {
    // A JSON array holds paths alone.
    let mut heredocs = match instruction.arguments {
        Arguments::Words(_) => instruction.heredocs.as_slice(),
        _ => &[],
    };
    let mut words = Vec::new();
    for source in sources {
        let word = match (crate::heredoc::delimiter(source), heredocs.split_first()) {
            (Some(name), Some((heredoc, rest))) if heredoc.name == name => {
                heredocs = rest;
                Word::Inline(InlineFile::new(crate::path::base(&heredoc.name), heredoc.content.clone()))
            }
            _ => Word::Path(source.clone()),
        };
        words.push(word);
    }
    let is_heredoc = crate::heredoc::delimiter(destination).is_some_and(|name| heredocs.iter().any(|heredoc| heredoc.name == name));
    if is_heredoc {
        return Err(Error::invalid(format!("{} cannot accept a heredoc as a destination", instruction.name)));
    }
    Ok(words)
}

/// Whether a source is to be fetched from the web.
pub(crate) fn is_url(source: &str) -> bool {
    source.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
}
