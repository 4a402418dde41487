use crate::plugin::grant::Ask;
use crate::plugin::state::State;
use crate::plugin::v0_1::wit::env;
use crate::plugin::v0_1::wit::types::Error;

impl env::Host for State {
    fn get(&mut self, name: String) -> Result<Option<String>, Error> {
        self.granted(Ask::Env(&name), &format!("read the environment variable {name}"), || format!("env={name}"))?;
        Ok(self.variable(&name))
    }
}
