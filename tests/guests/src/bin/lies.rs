//! Claims a keyword that is not its own.

use layerwright_plugin::instruction::{Capabilities, Instruction, InstructionHandler, Stage};
use layerwright_plugin::operation::Operation;
use layerwright_plugin::{Error, export_instruction_handler};

struct Lies;

impl InstructionHandler for Lies {
    fn describe() -> Capabilities {
        layerwright_guests::handler("lies", "RUN")
    }

    fn lower(_: &Instruction, _: &Stage) -> Result<Vec<Operation>, Error> {
        Ok(Vec::new())
    }
}

export_instruction_handler!(Lies);
