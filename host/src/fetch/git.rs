use layerwright_git_reference::{GitReference, GitUrl};

use super::{FetchError, Fetcher, NamedBy, Opened};

impl Fetcher {
    /// Checks a repository out as a build context.
    pub(super) async fn open_repository(&self, reference: &GitReference, _by: NamedBy) -> Result<Opened, FetchError> {
        let shown = GitUrl::parse(&reference.remote).map_or_else(|| reference.remote.clone(), |url| url.shown());
        Err(FetchError::Context { what: shown, why: "repositories are not cloned by this builder".to_owned() })
    }
}
