//! Answers with more than anyone asked for; as `FLOODS log`, talks too much first.

use layerwright_plugin::instruction::{Capabilities, Instruction, InstructionHandler, Lowered, Stage};
use layerwright_plugin::operation::WriteFile;
use layerwright_plugin::{Error, export_instruction_handler, log};

struct Floods;

impl InstructionHandler for Floods {
    fn describe() -> Capabilities {
        layerwright_guests::handler("floods", "FLOODS")
    }

    fn lower(instruction: &Instruction, _: &Stage) -> Result<Lowered, Error> {
        if instruction.text.ends_with("log") {
            let message = "\u{1b}[2Jx".repeat(8 << 10);
            (0..10_000).for_each(|_| log::info(&message));
            return Ok(Lowered::new(Vec::new()));
        }
        Ok((0..48).map(|number| WriteFile::new(format!("/{number}"), vec![b'x'; 1 << 20]).into()).collect::<Vec<_>>().into())
    }
}

export_instruction_handler!(Floods);
