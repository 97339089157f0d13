//! Tests of `imgasm-xfs`, in one program.

mod log;
mod write;
