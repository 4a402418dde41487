use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::build::Stop;
use crate::build::{Target, targets};
use crate::cli::answer::{Location, encoded, print, table};
use crate::cli::args::{BuildArguments, Format};
use crate::cli::finish;
use crate::cli::question::ask;
use crate::progress::Secrets;

/// Lists the stages that can be built.
pub fn run(args: &BuildArguments) -> ExitCode {
    let secrets = Arc::new(Secrets::default());
    let answer = ask(args, &secrets, async |_, inputs| (targets(&inputs), (*inputs.dockerfile).clone()));
    match answer {
        Ok((Ok(list), source)) => finish(match args.format {
            Format::Json => print(&Answer { targets: list.iter().map(Entry::from).collect(), sources: [encoded(&source)] }),
            Format::Text => {
                use std::io::Write as _;
                std::io::stdout().write_all(text(&list).as_bytes()).map_err(anyhow::Error::from)
            }
        }),
        Ok((Err(error), _)) => Stop::from(error).finish_with(&secrets, &args.log, false),
        Err(stop) => stop.finish_with(&secrets, &args.log, false),
    }
}

fn text(list: &[Target]) -> String {
    let mut rows = vec![["TARGET", "BASE", "PLATFORM", "LINE", "DESCRIPTION"].map(str::to_owned).to_vec()];
    rows.extend(list.iter().map(|target| {
        let name = match (&target.name, target.default) {
            (Some(name), true) => format!("{name} (default)"),
            (Some(name), false) => name.clone(),
            (None, true) => "(default)".to_owned(),
            (None, false) => String::new(),
        };
        let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![name, target.base.clone(), or_empty(&target.platform), target.span.start_line.to_string(), or_empty(&target.description)]
    }));
    crate::cli::diagnostic::printable(&table(3, &rows))
}

#[derive(Serialize)]
struct Answer<'a> {
    targets: Vec<Entry<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    base: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    location: Location,
}

impl<'a> From<&'a Target> for Entry<'a> {
    fn from(target: &'a Target) -> Self {
        Self {
            name: target.name.as_deref(),
            default: target.default,
            description: target.description.as_deref(),
            base: &target.base,
            platform: target.platform.as_deref(),
            location: Location::from(&target.span),
        }
    }
}
