//! `imgasm plan`

use serde::Serialize;

use super::failure::Failure;
use super::output::{Output, bytes};
use super::recipe::RecipeArgs;
use super::{Outcome, recipe};
use crate::build::Build;
use crate::diff;
use crate::diff::render::json::Document;
use crate::diff::render::text::{Detail, render};
use crate::environment::Environment;
use crate::manifest::Change;
use imgasm_block::{CHUNK_BYTES, ChunkMap, Digest};
use imgasm_disk::Disk;

/// Show what a build would change, and write nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Only count the paths.
    #[arg(long, conflicts_with_all = ["json", "patch"])]
    stat: bool,
    /// Show the lines that differ in text files.
    #[arg(short = 'p', long, conflicts_with = "json")]
    patch: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What a build would do.
#[derive(Debug, Serialize)]
struct Plan<'a> {
    /// The digest that the image would have.
    digest: Digest,
    /// Paths that overlays change.
    paths: &'a [Change],
    /// Blocks of 4 KiB of the disk that differ from the base.
    changed_blocks: u64,
    /// Bytes in those blocks.
    changed_bytes: u64,
    /// 512 KiB chunks to be uploaded where the base is there already.
    upload_chunks: u64,
    /// Bytes in those chunks.
    upload_bytes: u64,
    /// Bytes to be uploaded where nothing is there: every chunk that holds data, of all disks.
    full_upload_bytes: u64,
    /// What `imgasm diff --json` prints of the base and the image.
    diff: Document<'a>,
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let recipe = recipe::load(&args.recipe, environment)?;
    let build = recipe::prepare(&recipe, environment, output)?;
    let base = Disk::open(build.delta.base().clone())?;
    let image = Disk::open(build.delta.clone())?;
    let suspects: Vec<_> = build
        .changes
        .iter()
        .map(|change| change.range.clone())
        .collect();
    let report = diff::compare(&base, &image, Some(&suspects), diff::Options::default());
    let report = report.map_err(|incomplete| incomplete.error)?;
    let plan = plan(&build, Document::from(&report));
    if args.json {
        output.json(&plan)?;
        return Ok(Outcome::Done);
    }
    let detail = match (args.stat, args.patch) {
        (true, _) => Detail::Stat,
        (_, true) => Detail::Patch,
        _ => Detail::Paths,
    };
    render(&report, detail, &mut |text| output.styled(text))?;
    output.note("paths", plan.paths.len());
    let (blocks, changed) = (plan.changed_blocks, bytes(plan.changed_bytes));
    output.note("disk", format_args!("{blocks} blocks, {changed}"));
    let (delta, full) = (bytes(plan.upload_bytes), bytes(plan.full_upload_bytes));
    output.note(
        "upload",
        format_args!("{delta} where the base is known, else {full}"),
    );
    Ok(Outcome::Done)
}

fn plan<'a>(build: &'a Build, diff: Document<'a>) -> Plan<'a> {
    let changed_bytes = build
        .changes
        .iter()
        .map(|change| change.range.end - change.range.start)
        .sum();
    let held = |map: &ChunkMap| count(map.chunks().len()) * CHUNK_BYTES;
    let volumes = build
        .volumes
        .iter()
        .map(|(_, volume)| held(&volume.chunk_map));
    let volume_bytes: u64 = volumes.sum();
    let upload_chunks = count(build.chunk_map.changes_since(&build.base_map).len());
    Plan {
        digest: build.manifest.image.digest,
        paths: &build.manifest.changes,
        changed_blocks: changed_bytes / 4096,
        changed_bytes,
        upload_chunks,
        upload_bytes: upload_chunks * CHUNK_BYTES + volume_bytes,
        full_upload_bytes: held(&build.chunk_map) + volume_bytes,
        diff,
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits 64 bits")
}
