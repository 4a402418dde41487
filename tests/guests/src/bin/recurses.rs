//! Calls itself without end.

use layerwright_plugin::instruction::{Capabilities, Instruction, InstructionHandler, Lowered, Stage};
use layerwright_plugin::operation::Operation;
use layerwright_plugin::{Error, export_instruction_handler};

struct Recurses;

fn deeper(depth: u64) -> u64 {
    let below = std::hint::black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { deeper(depth + 1) + below[(depth % 64) as usize] }
}

impl InstructionHandler for Recurses {
    fn describe() -> Capabilities {
        layerwright_guests::handler("recurses", "RECURSES")
    }

    fn lower(_: &Instruction, _: &Stage) -> Result<Lowered, Error> {
        Ok(vec![Operation::remove(format!("/{}", deeper(0)))].into())
    }
}

export_instruction_handler!(Recurses);
