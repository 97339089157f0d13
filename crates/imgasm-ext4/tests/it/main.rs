//! Tests of `imgasm-ext4`, in one program.

mod check;
mod hash;
mod journal;
mod mkfs;
mod structures;
