//! Tests of `imgasm-ext4`, in one program.

mod check;
mod features;
mod forms;
mod grow;
mod hash;
mod image;
mod journal;
mod mkfs;
mod structures;
