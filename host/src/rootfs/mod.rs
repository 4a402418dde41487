//! Where operations take effect: the files of a stage.

pub mod apply;
pub mod chmod;
pub mod disk;
pub mod layered;
pub mod list;
pub mod overlay;
pub mod owner;
pub mod scan;
pub mod store;

pub mod tree;
pub mod unpacked;
