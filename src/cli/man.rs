//! `imgasm man`

use std::fs;
use std::path::PathBuf;

use clap_mangen::Man;

use super::failure::Failure;
use super::output::Output;
use super::{Outcome, command};

/// Print the manual page, or write one for each command.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write `imgasm.1` and a page for each command into this folder.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Failure> {
    if let Some(folder) = &args.output {
        let failed = |e| Failure::new(format!("cannot write to {}: {e}", folder.display()));
        fs::create_dir_all(folder).map_err(failed)?;
        clap_mangen::generate_to(command(), folder).map_err(failed)?;
    } else {
        let mut page = Vec::new();
        Man::new(command()).render(&mut page)?;
        output.bytes(&page)?;
    }
    Ok(Outcome::Done)
}
