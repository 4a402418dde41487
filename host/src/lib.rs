//! Layerwright builds container images from Dockerfiles, without a daemon and without privileges beyond those it is given.
//!
//! One build goes down one path of calls: `cli::commands::build` makes settings and seams, [`build::build`] plans the
//! stages that the target needs, carries their steps out, and gives an [`image::Image`], which [`export::write`] pushes
//! or writes. Handlers, logins and mirror rules are WebAssembly components behind the traits of [`build`] and
//! [`registry`]; only [`plugin`] knows that.

pub mod build;
pub mod cache;
pub mod cli;
pub mod context;
pub mod dockerfile;
pub mod export;
pub mod fetch;
pub mod fs;
pub mod graph;
pub mod helper;
pub mod image;
pub mod layer;
pub mod oci;
pub mod operation;
pub mod plugin;
pub mod progress;
pub mod registry;
pub mod rootfs;
pub mod sandbox;
pub mod trust;
