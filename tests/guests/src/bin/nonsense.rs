//! Asks for operations that make no sense.

use layerwright_plugin::instruction::{Capabilities, Instruction, InstructionHandler, Lowered, Stage};
use layerwright_plugin::operation::{Copy, Exec, InlineFile, Operation};
use layerwright_plugin::{Error, export_instruction_handler};

struct Nonsense;

impl InstructionHandler for Nonsense {
    fn describe() -> Capabilities {
        layerwright_guests::handler("nonsense", "NONSENSE")
    }

    fn lower(instruction: &Instruction, _: &Stage) -> Result<Lowered, Error> {
        Ok(vec![match instruction.text.as_str() {
            "NONSENSE nul" => Operation::remove("/a\0b"),
            "NONSENSE empty" => Exec::new(Vec::<String>::new()).into(),
            "NONSENSE slash" => Copy::inline(vec![InlineFile::new("../escape", "x")], "/").into(),
            _ => Operation::env("A=B", "x"),
        }]
        .into())
    }
}

export_instruction_handler!(Nonsense);
