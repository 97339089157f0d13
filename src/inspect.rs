//! What an image is: container, partition table, filesystems, and the system in its root.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use imgasm_disk::{Disk, Partition, Place, SectorSize, TableKind};
use imgasm_fs::FileSystemInfo;
use imgasm_fs::text::name_text;
use imgasm_guest::{Arch, Facts, Init};

/// A disk, described for people and machines. What does not apply or is not known is `null`.
#[derive(Debug, Serialize)]
pub struct Description {
    /// What the disk is wrapped in, outermost first; empty for a raw image.
    pub container: Vec<String>,
    /// Bytes of the disk.
    pub size: u64,
    /// The partition table; `null` if one filesystem fills the disk.
    pub partition_table: Option<TableDescription>,
    /// What lies where.
    pub contents: Vec<ContentDescription>,
    /// The system in the root filesystem.
    pub root: Option<RootDescription>,
    /// What is wrong with the image, although it can be read.
    pub warnings: Vec<String>,
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDescription {
    /// `gpt` or `dos`.
    pub kind: String,
    /// The disk's GUID or signature.
    pub id: String,
    /// Bytes in a logical block.
    pub sector_size: u64,
    /// Whether the MBR before a GPT also lists partitions.
    pub hybrid: bool,
    /// SHA-256 of the boot code, if there is some.
    pub boot_code_sha256: Option<String>,
    /// The partitions by their numbers.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionDescription {
    /// The number.
    pub number: u32,
    /// The type GUID or byte.
    pub r#type: String,
    /// What that type is called.
    pub type_name: Option<String>,
    /// The partition's own GUID.
    pub guid: Option<String>,
    /// The partition's name.
    pub name: String,
    /// GPT attribute bits, or the MBR's boot indicator.
    pub attributes: u64,
    /// First logical block.
    pub first_lba: u64,
    /// Last logical block.
    pub last_lba: u64,
}

/// What a partition, or the whole disk, holds.
#[derive(Debug, Serialize)]
pub struct ContentDescription {
    /// The partition; `null` for the whole disk.
    pub partition: Option<u32>,
    /// The kind as `blkid` names it.
    pub kind: Option<&'static str>,
    /// The filesystem, if it is one that can be read.
    pub filesystem: Option<FileSystemDescription>,
    /// Why it cannot be read.
    pub problem: Option<String>,
}

/// A filesystem.
#[derive(Debug, Serialize)]
pub struct FileSystemDescription {
    /// The label.
    pub label: String,
    /// The UUID or serial number.
    pub uuid: String,
    /// Bytes in a block.
    pub block_size: u32,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes free.
    pub free_bytes: u64,
    /// Inodes in all.
    pub inodes: Option<u64>,
    /// Inodes free.
    pub free_inodes: Option<u64>,
    /// Whether it must be recovered before it can be written.
    pub needs_recovery: bool,
    /// Features that are on.
    pub features: Vec<&'static str>,
    /// Other parameters.
    pub parameters: BTreeMap<&'static str, String>,
}

/// The system in a root filesystem.
#[derive(Debug, Serialize)]
pub struct RootDescription {
    /// The partition; `null` for the whole disk.
    pub partition: Option<u32>,
    /// `ID` of `/etc/os-release`.
    pub os_id: String,
    /// `VERSION_ID` of `/etc/os-release`.
    pub os_version: Option<String>,
    /// `PRETTY_NAME` of `/etc/os-release`.
    pub os_name: Option<String>,
    /// The init system.
    pub init: Option<&'static str>,
    /// The architecture, as EC2 names it.
    pub architecture: Option<&'static str>,
}

/// Describes a disk. The root filesystem is found by [`Disk::root`].
pub fn describe(
    disk: &Disk,
    container: Vec<String>,
    partition: Option<u32>,
) -> imgasm_disk::Result<Description> {
    let mut contents = Vec::new();
    for place in disk.places() {
        contents.push(content(disk, place)?);
    }
    let mut warnings = disk.warnings().to_vec();
    let root = match disk.root(partition) {
        Ok(place) => match root(disk, place) {
            Ok(root) => Some(root),
            Err(problem) => {
                warnings.push(problem);
                None
            }
        },
        // A partition that was asked for must exist; a disk without a root is still a disk.
        Err(error) if partition.is_some() => return Err(error),
        Err(error) => {
            warnings.push(error.to_string());
            None
        }
    };
    Ok(Description {
        container,
        size: disk.device().len(),
        partition_table: disk.table()?.map(|table| table_description(&table)),
        contents,
        root,
        warnings,
    })
}

/// The system in the root filesystem, or why it is unknown.
fn root(disk: &Disk, place: Place) -> Result<RootDescription, String> {
    let fs = disk
        .open_filesystem(place)
        .map_err(|error| error.to_string())?;
    let facts = Facts::detect(fs.as_ref()).map_err(|error| error.to_string())?;
    let text = |field: Option<&str>| field.map(str::to_owned);
    Ok(RootDescription {
        partition: number(place),
        os_id: facts.os_release.id().to_owned(),
        os_version: text(facts.os_release.version_id()),
        os_name: text(facts.os_release.pretty_name()),
        init: facts.init.map(Init::name),
        architecture: facts.arch.map(Arch::name),
    })
}

fn number(place: Place) -> Option<u32> {
    match place {
        Place::WholeDisk => None,
        Place::Partition(number) => Some(number),
    }
}

/// A partition table in the description's form.
pub fn table_description(table: &imgasm_disk::PartitionTable) -> TableDescription {
    let (id, hybrid) = match table.kind {
        TableKind::Gpt {
            disk_guid, hybrid, ..
        } => (disk_guid.to_string(), hybrid),
        TableKind::Mbr { signature } => (format!("{signature:08x}"), false),
    };
    TableDescription {
        kind: table.kind.name().to_owned(),
        id,
        sector_size: SectorSize::bytes(table.sector_size),
        hybrid,
        boot_code_sha256: table.boot_code_sha256.map(hex::encode),
        partitions: table.partitions.iter().map(partition_description).collect(),
    }
}

fn partition_description(partition: &Partition) -> PartitionDescription {
    PartitionDescription {
        number: partition.number,
        r#type: partition.kind.to_string(),
        type_name: partition.kind.name().map(str::to_owned),
        guid: partition.guid.map(|guid| guid.to_string()),
        name: partition.name.clone(),
        attributes: partition.attributes,
        first_lba: partition.first_lba,
        last_lba: partition.last_lba,
    }
}

fn content(disk: &Disk, place: Place) -> imgasm_disk::Result<ContentDescription> {
    let kind = disk.probe(place)?;
    let mut description = ContentDescription {
        partition: number(place),
        kind,
        filesystem: None,
        problem: None,
    };
    if kind.is_some() {
        let info = disk.open_filesystem(place).and_then(|fs| {
            fs.info()
                .map_err(|source| imgasm_disk::Error::FileSystem { place, source })
        });
        match info {
            Ok(info) => description.filesystem = Some(filesystem(info)),
            Err(imgasm_disk::Error::FileSystem { source, .. }) => {
                description.problem = Some(source.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(description)
}

fn filesystem(info: FileSystemInfo) -> FileSystemDescription {
    FileSystemDescription {
        label: name_text(&info.label),
        uuid: info.uuid,
        block_size: info.block_size,
        total_bytes: info.total_bytes,
        free_bytes: info.free_bytes,
        inodes: info.inodes.map(|(all, _)| all),
        free_inodes: info.inodes.map(|(_, free)| free),
        needs_recovery: info.needs_recovery,
        features: info.features,
        parameters: info.parameters.into_iter().collect(),
    }
}
