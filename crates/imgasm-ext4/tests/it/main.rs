//! Tests of `imgasm-ext4`, in one program.

mod check;
mod forms;
mod hash;
mod image;
mod journal;
mod mkfs;
mod structures;
