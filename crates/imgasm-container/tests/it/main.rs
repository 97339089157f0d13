//! Tests of `imgasm-container`, in one program.

mod bound;
mod cache;
mod foreign;
mod read;
mod vmdk_as_qemu;
mod write;
