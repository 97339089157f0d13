//! Tests of `imgasm-container`, in one program.

mod bound;
mod cache;
mod family;
mod foreign;
mod named_twice;
mod read;
mod vmdk_as_qemu;
mod write;
