use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::build::Stop;
use crate::build::error::BuildError;
use crate::build::{Argument, Outline, Wanted, outline};
use crate::cli::answer::{Location, encoded, print, table};
use crate::cli::args::{BuildArguments, Format};
use crate::cli::finish;
use crate::cli::question::ask;
use crate::dockerfile::Source;
use crate::progress::Secrets;

/// Lists what can be given to a build of the target.
pub fn run(args: &BuildArguments) -> ExitCode {
    let secrets = Arc::new(Secrets::default());
    let answer = ask(args, &secrets, async |settings, inputs| {
        let source = (*inputs.dockerfile).clone();
        (outline(settings, inputs).await, source)
    });
    match answer {
        Ok((Ok(outline), source)) => finish(match args.format {
            Format::Json => print(&Answer::new(&outline, &source)),
            Format::Text => {
                use std::io::Write as _;
                std::io::stdout().write_all(text(&outline).as_bytes()).map_err(anyhow::Error::from)
            }
        }),
        Ok((Err(errors), _)) => Stop::from(BuildError::from(errors)).finish_with(&secrets, &args.log, false),
        Err(stop) => stop.finish_with(&secrets, &args.log, false),
    }
}

fn text(outline: &Outline) -> String {
    let mut out = String::new();
    if outline.name.is_some() || outline.description.is_some() {
        let mut rows = vec![vec!["TARGET:".to_owned(), outline.name.clone().unwrap_or_else(|| "(default)".to_owned())]];
        rows.extend(outline.description.iter().map(|text| vec!["DESCRIPTION:".to_owned(), text.clone()]));
        let _ = writeln!(out, "{}", table(1, &rows));
    }
    if !outline.arguments.is_empty() {
        let mut rows = vec![["BUILD ARG", "VALUE", "DEFAULT", "DESCRIPTION"].map(str::to_owned).to_vec()];
        let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
        let row = |a: &Argument| vec![a.name.clone(), or_empty(&a.value), or_empty(&a.default), or_empty(&a.description)];
        rows.extend(outline.arguments.iter().map(row));
        let _ = writeln!(out, "{}", table(3, &rows));
    }
    for (heading, list) in [("SECRET", &outline.secrets), ("SSH", &outline.agents)] {
        if !list.is_empty() {
            let mut rows = vec![vec![heading.to_owned(), "REQUIRED".to_owned()]];
            let required = |wanted: &Wanted| if wanted.required { "true".to_owned() } else { String::new() };
            rows.extend(list.iter().map(|wanted| vec![wanted.id.clone(), required(wanted)]));
            let _ = writeln!(out, "{}", table(3, &rows));
        }
    }
    if !outline.caches.is_empty() {
        let rows: Vec<_> = std::iter::once("CACHE").chain(outline.caches.iter().map(|cache| cache.id.as_str())).collect();
        let _ = writeln!(out, "{}\n", rows.join("\n"));
    }
    crate::cli::diagnostic::printable(&out)
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Arg<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Mounted<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<Mounted<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache: Vec<Cache<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct Arg<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<&'a str>,
    location: Location,
}

#[derive(Serialize)]
struct Mounted<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

#[derive(Serialize)]
struct Cache<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    location: Location,
}

impl<'a> Answer<'a> {
    fn new(outline: &'a Outline, source: &Source) -> Self {
        let arg = |argument: &'a Argument| Arg {
            name: &argument.name,
            description: argument.description.as_deref(),
            value: argument.value.as_deref().filter(|value| !value.is_empty()),
            default: argument.default.as_deref(),
            location: Location::from(&argument.span),
        };
        let mounted = |list: &'a [Wanted]| {
            let one = |wanted: &'a Wanted| Mounted { name: &wanted.id, required: wanted.required, location: Location::from(&wanted.span) };
            list.iter().map(one).collect()
        };
        Self {
            name: outline.name.as_deref(),
            description: outline.description.as_deref(),
            args: outline.arguments.iter().map(arg).collect(),
            secrets: mounted(&outline.secrets),
            ssh: mounted(&outline.agents),
            cache: outline.caches.iter().map(|cache| Cache { id: &cache.id, location: Location::from(&cache.span) }).collect(),
            sources: [encoded(source)],
        }
    }
}
