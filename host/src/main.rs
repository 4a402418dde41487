//! Parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == layerwright::sandbox::INIT_ARGUMENT) {
        return layerwright::sandbox::init_main();
    }
    if cfg!(target_feature = "crt-static") {
        layerwright::sandbox::look_up_without_libraries();
    }
    layerwright::cli::run(arguments)
}
