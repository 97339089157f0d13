//! A partition as every table describes it.

use std::fmt;
use std::ops::Range;

use uuid::{Uuid, uuid};

/// A partition of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number: `1` is the `sda1` of `sda`. Numbers need not follow the order on the disk.
    pub number: u32,
    /// What it is for.
    pub kind: PartitionKind,
    /// Its own GUID, in a GPT.
    pub guid: Option<Uuid>,
    /// Its name (`PARTLABEL`), in a GPT; what is not UTF-16 there shows as U+FFFD.
    pub name: String,
    /// GPT: the 64 attribute bits. MBR: the boot indicator, 0x80 for the active partition.
    pub attributes: u64,
    /// First logical block.
    pub first_lba: u64,
    /// Last logical block, which belongs to the partition.
    pub last_lba: u64,
}

impl Partition {
    /// The bytes of the disk that belong to the partition.
    ///
    /// Partitions are only given out after a check that they lie on the device, so the numbers fit.
    pub fn bytes(&self, sector_size: SectorSize) -> Range<u64> {
        let size = sector_size.bytes();
        self.first_lba.saturating_mul(size)..self.last_lba.saturating_add(1).saturating_mul(size)
    }
}

/// The size of a logical block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SectorSize {
    /// 512 bytes: nearly every disk, and every EBS volume.
    B512,
    /// 4096 bytes ("4Kn").
    B4096,
}

impl SectorSize {
    /// Both, in the order in which they are tried.
    pub const ALL: [Self; 2] = [Self::B512, Self::B4096];

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }
}

/// What a partition is for, as its table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartitionKind {
    /// A type GUID.
    Gpt(Uuid),
    /// A type byte.
    Mbr(u8),
}

/// BIOS boot partition: where GRUB keeps its core image on a GPT disk.
pub const BIOS_BOOT: Uuid = uuid!("21686148-6449-6e6f-744e-656564454649");
/// EFI system partition.
pub const EFI_SYSTEM: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// Linux filesystem data.
pub const LINUX_DATA: Uuid = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
/// Linux swap.
pub const LINUX_SWAP: Uuid = uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f");

/// Type GUIDs of root filesystems, from the UAPI group's Discoverable Partitions Specification:
/// those of the architectures that EC2 has.
pub const LINUX_ROOTS: [(Uuid, &str); 2] = [
    (
        uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
        "Linux root (x86-64)",
    ),
    (
        uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae"),
        "Linux root (arm64)",
    ),
];

/// Other type GUIDs that cloud images use.
const OTHER_GUIDS: [(Uuid, &str); 10] = [
    (BIOS_BOOT, "BIOS boot"),
    (EFI_SYSTEM, "EFI system"),
    (LINUX_DATA, "Linux filesystem"),
    (
        uuid!("bc13c2ff-59e6-4262-a352-b275fd6f7172"),
        "Linux extended boot",
    ),
    (LINUX_SWAP, "Linux swap"),
    (uuid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915"), "Linux home"),
    (
        uuid!("3b8f8425-20e0-4f3b-907f-1a25a76f98e8"),
        "Linux server data",
    ),
    (uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928"), "Linux LVM"),
    (
        uuid!("9e1a2d38-c612-4316-aa26-8b49521e5a8b"),
        "PowerPC PReP boot",
    ),
    (
        uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"),
        "Microsoft basic data",
    ),
];

impl PartitionKind {
    /// The usual words for the type, if it is one that Linux images use.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Gpt(guid) => LINUX_ROOTS
                .iter()
                .chain(&OTHER_GUIDS)
                .find(|(known, _)| *known == guid)
                .map(|(_, name)| *name),
            Self::Mbr(byte) => match byte {
                0x01 => Some("FAT12"),
                0x04 | 0x06 | 0x0e => Some("FAT16"),
                0x05 | 0x0f | 0x85 => Some("extended"),
                0x07 => Some("HPFS/NTFS/exFAT"),
                0x0b | 0x0c => Some("FAT32"),
                0x82 => Some("Linux swap"),
                0x83 => Some("Linux"),
                0x8e => Some("Linux LVM"),
                0xee => Some("GPT"),
                0xef => Some("EFI system"),
                _ => None,
            },
        }
    }

    /// Whether this is an MBR's extended partition, which only holds other partitions.
    pub const fn is_extended(self) -> bool {
        matches!(self, Self::Mbr(0x05 | 0x0f | 0x85))
    }

    /// Whether the Discoverable Partitions Specification calls this a root filesystem.
    pub fn is_root(self) -> bool {
        LINUX_ROOTS.iter().any(|(guid, _)| self == Self::Gpt(*guid))
    }
}

impl fmt::Display for PartitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpt(guid) => guid.fmt(f),
            Self::Mbr(byte) => write!(f, "0x{byte:02x}"),
        }
    }
}
