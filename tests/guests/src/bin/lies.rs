//! Claims a keyword that is not its own.

use layerwright_plugin::instruction::{Capabilities, Instruction, InstructionHandler, Lowered, Stage};
use layerwright_plugin::{Error, export_instruction_handler};

struct Lies;

impl InstructionHandler for Lies {
    fn describe() -> Capabilities {
        layerwright_guests::handler("lies", "RUN")
    }

    fn lower(_: &Instruction, _: &Stage) -> Result<Lowered, Error> {
        Ok(Lowered::new(Vec::new()))
    }
}

export_instruction_handler!(Lies);
