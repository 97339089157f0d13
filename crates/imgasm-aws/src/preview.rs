//! A plan for people and machines: what would be sent.

use std::io::{self, Write};

use serde::Serialize;

use crate::Result;
use crate::blocks::{self, Block, linear_checksum};
use crate::parts::part_bytes;
use crate::plan::{Disk, DiskFormat, Plan, Via};
use crate::policy::{Policy, policy, role_policy};
use crate::request::{Parameters, Request};
use imgasm_block::{BlockDevice, CHUNK_BYTES, ChunkMap, Digest};
use imgasm_container::{Progress, write_stream};

/// What an import would do.
#[derive(Debug, Serialize)]
pub struct Preview {
    /// The region, where one is known.
    pub region: Option<String>,
    /// [`Plan::identity`].
    pub identity: Digest,
    /// The disks that are uploaded.
    pub disks: Vec<DiskPreview>,
    /// The requests that change something, in order. `{{ecs.raw}}` stands for the snapshot of that
    /// file, `{{ami}}` for the new AMI, `{{ami}}@REGION` for its copy.
    pub requests: Vec<Request>,
    /// What the caller must be allowed.
    pub policy: Policy,
    /// What the import service's role must be allowed, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_policy: Option<Policy>,
}

/// A disk's upload.
#[derive(Debug, Serialize)]
pub struct DiskPreview {
    /// The file.
    pub file: String,
    /// The device that it is mapped to.
    pub device_name: String,
    /// The digest of its content.
    pub digest: Digest,
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes that are sent.
    pub upload_bytes: u64,
    /// Requests that they are sent with.
    pub upload_requests: u64,
    /// The object that they become.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// EBS's checksum over the blocks that are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Digest>,
}

/// A snapshot that holds the base already.
pub struct Parent<'a> {
    /// Its id.
    pub snapshot_id: &'a str,
    /// What it holds.
    pub chunk_map: &'a ChunkMap,
}

/// What would be sent for a plan. With a `parent`, what `--via ebs` sends of the root is what
/// differs from it.
pub fn preview(
    plan: &Plan,
    parent: Option<&Parent<'_>>,
    progress: &Progress<'_>,
) -> Result<Preview> {
    let mut disks = Vec::new();
    let mut requests = Vec::new();
    for (index, disk) in plan.disks.iter().enumerate() {
        match &plan.via {
            Via::S3(s3) => {
                let size = stream_len(disk, s3.format, progress)?;
                disks.push(DiskPreview {
                    upload_bytes: size,
                    upload_requests: size.div_ceil(part_bytes(stream_limit(disk, s3.format))) + 2,
                    object: Some(format!("s3://{}/{}", s3.bucket, plan.key(disk, s3.format))),
                    ..of(disk)
                });
                let request = plan.import_snapshot(disk, s3);
                requests.push(Parameters::ImportSnapshot(request).request(None));
            }
            Via::Ebs => {
                let parent = parent.filter(|_| index == 0 && disk.encrypted != Some(true));
                let blocks = parent.map_or_else(
                    || whole(disk),
                    |parent| blocks::delta(&disk.built.chunk_map, parent.chunk_map),
                );
                let count = u64::try_from(blocks.len()).expect("a length fits 64 bits");
                disks.push(DiskPreview {
                    upload_bytes: count * CHUNK_BYTES,
                    upload_requests: count + 2,
                    checksum: Some(linear_checksum(&blocks)),
                    ..of(disk)
                });
                let parent = parent.map(|parent| parent.snapshot_id);
                let request = plan.start_snapshot(disk, parent)?;
                requests.push(Parameters::StartSnapshot(request).request(None));
            }
        }
    }
    let snapshot = |index: usize| format!("{{{{{}}}}}", plan.disks[index].built.file);
    let register = plan.register_image(snapshot);
    requests.push(Parameters::RegisterImage(register).request(None));
    requests.extend(plan.after("{{ami}}"));
    let role_policy = match &plan.via {
        Via::S3(s3) => Some(role_policy(&s3.bucket)),
        Via::Ebs => None,
    };
    Ok(Preview {
        region: plan.region.clone(),
        identity: plan.identity,
        disks,
        requests,
        policy: policy(plan),
        role_policy,
    })
}

/// The blocks that a snapshot without a parent gets.
pub fn whole(disk: &Disk) -> Vec<Block> {
    if disk.encrypted == Some(true) {
        blocks::every(&disk.built.chunk_map)
    } else {
        blocks::full(&disk.built.chunk_map)
    }
}

fn of(disk: &Disk) -> DiskPreview {
    DiskPreview {
        file: disk.built.file.clone(),
        device_name: disk.device_name.clone(),
        digest: disk.built.digest(),
        size: disk.built.device.len(),
        upload_bytes: 0,
        upload_requests: 0,
        object: None,
        checksum: None,
    }
}

/// The most bytes that a disk has in a format: those of its chunks that hold data, and a sixteenth
/// for what the format and noise add.
pub fn stream_limit(disk: &Disk, format: DiskFormat) -> u64 {
    let chunks = disk.built.chunk_map.chunks().len();
    let held = u64::try_from(chunks).expect("a length fits 64 bits") * CHUNK_BYTES;
    let len = disk.built.device.len();
    match format {
        DiskFormat::Raw => len,
        // A block of a VHD holds four chunks.
        DiskFormat::Vhd => (4 * held).min(len) + len / 1024 + (1 << 20),
        DiskFormat::Vmdk => held + held / 16 + len / 1024 + (1 << 20),
    }
}

/// How long a disk is in a format. There is no way to know but to make it.
fn stream_len(disk: &Disk, format: DiskFormat, progress: &Progress<'_>) -> Result<u64> {
    struct Count(u64);
    impl Write for Count {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0 += imgasm_block::byte_len(buf);
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    if format == DiskFormat::Raw {
        return Ok(disk.built.device.len());
    }
    let mut count = Count(0);
    let (device, map) = (&*disk.built.device, &*disk.built.chunk_map);
    write_stream(device, map, format.output(), &mut count, progress)?;
    Ok(count.0)
}
