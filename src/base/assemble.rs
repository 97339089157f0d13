//! The disk: partition table, boot partitions, root filesystem.
//!
//! The layout is that of Amazon's images: partition 128, for a BIOS boot loader, lies first, then
//! partition 127, for EFI, and partition 1, the root filesystem, takes the rest, so that it can
//! grow. What the tree has below `/boot/efi` goes onto the EFI partition, which is mounted there.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::fill::fill;
use super::tree::{self, Content, Tree};
use super::{Error, Result};
use imgasm_block::{BlockDevice, Slice};
use imgasm_disk::partition::{BIOS_BOOT, EFI_SYSTEM, LINUX_DATA};
use imgasm_disk::{Gpt, NewPartition, SectorSize};
use imgasm_ext4::Ext4;
use imgasm_fat::Fat;
use imgasm_fs::path::ImagePath;
use imgasm_fs::{Timestamp, WriteOptions};

const MIB: u64 = 1 << 20;
/// The partition for a BIOS boot loader.
const BIOS: Range<u64> = MIB..2 * MIB;
/// The partition for EFI, as large as Amazon Linux 2023 has it.
const EFI: Range<u64> = 2 * MIB..12 * MIB;
/// What follows the root partition: the backup of the table, and what is left of a mebibyte.
const TAIL: u64 = MIB;
/// Room for the root filesystem's own structures: journal, inodes, bitmaps.
const OVERHEAD: u64 = 16 * MIB;
/// Unit in which contents are counted: the largest block of the root filesystem.
const BLOCK: u64 = 4096;
/// The root filesystem's label, by which the boot loader and `/etc/fstab` find it.
const LABEL: &[u8] = b"/";
/// Where the EFI partition is mounted.
const EFI_MOUNT: &str = "/boot/efi";

/// How a disk is to be assembled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssembleOptions<'a> {
    /// The directory that holds the root filesystem; the file beside it is found by its name.
    pub rootfs: &'a Path,
    /// The time given to everything.
    pub now: Timestamp,
    /// From which the GUIDs, the filesystems' identities and their seeds are derived.
    pub seed: [u8; 16],
}

impl AssembleOptions<'_> {
    /// An identity of its own for each thing that needs one.
    fn derive(&self, what: &str) -> Uuid {
        Uuid::new_v5(&Uuid::from_bytes(self.seed), what.as_bytes())
    }
}

/// A root filesystem that has been read, ready to become a disk.
#[derive(Debug)]
pub struct Assembly {
    root: Tree,
    efi: Tree,
}

impl Assembly {
    /// Reads the tree and the file beside it.
    ///
    /// # Errors
    /// As [`tree::read`].
    pub fn read(rootfs: &Path) -> Result<Self> {
        let mut root = tree::read(rootfs)?;
        let mount = ImagePath::parse(EFI_MOUNT).expect("the path is a constant of this program");
        let mut efi = Tree::new();
        if let Some(item) = root.get(&mount) {
            efi.insert(ImagePath::root(), item.clone());
        }
        let below: Vec<ImagePath> = root
            .keys()
            .filter(|path| **path != mount && path.starts_with(&mount))
            .cloned()
            .collect();
        for path in below {
            let inner = ImagePath::parse(&path.as_bytes()[EFI_MOUNT.len()..])
                .expect("what follows the mount point begins with a slash");
            if let Some(item) = root.remove(&path) {
                efi.insert(inner, item);
            }
        }
        Ok(Self { root, efi })
    }

    /// The smallest number of bytes that is sure to hold the disk.
    pub fn required_size(&self) -> u64 {
        let blocks = |content: &Content| match content {
            Content::File { size, .. } => size.div_ceil(BLOCK),
            Content::Directory | Content::Symlink(_) => 1,
            Content::Special(_) | Content::HardLink(_) => 0,
        };
        let blocks: u64 = self.root.values().map(|item| blocks(&item.content)).sum();
        let inodes = u64::try_from(self.root.len()).unwrap_or(u64::MAX);
        // A filesystem has an inode for every four blocks at least, and keeps 5 % for root.
        let content = (blocks * BLOCK).max(inodes * 4 * BLOCK);
        let room = OVERHEAD + content + content / 8;
        EFI.end + room.next_multiple_of(MIB) + TAIL
    }

    /// Puts the disk onto all of `device`, which reads as zeros.
    ///
    /// # Errors
    /// [`Error::TooSmall`], and what reading the files and making the filesystems can give.
    pub fn write(
        &self,
        device: &Arc<dyn BlockDevice>,
        options: &AssembleOptions<'_>,
    ) -> Result<()> {
        let required = self.required_size();
        if device.len() < required {
            return Err(Error::TooSmall {
                what: "a disk",
                len: device.len(),
                required,
            });
        }
        let root = EFI.end..(device.len() - TAIL) / MIB * MIB;
        write_table(device, options, &root)?;
        self.write_efi(&part(device, EFI)?, options)?;
        self.write_root(&part(device, root)?, options)
    }

    fn write_efi(
        &self,
        device: &Arc<dyn BlockDevice>,
        options: &AssembleOptions<'_>,
    ) -> Result<()> {
        let [a, b, c, d, ..] = options.derive("EFI filesystem").into_bytes();
        let format = imgasm_fat::FormatOptions {
            label: "EFI".to_owned(),
            volume_id: u32::from_be_bytes([a, b, c, d]),
            sector_size: 512,
        };
        let failed = |source| Error::Format {
            what: "EFI filesystem",
            source,
        };
        imgasm_fat::format(device, &format).map_err(failed)?;
        let mut efi =
            Fat::open_writable(Arc::clone(device), write_options(options)).map_err(failed)?;
        fill(&mut efi, &self.efi)
    }

    fn write_root(
        &self,
        device: &Arc<dyn BlockDevice>,
        options: &AssembleOptions<'_>,
    ) -> Result<()> {
        let uuid = options.derive("root filesystem").into_bytes();
        let hash_seed = options.derive("hash seed").into_bytes();
        let mut format = imgasm_ext4::FormatOptions::new(uuid, hash_seed, options.now);
        format.label = LABEL.to_vec();
        let failed = |source| Error::Format {
            what: "root filesystem",
            source,
        };
        imgasm_ext4::format(device, &format).map_err(failed)?;
        let mut root =
            Ext4::open_writable(Arc::clone(device), write_options(options)).map_err(failed)?;
        fill(&mut root, &self.root)
    }
}

/// Reads the tree that the options name, and puts the disk onto all of `device`, which reads as
/// zeros. The same tree, options and length give the same bytes.
///
/// # Errors
/// As [`Assembly::read`] and [`Assembly::write`].
pub fn assemble(device: &Arc<dyn BlockDevice>, options: &AssembleOptions<'_>) -> Result<()> {
    Assembly::read(options.rootfs)?.write(device, options)
}

fn write_options(options: &AssembleOptions<'_>) -> WriteOptions {
    WriteOptions {
        now: options.now,
        seed: options.seed,
    }
}

fn write_table(
    device: &Arc<dyn BlockDevice>,
    options: &AssembleOptions<'_>,
    root: &Range<u64>,
) -> Result<()> {
    let sector = SectorSize::B512.bytes();
    let partition = |number, kind, name: &str, bytes: &Range<u64>| NewPartition {
        number,
        kind,
        guid: options.derive(&format!("partition {number}")),
        name: name.to_owned(),
        attributes: 0,
        first_lba: bytes.start / sector,
        last_lba: bytes.end / sector - 1,
    };
    let partitions = [
        partition(1, LINUX_DATA, "Linux", root),
        partition(127, EFI_SYSTEM, "EFI System Partition", &EFI),
        partition(128, BIOS_BOOT, "BIOS Boot Partition", &BIOS),
    ];
    let gpt = Gpt::new(
        device.len(),
        SectorSize::B512,
        options.derive("disk"),
        &partitions,
    )?;
    Ok(gpt.write(device)?)
}

fn part(device: &Arc<dyn BlockDevice>, bytes: Range<u64>) -> Result<Arc<dyn BlockDevice>> {
    Ok(Arc::new(Slice::new(Arc::clone(device), bytes)?))
}
