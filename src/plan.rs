//! What a build would do: a build that is looked at and not committed.

use serde::Serialize;

use crate::build::Build;
use crate::diff::render::json::Document;
use crate::diff::{self, Report};
use crate::manifest::Change;
use imgasm_block::{CHUNK_BYTES, ChunkMap, Digest};
use imgasm_disk::Disk;

/// Bytes in a block of the disk, as they are counted here.
const BLOCK_BYTES: u64 = 4096;

/// What a build would do.
#[derive(Debug, Serialize)]
pub struct Plan<'a> {
    /// The digest that the image would have.
    pub digest: Digest,
    /// Paths that overlays change.
    pub paths: &'a [Change],
    /// Blocks of 4 KiB of the disk that differ from the base.
    pub changed_blocks: u64,
    /// Bytes in those blocks.
    pub changed_bytes: u64,
    /// 512 KiB chunks to be uploaded if the base has been uploaded already.
    pub upload_chunks: u64,
    /// Bytes in those chunks, and of the volumes.
    pub upload_bytes: u64,
    /// Bytes to be uploaded if nothing has been uploaded: every chunk that holds data, of all
    /// disks.
    pub full_upload_bytes: u64,
    /// What `imgasm diff --json` prints for the base and the image.
    pub diff: Document<'a>,
}

/// Compares the base of a build with its image.
pub fn compare(build: &Build, options: &diff::Options) -> diff::Result<Report> {
    let open =
        |device, side| Disk::open(device).map_err(|source| diff::Error::Disk { side, source });
    let base = open(build.delta.base().clone(), diff::Side::Old)?;
    let image = open(build.delta.clone(), diff::Side::New)?;
    let changes = build.changes.iter();
    let suspects: Vec<_> = changes.map(|change| change.range.clone()).collect();
    let report = diff::compare(&base, &image, Some(&suspects), options);
    let mut report = report.map_err(|incomplete| incomplete.error)?;
    let changes = build.manifest.changes.iter();
    report.origins = changes
        .map(|change| (change.path.clone(), origin(change)))
        .collect();
    Ok(report)
}

/// What changed a path, in words.
fn origin(change: &Change) -> String {
    match change.step {
        0 => format!("{}, files", change.overlay),
        step => format!("{}, step {step} ({})", change.overlay, change.kind),
    }
}

impl<'a> Plan<'a> {
    /// The plan of a build, with the result of [`compare`].
    pub fn new(build: &'a Build, report: &'a Report) -> Self {
        let changes = build.changes.iter();
        let changed_bytes = changes
            .map(|change| change.range.end - change.range.start)
            .sum();
        let held = |map: &ChunkMap| count(map.chunks().len()) * CHUNK_BYTES;
        let volumes = build.volumes.iter();
        let volume_bytes: u64 = volumes.map(|(_, volume)| held(&volume.chunk_map)).sum();
        let upload_chunks = count(build.chunk_map.changes_since(&build.base_map).len());
        Self {
            digest: build.manifest.image.digest,
            paths: &build.manifest.changes,
            changed_blocks: changed_bytes / BLOCK_BYTES,
            changed_bytes,
            upload_chunks,
            upload_bytes: upload_chunks * CHUNK_BYTES + volume_bytes,
            full_upload_bytes: held(&build.chunk_map) + volume_bytes,
            diff: Document::from(report),
        }
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits 64 bits")
}
