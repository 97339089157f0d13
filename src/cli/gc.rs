//! `imgasm gc`

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Outcome;
use super::connection::{ConnectionArgs, Console, explained};
use super::failure::Failure;
use super::output::Output;
use imgasm_aws::Report;
use imgasm_aws::sdk::gc::{Leftover, find, remove};
use imgasm_aws::sdk::{Aws, connect};

/// List or remove what imports and pulls have left behind in the account.
///
/// These are snapshots that no AMI uses, copies, imports and objects, by imgasm's own tags and place
/// in a bucket. A run that is under way has such things too.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A bucket to look into, besides those that imports were made from.
    #[arg(long)]
    bucket: Vec<String>,
    /// Remove them.
    #[arg(long)]
    yes: bool,
    /// Only what is older than so many hours.
    #[arg(long, value_name = "HOURS", default_value_t = 0)]
    older_than: u64,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Failure> {
    let console = Console::shared();
    let report = Arc::clone(&console) as Arc<dyn Report + Send + Sync>;
    let runtime = connect::runtime().map_err(explained)?;
    let found = runtime.block_on(async {
        let aws = Aws::connect(&args.connection.settings(None, None)).await?;
        let found = find(&aws, &args.bucket, &*report).await?;
        Ok((aws, found))
    });
    let (aws, mut found) = found.map_err(explained)?;
    found.retain(|leftover| is_older(leftover, args.older_than));
    for leftover in &found {
        let since = leftover
            .since
            .and_then(|since| jiff::Timestamp::from_second(since).ok());
        let since = since.map_or_else(|| "-".to_owned(), |since| since.to_string());
        output.line(format_args!("{since:<20}  {leftover}  {}", leftover.name))?;
    }
    if !args.yes {
        if !found.is_empty() {
            output.note("found", format_args!("{}; --yes removes them", found.len()));
        }
        return Ok(Outcome::Done);
    }
    let failures = runtime.block_on(remove(&aws, &found, &*report));
    console.finish();
    if failures > 0 {
        let what = format!("{failures} of {} could not be removed", found.len());
        return Err(Failure::new(what));
    }
    Ok(Outcome::Done)
}

/// Whether something is there for longer than so many hours. What tells no time counts as new.
fn is_older(leftover: &Leftover, hours: u64) -> bool {
    if hours == 0 {
        return true;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    let since = leftover.since.and_then(|since| u64::try_from(since).ok());
    since.is_some_and(|since| now.saturating_sub(since) >= hours.saturating_mul(3600))
}
