//! Write plugins for Layerwright: Dockerfile instructions, registry logins, mirror rules.
//!
//! A plugin is a type that implements one trait, and one macro call:
//!
//! ```
//! use layerwright_plugin::instruction::{
//!     ArgumentForm, Capabilities, Instruction, InstructionHandler, Keyword, Lowered, Stage,
//! };
//! use layerwright_plugin::operation::Exec;
//! use layerwright_plugin::{Description, Error, export_instruction_handler};
//!
//! struct Greet;
//!
//! impl InstructionHandler for Greet {
//!     fn describe() -> Capabilities {
//!         let about = Description::new("acme/greet", "1.0.0", "says hello while it builds");
//!         Capabilities::new(about, [Keyword::new("GREET", ArgumentForm::Words).expanded()])
//!     }
//!
//!     fn lower(instruction: &Instruction, stage: &Stage) -> Result<Lowered, Error> {
//!         match instruction.words() {
//!             [who] => Ok(Lowered::new(vec![Exec::shell(stage, format!("echo hello {who}")).into()])),
//!             _ => Err(Error::invalid("GREET takes one name").hint("write `GREET world`")),
//!         }
//!     }
//! }
//!
//! export_instruction_handler!(Greet);
//! ```
//!
//! [`instruction::InstructionHandler`] turns Dockerfile instructions into operations, [`auth::AuthProvider`] finds
//! credentials for registries, [`mirror::MirrorResolver`] chooses where images are pulled from. The modules [`log`],
//! [`mod@env`], [`files`], [`http`], [`inspect`], [`clock`] and [`credential_helper`] ask things of the host. A component
//! imports only those that it calls.
//!
//! Build for `wasm32-unknown-unknown` with `crate-type = ["cdylib"]`. Built for the machine itself, the same code talks
//! to `fake::Host`, so that a plugin is tested as a plain function.

// The generated bindings name this crate as others do.
extern crate self as layerwright_plugin;

#[doc(hidden)]
pub mod bindings;

pub mod auth;
pub mod clock;
pub mod credential_helper;
pub mod env;
mod export;
#[cfg(not(target_arch = "wasm32"))]
pub mod fake;
pub mod files;
pub mod http;
pub mod inspect;
pub mod instruction;
pub mod log;
pub mod mirror;
pub mod operation;
mod types;

#[doc(hidden)]
pub use export::install_panic_hook;
pub use types::{Access, Description, Error, ErrorCode, Platform, Property, Want};
