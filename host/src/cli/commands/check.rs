use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::build::error::BuildError;
use crate::build::{Report, check};
use crate::cli::answer::{Location, SourceText, print};
use crate::cli::args::{BuildArguments, Format};
use crate::cli::question::ask;
use crate::cli::{diagnostic, finish};
use crate::dockerfile::Source;
use crate::dockerfile::lint::Finding;
use crate::progress::Secrets;

/// Says what is wrong and what is odd about a Dockerfile.
///
/// The exit code is 1 where something is wrong, or where the Dockerfile says that nothing may be odd and something is.
pub fn run(args: &BuildArguments) -> ExitCode {
    let secrets = Arc::new(Secrets::default());
    let answer = ask(args, &secrets, async |settings, inputs| {
        let source = (*inputs.dockerfile).clone();
        (check(settings, inputs).await, source)
    });
    let (report, source) = match answer {
        Ok(answer) => answer,
        Err(stop) => return stop.finish_with(&secrets, &args.log, false),
    };
    let written = match args.format {
        Format::Json => print(&Answer::new(&report, &source, &secrets)),
        Format::Text => {
            use std::io::Write as _;
            let said = text(&report, &source);
            std::io::stdout().write_all(said.as_bytes()).map_err(anyhow::Error::from)
        }
    };
    for error in report.errors.iter().filter(|_| args.format == Format::Text) {
        eprint!("\n{}", secrets.redact(&diagnostic::render(error)));
    }
    if written.is_err() || !report.errors.is_empty() || report.violation.is_some() {
        return written.map_or_else(|error| finish(Err(error)), |()| ExitCode::FAILURE);
    }
    ExitCode::SUCCESS
}

/// The report for people.
fn text(report: &Report, source: &Source) -> String {
    let mut out = match report.findings.len() {
        0 if report.errors.is_empty() => "Check complete, no warnings found.\n".to_owned(),
        0 => String::new(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    for finding in &report.findings {
        let page = finding.rule.url.as_ref().map(|url| format!(" - {url}")).unwrap_or_default();
        let excerpt = source.excerpt(&finding.span);
        let _ = write!(out, "\nWARNING: {}{page}\n{}\n{excerpt}\n", finding.rule.name, diagnostic::printable(&finding.message));
    }
    if let Some(violation) = &report.violation {
        let _ = write!(out, "\nerror: {violation}\n");
    }
    out
}

/// The report for programs.
#[derive(Serialize)]
struct Answer<'a> {
    warnings: Vec<Warning<'a>>,
    sources: [SourceText; 1],
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    error: Option<Failed>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning<'a> {
    rule_name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    detail: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct Failed {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Location>,
}

impl<'a> Answer<'a> {
    fn new(report: &'a Report, source: &Source, secrets: &Secrets) -> Self {
        let warning = |finding: &'a Finding| Warning {
            rule_name: &finding.rule.name,
            description: &finding.rule.description,
            url: finding.rule.url.as_deref(),
            detail: &finding.message,
            location: Location::from(&finding.span),
        };
        let failed = |error| {
            let failed = Failed::from(error);
            Failed { message: secrets.redact(&failed.message), ..failed }
        };
        let error = report.errors.first().map(failed);
        let violation = || report.violation.clone().map(|message| Failed { message, location: None });
        Self {
            warnings: report.findings.iter().map(warning).collect(),
            sources: [SourceText::from(source)],
            error: error.or_else(violation),
        }
    }
}

impl From<&BuildError> for Failed {
    fn from(error: &BuildError) -> Self {
        let span = match error {
            BuildError::Step(step) => Some(&step.span),
            BuildError::Dockerfile(all) => all.errors.errors.first().map(|error| &error.span),
            _ => None,
        };
        Self { message: diagnostic::one_line(error), location: span.map(Location::from) }
    }
}
