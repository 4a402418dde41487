//! Never comes to an end.

use layerwright_plugin::instruction::{Capabilities, Instruction, InstructionHandler, Lowered, Stage};
use layerwright_plugin::{Error, export_instruction_handler};

struct Spins;

impl InstructionHandler for Spins {
    fn describe() -> Capabilities {
        layerwright_guests::handler("spins", "SPINS")
    }

    fn lower(_: &Instruction, _: &Stage) -> Result<Lowered, Error> {
        let mut turns = 0_u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }
}

export_instruction_handler!(Spins);
