//! `imgasm pull`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::connection::{ConnectionArgs, Console, explained};
use super::failure::Failure;
use super::output::Output;
use super::variables::assignment;
use super::{Outcome, target};
use crate::environment::Environment;
use imgasm_aws::Report;
use imgasm_aws::policy::{partition, pull_policy};
use imgasm_aws::sdk::pull::{Pull, Source, pull};
use imgasm_aws::sdk::{Aws, Patience, connect};
use imgasm_container::OutputFormat;

/// Fetch the root disk of an AMI as a base, with its origin and chunk map beside it.
#[derive(Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(super) struct Args {
    /// The AMI: ami-…, or ssm: and the name of a parameter that names one; else what --filter finds.
    #[arg(value_name = "AMI", required_unless_present_any = ["filter", "policy"])]
    source: Option<String>,
    /// The AMI for which this is so, as name=amzn2-ami-hvm-*-x86_64-gp2; the names are those of
    /// `DescribeImages`.
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment, conflicts_with = "source",
          requires = "owner")]
    filter: Vec<(String, String)>,
    /// Whose the AMI must be: an account, amazon or self. Anybody may give an AMI any name.
    #[arg(long, value_name = "OWNER", requires = "filter")]
    owner: Vec<String>,
    /// Take the newest of several.
    #[arg(long, requires = "filter")]
    most_recent: bool,
    /// The file; its extension says the format, which is raw if it says none.
    #[arg(short, long, value_name = "FILE", required_unless_present = "policy")]
    output: Option<PathBuf>,
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
    /// Show the IAM policy that this needs; ask and change nothing.
    #[arg(long)]
    policy: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    if args.policy {
        let partition = partition(args.connection.region.as_deref());
        output.json(&pull_policy(partition))?;
        return Ok(Outcome::Done);
    }
    // clap asks for it otherwise.
    let target = args.output.clone().unwrap_or_default();
    target::refuse_existing(&target, args.force)?;
    let what = Pull {
        source: match &args.source {
            Some(name) => Source::Named(name.clone()),
            None => Source::Filter {
                owners: args.owner.clone(),
                filters: args.filter.clone(),
                most_recent: args.most_recent,
            },
        },
        target: target.clone(),
        format: OutputFormat::of_name(&target).unwrap_or(OutputFormat::Raw),
        keep_copy: args.keep_copy,
        patience: Patience {
            pause: Duration::from_secs(15),
            limit: Duration::from_secs(args.timeout),
        },
    };
    let console = Console::shared();
    let report = Arc::clone(&console) as Arc<dyn Report + Send + Sync>;
    let origin = connect::runtime().map_err(explained)?.block_on(async {
        let settings = args.connection.settings(environment, None, None);
        let aws = Aws::connect(&settings, &*report).await?;
        pull(&aws, &what, &report).await
    });
    console.finish();
    let origin = origin.map_err(explained)?;
    output.note(
        "pulled",
        format_args!("{} {:?}", origin.ami_id, origin.name),
    );
    output.line(target.display())?;
    Ok(Outcome::Done)
}
