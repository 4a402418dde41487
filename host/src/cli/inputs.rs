use std::io::Read;
use std::path::Path;

use super::args::BuildArguments;
use crate::build::error::BuildError;
use crate::context::{BuildContext, Location, LookFirst, read_dockerfile};
use crate::dockerfile::Source;
use crate::fetch::{FetchError, Fetcher, NamedBy, Opened};

/// The largest Dockerfile, in bytes.
const DOCKERFILE_LIMIT: u64 = 4 << 20;

/// The Dockerfile of that name and the build context, from wherever they are; what is fetched goes away with the context.
///
/// # Errors
/// One of them cannot be had.
pub async fn inputs(
    args: &BuildArguments,
    dockerfile: &str,
    location: &Location,
    fetcher: &Fetcher,
) -> Result<(Source, BuildContext), BuildError> {
    if dockerfile == "-" && *location == Location::StandardInput {
        return Err(BuildError::other("standard input cannot be both the Dockerfile and the build context"));
    }
    let opened = fetcher.open(location, NamedBy::Operator).await.map_err(|error| fetch("cannot open the build context", error))?;
    let opened = match args.context.context_sub_path.as_deref().filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => opened.below(path).map_err(|error| fetch("invalid value for --context-sub-path", error))?,
        None => opened,
    };
    let failed = |error| BuildError::because("cannot read the build's input", error);
    if dockerfile == "-" {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().take(DOCKERFILE_LIMIT + 1).read_to_end(&mut bytes);
        read.map_err(|error| BuildError::because("cannot read the Dockerfile from standard input", error))?;
        let source = text("<stdin>".to_owned(), &bytes, "on standard input")?;
        return Ok((source, opened.context(None).map_err(failed)?));
    }
    if dockerfile.starts_with("https://") || dockerfile.starts_with("http://") {
        let file = fetcher.download(dockerfile, None, NamedBy::Operator).await;
        let file = file.map_err(|error| fetch("cannot read the Dockerfile", error))?;
        let source = text(file.name.clone(), &read(&file.path)?, "from the web")?;
        return Ok((source, opened.context(None).map_err(failed)?));
    }
    if let Some(single) = &opened.single {
        let name = single.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let source = text(name, &read(single)?, "that is the build context")?;
        return Ok((source, opened.context(None).map_err(failed)?));
    }
    let first = if opened.fetched { LookFirst::Context } else { LookFirst::WorkingDirectory };
    let found = read_dockerfile(&opened.path, Path::new(dockerfile), first).map_err(failed)?;
    let context = opened.context(Some(&found.path)).map_err(failed)?;
    Ok((Source::from_bytes(shown(&found.path, &opened), &found.bytes), context))
}

/// As the user would write it: where a fetched context lies for the time of the build is nobody's business.
fn shown(path: &Path, opened: &Opened) -> String {
    let root = std::fs::canonicalize(&opened.path).unwrap_or_else(|_| opened.path.clone());
    let inside = path.strip_prefix(&root).ok().filter(|_| opened.fetched);
    inside.unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(DOCKERFILE_LIMIT + 1).read_to_end(&mut bytes));
    read.map_err(|error| BuildError::because("cannot read the Dockerfile", error))?;
    Ok(bytes)
}

fn text(name: String, bytes: &[u8], which: &str) -> Result<Source, BuildError> {
    if bytes.len() as u64 > DOCKERFILE_LIMIT {
        return Err(BuildError::other(format!("the Dockerfile {which} is larger than 4 MiB")));
    }
    Ok(Source::from_bytes(name, bytes))
}

fn fetch(message: &str, error: FetchError) -> BuildError {
    let hint = error.hint();
    BuildError::Other { message: message.to_owned(), hint, source: Some(std::sync::Arc::new(error)) }
}
