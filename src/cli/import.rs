//! `imgasm import`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::connection::{ConnectionArgs, Console, explained};
use super::failure::Failure;
use super::image;
use super::output::Output;
use super::progress::Bars;
use super::recipe::RecipeArgs;
use super::{Outcome, recipe};
use crate::built;
use crate::config::Epoch;
use crate::environment::Environment;
use crate::manifest::Manifest;
use crate::recipe::{AmiFacts, Base, Recipe};
use imgasm_aws::plan::steps::{Parent, Situation};
use imgasm_aws::plan::{self, DEFAULT_ROLE, Plan, S3, Via};
use imgasm_aws::preview::preview;
use imgasm_aws::sdk::import::{self, Options, import};
use imgasm_aws::sdk::{Aws, Patience, connect};
use imgasm_aws::wish::{Ami, Polling};
use imgasm_aws::{Report, limits};
use imgasm_block::ChunkMap;

/// Make an AMI of what `build` has left. Prints its id.
///
/// What the AMI is called and has is in the recipe under `[ami]`. An AMI of the same image is found
/// and not made again; a run that was killed is gone on with.
#[derive(Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The folder with the built image.
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    output: PathBuf,
    /// How the disks get there: through a bucket, or block by block into snapshots.
    #[arg(long, value_enum, default_value_t = Way::S3)]
    via: Way,
    /// The bucket to upload to, in the region of the import; else `s3_bucket_name` of `[ami]`.
    #[arg(long)]
    bucket: Option<String>,
    /// The format of the uploaded disks; another one is worth a try where an import is refused.
    #[arg(long, value_enum, default_value_t = DiskFormat::Vmdk)]
    disk_format: DiskFormat,
    /// The role by which the import service reads the bucket; else `role_name` of `[ami]`, else
    /// vmimport.
    #[arg(long)]
    role: Option<String>,
    /// A snapshot that holds the base: with `--via ebs` only what differs from it is sent.
    #[arg(long, value_name = "SNAPSHOT")]
    parent_snapshot: Option<String>,
    /// Show what would be sent, and the IAM policy for it; ask and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Make the AMI again where there is one of the same image.
    #[arg(long)]
    force: bool,
    /// Deregister an AMI that has the name already.
    #[arg(long)]
    force_deregister: bool,
    /// Leave the uploaded objects in the bucket.
    #[arg(long)]
    keep: bool,
    /// What becomes of all that was made when the run fails for good. If the failure passes, it stays,
    /// and the same command goes on with it.
    #[arg(long, value_enum, default_value_t = OnError::Cleanup)]
    on_error: OnError,
    /// How many seconds to wait for an import or a copy; else as `aws_polling` of `[ami]` says.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// How the disks get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    S3,
    Ebs,
}

/// The formats that the import service reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DiskFormat {
    /// Stream-optimized VMDK.
    Vmdk,
    /// Dynamic VHD.
    Vhd,
    /// The disk as it is.
    Raw,
}

/// What becomes of what a run has made when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnError {
    /// It is removed.
    Cleanup,
    /// It stays, for a further run to go on with.
    Keep,
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let recipe = recipe::load(&args.recipe, environment)?;
    let bars = Bars::new();
    let cache = image::cache(environment)?;
    let opened = built::open(&args.output, &recipe, &cache, &bars.reading("reading"));
    let (manifest, built) = opened.map_err(|error| {
        let hint = error.hint();
        let failure = Failure::from(error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    })?;
    let ami = ami(&recipe, &manifest, environment)?;
    let region = args.connection.region_before_connecting(&ami, environment);
    let via = via(args, &ami)?;
    let plan = Plan::new(&built, ami, via).map_err(explained)?;
    limits::check(&plan, now()).map_err(explained)?;
    let base = base(args, &recipe, &manifest, environment, output)?;
    let parent = base.as_ref().map(|(snapshot_id, chunk_map)| Parent {
        snapshot_id,
        chunk_map,
    });
    if args.dry_run {
        let situation = Situation {
            region: region.as_deref(),
            parent: parent.as_ref(),
            encrypts: false,
            replaces: args.force_deregister || plan.ami.force_deregister,
            keeps_objects: args.keep,
        };
        let preview = preview(&plan, &situation, &bars.reading("measuring"));
        bars.finish();
        output.json(&preview.map_err(explained)?)?;
        return Ok(Outcome::Done);
    }
    bars.finish();
    let options = Options {
        dir: args.output.clone(),
        force: args.force,
        force_deregister: args.force_deregister,
        keep: args.keep,
        on_error: match args.on_error {
            OnError::Cleanup => import::OnError::Cleanup,
            OnError::Keep => import::OnError::Keep,
        },
        patience: patience(&plan.ami, args.timeout),
    };
    let default_region = plan.ami.region.as_ref().map(ToString::to_string);
    let account = plan.ami.account.as_ref().map(ToString::to_string);
    let settings = args.connection.settings(default_region, account);
    let console = Console::shared();
    let report = Arc::clone(&console) as Arc<dyn Report + Send + Sync>;
    let artifacts = connect::runtime().map_err(explained)?.block_on(async {
        let aws = Aws::connect(&settings).await?;
        Box::pin(import(&aws, &plan, parent.as_ref(), &options, &report)).await
    });
    console.finish();
    let artifacts = artifacts.map_err(explained)?;
    let id = artifacts
        .first()
        .map(|artifact| artifact.artifact_id.clone());
    manifest.with_artifacts(artifacts).write(&args.output)?;
    let id = id.unwrap_or_default();
    output.line(id.split_once(':').map_or(&*id, |(_, id)| id))?;
    Ok(Outcome::Done)
}

/// How long to wait for what takes time.
fn patience(ami: &Ami, timeout: Option<u64>) -> Patience {
    let Polling {
        delay_seconds,
        max_attempts,
    } = ami.aws_polling;
    let pause = u64::from(delay_seconds.max(1));
    Patience {
        pause: Duration::from_secs(pause),
        limit: Duration::from_secs(
            timeout.unwrap_or_else(|| pause.saturating_mul(u64::from(max_attempts))),
        ),
    }
}

/// Seconds since 1970, by the clock.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// The recipe's AMI, for what was built.
fn ami(recipe: &Recipe, manifest: &Manifest, environment: &Environment) -> Result<Ami, Failure> {
    let given = environment.source_date_epoch()?;
    let origin = manifest.base.origin.as_ref();
    let facts = AmiFacts {
        now: given.map_or_else(now, Epoch::seconds),
        digest: manifest.image.digest,
        source: origin.map(|origin| (origin.ami_id.clone(), origin.name.clone())),
    };
    recipe.ami(&facts)?.ok_or_else(|| {
        Failure::new("the recipe does not say what AMI to make: it has no `[ami]`").with_hint(
            "add it, at the least:\n\n  [ami]\n  ami_name = \"my image {{ timestamp }}\"\n",
        )
    })
}

fn via(args: &Args, ami: &Ami) -> Result<Via, Failure> {
    if args.via == Way::Ebs {
        return Ok(Via::Ebs);
    }
    let named = || ami.s3_bucket_name.as_ref().map(ToString::to_string);
    let role = args.role.clone().or_else(|| ami.role_name.clone());
    Ok(Via::S3(S3 {
        bucket: args.bucket.clone().or_else(named).ok_or_else(|| {
            Failure::new("no bucket is named").with_hint(
                "name one with --bucket or `s3_bucket_name` in the recipe's [ami], in the \
                     region of the import; or upload without one: --via ebs",
            )
        })?,
        role: role.unwrap_or_else(|| DEFAULT_ROLE.to_owned()),
        format: match args.disk_format {
            DiskFormat::Vmdk => plan::DiskFormat::Vmdk,
            DiskFormat::Vhd => plan::DiskFormat::Vhd,
            DiskFormat::Raw => plan::DiskFormat::Raw,
        },
    }))
}

/// The snapshot that holds the base, and the base's chunks, where an upload can build upon them.
fn base(
    args: &Args,
    recipe: &Recipe,
    manifest: &Manifest,
    environment: &Environment,
    output: &mut Output,
) -> Result<Option<(String, Arc<ChunkMap>)>, Failure> {
    if args.via != Way::Ebs {
        return Ok(None);
    }
    let record = &manifest.base;
    let origin = record.origin.as_ref();
    let recorded = || {
        let origin = origin.filter(|origin| origin.digest == record.digest);
        origin.and_then(|origin| origin.snapshot_id.clone())
    };
    let Some(snapshot_id) = args.parent_snapshot.clone().or_else(recorded) else {
        return Ok(None);
    };
    let Base::File { path, sha256, .. } = &recipe.base else {
        return Err(
            Failure::new("the base is assembled from a folder, so no snapshot holds it")
                .with_hint("leave --parent-snapshot out"),
        );
    };
    let bars = Bars::new();
    let base = image::cache(environment)?.base(path, *sha256, &bars.reading("base"))?;
    bars.finish();
    if base.chunk_map.digest() == record.digest {
        return Ok(Some((snapshot_id, base.chunk_map)));
    }
    output.warning(format_args!(
        "{} is not what the image was built upon any more: all of the image is uploaded",
        path.display()
    ));
    Ok(None)
}
