//! `imgasm gc`

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::connection::{ConnectionArgs, Console, explained};
use super::failure::Failure;
use super::output::Output;
use super::recipe::{self, RecipeArgs};
use super::{Outcome, confine};
use crate::config::Epoch;
use crate::environment::Environment;
use crate::recipe::AmiFacts;
use imgasm_aws::Report;
use imgasm_aws::policy::{gc_policy, partition};
use imgasm_aws::sdk::gc::{Leftover, OldImages, Search, find, remove};
use imgasm_aws::sdk::{Aws, connect};
use imgasm_aws::wish::Ami;
use imgasm_block::Digest;

/// List or remove what imports and pulls have left behind in the account, and old AMIs.
///
/// These are snapshots that no AMI uses, copies, imports and objects, by imgasm's own tags and place
/// in a bucket: in the recipe's regions and bucket, if there is a recipe. A run that is under way has
/// such things too; they are younger than a day, and what is, is left out.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// A bucket to look into, besides the recipe's and those that imports were made from.
    #[arg(long)]
    bucket: Vec<String>,
    /// Old AMIs of the recipe too: all but so many of the newest, in each region.
    #[arg(long, value_name = "N")]
    keep_last: Option<usize>,
    /// Old AMIs of the recipe too: those that have been deprecated for so many days, but not the
    /// newest.
    #[arg(long, value_name = "DAYS")]
    deprecated_for: Option<u32>,
    /// Remove them.
    #[arg(long)]
    yes: bool,
    /// Only what is older than so many hours.
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    older_than: u64,
    /// Show the IAM policy that this needs; ask and change nothing.
    #[arg(long)]
    policy: bool,
    /// As JSON: a list of what there is, and whether it was removed.
    #[arg(long, conflicts_with = "policy")]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Something that was left behind, for programs.
#[derive(Serialize)]
struct Listed<'l> {
    kind: &'static str,
    id: String,
    region: &'l str,
    /// `null` if AWS does not say it.
    since: Option<String>,
    name: &'l str,
    removed: bool,
}

/// What the recipe says of where to look.
struct Known {
    name: String,
    ami: Option<Ami>,
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let wants_old = args.keep_last.is_some() || args.deprecated_for.is_some();
    let known = known(args, environment, wants_old)?;
    let ami = known.as_ref().and_then(|known| known.ami.as_ref());
    let region = ami
        .and_then(|ami| ami.region.as_ref())
        .map(ToString::to_string);
    let account = ami
        .and_then(|ami| ami.account.as_ref())
        .map(ToString::to_string);
    let search = Search {
        regions: ami.map(regions).unwrap_or_default(),
        buckets: args
            .bucket
            .iter()
            .cloned()
            .chain(ami.and_then(bucket))
            .collect(),
        bucket_owner: ami
            .and_then(|ami| ami.s3_bucket_owner.as_ref())
            .map(ToString::to_string),
        old: known.as_ref().filter(|_| wants_old).map(|known| OldImages {
            name: known.name.clone(),
            // The newest of all is not old, however long ago it was deprecated.
            keep_last: args.keep_last.unwrap_or(1),
            deprecated_for: args.deprecated_for,
            now: i64::try_from(now()).unwrap_or(i64::MAX),
        }),
    };
    if args.policy {
        let partition = partition(args.connection.region.as_deref().or(region.as_deref()));
        let buckets: Vec<String> = search.buckets.iter().cloned().collect();
        output.json(&gc_policy(partition, &buckets, wants_old))?;
        return Ok(Outcome::Done);
    }
    let console = Console::shared();
    let report = Arc::clone(&console) as Arc<dyn Report + Send + Sync>;
    let runtime = connect::runtime().map_err(explained)?;
    let found = runtime.block_on(async {
        let settings = args.connection.settings(environment, region, account);
        let aws = Aws::connect(&settings, &*report).await?;
        let found = find(&aws, &search, &*report).await?;
        Ok((aws, found))
    });
    let (aws, mut found) = found.map_err(explained)?;
    found.retain(|leftover| is_older(leftover, args.older_than));
    for leftover in found.iter().filter(|_| !args.json) {
        let since = since(leftover).unwrap_or_else(|| "-".to_owned());
        output.line(format_args!("{since:<20}  {leftover}  {}", leftover.name))?;
    }
    let removed = if args.yes {
        runtime.block_on(remove(&aws, &found, &*report))
    } else {
        vec![false; found.len()]
    };
    console.finish();
    if args.json {
        let listed = found
            .iter()
            .zip(&removed)
            .map(|(leftover, removed)| Listed {
                kind: leftover.kind(),
                id: leftover.id(),
                region: &leftover.region,
                since: since(leftover),
                name: &leftover.name,
                removed: *removed,
            });
        output.json(&listed.collect::<Vec<_>>())?;
    }
    if !args.yes {
        if !found.is_empty() {
            output.note("found", format_args!("{}; --yes removes them", found.len()));
        }
        return Ok(Outcome::Done);
    }
    let failures = removed.iter().filter(|removed| !**removed).count();
    if failures > 0 {
        let what = format!("{failures} of {} could not be removed", found.len());
        return Err(Failure::new(what));
    }
    Ok(Outcome::Done)
}

/// What the recipe says; nothing if none is named and none is there.
fn known(
    args: &Args,
    environment: &Environment,
    is_needed: bool,
) -> Result<Option<Known>, Failure> {
    if !is_needed && args.recipe.path().is_err() {
        return Ok(None);
    }
    let load = || recipe::load(&args.recipe, environment);
    let recipe = confine::apart(confine::anything(), environment, load)?;
    // What its texts say of an image does not matter here.
    let any = AmiFacts {
        now: Epoch::DEFAULT.seconds(),
        digest: Digest::of(b""),
        source: Some(("ami-0".to_owned(), "name".to_owned())),
    };
    Ok(Some(Known {
        name: recipe.name.clone(),
        ami: recipe.ami(&any)?,
    }))
}

fn regions(ami: &Ami) -> BTreeSet<String> {
    let all = ami.ami_regions.iter().chain(&ami.region);
    all.map(ToString::to_string).collect()
}

fn bucket(ami: &Ami) -> Option<String> {
    ami.s3_bucket_name.as_ref().map(ToString::to_string)
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// Since when something is there.
fn since(leftover: &Leftover) -> Option<String> {
    let since = jiff::Timestamp::from_second(leftover.since?).ok()?;
    Some(since.to_string())
}

/// Whether something is there for longer than so many hours. What tells no time counts as new.
fn is_older(leftover: &Leftover, hours: u64) -> bool {
    if hours == 0 {
        return true;
    }
    let since = leftover.since.and_then(|since| u64::try_from(since).ok());
    since.is_some_and(|since| now().saturating_sub(since) >= hours.saturating_mul(3600))
}
