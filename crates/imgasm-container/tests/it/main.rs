//! Tests of `imgasm-container`, in one program.

mod cache;
mod read;
mod write;
