use std::error::Error;

use crate::build::error::BuildError;

/// Says why a build failed: what, why, where, what to do.
pub fn render(error: &BuildError) -> String {
    let mut out = String::new();
    match error {
        BuildError::Dockerfile(all) => {
            for one in &all.errors.errors {
                headline(&mut out, &one.to_string(), one.source());
                excerpt(&mut out, &all.text.excerpt(&one.span));
            }
        }
        BuildError::Step(step) => {
            headline(&mut out, &step.message, step.source());
            if !step.output.is_empty() {
                out.push_str("last lines of output:\n");
                for line in &step.output {
                    out.push_str("  ");
                    out.push_str(line);
                    out.push('\n');
                }
            }
            excerpt(&mut out, &step.source.excerpt(&step.span));
            hint(&mut out, step.hint.as_deref());
        }
        BuildError::Other { message, hint: what, source } => {
            headline(&mut out, message, source.as_deref().map(|s| s as _));
            hint(&mut out, what.as_deref());
        }
        BuildError::Several(errors) => {
            for (index, error) in errors.iter().enumerate() {
                if index > 0 {
                    out.push('\n');
                }
                out.push_str(&render(error));
            }
        }
        BuildError::Cancelled => headline(&mut out, "cancelled", None),
    }
    out
}

/// Any other error.
pub fn render_plain(error: &(dyn Error + 'static)) -> String {
    let mut out = String::new();
    headline(&mut out, &error.to_string(), error.source());
    out
}

/// What failed and why, on one line.
pub fn one_line(error: &BuildError) -> String {
    let first: &(dyn Error + 'static) = match error {
        BuildError::Step(step) => step.as_ref(),
        other => other,
    };
    let mut out = first.to_string();
    let mut next = first.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !out.contains(&cause) {
            out = format!("{out}: {cause}");
        }
        next = error.source();
    }
    printable(&out).replace('\n', " ")
}

fn headline(out: &mut String, message: &str, mut cause: Option<&(dyn Error + 'static)>) {
    out.push_str(&format!("error: {}\n", printable(message)));
    let mut last = message.to_owned();
    while let Some(error) = cause {
        let text = error.to_string();
        // A wrapper that repeats the words of what it wraps adds nothing.
        if !last.contains(&text) {
            out.push_str(&format!("caused by: {}\n", printable(&text)));
        }
        last = text;
        cause = error.source();
    }
}

fn excerpt(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn hint(out: &mut String, text: Option<&str>) {
    if let Some(text) = text {
        out.push_str(&format!("\nhint: {}\n", printable(text)));
    }
}

/// Text from outside ends on a terminal: no control characters but line ends.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}
