//! Takes memory until there is none.

use layerwright_plugin::instruction::{Capabilities, Instruction, InstructionHandler, Lowered, Stage};
use layerwright_plugin::{Error, export_instruction_handler};

struct Grows;

impl InstructionHandler for Grows {
    fn describe() -> Capabilities {
        layerwright_guests::handler("grows", "GROWS")
    }

    fn lower(_: &Instruction, _: &Stage) -> Result<Lowered, Error> {
        let mut taken = Vec::new();
        loop {
            taken.push(std::hint::black_box(vec![1_u8; 1 << 20]));
        }
    }
}

export_instruction_handler!(Grows);
