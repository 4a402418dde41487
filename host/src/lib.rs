//! Layerwright builds container images from Dockerfiles, without a daemon and without privileges beyond those it is given.

pub mod oci;
pub mod operation;
pub mod progress;
