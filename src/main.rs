//! The `imgasm` binary.

fn main() {}
