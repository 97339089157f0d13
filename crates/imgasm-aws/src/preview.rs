//! A plan for people and machines: what would be sent.

use std::io::{self, Write};

use serde::Serialize;

use super::Result;
use crate::parts::{part_bytes, stream_limit};
use crate::plan::steps::{Situation, Subject};
use crate::plan::{Disk, DiskFormat, Plan, Via};
use crate::policy::{Policy, partition, policy, role_policy, trust_policy};
use crate::proof::Proof;
use crate::request::{BlockDeviceMapping, Parameters, Request};
use imgasm_block::Digest;
use imgasm_container::{Progress, write_stream};

/// What an import would do.
#[derive(Debug, Serialize)]
pub struct Preview {
    /// The region, if one is known.
    pub region: Option<String>,
    /// [`Plan::identity`].
    pub identity: Digest,
    /// The disks that are uploaded.
    pub disks: Vec<DiskPreview>,
    /// The mappings among the requests' that neither the recipe nor its build asks for, but the
    /// origin of the base.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inherited_mappings: Vec<BlockDeviceMapping>,
    /// The requests that change something, in order; see [`steps`](crate::plan::steps) for what
    /// stands for what is not known yet. What an earlier run has left is found by an import, and
    /// the requests that would make it again are left out then.
    pub requests: Vec<Request>,
    /// What the caller must be allowed.
    pub policy: Policy,
    /// What the import service's role must be allowed, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_policy: Option<Policy>,
    /// Who may take that role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_policy: Option<serde_json::Value>,
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
    /// EBS's checksum over the blocks that are sent, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// What would be sent for a plan.
pub fn preview(
    plan: &Plan,
    situation: &Situation<'_>,
    proof: Proof,
    progress: &Progress<'_>,
) -> Result<Preview> {
    let mut steps = plan.steps(situation)?;
    let mut disks: Vec<DiskPreview> = plan.disks.iter().map(of).collect();
    if let Via::S3(s3) = &plan.via {
        for (shown, disk) in disks.iter_mut().zip(&plan.disks) {
            shown.upload_bytes = stream_len(disk, s3.format, progress)?;
            shown.object = Some(format!("s3://{}/{}", s3.bucket, plan.key(disk, s3.format)));
        }
    }
    for step in &mut steps {
        let Subject::Disk(index) = step.subject else {
            continue;
        };
        let (shown, disk) = (&mut disks[index], &plan.disks[index]);
        match (&step.request.parameters, &plan.via) {
            (Parameters::UploadPart(_), Via::S3(s3)) => {
                let part = part_bytes(stream_limit(disk, s3.format));
                step.request.times = shown.upload_bytes.div_ceil(part);
                shown.upload_requests = step.request.times + 2;
            }
            (Parameters::PutSnapshotBlock(put), _) => {
                shown.upload_bytes = step.request.times * put.data_length;
            }
            (Parameters::CompleteSnapshot(complete), _) => {
                shown.upload_requests = complete.changed_blocks_count + 2;
                shown.checksum = Some(complete.checksum.clone());
            }
            _ => {}
        }
    }
    let partition = partition(situation.region);
    let role_policy = match &plan.via {
        Via::S3(s3) => Some(role_policy(plan, &s3.bucket, partition)),
        Via::Ebs => None,
    };
    Ok(Preview {
        region: situation.region.map(ToOwned::to_owned),
        identity: plan.identity,
        disks,
        inherited_mappings: plan.inherited().cloned().collect(),
        requests: steps.into_iter().map(|step| step.request).collect(),
        policy: policy(plan, situation, proof)?,
        trust_policy: role_policy.is_some().then(trust_policy),
        role_policy,
    })
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

/// How long a disk is in a format. There is no way to know but to make it.
fn stream_len(disk: &Disk, format: DiskFormat, progress: &Progress<'_>) -> Result<u64> {
    struct Count(u64);
    impl Write for Count {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0 += imgasm_block::bytes::byte_len(buf);
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
