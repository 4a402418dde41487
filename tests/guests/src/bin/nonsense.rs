//! Asks for operations that make no sense.

use layerwright_plugin::instruction::{Capabilities, Instruction, InstructionHandler, Stage};
use layerwright_plugin::operation::{Copy, Exec, InlineFile, Operation};
use layerwright_plugin::{Error, export_instruction_handler};

struct Nonsense;

impl InstructionHandler for Nonsense {
    fn describe() -> Capabilities {
        layerwright_guests::handler("nonsense", "NONSENSE")
    }

    fn lower(instruction: &Instruction, _: &Stage) -> Result<Vec<Operation>, Error> {
        Ok(vec![match instruction.text.as_str() {
            "NONSENSE nul" => Operation::remove("/a\0b"),
            "NONSENSE empty" => Exec::new(Vec::<String>::new()).into(),
            "NONSENSE slash" => Copy::inline(vec![InlineFile::new("../escape", "x")], "/").into(),
            _ => Operation::env("A=B", "x"),
        }])
    }
}

export_instruction_handler!(Nonsense);
