use std::time::{SystemTime, UNIX_EPOCH};

use crate::plugin::state::State;
use crate::plugin::v0_1::wit::clock;

impl clock::Host for State {
    fn now(&mut self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}
