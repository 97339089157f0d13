//! Tests of `imgasm-disk`, in one program.

mod differential;
mod flags;
mod flush_failure;
mod gpt;
mod limits;
mod mbr;
mod mutation;
mod probe;
mod root;
