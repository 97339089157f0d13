//! GRUB for a BIOS: what `grub-install` leaves in the tree, put where a BIOS looks for it.

use std::io::Read;
use std::ops::Range;

use super::layout::Layout;
use super::tree::{Content, Tree};
use super::{Error, Result};
use imgasm_block::BlockDevice;
use imgasm_disk::SectorSize;
use imgasm_disk::partition::BIOS_BOOT;
use imgasm_guest::known_path;

/// Where distributions have it.
const FOLDERS: [&str; 2] = ["/boot/grub2/i386-pc", "/boot/grub/i386-pc"];
/// Bytes of the disk's first sector that are code; the rest is the partition table's.
const CODE_LEN: usize = 440;
/// Bytes of a sector.
const SECTOR: usize = 512;
/// `kernel_sector` of GRUB's `boot.S`: the sector in which the core begins, 64 bits.
const KERNEL_SECTOR: Range<usize> = 0x5c..0x64;
/// `boot_drive_check` of `boot.S`: a jump, which passes over the check of the drive that the BIOS
/// names, and is taken out for disks.
const DRIVE_CHECK: Range<usize> = 0x66..0x68;
const NO_OPERATION: [u8; 2] = [0x90; 2];
/// The first sector, 64 bits, in the first block list of `diskboot.S`, at the end of the core's first
/// sector: where the rest of the core begins.
const REST_SECTOR: Range<usize> = 0x1f4..0x1fc;
/// The most that is read of a core.
const MAX_CORE: u64 = 1 << 20;

/// The first stages of GRUB.
#[derive(Debug)]
pub(super) struct Loader {
    boot: Vec<u8>,
    core: Vec<u8>,
}

impl Loader {
    /// The loader in the tree, if it has one and the disk has a partition for it.
    ///
    /// # Errors
    /// [`Error::Layout`] if it does not fit; [`Error::Host`] if it cannot be read.
    pub(super) fn find(tree: &Tree, layout: &Layout) -> Result<Option<Self>> {
        let mut partitions = layout.partitions().iter();
        let Some(partition) = partitions.find(|partition| partition.kind == BIOS_BOOT) else {
            return Ok(None);
        };
        for folder in FOLDERS {
            let read = |name| read(tree, &format!("{folder}/{name}"));
            let (Some(boot), Some(core)) = (read("boot.img")?, read("core.img")?) else {
                continue;
            };
            let room = partition.size.unwrap_or(MAX_CORE).min(MAX_CORE);
            let is_sound = boot.len() == SECTOR && core.len() > SECTOR && core.len() as u64 <= room;
            if !is_sound {
                return Err(Error::Layout(format!(
                    "{folder}: boot.img and core.img are not those of GRUB, or do not fit into \
                     partition {}",
                    partition.number
                )));
            }
            return Ok(Some(Self { boot, core }));
        }
        Ok(None)
    }

    /// Puts it onto the disk: what `grub-bios-setup` does.
    pub(super) fn write(
        &self,
        device: &dyn BlockDevice,
        layout: &Layout,
        places: &[Range<u64>],
    ) -> Result<()> {
        let mut partitions = layout.partitions().iter().zip(places);
        let place = partitions.find(|(partition, _)| partition.kind == BIOS_BOOT);
        let Some((_, place)) = place else {
            return Ok(());
        };
        let sector = place.start / SectorSize::B512.bytes();
        let mut boot = self.boot.clone();
        boot[KERNEL_SECTOR].copy_from_slice(&sector.to_le_bytes());
        boot[DRIVE_CHECK].copy_from_slice(&NO_OPERATION);
        device.write_at(0, &boot[..CODE_LEN])?;
        let mut core = self.core.clone();
        core[REST_SECTOR].copy_from_slice(&(sector + 1).to_le_bytes());
        Ok(device.write_at(place.start, &core)?)
    }
}

/// The content of a file of the tree, if it is one.
fn read(tree: &Tree, path: &str) -> Result<Option<Vec<u8>>> {
    let path = known_path(path);
    let Some(Content::File { source, .. }) = tree.get(&path).map(|item| &item.content) else {
        return Ok(None);
    };
    let mut content = Vec::new();
    let read = source.open()?.take(MAX_CORE + 1).read_to_end(&mut content);
    read.map_err(source.failed("read"))?;
    Ok(Some(content))
}
