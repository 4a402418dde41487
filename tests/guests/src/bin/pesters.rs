//! Asks the host again and again.

use layerwright_plugin::inspect::{Place, stat};
use layerwright_plugin::instruction::{Capabilities, Instruction, InstructionHandler, Lowered, Stage};
use layerwright_plugin::operation::Operation;
use layerwright_plugin::{Error, export_instruction_handler};

struct Pesters;

impl InstructionHandler for Pesters {
    fn describe() -> Capabilities {
        layerwright_guests::handler("pesters", "PESTERS")
    }

    fn lower(instruction: &Instruction, _: &Stage) -> Result<Lowered, Error> {
        if instruction.text.ends_with("once") {
            let found = stat(&Place::Rootfs, "/etc/passwd");
            return Ok(vec![Operation::remove(format!("/{}", found.is_ok()))].into());
        }
        loop {
            let _ = stat(&Place::Rootfs, "/etc/passwd");
        }
    }
}

export_instruction_handler!(Pesters);
