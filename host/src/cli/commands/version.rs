use std::io::Write;
use std::process::ExitCode;

/// Prints the version.
pub fn run() -> ExitCode {
    match writeln!(std::io::stdout(), "layerwright {}", env!("CARGO_PKG_VERSION")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
