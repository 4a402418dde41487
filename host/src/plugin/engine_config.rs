//! The configuration of the WebAssembly engine, one text for the program and for its build script.
//!
//! Code that was compiled ahead of time fits an engine of the same configuration alone, so both include this file.

/// How plugins are compiled and run: epochs interrupt them, the stack is bounded.
///
/// Every option here is part of what wasmtime compares when it takes compiled code in.
pub fn engine_config() -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(512 * 1024);
    // What a trap's message needs is the name of the function; offsets would only make the code larger.
    config.generate_address_map(false);
    config
}
