//! Taking blocks and inodes, and giving them back.
//!
//! - [`blocks`]: runs of blocks, near a goal.
//! - [`inodes`]: inodes, near their directory.

mod blocks;
mod inodes;
