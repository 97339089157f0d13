//! The `imgasm` binary: everything is in [`imgasm::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    imgasm::cli::main()
}
