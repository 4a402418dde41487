//! What a build reads from the network that is no image: files from the web and git repositories.
//!
//! Every server is hostile until proven otherwise: addresses are looked at before a connection is made, redirects are followed by hand,
//! sizes and times have limits, and a credential goes to the host that it is for and to no other.

mod address;
mod bucket;
mod cache;
mod credential;
mod download;
mod error;
mod exchange;
mod git;
mod name;
mod open;
mod settings;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use crate::progress::Reporter;
use crate::rootfs::store::Store;

pub use bucket::CloudVariables;
pub use credential::Credentials;
pub use download::Downloaded;
pub use error::FetchError;
pub use open::Opened;
pub use settings::FetchSettings;

use exchange::Web;

/// Reads files from the web and git repositories, each once in a build.
pub struct Fetcher {
    web: Arc<Web>,
    store: Store,
    reporter: Arc<dyn Reporter>,
    downloads: Mutex<BTreeMap<String, Arc<OnceCell<Downloaded>>>>,
    repositories: Mutex<BTreeMap<String, Arc<OnceCell<Opened>>>>,
}

/// Who named a source, which decides how far it may reach.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NamedBy {
    /// The person who runs the build, on the command line.
    Operator,
    /// The Dockerfile.
    Dockerfile,
}

impl Fetcher {
    /// Keeps what it reads in `store`.
    pub fn new(settings: FetchSettings, store: Store, reporter: Arc<dyn Reporter>) -> Self {
        Self { web: Arc::new(Web::new(settings)), store, reporter, downloads: Mutex::default(), repositories: Mutex::default() }
    }
}
