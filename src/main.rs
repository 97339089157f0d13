//! The `imgasm` binary: reads the environment, and leaves everything else to [`imgasm::cli`].

use std::process::ExitCode;

use imgasm::environment::Environment;

fn main() -> ExitCode {
    imgasm::cli::main(&Environment::of_process())
}
