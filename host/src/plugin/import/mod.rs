//! The host's side of every interface that plugins import. Each asks the plugin's grants at each call, with the value.

mod clock;
mod credential_helper;
mod env;
mod files;
mod http;
pub(super) mod inspect;
pub(super) mod log;

use super::state::State;
use super::v0_1::wit::{operation, types};

impl types::Host for State {}
impl operation::Host for State {}
