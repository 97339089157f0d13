//! Tests of `imgasm-fs`, in one program.

mod tree;
