//! The command line: arguments in, calls of the library out.
//!
//! One file per subcommand, each with its argument struct and a `run`: [`apply`], [`boot`] (with
//! [`relay`]), [`build`] (with [`reproduce`]), [`cat`], [`check`], [`completions`] (with [`complete`]), [`convert`],
//! [`cp`], [`diff`], [`edit`], [`fetch`], [`find`], [`grow`], [`init`], [`inspect`], [`lock`], [`ls`], [`man`] (with [`manual`]),
//! [`plan`], [`recover`], [`schema`], [`tar`], [`verify`], and with the feature `aws` also `import`,
//! `pull` and `gc`, which share `connection`.
//!
//! - [`output`]: every byte that is printed goes through it, and through [`inert`], so that it
//!   commands nobody who reads it; [`progress`]: bars on a terminal.
//! - [`failure`]: messages about what went wrong.
//! - [`images`]: doing the same for each image of a recipe, several at a time.
//! - [`image`]: the `IMAGE` argument that most commands share; [`recipe`]: the arguments that give a
//!   recipe, and [`variables`] those that set its variables; [`target`]: the file that a command was told to write.
//! - [`download`]: bases that lie on servers; with the feature `aws` also in buckets, `s3_object`.
//! - [`confine`]: what a command may still reach when it opens an image.
//! - [`interrupt`]: what happens to a command that is told to stop.
//!
//! Exit status: 0 done or the same, 1 different or a verification that failed, 2 an error.

mod apply;
mod boot;
mod build;
mod cat;
mod check;
mod complete;
mod completions;
mod confine;
#[cfg(feature = "aws")]
mod connection;
mod convert;
mod cp;
mod diff;
mod download;
mod edit;
mod failure;
mod fetch;
mod find;
#[cfg(feature = "aws")]
mod gc;
mod grow;
mod image;
mod images;
#[cfg(feature = "aws")]
mod import;
mod inert;
mod init;
mod inspect;
mod interrupt;
mod lock;
mod ls;
mod man;
mod manual;
mod output;
mod plan;
mod progress;
#[cfg(feature = "aws")]
mod pull;
mod recipe;
mod recover;
mod relay;
mod reproduce;
#[cfg(feature = "aws")]
mod s3_object;
mod schema;
mod tar;
mod target;
mod variables;
mod verify;

use std::process::ExitCode;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::environment::Environment;
use crate::sandbox;
use failure::Failure;
use output::Output;

/// Assemble disk images offline: overlays applied directly in the filesystem inside an image.
#[derive(Debug, Parser)]
#[command(
    name = "imgasm",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    /// Log what is done; twice for more.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,
    /// Whether unpacked images in the cache are taken as they are, instead of compared with their
    /// digests as they are read; without this, not if CI is set.
    #[arg(
        long,
        global = true,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    trust_cache: Option<bool>,
    /// Do not shut the command off from the other files, the programs and the network of this machine
    /// while it opens recipes and images.
    #[arg(long, global = true)]
    no_sandbox: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Check(check::Args),
    Lock(lock::Args),
    Fetch(fetch::Args),
    Build(build::Args),
    Plan(plan::Args),
    Apply(apply::Args),
    Grow(grow::Args),
    Recover(recover::Args),
    Ls(ls::Args),
    Cat(cat::Args),
    Cp(cp::Args),
    Edit(edit::Args),
    Find(find::Args),
    Tar(tar::Args),
    Diff(diff::Args),
    Inspect(inspect::Args),
    #[cfg(feature = "aws")]
    Import(import::Args),
    #[cfg(feature = "aws")]
    Pull(pull::Args),
    #[cfg(feature = "aws")]
    Gc(gc::Args),
    Convert(convert::Args),
    Verify(verify::Args),
    Boot(boot::Args),
    #[command(hide = true)]
    BootRelay(relay::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Complete(complete::Args),
    Man(man::Args),
}

/// How a command ended when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Done, or nothing differs.
    Done,
    /// Something differs.
    Differs,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Differs => Self::from(1),
        }
    }
}

/// Runs the command line of this process, in this environment.
pub fn main(environment: &Environment) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are data and not errors; for the rest, clap's own status is 2 as
            // well.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    start_logging(cli.verbose, environment);
    let mut environment = environment.clone();
    environment.trusts_cache = cli.trust_cache.unwrap_or(environment.trusts_cache);
    environment.confines = !cli.no_sandbox;
    // These commands have more to tidy up, and do so themselves.
    #[cfg(feature = "aws")]
    let tidies_up = matches!(
        cli.command,
        Command::Import(_) | Command::Pull(_) | Command::Gc(_)
    );
    #[cfg(not(feature = "aws"))]
    let tidies_up = false;
    let interrupt = (!tidies_up).then(interrupt::Watch::begin).flatten();
    if environment.confines
        && let Some(needs) = confine::needs(&cli.command, &environment)
    {
        confine::enter(&needs);
    }
    // What was started before would not be shut off.
    if let Some(interrupt) = interrupt {
        interrupt.start();
    }
    let mut output = Output::new();
    let result = run(cli.command, &environment, &mut output).and_then(|outcome| {
        output.finish()?;
        Ok(outcome)
    });
    sandbox::leave();
    match result {
        Ok(outcome) => outcome.into(),
        Err(Failure::StdoutClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(2)
        }
    }
}

fn run(
    command: Command,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    match command {
        Command::Init(args) => init::run(&args, output),
        Command::Check(args) => check::run(&args, environment, output),
        Command::Lock(args) => lock::run(&args, environment, output),
        Command::Fetch(args) => fetch::run(&args, environment, output),
        Command::Build(args) => build::run(&args, environment, output),
        Command::Plan(args) => plan::run(&args, environment, output),
        Command::Apply(args) => apply::run(&args, environment, output),
        Command::Grow(args) => grow::run(&args, environment, output),
        Command::Recover(args) => recover::run(&args, output),
        Command::Ls(args) => ls::run(&args, environment, output),
        Command::Diff(args) => diff::run(&args, environment, output),
        Command::Cat(args) => cat::run(&args, environment, output),
        Command::Edit(args) => edit::run(&args, environment, output),
        Command::Cp(args) => cp::run(&args, environment, output),
        Command::Find(args) => find::run(&args, environment, output),
        Command::Tar(args) => tar::run(&args, environment, output),
        Command::Inspect(args) => inspect::run(&args, environment, output),
        #[cfg(feature = "aws")]
        Command::Import(args) => import::run(&args, environment, output),
        #[cfg(feature = "aws")]
        Command::Pull(args) => pull::run(&args, environment, output),
        #[cfg(feature = "aws")]
        Command::Gc(args) => gc::run(&args, environment, output),
        Command::Convert(args) => convert::run(&args, environment, output),
        Command::Verify(args) => verify::run(&args, environment, output),
        Command::Boot(args) => boot::run(&args, environment, output),
        Command::BootRelay(args) => relay::run(&args),
        Command::Schema(args) => schema::run(&args, output),
        Command::Completions(args) => completions::run(&args, output),
        Command::Complete(args) => complete::run(&args, environment, output),
        Command::Man(args) => man::run(&args, output),
    }
}

/// Logs go to stderr without times: they are for reading now, and the same run logs the same.
fn start_logging(verbose: u8, environment: &Environment) {
    let level = match verbose {
        0 => "warn",
        1 => "imgasm=info",
        _ => "imgasm=debug",
    };
    let filter = environment
        .log
        .as_ref()
        .and_then(|log| EnvFilter::try_new(log).ok())
        .unwrap_or_else(|| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(|| inert::Log)
        .without_time()
        .with_target(false)
        .init();
}

/// The whole command line, for completions and manual pages.
fn command() -> clap::Command {
    Cli::command()
}
