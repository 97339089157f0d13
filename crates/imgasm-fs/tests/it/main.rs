//! Tests of `imgasm-fs`, in one program.

mod rehearsal;
mod tree;
