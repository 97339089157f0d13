//! What a repository says it has.
//!
//! - [`repomd`]: the list of its metadata, with their digests.
//! - [`mirrors`]: the places where a repository can be had.
//! - [`primary`]: its packages and what they depend on.
//! - [`filelists`]: which of them has a file.
//! - [`comps`]: groups of packages; [`modules`]: streams of modules; [`updateinfo`]: advisories.
//! - [`load`]: all of it, from the first place that has it whole.
//! - `unpack`: the compressions of metadata.
//! - `yaml`: YAML, a document at a time; `xml`: XML, read once from the beginning to the end.

pub mod comps;
pub mod filelists;
pub mod load;
pub mod mirrors;
pub mod modules;
pub mod primary;
pub mod repomd;
mod unpack;
pub mod updateinfo;
mod xml;
mod yaml;

pub use load::{Loaded, Location, Repository};
