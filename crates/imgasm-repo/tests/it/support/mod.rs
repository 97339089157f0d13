//! What the tests have in common.
//!
//! - [`world`]: repositories and systems, made on the spot, and dnf's opinion of them.

pub mod world;
