//! What a device holds, and the engine for it.

use std::sync::Arc;

use imgasm_block::BlockDevice;
use imgasm_fs::{Error, FileSystem, Result, WriteOptions};

/// The bytes by which a kind of contents is known.
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

/// What we know by its magic bytes. Those at the device's start come first: they are overwritten
/// last when a device gets new contents, so that a stale mark further back does not win.
const MAGICS: [Magic; 12] = [
    magic("xfs", 0, b"XFSB"),
    magic("squashfs", 0, b"hsqs"),
    magic("crypto_LUKS", 0, b"LUKS\xba\xbe"),
    magic("ntfs", 3, b"NTFS    "),
    magic("exfat", 3, b"EXFAT   "),
    magic("LVM2_member", 512, b"LABELONE"),
    magic("ext", 1080, b"\x53\xef"),
    magic("erofs", 1024, b"\xe2\xe1\xf5\xe0"),
    magic("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    magic("swap", 4086, b"SWAPSPACE2"),
    magic("iso9660", 32769, b"CD001"),
    magic("btrfs", 65600, b"_BHRfS_M"),
];

/// What `device` holds, as `blkid` names it: a filesystem, or something else that fills a
/// partition. `None` where nothing is known.
pub fn probe(device: &dyn BlockDevice) -> Result<Option<&'static str>> {
    for magic in &MAGICS {
        let mut bytes = [0; 16];
        let bytes = &mut bytes[..magic.bytes.len()];
        if magic.offset + 16 > device.len() {
            continue;
        }
        device.read_at(magic.offset, bytes)?;
        if bytes != magic.bytes {
            continue;
        }
        return Ok(Some(match magic.kind {
            "ext" => ext_kind(device)?,
            kind => kind,
        }));
    }
    Ok(imgasm_fat::probe(device)?.then_some("vfat"))
}

/// Which of the three names an ext filesystem goes by: ext4 with a feature that ext3 does not
/// know, ext3 with a journal, else ext2.
fn ext_kind(device: &dyn BlockDevice) -> Result<&'static str> {
    // s_feature_compat, _incompat, _ro_compat: kernel documentation, ext4, "The Super Block".
    let mut words = [0; 12];
    device.read_at(1024 + 0x5c, &mut words)?;
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

/// Opens the filesystem on `device` for reading.
///
/// # Errors
/// [`Error::Incompatible`] where there is none, or one that we cannot read.
pub fn open(device: Arc<dyn BlockDevice>) -> Result<Box<dyn FileSystem>> {
    Ok(match probe(&device)? {
        Some("ext2" | "ext3" | "ext4") => Box::new(imgasm_ext4::Ext4::open(device)?),
        Some("vfat") => Box::new(imgasm_fat::Fat::open(device)?),
        Some("xfs") => Box::new(imgasm_xfs::Xfs::open(device)?),
        other => return Err(unsupported(other)),
    })
}

/// Opens the filesystem on `device` for reading and writing.
///
/// # Errors
/// [`Error::Incompatible`] where there is none, or one that we cannot write;
/// [`Error::NotWritable`] where it must be repaired first.
pub fn open_writable(
    device: Arc<dyn BlockDevice>,
    options: WriteOptions,
) -> Result<Box<dyn FileSystem>> {
    Ok(match probe(&device)? {
        Some("ext2" | "ext3" | "ext4") => {
            Box::new(imgasm_ext4::Ext4::open_writable(device, options)?)
        }
        Some("vfat") => Box::new(imgasm_fat::Fat::open_writable(device, options)?),
        Some("xfs") => Box::new(imgasm_xfs::Xfs::open_writable(device, options)?),
        other => return Err(unsupported(other)),
    })
}

fn unsupported(kind: Option<&'static str>) -> Error {
    match kind {
        Some(kind) => Error::Incompatible {
            fs: kind,
            what: "this kind of contents".to_owned(),
        },
        None => Error::NoFilesystem,
    }
}
