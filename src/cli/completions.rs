//! `imgasm completions SHELL`

use clap_complete::Shell;

use super::failure::Failure;
use super::output::Output;
use super::{Outcome, command};

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell that will read it.
    shell: Shell,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "imgasm", &mut script);
    output.bytes(&script)?;
    Ok(Outcome::Done)
}
