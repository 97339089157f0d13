//! The requests of an import in their order. `--dry-run` shows this list, and an import sends it.
//!
//! What a request needs of one before it is not known when the list is made: `{{ecs.raw}}` stands
//! for the snapshot of that file, `{{upload ecs.raw}}` for its upload, `{{ami}}` for the new AMI,
//! `{{ecs.raw}}@REGION` and `{{ami}}@REGION` for their copies, `{{old ami}}` and `{{old snapshot}}`
//! for what an AMI of the same name leaves, `{{others}}` for who may launch it and should not.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Disk, Plan, S3, Via};
use crate::Result;
use crate::blocks::{self, Block, linear_checksum};
use crate::request::{
    CompleteMultipartUpload, CompleteSnapshot, CreateMultipartUpload, CreateTags, DeleteObject,
    DeleteSnapshot, DeregisterImage, Parameters, PutSnapshotBlock, Request, UploadPart,
};
use crate::wish::{AccountId, Region};
use imgasm_block::{CHUNK_BYTES, ChunkMap};

/// In an object's metadata: the digest of the disk.
pub const METADATA_DISK: &str = "imgasm-disk";

/// When a request about an AMI of the same name is sent.
const IF_TAKEN: &str = "an AMI of the account has the name";

/// When a request that brings an AMI up to date is sent.
pub const IF_FOUND: &str = "an AMI of the same image is found that differs in this";

/// In an object's metadata: that it stays in the bucket.
pub const METADATA_KEEP: &str = "imgasm-keep";

/// A snapshot that holds the base already.
pub struct Parent<'a> {
    /// Its id.
    pub snapshot_id: &'a str,
    /// What it holds.
    pub chunk_map: &'a ChunkMap,
}

/// What the list depends on besides the plan. Without a connection it is what can be assumed.
pub struct Situation<'a> {
    /// The region of the import, if it is known.
    pub region: Option<&'a str>,
    /// A snapshot that the root's can be built upon.
    pub parent: Option<&'a Parent<'a>>,
    /// Whether the account encrypts all snapshots.
    pub encrypts: bool,
    /// Whether an AMI of the same name makes room.
    pub replaces: bool,
    /// Whether objects stay in the bucket.
    pub keeps_objects: bool,
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The disk of this index.
    Disk(usize),
    /// The AMI in the import's own region.
    Image,
    /// Its copy in this region.
    Copy(String),
    /// The AMI in the import's own region, which is there for its copies alone.
    Source,
}

/// A request in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is about.
    pub subject: Subject,
    /// The disk whose snapshot in the subject's region it is about, for a request about an AMI that
    /// is about one of its snapshots.
    pub disk: Option<usize>,
    /// The request.
    pub request: Request,
}

impl Step {
    pub(super) fn of(subject: Subject, parameters: Parameters) -> Self {
        let region = match &subject {
            Subject::Copy(region) => Some(region.clone()),
            _ => None,
        };
        Self {
            subject,
            disk: None,
            request: parameters.request(region),
        }
    }

    pub(super) fn of_disk(mut self, index: usize) -> Self {
        self.disk = Some(index);
        self
    }

    fn times(mut self, times: u64) -> Self {
        self.request.times = times;
        self
    }

    pub(super) fn when(mut self, when: &'static str) -> Self {
        self.request.when = Some(when);
        self
    }
}

/// The blocks that a disk's snapshot gets.
pub fn blocks(disk: &Disk, index: usize, situation: &Situation<'_>) -> Vec<Block> {
    let map = &disk.built.chunk_map;
    if situation.encrypts || disk.encrypted == Some(true) {
        return blocks::every(map);
    }
    // The base is the root's.
    match situation.parent.filter(|_| index == 0) {
        Some(parent) => blocks::delta(map, parent.chunk_map),
        None => blocks::full(map),
    }
}

impl Plan {
    /// The requests in their order.
    pub fn steps(&self, situation: &Situation<'_>) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for (index, disk) in self.disks.iter().enumerate() {
            match &self.via {
                Via::S3(s3) => {
                    self.through_bucket(&mut steps, index, disk, s3, situation.keeps_objects);
                }
                Via::Ebs => self.block_by_block(&mut steps, index, disk, situation)?,
            }
        }
        if matches!(self.via, Via::S3(_)) {
            // The import service leaves them without.
            for (index, disk) in self.disks.iter().enumerate() {
                let parameters = Parameters::CreateTags(CreateTags {
                    resources: vec![snapshot_of(disk)],
                    tags: self.snapshot_tags(disk),
                });
                steps.push(Step::of(Subject::Disk(index), parameters));
            }
        }
        let home = situation.region.unwrap_or("{{region}}");
        let regions = self.ami.ami_regions.iter().map(Region::as_str);
        let regions: Vec<&str> = regions.filter(|region| *region != home).collect();
        let copy = |region: &str| Subject::Copy(region.to_owned());
        let makes_room = |subject: Subject| {
            let image_id = format!("{{{{old ami}}}}{}", at(&subject));
            let parameters = Parameters::DeregisterImage(DeregisterImage { image_id });
            Step::of(subject, parameters).when(IF_TAKEN)
        };
        if situation.replaces {
            steps.push(makes_room(Subject::Image));
        }
        let snapshots = |index: usize| snapshot_of(&self.disks[index]);
        let register = Parameters::RegisterImage(self.register_image(snapshots));
        steps.push(Step::of(Subject::Image, register));
        for region in &regions {
            if situation.replaces {
                steps.push(makes_room(copy(region)));
            }
            let request = self.copy_image("{{ami}}", home, region);
            steps.push(Step::of(copy(region), Parameters::CopyImage(request)));
        }
        let stays = self.stays_in(home);
        let images: Vec<Subject> = std::iter::once(Subject::Image)
            .filter(|_| stays)
            .chain(regions.iter().map(|region| copy(region)))
            .collect();
        for subject in &images {
            self.usable(&mut steps, subject, home)?;
        }
        let published = images.iter().filter_map(|it| self.published(it));
        steps.extend(published);
        let protected = images.iter().filter_map(|it| self.protected(it));
        steps.extend(protected);
        if situation.replaces && self.ami.force_delete_snapshot {
            for subject in &images {
                let snapshot_id = format!("{{{{old snapshot}}}}{}", at(subject));
                let parameters = Parameters::DeleteSnapshot(DeleteSnapshot { snapshot_id });
                steps.push(Step::of(subject.clone(), parameters).when(IF_TAKEN));
            }
        }
        if !stays {
            let image_id = "{{ami}}".to_owned();
            let parameters = Parameters::DeregisterImage(DeregisterImage { image_id });
            steps.push(Step::of(Subject::Source, parameters));
            for (index, disk) in self.disks.iter().enumerate() {
                let snapshot_id = snapshot_of(disk);
                let parameters = Parameters::DeleteSnapshot(DeleteSnapshot { snapshot_id });
                steps.push(Step::of(Subject::Source, parameters).of_disk(index));
            }
        }
        if let (Via::S3(s3), false) = (&self.via, situation.keeps_objects) {
            for (index, disk) in self.disks.iter().enumerate() {
                let parameters = Parameters::DeleteObject(DeleteObject {
                    bucket: s3.bucket.clone(),
                    key: self.key(disk, s3.format),
                    expected_bucket_owner: self.bucket_owner(),
                });
                steps.push(Step::of(Subject::Disk(index), parameters));
            }
        }
        Ok(steps)
    }

    fn through_bucket(
        &self,
        steps: &mut Vec<Step>,
        index: usize,
        disk: &Disk,
        s3: &S3,
        stays: bool,
    ) {
        let (bucket, key) = (s3.bucket.clone(), self.key(disk, s3.format));
        let upload_id = format!("{{{{upload {}}}}}", disk.built.file);
        let mut metadata = BTreeMap::new();
        metadata.insert(METADATA_DISK.to_owned(), disk.built.digest().to_string());
        if stays {
            metadata.insert(METADATA_KEEP.to_owned(), "true".to_owned());
        }
        let encryption_key = self.ami.s3_kms_key_id.clone();
        let expected_bucket_owner = self.bucket_owner();
        let all = [
            Parameters::CreateMultipartUpload(CreateMultipartUpload {
                bucket: bucket.clone(),
                key: key.clone(),
                checksum_algorithm: "SHA256",
                checksum_type: "COMPOSITE",
                metadata,
                server_side_encryption: encryption_key.is_some().then_some("aws:kms"),
                sse_kms_key_id: encryption_key,
                expected_bucket_owner: expected_bucket_owner.clone(),
            }),
            Parameters::UploadPart(UploadPart {
                bucket: bucket.clone(),
                key: key.clone(),
                upload_id: upload_id.clone(),
                part_number: 1,
                checksum_algorithm: "SHA256",
                expected_bucket_owner: expected_bucket_owner.clone(),
            }),
            Parameters::CompleteMultipartUpload(CompleteMultipartUpload {
                bucket,
                key,
                upload_id,
                expected_bucket_owner,
            }),
            Parameters::ImportSnapshot(self.import_snapshot(disk, s3)),
        ];
        let all = all.into_iter();
        steps.extend(all.map(|parameters| Step::of(Subject::Disk(index), parameters)));
    }

    /// The account that the bucket must be of.
    pub fn bucket_owner(&self) -> Option<String> {
        self.ami.s3_bucket_owner.as_ref().map(AccountId::to_string)
    }

    /// Whether the AMI stays in the region that it is made in.
    pub fn stays_in(&self, home: &str) -> bool {
        let mut regions = self.ami.ami_regions.iter();
        !self.ami.skip_save_build_region || regions.any(|region| region.as_str() == home)
    }

    fn block_by_block(
        &self,
        steps: &mut Vec<Step>,
        index: usize,
        disk: &Disk,
        situation: &Situation<'_>,
    ) -> Result<()> {
        let blocks = blocks(disk, index, situation);
        let encrypted = situation.encrypts || disk.encrypted == Some(true);
        let parent = situation.parent.filter(|_| index == 0 && !encrypted);
        let start = self.start_snapshot(disk, parent.map(|parent| parent.snapshot_id))?;
        let subject = Subject::Disk(index);
        steps.push(Step::of(subject.clone(), Parameters::StartSnapshot(start)));
        let count = u64::try_from(blocks.len()).expect("a length fits 64 bits");
        if let Some(first) = blocks.first() {
            let put = Parameters::PutSnapshotBlock(PutSnapshotBlock {
                snapshot_id: snapshot_of(disk),
                block_index: first.index,
                data_length: CHUNK_BYTES,
                checksum: BASE64.encode(first.digest.as_bytes()),
                checksum_algorithm: "SHA256",
            });
            steps.push(Step::of(subject.clone(), put).times(count));
        }
        let complete = Parameters::CompleteSnapshot(CompleteSnapshot {
            snapshot_id: snapshot_of(disk),
            changed_blocks_count: count,
            checksum: BASE64.encode(linear_checksum(&blocks).as_bytes()),
            checksum_algorithm: "SHA256",
            checksum_aggregation_method: "LINEAR",
        });
        steps.push(Step::of(subject, complete));
        Ok(())
    }
}

/// What stands for the snapshot of a disk.
pub(super) fn snapshot_of(disk: &Disk) -> String {
    format!("{{{{{}}}}}", disk.built.file)
}

/// What tells an AMI's copy from itself.
pub(super) fn at(subject: &Subject) -> String {
    match subject {
        Subject::Copy(region) => format!("@{region}"),
        _ => String::new(),
    }
}
