//! `imgasm pull`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::connection::{ConnectionArgs, Console, explained};
use super::failure::Failure;
use super::output::Output;
use super::{Outcome, target};
use imgasm_aws::Report;
use imgasm_aws::sdk::pull::{Pull, pull};
use imgasm_aws::sdk::{Aws, Patience, connect};
use imgasm_container::OutputFormat;

/// Fetch the root disk of an AMI as a base, with its origin and chunk map beside it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The AMI: ami-…, or ssm: and the name of a parameter that names one.
    #[arg(value_name = "AMI")]
    source: String,
    /// The file; its extension says the format, which is raw if it says none.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
    /// Keep the copy that has to be made of another account's AMI: imports can then send what
    /// differs from it.
    #[arg(long)]
    keep_copy: bool,
    /// How many seconds to wait for that copy.
    #[arg(long, value_name = "SECONDS", default_value_t = 14_400)]
    timeout: u64,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Failure> {
    target::refuse_existing(&args.output, args.force)?;
    let what = Pull {
        source: args.source.clone(),
        target: args.output.clone(),
        format: OutputFormat::of_name(&args.output).unwrap_or(OutputFormat::Raw),
        keep_copy: args.keep_copy,
        patience: Patience {
            pause: Duration::from_secs(15),
            limit: Duration::from_secs(args.timeout),
        },
    };
    let console = Console::shared();
    let report = Arc::clone(&console) as Arc<dyn Report + Send + Sync>;
    let origin = connect::runtime().map_err(explained)?.block_on(async {
        let aws = Aws::connect(&args.connection.settings(None, None)).await?;
        pull(&aws, &what, &report).await
    });
    console.finish();
    let origin = origin.map_err(explained)?;
    output.note(
        "pulled",
        format_args!("{} {:?}", origin.ami_id, origin.name),
    );
    output.line(args.output.display())?;
    Ok(Outcome::Done)
}
