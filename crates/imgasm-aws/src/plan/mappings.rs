//! The block device mappings of an AMI: those of the recipe, and what the base has besides.

use crate::built::{Built, BuiltDisk, BuiltVolume, VolumeContent};
use crate::origin::{Mapping, Origin};
use crate::request::{BlockDeviceMapping, EbsBlockDevice};
use crate::wish::{Ami, RootDevice, VolumeSize, VolumeType};
use crate::{Error, Result};

/// The device of the root volume where nothing else names it.
const ROOT_DEVICE: &str = "/dev/xvda";

/// A disk that becomes a snapshot.
#[derive(Clone)]
pub struct Disk {
    /// The device that it is mapped to.
    pub device_name: String,
    /// Its bytes and chunks.
    pub built: BuiltDisk,
    /// Whether the snapshot is encrypted; the account's default if this is not given.
    pub encrypted: Option<bool>,
    /// The key that it is encrypted with.
    pub kms_key_id: Option<String>,
}

impl Disk {
    /// Whether a snapshot that is encrypted so is what is wanted, in an account that encrypts all
    /// snapshots or does not.
    pub fn fits_encryption(&self, by_default: bool, encrypted: bool, key: Option<&str>) -> bool {
        let wanted = by_default || self.encrypted == Some(true);
        // EC2 says which key it is by its ARN: whether another name is of it cannot be seen.
        let is_key = self.kms_key_id.as_deref().is_none_or(|it| Some(it) == key);
        encrypted == wanted && is_key
    }
}

/// A mapping, whose snapshot may be one that is yet to be made.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) mapping: BlockDeviceMapping,
    /// The index of the disk whose snapshot it gets.
    pub(super) disk: Option<usize>,
    /// Whether nothing but the origin of the base asks for it.
    pub(super) inherited: bool,
}

/// The disks, the root first, and the mappings, the root's first.
pub(super) fn mappings(built: &Built, ami: &Ami) -> Result<(Vec<Disk>, Vec<Planned>)> {
    let origin = built.origin.as_ref();
    let own = &ami.ami_root_device;
    let root_name = own.device_name.as_ref().map_or_else(
        || origin.map_or(ROOT_DEVICE, |origin| &origin.root_device_name),
        |name| name.as_str(),
    );
    let mut disks = vec![Disk {
        device_name: root_name.to_owned(),
        built: built.root.clone(),
        encrypted: own.encrypted,
        kms_key_id: own.kms_key_id.clone(),
    }];
    let mut planned = vec![Planned {
        mapping: BlockDeviceMapping {
            device_name: root_name.to_owned(),
            ebs: Some(of_root(own, built.root.gib(), origin)?),
            ..BlockDeviceMapping::default()
        },
        disk: Some(0),
        inherited: false,
    }];
    for volume in &built.volumes {
        let settings = &volume.settings;
        let device = settings.device_name.as_str();
        if device == root_name {
            return Err(Error::Mapping(format!(
                "{device} is the root's own device, and the recipe has a volume of it: \
                 `ami_root_device` is for the root"
            )));
        }
        let index = if let VolumeContent::Disk { disk, .. } = &volume.content {
            disks.push(Disk {
                device_name: device.to_owned(),
                built: disk.clone(),
                encrypted: settings.encrypted,
                kms_key_id: settings.kms_key_id.clone(),
            });
            Some(disks.len() - 1)
        } else {
            None
        };
        planned.push(Planned {
            mapping: of_volume(volume)?,
            disk: index,
            inherited: false,
        });
    }
    let others = origin.map_or(&[][..], |origin| &origin.block_device_mappings);
    for mapping in others {
        let is_root = origin.is_some_and(|origin| origin.root_device_name == mapping.device_name);
        let taken = |other: &Planned| other.mapping.device_name == mapping.device_name;
        if !is_root && !planned.iter().any(taken) {
            planned.push(Planned {
                mapping: of_base(mapping),
                disk: None,
                inherited: true,
            });
        }
    }
    Ok((disks, planned))
}

/// The root's volume, for an image of so many GiB: what the recipe says, or else what the base had.
fn of_root(own: &RootDevice, needed: u64, origin: Option<&Origin>) -> Result<EbsBlockDevice> {
    let before = origin.and_then(|origin| {
        let mut mappings = origin.block_device_mappings.iter();
        mappings.find(|mapping| mapping.device_name == origin.root_device_name)
    });
    let size = match own.volume_size.map(VolumeSize::gib) {
        Some(asked) if asked < needed => return Err(Error::RootTooSmall { asked, needed }),
        Some(asked) => asked,
        None => {
            let before = before.and_then(|mapping| mapping.volume_size);
            let before = before.and_then(|size| u64::try_from(size).ok());
            needed.max(before.unwrap_or(0))
        }
    };
    let own_type = own.volume_type.map(VolumeType::name);
    let inherited = before.filter(|_| own_type.is_none());
    let inherited_type = inherited.and_then(|mapping| mapping.volume_type.as_deref());
    Ok(EbsBlockDevice {
        snapshot_id: None,
        volume_size: Some(gib(size)?),
        volume_type: Some(own_type.or(inherited_type).unwrap_or("gp3").to_owned()),
        iops: number(own.iops)?.or_else(|| inherited.and_then(provisioned_iops)),
        throughput: number(own.throughput)?
            .or_else(|| inherited.and_then(|mapping| mapping.throughput)),
        delete_on_termination: own.delete_on_termination.unwrap_or(true),
        encrypted: None,
    })
}

/// The mapping of a volume of the recipe.
fn of_volume(volume: &BuiltVolume) -> Result<BlockDeviceMapping> {
    let settings = &volume.settings;
    let device_name = settings.device_name.as_str().to_owned();
    let (snapshot_id, size, is_empty) = match &volume.content {
        VolumeContent::None => {
            return Ok(BlockDeviceMapping {
                device_name,
                no_device: Some(String::new()),
                ..BlockDeviceMapping::default()
            });
        }
        VolumeContent::Empty { size } => (None, Some(*size), true),
        VolumeContent::Snapshot { snapshot_id, size } => (Some(snapshot_id.clone()), *size, false),
        VolumeContent::Disk { size, .. } => (None, Some(*size), false),
    };
    if is_empty && settings.kms_key_id.is_some() {
        return Err(Error::Mapping(format!(
            "{device_name}: EC2 takes a `kms_key_id` for an empty volume at launch only, not in an \
             AMI; leave it out, and set it in the launch template"
        )));
    }
    if settings.encrypted.is_some() && snapshot_id.is_some() {
        return Err(Error::Mapping(format!(
            "{device_name}: `encrypted` is for volumes that are made here; a snapshot is what it is"
        )));
    }
    Ok(BlockDeviceMapping {
        device_name,
        ebs: Some(EbsBlockDevice {
            snapshot_id,
            volume_size: size.map(|size| gib(size.gib())).transpose()?,
            volume_type: Some(settings.volume_type.name().to_owned()),
            iops: number(settings.iops)?,
            throughput: number(settings.throughput)?,
            delete_on_termination: settings.delete_on_termination,
            encrypted: settings.encrypted.filter(|_| is_empty),
        }),
        ..BlockDeviceMapping::default()
    })
}

/// A mapping of the base, kept.
fn of_base(mapping: &Mapping) -> BlockDeviceMapping {
    let device_name = mapping.device_name.clone();
    if let Some(name) = &mapping.virtual_name {
        return BlockDeviceMapping {
            device_name,
            virtual_name: Some(name.clone()),
            ..BlockDeviceMapping::default()
        };
    }
    BlockDeviceMapping {
        device_name,
        ebs: Some(EbsBlockDevice {
            snapshot_id: mapping.snapshot_id.clone(),
            volume_size: mapping.volume_size,
            volume_type: mapping.volume_type.clone(),
            iops: provisioned_iops(mapping),
            throughput: mapping.throughput,
            delete_on_termination: mapping.delete_on_termination.unwrap_or(true),
            encrypted: mapping.encrypted.filter(|_| mapping.snapshot_id.is_none()),
        }),
        ..BlockDeviceMapping::default()
    }
}

/// The operations a second of a mapping, where its kind takes them: EC2 tells them of `gp2` too.
fn provisioned_iops(mapping: &Mapping) -> Option<i32> {
    let takes = matches!(mapping.volume_type.as_deref(), Some("gp3" | "io1" | "io2"));
    mapping.iops.filter(|_| takes)
}

/// A number of GiB as EC2 has it.
pub(super) fn gib(gib: u64) -> Result<i32> {
    i32::try_from(gib).map_err(|_| Error::Mapping(format!("{gib} GiB is more than any EBS volume")))
}

fn number(number: Option<u32>) -> Result<Option<i32>> {
    let number = number.map(|number| {
        i32::try_from(number)
            .map_err(|_| Error::Mapping(format!("{number} is more than EC2 takes")))
    });
    number.transpose()
}
