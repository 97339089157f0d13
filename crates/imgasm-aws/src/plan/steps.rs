//! The requests of an import in their order. `--dry-run` shows this list, and an import sends it.
//!
//! What a request needs of one before it is not known when the list is made: `{{ecs.raw}}` stands
//! for the snapshot of that file, `{{upload ecs.raw}}` for its upload, `{{ami}}` for the new AMI and
//! `{{ami}}@REGION` for its copy, `{{old ami}}` and `{{old snapshot}}` for what an AMI of the same
//! name leaves.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Disk, Plan, S3, Via};
use crate::Result;
use crate::blocks::{self, Block, linear_checksum};
use crate::request::{
    CompleteMultipartUpload, CompleteSnapshot, CreateMultipartUpload, CreateTags, DeleteObject,
    DeleteSnapshot, DeregisterImage, EnableImageDeprecation, EnableImageDeregistrationProtection,
    LaunchPermission, LaunchPermissions, ModifyImageAttribute, Parameters, PutParameter,
    PutSnapshotBlock, Request, UploadPart,
};
use crate::wish::Region;
use imgasm_block::{CHUNK_BYTES, ChunkMap};

/// In an object's metadata: the digest of the disk.
pub const METADATA_DISK: &str = "imgasm-disk";

/// When a request about an AMI of the same name is sent.
const IF_TAKEN: &str = "an AMI of the account has the name";

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
}

/// A request in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is about.
    pub subject: Subject,
    /// The request.
    pub request: Request,
}

impl Step {
    fn of(subject: Subject, parameters: Parameters) -> Self {
        let region = match &subject {
            Subject::Copy(region) => Some(region.clone()),
            _ => None,
        };
        Self {
            subject,
            request: parameters.request(region),
        }
    }

    fn times(mut self, times: u64) -> Self {
        self.request.times = times;
        self
    }

    fn when(mut self, when: &'static str) -> Self {
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
                Via::S3(s3) => self.through_bucket(&mut steps, index, disk, s3),
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
        let images: Vec<Subject> = std::iter::once(Subject::Image)
            .chain(regions.iter().map(|region| copy(region)))
            .collect();
        for part in [Self::usable, Self::published, Self::protected] {
            for subject in &images {
                let id = format!("{{{{ami}}}}{}", at(subject));
                let all = part(self, &id).into_iter();
                steps.extend(all.map(|parameters| Step::of(subject.clone(), parameters)));
            }
        }
        if situation.replaces && self.ami.force_delete_snapshot {
            for subject in &images {
                let snapshot_id = format!("{{{{old snapshot}}}}{}", at(subject));
                let parameters = Parameters::DeleteSnapshot(DeleteSnapshot { snapshot_id });
                steps.push(Step::of(subject.clone(), parameters).when(IF_TAKEN));
            }
        }
        if let (Via::S3(s3), false) = (&self.via, situation.keeps_objects) {
            for (index, disk) in self.disks.iter().enumerate() {
                let parameters = Parameters::DeleteObject(DeleteObject {
                    bucket: s3.bucket.clone(),
                    key: self.key(disk, s3.format),
                });
                steps.push(Step::of(Subject::Disk(index), parameters));
            }
        }
        Ok(steps)
    }

    fn through_bucket(&self, steps: &mut Vec<Step>, index: usize, disk: &Disk, s3: &S3) {
        let (bucket, key) = (s3.bucket.clone(), self.key(disk, s3.format));
        let upload_id = format!("{{{{upload {}}}}}", disk.built.file);
        let digest = disk.built.digest().to_string();
        let all = [
            Parameters::CreateMultipartUpload(CreateMultipartUpload {
                bucket: bucket.clone(),
                key: key.clone(),
                checksum_algorithm: "SHA256",
                checksum_type: "COMPOSITE",
                metadata: [(METADATA_DISK.to_owned(), digest)].into(),
            }),
            Parameters::UploadPart(UploadPart {
                bucket: bucket.clone(),
                key: key.clone(),
                upload_id: upload_id.clone(),
                part_number: 1,
                checksum_algorithm: "SHA256",
            }),
            Parameters::CompleteMultipartUpload(CompleteMultipartUpload {
                bucket,
                key,
                upload_id,
            }),
            Parameters::ImportSnapshot(self.import_snapshot(disk, s3)),
        ];
        let all = all.into_iter();
        steps.extend(all.map(|parameters| Step::of(Subject::Disk(index), parameters)));
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

    /// Whether others may launch the AMI.
    pub fn permits_others(&self) -> bool {
        !self.permissions().is_empty()
    }

    /// Who else may launch the AMI.
    pub fn permissions(&self) -> Vec<LaunchPermission> {
        let ami = &self.ami;
        let users = ami.ami_users.iter();
        let users = users.map(|user| LaunchPermission::UserId(user.to_string()));
        let organisations = ami.ami_org_arns.iter();
        let organisations =
            organisations.map(|arn| LaunchPermission::OrganizationArn(arn.to_string()));
        let units = ami.ami_ou_arns.iter();
        let units = units.map(|arn| LaunchPermission::OrganizationalUnitArn(arn.to_string()));
        users.chain(organisations).chain(units).collect()
    }

    /// What makes an AMI usable by others. It can be done again without harm.
    fn usable(&self, image_id: &str) -> Vec<Parameters> {
        let mut all = Vec::new();
        let add = self.permissions();
        if !add.is_empty() {
            all.push(Parameters::ModifyImageAttribute(ModifyImageAttribute {
                image_id: image_id.to_owned(),
                launch_permission: LaunchPermissions { add },
            }));
        }
        if let Some(time) = &self.ami.deprecate_at {
            all.push(Parameters::EnableImageDeprecation(EnableImageDeprecation {
                image_id: image_id.to_owned(),
                deprecate_at: time.seconds(),
            }));
        }
        all
    }

    /// What tells others of an AMI: sent once it and its copies are all that they should be.
    fn published(&self, image_id: &str) -> Vec<Parameters> {
        let name = self.ami.ssm_parameter.iter();
        name.map(|name| {
            Parameters::PutParameter(PutParameter {
                name: name.to_string(),
                value: image_id.to_owned(),
                r#type: "String",
                data_type: "aws:ec2:image",
                overwrite: true,
            })
        })
        .collect()
    }

    /// What keeps an AMI from being deregistered: the last of all, for a failure before it takes the
    /// AMI away again.
    fn protected(&self, image_id: &str) -> Vec<Parameters> {
        let protection = self.ami.deregistration_protection;
        let request = protection
            .enabled
            .then(|| EnableImageDeregistrationProtection {
                image_id: image_id.to_owned(),
                with_cooldown: protection.with_cooldown,
            });
        let request = request.map(Parameters::EnableImageDeregistrationProtection);
        request.into_iter().collect()
    }
}

/// What stands for the snapshot of a disk.
fn snapshot_of(disk: &Disk) -> String {
    format!("{{{{{}}}}}", disk.built.file)
}

/// What tells an AMI's copy from itself.
fn at(subject: &Subject) -> String {
    match subject {
        Subject::Copy(region) => format!("@{region}"),
        _ => String::new(),
    }
}
