//! `imgasm boot-relay SOCKET`: started by QEMU, for a connection of a machine that `boot` runs.

use std::path::PathBuf;

use super::Outcome;
use super::failure::Failure;
use crate::boot::metadata::relay;

/// Join this program's input and output to a socket.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(super) struct Args {
    /// The socket.
    socket: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Failure> {
    relay::run(&args.socket)?;
    Ok(Outcome::Done)
}
