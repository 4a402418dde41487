//! Panics, with terminal controls in its last words.

use layerwright_plugin::instruction::{Capabilities, Instruction, InstructionHandler, Lowered, Stage};
use layerwright_plugin::{Error, export_instruction_handler};

struct Traps;

impl InstructionHandler for Traps {
    fn describe() -> Capabilities {
        layerwright_guests::handler("traps", "TRAPS")
    }

    fn lower(instruction: &Instruction, _: &Stage) -> Result<Lowered, Error> {
        panic!("cannot go on with \u{1b}[31m{}\u{1b}[0m", instruction.text)
    }
}

export_instruction_handler!(Traps);
