//! `imgasm import`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::connection::{ConnectionArgs, Console, explained};
use super::failure::Failure;
use super::images;
use super::output::Output;
use super::progress::Bars;
use super::recipe::RecipeArgs;
use super::{Outcome, confine, recipe};
use crate::build::Bases;
use crate::built;
use crate::config::Epoch;
use crate::environment::Environment;
use crate::manifest::Manifest;
use crate::recipe::{AmiFacts, Base, Recipe};
use imgasm_aws::plan::steps::{Parent, Situation};
use imgasm_aws::plan::{self, DEFAULT_ROLE, Plan, S3, Via};
use imgasm_aws::preview::preview;
use imgasm_aws::proof::Proof;
use imgasm_aws::sdk::import::{self, Options, import};
use imgasm_aws::sdk::{Aws, Patience, connect};
use imgasm_aws::wish::{Ami, Polling};
use imgasm_aws::{Artifact, Report, limits};
use imgasm_block::ChunkMap;
use imgasm_container::Cache;

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
    /// How much of a snapshot is read back before it is taken for a disk: what differs from the base,
    /// the first blocks and some of the rest; everything; nothing.
    #[arg(long, value_enum, default_value_t = Verify::Auto)]
    verify_snapshot: Verify,
    /// Also write the ids by region, as JSON: {"ami": {"REGION": "AMI"}}; Terraform reads it as
    /// NAME.auto.tfvars.json.
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// As JSON: a list with what each image became, as its manifest records it.
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
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

/// How much of a snapshot is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Verify {
    Auto,
    Full,
    Off,
}

impl Verify {
    fn proof(self) -> Proof {
        match self {
            Self::Auto => Proof::Auto,
            Self::Full => Proof::Full,
            Self::Off => Proof::Off,
        }
    }
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
    let load = || recipe::load_all(&args.recipe, environment);
    let recipes = confine::apart(confine::anything(), environment, load)?;
    if recipes.len() > 1 && args.output_file.is_some() {
        return Err(Failure::new("a file can be about one image only")
            .with_hint("choose an image with --image; --json is about all"));
    }
    let one = |recipe: &Recipe, bases: &Bases, bars: &Bars, output: &mut Output| {
        import_one(args, recipe, environment, (bases.cache(), bars), output)
    };
    let (made, outcome) = images::each(&recipes, environment, output, one)?;
    if args.json {
        let made: Vec<_> = made.iter().flatten().collect();
        output.json(&made)?;
    }
    outcome.map(|()| Outcome::Done)
}

fn import_one(
    args: &Args,
    recipe: &Recipe,
    environment: &Environment,
    (cache, bars): (&Cache, &Bars),
    output: &mut Output,
) -> Result<Option<Artifact>, Failure> {
    let folder = recipe.outputs(&args.output);
    let mut needs = confine::reading(confine::of_recipe(recipe));
    needs.read.push(folder.clone());
    let (manifest, built, base) = confine::apart(needs, environment, || {
        let opened = built::open(&folder, recipe, cache, &bars.reading("reading"));
        let (manifest, built) = opened.map_err(|error| {
            let hint = error.hint();
            Failure::advised(error, hint)
        })?;
        let base = base(args, recipe, &manifest, (cache, bars), output)?;
        Ok((manifest, built, base))
    })?;
    let (ami, named) = ami(recipe, &manifest, environment)?;
    let region = args.connection.region_before_connecting(&ami, environment);
    let via = via(args, &ami)?;
    let plan = Plan::new(&built, ami, &named, via).map_err(explained)?;
    limits::check(&plan, region.as_deref(), now()).map_err(explained)?;
    note_inherited(&plan, &manifest, output);
    let snapshot_id = base.as_ref().and_then(|_| parent(args, &manifest));
    let parent = base.as_ref().zip(snapshot_id.as_ref());
    let parent = parent.map(|(chunk_map, snapshot_id)| Parent {
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
        let proof = args.verify_snapshot.proof();
        let preview = preview(&plan, &situation, proof, &bars.reading("measuring"));
        bars.finish();
        output.json(&preview.map_err(explained)?)?;
        return Ok(None);
    }
    bars.finish();
    let options = Options {
        dir: folder.clone(),
        force: args.force,
        force_deregister: args.force_deregister,
        keep: args.keep,
        on_error: match args.on_error {
            OnError::Cleanup => import::OnError::Cleanup,
            OnError::Keep => import::OnError::Keep,
        },
        proof: args.verify_snapshot.proof(),
        base: base.clone(),
        patience: patience(&plan.ami, args.timeout),
    };
    let default_region = plan.ami.region.as_ref().map(ToString::to_string);
    let account = plan.ami.account.as_ref().map(ToString::to_string);
    let settings = args
        .connection
        .settings(environment, default_region, account);
    let console = Console::with(bars.clone());
    let report = Arc::clone(&console) as Arc<dyn Report + Send + Sync>;
    let artifacts = connect::runtime().map_err(explained)?.block_on(async {
        let aws = Aws::connect(&settings, &*report).await?;
        Box::pin(import(&aws, &plan, parent.as_ref(), &options, &report)).await
    });
    console.finish();
    let artifacts = artifacts.map_err(explained)?;
    let data = artifacts.first().map(|first| &first.custom_data);
    let id = data.and_then(|data| data.regions.values().next());
    let id = id.map(|region| region.ami_id.clone()).unwrap_or_default();
    let artifact = Artifact::join(artifacts);
    if let (Some(path), Some(artifact)) = (&args.output_file, &artifact) {
        imgasm_block::Output::write(path, artifact.ids().as_bytes())?;
    }
    let manifest = manifest.with_artifacts(artifact.iter().cloned().collect());
    manifest.write(&folder)?;
    if !args.json {
        output.line(id)?;
    }
    Ok(artifact)
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

/// Says which mappings come from nowhere but the record of where the base is from.
fn note_inherited(plan: &Plan, manifest: &Manifest, output: &mut Output) {
    let Some(origin) = &manifest.base.origin else {
        return;
    };
    let (ami, region) = (&origin.ami_id, &origin.region);
    let owner = origin
        .owner_id
        .as_deref()
        .unwrap_or("an account that is not recorded");
    for mapping in plan.inherited() {
        let ebs = mapping.ebs.as_ref();
        let snapshot = ebs.and_then(|ebs| ebs.snapshot_id.as_deref());
        let what = snapshot.or(mapping.virtual_name.as_deref());
        let (device, what) = (&mapping.device_name, what.unwrap_or("an empty volume"));
        output.note(
            "inherited",
            format_args!("{device}: {what}, as {ami} of {owner} in {region} has it"),
        );
    }
}

/// Seconds since 1970, by the clock.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// The recipe's AMI, for what was built, and its name as it would be at any other time.
fn ami(
    recipe: &Recipe,
    manifest: &Manifest,
    environment: &Environment,
) -> Result<(Ami, String), Failure> {
    let given = environment.source_date_epoch()?;
    let origin = manifest.base.origin.as_ref();
    let at = |now: i64| {
        recipe.ami(&AmiFacts {
            now,
            digest: manifest.image.digest,
            source: origin.map(|origin| (origin.ami_id.clone(), origin.name.clone())),
        })
    };
    let missing = || {
        Failure::new("the recipe does not say what AMI to make: it has no `[ami]`").with_hint(
            "add it, at the least:\n\n  [ami]\n  ami_name = \"my image {{ timestamp }}\"\n",
        )
    };
    let ami = at(given.map_or_else(now, Epoch::seconds))?.ok_or_else(missing)?;
    let named = at(0)?.ok_or_else(missing)?.ami_name.to_string();
    Ok((ami, named))
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

/// The snapshot that holds the base, if one is known.
fn parent(args: &Args, manifest: &Manifest) -> Option<String> {
    if args.via != Way::Ebs {
        return None;
    }
    let record = &manifest.base;
    let origin = record.origin.as_ref();
    let recorded = || {
        let origin = origin.filter(|origin| origin.digest == record.digest)?;
        origin.snapshot_id.clone()
    };
    args.parent_snapshot.clone().or_else(recorded)
}

/// What the base holds: an upload can build upon it, and what differs from it is read back.
fn base(
    args: &Args,
    recipe: &Recipe,
    manifest: &Manifest,
    (cache, bars): (&Cache, &Bars),
    output: &mut Output,
) -> Result<Option<Arc<ChunkMap>>, Failure> {
    let is_parent = parent(args, manifest).is_some();
    let Base::File { path, sha256, .. } = &recipe.base else {
        if !is_parent {
            return Ok(None);
        }
        return Err(
            Failure::new("the base is assembled from a folder, so no snapshot holds it")
                .with_hint("leave --parent-snapshot out"),
        );
    };
    // Where only the image is, all of it counts as changed.
    let is_compared = args.verify_snapshot == Verify::Auto && path.exists();
    if !is_parent && (!is_compared || args.dry_run) {
        return Ok(None);
    }
    let base = cache.base(path, *sha256, &bars.reading("base"))?;
    bars.finish();
    if base.chunk_map.digest() == manifest.base.digest {
        return Ok(Some(base.chunk_map));
    }
    if is_parent {
        output.warning(format_args!(
            "{} is not what the image was built upon any more: all of the image is uploaded",
            path.display()
        ));
    }
    Ok(None)
}
