//! What a device holds, by its magic bytes.

use imgasm_block::BlockDevice;
use imgasm_fs::Result;

/// The bytes by which a kind of contents is recognised.
struct Magic {
    /// The kind, as `blkid` names it.
    kind: &'static str,
    /// Where they lie on the device.
    offset: u64,
    /// What they are.
    bytes: &'static [u8],
}

const fn magic(kind: &'static str, offset: u64, bytes: &'static [u8]) -> Magic {
    Magic {
        kind,
        offset,
        bytes,
    }
}

/// The first four bytes of a superblock of md RAID (`linux/raid/md_p.h`, `MD_SB_MAGIC`).
const RAID_MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();

/// What is recognised by magic bytes. Those at the device's start come first: they are surely
/// overwritten when a device gets new contents, so a stale mark further back does not win.
const MAGICS: [Magic; 20] = [
    magic("xfs", 0, b"XFSB"),
    magic("squashfs", 0, b"hsqs"),
    magic("crypto_LUKS", 0, b"LUKS\xba\xbe"),
    magic("linux_raid_member", 0, &RAID_MAGIC),
    magic("ntfs", 3, b"NTFS    "),
    magic("exfat", 3, b"EXFAT   "),
    magic("apfs", 32, b"NXSB"),
    // The label of a physical volume is in one of the first four sectors.
    magic("LVM2_member", 0, b"LABELONE"),
    magic("LVM2_member", 512, b"LABELONE"),
    magic("LVM2_member", 1024, b"LABELONE"),
    magic("LVM2_member", 1536, b"LABELONE"),
    magic("ext", 1080, b"\x53\xef"),
    magic("erofs", 1024, b"\xe2\xe1\xf5\xe0"),
    magic("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    magic("linux_raid_member", 4096, &RAID_MAGIC),
    magic("swap", 4086, b"SWAPSPACE2"),
    magic("iso9660", 32769, b"CD001"),
    // UDF volumes begin with an extended area descriptor (ECMA-167, part 2, 9.2).
    magic("udf", 32769, b"BEA01"),
    magic("btrfs", 65600, b"_BHRfS_M"),
    magic("bcachefs", 4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca"),
];

/// Bytes at a device's start that are read at once: most marks lie in them.
const HEAD: usize = 8 << 10;

/// What `device` holds, as `blkid` names it: a filesystem, or something else that fills a
/// partition. `None` if nothing is known.
///
/// Half of an md RAID mirror with its superblock at the end is reported as such, although it begins
/// with the mirror's filesystem: writing to one half would break the mirror.
pub fn probe(device: &dyn BlockDevice) -> Result<Option<&'static str>> {
    if is_raid_by_its_end(device)? {
        return Ok(Some("linux_raid_member"));
    }
    let mut head = [0; HEAD];
    device.read_padded(0, &mut head)?;
    for magic in &MAGICS {
        let in_head = usize::try_from(magic.offset).ok();
        let in_head = in_head.and_then(|at| head.get(at..at + magic.bytes.len()));
        let mut further = [0; 16];
        let bytes = if let Some(bytes) = in_head {
            bytes
        } else {
            let bytes = &mut further[..magic.bytes.len()];
            device.read_padded(magic.offset, bytes)?;
            bytes
        };
        if bytes != magic.bytes {
            continue;
        }
        return Ok(Some(match magic.kind {
            "ext" => ext_kind(device)?,
            kind => kind,
        }));
    }
    if imgasm_fat::probe(device)? {
        return Ok(Some("vfat"));
    }
    Ok(is_zfs(device)?.then_some("zfs_member"))
}

/// Whether a device ends with a superblock of md RAID, of version 1.0 or 0.90
/// (`linux/raid/md_p.h`).
fn is_raid_by_its_end(device: &dyn BlockDevice) -> Result<bool> {
    const SECTOR: u64 = 512;
    const OLD_RESERVED: u64 = 64 << 10;
    let number = |bytes: &[u8], at: usize| {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let mut block = [0; 512];
    // Version 1.0: at least 8 KiB before the end, at a multiple of 4 KiB. It names its own place.
    if let Some(sector) = (device.len() / SECTOR).checked_sub(16) {
        let sector = sector / 8 * 8;
        device.read_padded(sector * SECTOR, &mut block)?;
        let place = u64::from(number(&block, 144)) | u64::from(number(&block, 148)) << 32;
        if block.starts_with(&RAID_MAGIC) && number(&block, 4) == 1 && place == sector {
            return Ok(true);
        }
    }
    // Version 0.90: the last whole 64 KiB.
    if let Some(offset) = (device.len() / OLD_RESERVED * OLD_RESERVED).checked_sub(OLD_RESERVED) {
        device.read_padded(offset, &mut block)?;
        let version = (number(&block, 4), number(&block, 8));
        return Ok(block.starts_with(&RAID_MAGIC) && version == (0, 90));
    }
    Ok(false)
}

/// Whether a device has ZFS's first label: 128 KiB of uberblocks behind 128 KiB of other things
/// ("ZFS On-Disk Specification", 1.3). Which of them are used depends on the pool.
fn is_zfs(device: &dyn BlockDevice) -> Result<bool> {
    const UBERBLOCKS: u64 = 128 << 10;
    const MAGIC: u64 = 0x00ba_b10c;
    if device.len() < 2 * UBERBLOCKS {
        return Ok(false);
    }
    let data = device.next_data(UBERBLOCKS)?;
    if data.is_none_or(|data| data.start >= 2 * UBERBLOCKS) {
        return Ok(false);
    }
    let mut label = vec![0; 128 << 10];
    device.read_at(UBERBLOCKS, &mut label)?;
    Ok(label.chunks_exact(1024).any(|uberblock| {
        [MAGIC.to_le_bytes(), MAGIC.to_be_bytes()]
            .iter()
            .any(|magic| uberblock.starts_with(magic))
    }))
}

/// Which of the three names an ext filesystem has: ext4 with a feature that ext3 does not know,
/// ext3 with a journal, else ext2.
fn ext_kind(device: &dyn BlockDevice) -> Result<&'static str> {
    // s_feature_compat, _incompat, _ro_compat: kernel documentation, ext4, "The Super Block".
    let mut words = [0; 12];
    device.read_padded(1024 + 0x5c, &mut words)?;
    let [compat, incompat, ro_compat] = [0, 4, 8]
        .map(|at| u32::from_le_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]]));
    // ext3 knows filetype, recover, journal_dev, meta_bg; sparse_super, large_file, btree_dir.
    Ok(if incompat & !0x1e != 0 || ro_compat & !0x7 != 0 {
        "ext4"
    } else if compat & 0x4 != 0 {
        "ext3"
    } else {
        "ext2"
    })
}
