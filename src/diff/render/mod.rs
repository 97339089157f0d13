//! A report as something to read.
//!
//! - [`text`]: a line a path, for a terminal.
//! - [`json`]: the stable schema for machines.
//! - [`fields`]: the properties of a path that differ, which every form shows.

pub mod fields;
pub mod json;
pub mod text;
