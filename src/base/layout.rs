//! How a disk is divided.

use std::ops::Range;

use uuid::Uuid;

use crate::filesystem::FilesystemKind;
use crate::filesystem::xfs::XfsOptions;
use imgasm_disk::partition::{BIOS_BOOT, EFI_SYSTEM, LINUX_DATA};
use imgasm_fs::path::ImagePath;
use imgasm_guest::fstab::Field;

const MIB: u64 = 1 << 20;
/// Where the first partition begins, and what lies behind the last: the backup of the table, and
/// what is left of a mebibyte.
const MARGIN: u64 = MIB;
/// The highest number that a partition can have.
const MAX_NUMBER: u32 = 128;

/// The partitions of a disk, in the order in which they lie on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(Vec<Partition>);

/// A partition to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number in the table, from 1 to 128.
    pub number: u32,
    /// Its type.
    pub kind: Uuid,
    /// Its name in the table.
    pub name: String,
    /// Its size in bytes, a multiple of 1 MiB; `None` if it takes what the others leave.
    pub size: Option<u64>,
    /// What it holds, if anything.
    pub filesystem: Option<Filesystem>,
}

/// The filesystem in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    /// Its kind.
    pub kind: FilesystemKind,
    /// How it is made, if it is XFS.
    pub xfs: XfsOptions,
    /// Its label, which may be empty.
    pub label: String,
    /// Which part of the tree it holds.
    pub mount: Option<ImagePath>,
    /// Options of the line that `/etc/fstab` gets if it has none about it.
    pub options: Option<Field>,
}

impl Layout {
    /// A layout of these partitions.
    ///
    /// # Errors
    /// What is wrong with them, as a sentence.
    pub fn new(partitions: Vec<Partition>) -> Result<Self, String> {
        for (index, partition) in partitions.iter().enumerate() {
            let Partition { number, size, .. } = partition;
            if !(1..=MAX_NUMBER).contains(number) {
                return Err(format!(
                    "a partition cannot have the number {number}: it is from 1 to {MAX_NUMBER}"
                ));
            }
            if partitions[..index].iter().any(|p| p.number == *number) {
                return Err(format!("two partitions have the number {number}"));
            }
            if size.is_some_and(|size| size == 0 || size % MIB != 0) {
                return Err(format!(
                    "partition {number}: its size is no multiple of 1 MiB"
                ));
            }
            let mount = partition.mount();
            let same = partitions[..index]
                .iter()
                .find(|p| mount.is_some() && p.mount() == mount);
            if let (Some(same), Some(mount)) = (same, mount) {
                let other = same.number;
                return Err(format!("partitions {other} and {number} are both {mount}"));
            }
        }
        let of = |what: fn(&&Partition) -> bool| partitions.iter().filter(what).count();
        if of(|p| p.mount().is_some_and(ImagePath::is_root)) != 1 {
            return Err("one partition must have `mount = \"/\"`".to_owned());
        }
        if of(|p| p.size.is_none()) > 1 {
            return Err(
                "only one partition can do without a `size`, and take what is left".to_owned(),
            );
        }
        Ok(Self(partitions))
    }

    /// That of Amazon's images: partition 128, for a BIOS boot loader, lies first, then partition
    /// 127, for EFI, as large as Amazon Linux 2023 has it; partition 1, the root filesystem, takes
    /// the rest, so that it can grow.
    pub fn amazon(root: FilesystemKind, xfs: XfsOptions) -> Self {
        let partition = |number, kind, name: &str, size, filesystem| Partition {
            number,
            kind,
            name: name.to_owned(),
            size,
            filesystem,
        };
        let filesystem = |kind, label: &str, mount: &str| Filesystem {
            kind,
            xfs,
            label: label.to_owned(),
            mount: ImagePath::parse(mount).ok(),
            options: None,
        };
        let efi = filesystem(FilesystemKind::Vfat, "EFI", "/boot/efi");
        // By this label the boot loader and `/etc/fstab` find it.
        let root = filesystem(root, "/", "/");
        Self(vec![
            partition(128, BIOS_BOOT, "BIOS Boot Partition", Some(MIB), None),
            partition(
                127,
                EFI_SYSTEM,
                "EFI System Partition",
                Some(10 * MIB),
                Some(efi),
            ),
            partition(1, LINUX_DATA, "Linux", None, Some(root)),
        ])
    }

    /// The partitions, in the order in which they lie on the disk.
    pub fn partitions(&self) -> &[Partition] {
        &self.0
    }

    /// The bytes of each partition on a disk of `len` bytes. A partition that takes what is left may
    /// get nothing.
    pub(super) fn places(&self, len: u64) -> Vec<Range<u64>> {
        let fixed: u64 = self.0.iter().filter_map(|p| p.size).sum();
        let room = (len.saturating_sub(MARGIN) / MIB * MIB).saturating_sub(MARGIN);
        let rest = room.saturating_sub(fixed);
        let mut at = MARGIN;
        let place = |partition: &Partition| {
            let start = at;
            at += partition.size.unwrap_or(rest);
            start..at
        };
        self.0.iter().map(place).collect()
    }

    /// Bytes of a disk in which each partition has this many at least; those of a fixed size have
    /// what they have.
    pub(super) fn disk_size(&self, required: &[u64]) -> u64 {
        let size = |(partition, required): (&Partition, &u64)| {
            partition.size.unwrap_or(required.next_multiple_of(MIB))
        };
        let partitions: u64 = self.0.iter().zip(required).map(size).sum();
        MARGIN + partitions + MARGIN
    }
}

impl Partition {
    /// Which part of the tree it holds.
    pub fn mount(&self) -> Option<&ImagePath> {
        self.filesystem.as_ref()?.mount.as_ref()
    }

    /// From which its filesystem's identity is derived.
    pub(super) fn purpose(&self) -> String {
        match self.mount().map(ImagePath::as_bytes) {
            Some(b"/") => "root filesystem".to_owned(),
            Some(b"/boot/efi") => "EFI filesystem".to_owned(),
            _ => format!("filesystem of partition {}", self.number),
        }
    }
}
