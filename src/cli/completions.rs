//! `imgasm completions SHELL`

use clap_complete::Shell;

use super::failure::Failure;
use super::output::Output;
use super::{Outcome, command};

/// Print a completion script for a shell.
///
/// In bash, zsh and fish it also completes the variables and images of the recipe, paths inside images
/// that need no unpacking, and profiles of AWS.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell that will read it.
    shell: Shell,
}

/// What is added to the scripts, so that they ask `imgasm complete` first.
const BASH: &str = include_str!("completions/imgasm.bash");
const ZSH: &str = include_str!("completions/imgasm.zsh");
const FISH: &str = include_str!("completions/imgasm.fish");

/// The line from which on a script for zsh registers its function, or calls it if it is loaded as one.
const ZSH_END: &str = "if [ \"$funcstack[1]\" = \"_imgasm\" ]; then";

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut visible(&command()), "imgasm", &mut script);
    let script = String::from_utf8_lossy(&script);
    let script = match args.shell {
        Shell::Bash => format!("{script}\n{BASH}"),
        Shell::Zsh => script.replace(ZSH_END, &format!("{ZSH}\n{ZSH_END}")),
        Shell::Fish => format!("{script}\n{FISH}"),
        _ => script.into_owned(),
    };
    output.bytes(script.as_bytes())?;
    Ok(Outcome::Done)
}

/// The command line without the commands that nobody types.
fn visible(whole: &clap::Command) -> clap::Command {
    let commands = whole.get_subcommands().filter(|one| !one.is_hide_set());
    clap::Command::new("imgasm")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .args(whole.get_arguments())
        .subcommands(commands)
}
