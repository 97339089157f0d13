//! Tests of `imgasm-fat`, in one program.

mod fat;
