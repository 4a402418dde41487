//! Records of the cache that turn out to be no good when their layers are needed.

use std::io;
use std::path::Path;

use futures_util::future::join_all;

use super::Deps;
use super::error::BuildError;
use crate::cache::{Hit, verified};
use crate::image::LayerContent;
use crate::layer::entries::{Limits, ReadError, for_each_entry};
use crate::progress::reasons;
use crate::registry::Cause;

/// Finds out whether records of the cache are why a build or its output failed. Those that are have been said then and are not used any
/// more, so that doing it again gets further.
pub async fn distrust(deps: &Deps, error: &BuildError) -> bool {
    let Some(cache) = &deps.cache else { return false };
    let said = match error {
        BuildError::Step(step) if step.exit_code.is_none() => reasons(&**step),
        BuildError::Other { .. } => reasons(error),
        _ => return false,
    };
    // Errors name the layer or its blob; what a registry refuses to take, for instance, is no fault of the layer.
    let (named, others): (Vec<Hit>, Vec<Hit>) = cache.handed().into_iter().partition(|hit| {
        let layer = &hit.record;
        said.contains(&layer.layer.digest.hex()) || said.contains(&layer.diff_id.0.hex())
    });
    let mut any = false;
    for hit in named {
        if let Err(why) = prove(deps, &hit).await {
            cache.refuse(&hit.record, &why);
            any = true;
        }
    }
    if any {
        // What has gone has seldom gone alone.
        let gone = join_all(others.iter().map(|hit| is_gone(deps, hit))).await;
        for (hit, _) in others.iter().zip(gone).filter(|(_, gone)| *gone) {
            cache.refuse(&hit.record, &lost(hit));
        }
        cache.doubt();
    }
    any
}

fn lost(hit: &Hit) -> String {
    format!("blob {} is not there any more", hit.record.layer.digest)
}

async fn is_gone(deps: &Deps, hit: &Hit) -> bool {
    match &hit.content {
        LayerContent::File(path) => !path.exists(),
        LayerContent::Remote(_) if deps.store.has_blob(&hit.record.layer.digest) => false,
        LayerContent::Remote(source) => matches!(deps.client.find_blob(source, &hit.record.layer).await, Ok(false)),
    }
}

/// Brings a record's layer here and looks whether it is what the record says; else why it is not.
async fn prove(deps: &Deps, hit: &Hit) -> Result<(), String> {
    let record = hit.record.clone();
    let path = match &hit.content {
        LayerContent::File(path) => path.clone(),
        LayerContent::Remote(source) => {
            let path = deps.store.blob_path(&record.layer.digest);
            match deps.client.fetch_blob(source, &record.layer, &path).await {
                Ok(()) => path,
                Err(error) => {
                    return match *error.cause {
                        // Nothing that the record could do about it.
                        Cause::File { .. } => Ok(()),
                        Cause::NotFound(_) => Err(lost(hit)),
                        _ => Err(error.to_string()),
                    };
                }
            }
        }
    };
    let (file, layer) = (path.clone(), record.layer.clone());
    match blocking(move || verified(&file, &layer)).await {
        Ok(true) => {}
        Ok(false) => {
            if matches!(hit.content, LayerContent::Remote(_)) {
                // A copy that went bad here, and would be taken again.
                drop(std::fs::remove_file(&path));
            }
            return Err(format!("blob {} has another content", record.layer.digest));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(lost(hit)),
        Err(_) => return Ok(()),
    }
    match blocking(move || diff_id(&path)).await {
        Ok(found) if found == record.diff_id => Ok(()),
        Ok(found) => Err(format!("the diff-id of its layer is {found} and not {}", record.diff_id)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(format!("its layer cannot be read: {error}")),
        Err(_) => Ok(()),
    }
}

fn diff_id(path: &Path) -> io::Result<crate::oci::DiffId> {
    let read = for_each_entry::<ReadError>(std::fs::File::open(path)?, &Limits::default(), &mut |_, _| Ok(()));
    let read = read.map_err(|error| match error {
        ReadError::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    });
    Ok(read?.diff_id)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
