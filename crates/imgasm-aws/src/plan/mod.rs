//! What an import does, decided before anything is sent: disks, mappings, requests.
//!
//! - `mappings`: the block device mappings, and the disks behind them; `boot`: how the AMI boots.
//! - [`steps`]: the requests in their order, which are both shown and sent; `usable`: those that
//!   make an AMI what others need of it.

mod boot;
mod mappings;
pub mod steps;
mod usable;

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use self::mappings::{Planned, gib, mappings};
use crate::built::Built;
use crate::request::{
    BlockDeviceMapping, CopyImage, DiskContainer, ImportSnapshot, RegisterImage, StartSnapshot,
    Tag, UserBucket,
};
use crate::wish::{Ami, ImdsSupport, TpmSupport};
use crate::{Error, Result, tags};
use imgasm_block::Digest;
use imgasm_container::OutputFormat;

pub use self::mappings::Disk;

/// What the keys of all objects begin with.
pub const KEY_PREFIX: &str = "imgasm/";

/// Minutes without a block after which EBS gives an unfinished snapshot up: time to go on after an
/// interruption, and the end of what nobody goes on with (EBS direct API, `StartSnapshot`,
/// `Timeout`: 10 to 4320).
const START_TIMEOUT_MINUTES: i32 = 4320;

/// The role that the import service takes where none is named.
pub const DEFAULT_ROLE: &str = "vmimport";

/// How the disks get to EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// As objects of a bucket, which the import service reads.
    S3(S3),
    /// Block by block into a snapshot.
    Ebs,
}

/// How disks are uploaded to a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// The bucket.
    pub bucket: String,
    /// The role by which the import service reads it.
    pub role: String,
    /// The format.
    pub format: DiskFormat,
}

/// A format that the import service reads, without holes but for `Raw`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// Stream-optimized VMDK.
    Vmdk,
    /// Dynamic VHD.
    Vhd,
    /// The disk as it is.
    Raw,
}

impl DiskFormat {
    /// The name of the format in `ImportSnapshot`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vmdk => "VMDK",
            Self::Vhd => "VHD",
            Self::Raw => "RAW",
        }
    }

    /// What the names of files of it end with.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
            Self::Raw => "raw",
        }
    }

    /// The format as the writer of images knows it.
    pub fn output(self) -> OutputFormat {
        match self {
            Self::Vmdk => OutputFormat::StreamOptimizedVmdk,
            Self::Vhd => OutputFormat::DynamicVhd,
            Self::Raw => OutputFormat::Raw,
        }
    }
}

/// An import.
pub struct Plan {
    /// How the disks get there.
    pub via: Via,
    /// The disks, the root first.
    pub disks: Vec<Disk>,
    /// What the recipe says of the AMI.
    pub ami: Ami,
    /// The recipe's name for the image.
    pub name: String,
    /// The digest of the image.
    pub image: Digest,
    /// Identifies all that makes the AMI what it is: disks, mappings, how it boots; not its name,
    /// its tags or who may use it.
    pub identity: Digest,
    /// The name as it would be at any other time; see [`tags::NAMED`].
    pub named: String,
    register: RegisterImage,
    mappings: Vec<Planned>,
}

impl Plan {
    /// Plans the import of what a recipe's build has left. `named` is the AMI's name as it would be
    /// at any other time, which does not change with `{{ timestamp }}`.
    pub fn new(built: &Built, ami: Ami, named: &str, via: Via) -> Result<Self> {
        let origin = built.origin.as_ref();
        if let Some(wanted) = ami.architecture
            && wanted != built.architecture
        {
            return Err(Error::Architecture(format!(
                "the recipe says `architecture = {:?}`, and the programs of the image are for {}",
                wanted.name(),
                built.architecture.name()
            )));
        }
        let (disks, mappings) = mappings(built, &ami)?;
        if via == Via::Ebs {
            disks.iter().try_for_each(check_key)?;
        }
        let boot_mode = boot::boot_mode(built, &ami)?;
        let register = RegisterImage {
            name: ami.ami_name.to_string(),
            description: ami
                .ami_description
                .clone()
                .or_else(|| built.description.clone())
                // EC2 has no description that is empty.
                .filter(|text| !text.is_empty()),
            architecture: built.architecture.name().to_owned(),
            virtualization_type: "hvm".to_owned(),
            root_device_name: mappings[0].mapping.device_name.clone(),
            block_device_mappings: Vec::new(),
            ena_support: ami.ena_support,
            sriov_net_support: ami.sriov_support.then(|| "simple".to_owned()),
            boot_mode,
            tpm_support: ami.tpm_support.map(|TpmSupport::V2| "v2.0".to_owned()),
            uefi_data: ami.uefi_data.clone(),
            imds_support: (ami.imds_support == ImdsSupport::V2).then(|| "v2.0".to_owned()),
            tag_specifications: Vec::new(),
        };
        let mut plan = Self {
            via,
            disks,
            ami,
            name: built.name.clone(),
            image: built.root.digest(),
            identity: Digest::of(b""),
            named: named.to_owned(),
            register,
            mappings,
        };
        plan.identity = plan.identify();
        let source = origin.map(|origin| origin.ami_id.as_str());
        let own = &plan.ami.tags;
        let tags = tags::of_image(own, built, source, plan.identity, &plan.named);
        plan.register.tag_specifications = tags::specification("image", tags);
        Ok(plan)
    }

    fn identify(&self) -> Digest {
        let by_content = |index: usize| self.disks[index].built.digest().to_string();
        let mut request = self.register_image(by_content);
        request.name = String::new();
        request.description = None;
        let encryption: Vec<_> = self
            .disks
            .iter()
            .map(|disk| (disk.encrypted, disk.kms_key_id.as_deref()))
            .collect();
        let mut hasher = Sha256::new();
        let json = serde_json::to_vec(&(request, encryption));
        hasher.update(json.expect("plain values are always JSON"));
        Digest::finish(hasher)
    }

    /// `RegisterImage`, with the snapshot of the disk of each index.
    pub fn register_image(&self, snapshot: impl Fn(usize) -> String) -> RegisterImage {
        let mut request = self.register.clone();
        request.block_device_mappings = self
            .mappings
            .iter()
            .map(|planned| {
                let mut mapping = planned.mapping.clone();
                if let (Some(ebs), Some(index)) = (&mut mapping.ebs, planned.disk) {
                    ebs.snapshot_id = Some(snapshot(index));
                }
                mapping
            })
            .collect();
        request
    }

    /// The mappings that only the origin of the base asks for.
    pub fn inherited(&self) -> impl Iterator<Item = &BlockDeviceMapping> {
        let inherited = self.mappings.iter().filter(|planned| planned.inherited);
        inherited.map(|planned| &planned.mapping)
    }

    /// The key of a disk's object.
    pub fn key(&self, disk: &Disk, format: DiskFormat) -> String {
        let (name, digest) = (&self.name, disk.built.digest());
        format!("{KEY_PREFIX}{name}/{digest}.{}", format.extension())
    }

    /// Where a disk's object lies, as [`tags::OBJECT`] has it.
    pub fn object(&self, disk: &Disk, s3: &S3) -> String {
        format!("{}/{}", s3.bucket, self.key(disk, s3.format))
    }

    /// `ImportSnapshot` for a disk whose object is in its place.
    pub fn import_snapshot(&self, disk: &Disk, s3: &S3) -> ImportSnapshot {
        let mut tags = self.snapshot_tags(disk);
        let key = self.key(disk, s3.format);
        tags.push(Tag {
            key: tags::OBJECT.to_owned(),
            value: self.object(disk, s3),
        });
        ImportSnapshot {
            description: self.description(disk),
            disk_container: DiskContainer {
                description: self.description(disk),
                format: s3.format.name(),
                user_bucket: UserBucket {
                    bucket: s3.bucket.clone(),
                    key,
                },
            },
            role_name: s3.role.clone(),
            encrypted: disk.encrypted.filter(|&encrypted| encrypted),
            kms_key_id: disk.kms_key_id.clone(),
            tag_specifications: tags::specification("import-snapshot-task", tags),
        }
    }

    /// `StartSnapshot` for a disk; with a parent only what differs from it is sent then.
    pub fn start_snapshot(&self, disk: &Disk, parent: Option<&str>) -> Result<StartSnapshot> {
        Ok(StartSnapshot {
            volume_size: i64::from(gib(disk.built.gib())?),
            parent_snapshot_id: parent.map(ToOwned::to_owned),
            description: self.description(disk),
            // EBS refuses both beside a parent, whose encryption the snapshot has.
            encrypted: disk.encrypted.filter(|&it| it && parent.is_none()),
            kms_key_arn: disk.kms_key_id.clone().filter(|_| parent.is_none()),
            timeout: START_TIMEOUT_MINUTES,
            tags: self.snapshot_tags(disk),
        })
    }

    fn description(&self, disk: &Disk) -> String {
        format!("imgasm {} {}", self.name, disk.built.file)
    }

    /// The tags of a disk's snapshot.
    pub fn snapshot_tags(&self, disk: &Disk) -> Vec<Tag> {
        let own = &self.ami.snapshot_tags;
        tags::of_snapshot(own, &self.name, disk.built.digest())
    }

    /// The copy of the AMI in another region.
    pub fn copy_image(&self, image_id: &str, home: &str, region: &str) -> CopyImage {
        let keys = self.ami.region_kms_key_ids.iter();
        let key = keys
            .filter(|(named, _)| named.as_str() == region)
            .map(|(_, key)| key.clone())
            .next();
        let mut tags = self.register.tag_specifications.clone();
        // One set of tags for all snapshots of the copy: which disk each is of comes later.
        let mark = tags::of_copied_snapshots(&self.ami.snapshot_tags, &self.name);
        tags.extend(tags::specification("snapshot", mark));
        CopyImage {
            name: self.register.name.clone(),
            description: self.register.description.clone(),
            source_image_id: image_id.to_owned(),
            source_region: home.to_owned(),
            encrypted: key.is_some().then_some(true),
            kms_key_id: key,
            snapshot_copy_completion_duration_minutes: self.ami.snapshot_copy_duration_minutes,
            tag_specifications: tags,
        }
    }

    /// The tags of the AMI.
    pub fn image_tags(&self) -> Vec<Tag> {
        let specifications = self.register.tag_specifications.iter();
        specifications.flat_map(|it| it.tags.clone()).collect()
    }

    /// The description of the AMI.
    pub fn description_of_image(&self) -> String {
        self.register.description.clone().unwrap_or_default()
    }

    /// The keys that snapshots and objects are encrypted with.
    pub fn keys(&self) -> BTreeSet<String> {
        let disks = self.disks.iter();
        let disks = disks.filter_map(|disk| disk.kms_key_id.clone());
        disks
            .chain(self.ami.region_kms_key_ids.values().cloned())
            .chain(self.ami.s3_kms_key_id.clone())
            .collect()
    }
}

/// EBS takes a key by its ARN alone (`StartSnapshot`, `KmsKeyArn`), the import service by any name.
fn check_key(disk: &Disk) -> Result<()> {
    match &disk.kms_key_id {
        Some(key) if !(key.starts_with("arn:") && key.contains(":key/")) => {
            Err(Error::Mapping(format!(
                "{}: --via ebs takes a key by its ARN alone, as \
                 arn:aws:kms:REGION:ACCOUNT:key/ID, and `kms_key_id` is {key:?}: name it so, or \
                 use --via s3",
                disk.device_name
            )))
        }
        _ => Ok(()),
    }
}
