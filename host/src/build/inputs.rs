use std::sync::Arc;

use super::images::Images;
use super::lowering::Handlers;
use crate::context::BuildContext;
use crate::dockerfile::Source;
use crate::fetch::Fetcher;
use crate::progress::Reporter;

/// What a plan is made from.
#[derive(Clone)]
pub struct Inputs {
    /// Who lowers instructions.
    pub handlers: Arc<Handlers>,
    /// Where base images come from.
    pub images: Arc<dyn Images>,
    /// Who fetches named contexts; none where nothing is built.
    pub fetcher: Option<Arc<Fetcher>>,
    /// Who hears of it.
    pub reporter: Arc<dyn Reporter>,
    /// The main build context.
    pub context: Arc<BuildContext>,
    /// The Dockerfile.
    pub dockerfile: Arc<Source>,
}
