//! Damage to an image: at random, but where it matters.

use std::ops::Range;

use imgasm_block::BlockDevice;
use imgasm_fs::{FileSystem, FileType};

use crate::rng::Rng;

/// The unit in which places are chosen.
const SECTOR: u64 = 512;
/// The same as a length in memory.
const SECTOR_LEN: usize = 512;

/// Where the metadata of an image is: sectors that hold some, and are not all zeros.
#[derive(Debug, Clone)]
pub struct Places {
    /// Sectors at the beginning, where superblocks are.
    first: Vec<u64>,
    /// All sectors of metadata.
    all: Vec<u64>,
    len: u64,
}

impl Places {
    /// The used space of a sound filesystem, without the content of files.
    pub fn of_filesystem(fs: &dyn FileSystem, device: &dyn BlockDevice) -> imgasm_fs::Result<Self> {
        let mut content = Vec::new();
        let mut pending = vec![fs.root()];
        while let Some(directory) = pending.pop() {
            for entry in fs.read_dir(directory)? {
                match entry.file_type {
                    FileType::Directory => pending.push(entry.node),
                    FileType::Regular => {
                        let extents = fs.extents(entry.node)?;
                        let range =
                            |e: &imgasm_fs::FileExtent| e.device_offset..e.device_offset + e.len;
                        content.extend(extents.iter().map(range));
                    }
                    _ => {}
                }
            }
        }
        let is_content = |offset: u64| content.iter().any(|range| range.contains(&offset));
        let used = fs.used_extents()?;
        let sectors = used.into_iter().flat_map(sectors);
        Ok(Self::of(device, sectors.filter(|&at| !is_content(at)))?)
    }

    /// All of a device.
    pub fn of_device(device: &dyn BlockDevice) -> imgasm_block::Result<Self> {
        Self::of(device, sectors(0..device.len()))
    }

    fn of(
        device: &dyn BlockDevice,
        sectors: impl Iterator<Item = u64>,
    ) -> imgasm_block::Result<Self> {
        let mut all = Vec::new();
        let mut sector = [0; SECTOR_LEN];
        for offset in sectors {
            device.read_at(offset, &mut sector)?;
            if sector.iter().any(|&byte| byte != 0) {
                all.push(offset);
            }
        }
        let first = all.iter().copied().filter(|&at| at < 8 * SECTOR).collect();
        let len = device.len();
        Ok(Self { first, all, len })
    }

    fn pick(&self, rng: &mut Rng) -> u64 {
        if !self.first.is_empty() && rng.chance(25) {
            *rng.pick(&self.first)
        } else {
            *rng.pick(&self.all)
        }
    }
}

fn sectors(range: Range<u64>) -> impl Iterator<Item = u64> {
    let whole = range.start.next_multiple_of(SECTOR)..range.end / SECTOR * SECTOR;
    whole.step_by(512)
}

/// Damages a device in one to four places; gives the places.
pub fn damage(
    rng: &mut Rng,
    device: &dyn BlockDevice,
    places: &Places,
) -> imgasm_block::Result<Vec<u64>> {
    let mut damaged = Vec::new();
    for _ in 0..rng.range(1..5) {
        let at = places.pick(rng);
        damaged.push(at);
        match rng.range(0..20) {
            0..5 => flip_bits(rng, device, at)?,
            5..17 => set_field(rng, device, at)?,
            17 => {
                // Another sector's bytes, or two sectors exchanged.
                let other = places.pick(rng);
                let (mut one, mut two) = ([0; SECTOR_LEN], [0; SECTOR_LEN]);
                device.read_at(at, &mut one)?;
                device.read_at(other, &mut two)?;
                device.write_at(at, &two)?;
                if rng.chance(50) {
                    device.write_at(other, &one)?;
                    damaged.push(other);
                }
            }
            18 => {
                let len = rng.magnitude(13).min(places.len - at);
                device.write_zeros(at, len)?;
            }
            _ => {
                let noise = rng.bytes(SECTOR_LEN);
                device.write_at(at, &noise)?;
            }
        }
    }
    Ok(damaged)
}

fn flip_bits(rng: &mut Rng, device: &dyn BlockDevice, sector: u64) -> imgasm_block::Result<()> {
    for _ in 0..rng.range(1..4) {
        let at = sector + rng.range(0..SECTOR);
        let mut byte = [0];
        device.read_at(at, &mut byte)?;
        byte[0] ^= 1 << rng.range(0..8);
        device.write_at(at, &byte)?;
    }
    Ok(())
}

/// Gives a field of one to eight bytes a value that programs often handle wrongly.
fn set_field(rng: &mut Rng, device: &dyn BlockDevice, sector: u64) -> imgasm_block::Result<()> {
    let width = *rng.pick(&[1, 2, 2, 4, 4, 4, 8]);
    let len = usize::try_from(width).expect("at most eight");
    let at = sector + rng.range(0..SECTOR / width) * width;
    let mut bytes = [0; 8];
    device.read_at(at, &mut bytes[..len])?;
    let big_endian = rng.chance(50);
    let old = if big_endian {
        u64::from_be_bytes(bytes) >> (64 - 8 * width)
    } else {
        u64::from_le_bytes(bytes)
    };
    let values = [
        0,
        1,
        2,
        u64::MAX,
        u64::MAX - 1,
        i64::MAX.cast_unsigned(),
        0x8000_0000,
        0x7fff_ffff,
        1 << 15,
        old.wrapping_add(1),
        old.wrapping_sub(1),
        old.wrapping_mul(2),
        old << 8,
        old ^ 0xff,
        rng.magnitude(64),
        rng.magnitude(20),
    ];
    let new = *rng.pick(&values);
    let new = if big_endian {
        (new << (64 - 8 * width)).to_be_bytes()
    } else {
        new.to_le_bytes()
    };
    device.write_at(at, &new[..len])
}

/// Where the structures of XFS that begin with a magic number have their checksum: the magic
/// number's offset and bytes, the structure's length, and the checksum's offset. Of images with
/// blocks of 4 KiB, and sectors and inodes of 512 bytes.
const XFS_CHECKSUMS: [(usize, &[u8], usize, usize); 21] = [
    (0, b"XFSB", 512, 224),
    (0, b"XAGF", 512, 216),
    (0, b"XAGI", 512, 312),
    (0, b"XAFL", 512, 32),
    (0, b"IN", 512, 100),
    (0, b"AB3B", 4096, 52),
    (0, b"AB3C", 4096, 52),
    (0, b"IAB3", 4096, 52),
    (0, b"FIB3", 4096, 52),
    (0, b"R3FC", 4096, 52),
    (0, b"RMB3", 4096, 52),
    (0, b"BMA3", 4096, 64),
    (0, b"XDB3", 4096, 4),
    (0, b"XDD3", 4096, 4),
    (0, b"XDF3", 4096, 4),
    (0, b"XSLM", 4096, 12),
    (0, b"XARM", 4096, 12),
    (8, b"\x3d\xf1", 4096, 12),
    (8, b"\x3d\xff", 4096, 12),
    (8, b"\x3e\xbe", 4096, 12),
    (8, b"\x3b\xee", 4096, 12),
];

/// Corrects the checksum of the XFS structure that contains a damaged place, so that the damage
/// gets past the check of the checksum.
pub fn reseal_xfs(device: &dyn BlockDevice, damaged: u64) -> imgasm_block::Result<()> {
    for (magic_at, magic, len, checksum_at) in XFS_CHECKSUMS {
        let start = damaged / len as u64 * len as u64;
        if start + len as u64 > device.len() {
            continue;
        }
        let mut bytes = vec![0; len];
        device.read_at(start, &mut bytes)?;
        if bytes[magic_at..].starts_with(magic) {
            bytes[checksum_at..checksum_at + 4].fill(0);
            let checksum = crc32c::crc32c(&bytes);
            return device.write_at(start + checksum_at as u64, &checksum.to_le_bytes());
        }
    }
    Ok(())
}

/// Corrects the checksum of the record of an XFS log that contains a damaged place, if one does.
pub fn reseal_xfs_log(device: &dyn BlockDevice, damaged: u64) -> imgasm_block::Result<()> {
    const MOST_BLOCKS: u64 = 520;
    const HEADER_LEN: usize = 328;
    const MORE_HEADER_LEN: usize = 260;
    let last = damaged / SECTOR;
    for block in (last.saturating_sub(MOST_BLOCKS)..=last).rev() {
        let mut header = [0; SECTOR_LEN];
        device.read_at(block * SECTOR, &mut header)?;
        if !header.starts_with(b"\xfe\xed\xba\xbe") {
            continue;
        }
        let number = |at: usize| {
            let bytes = header[at..at + 4].try_into().expect("four bytes");
            usize::try_from(u32::from_be_bytes(bytes)).expect("a number of 32 bits")
        };
        let (len, room) = (number(12), number(320));
        let headers = room.div_ceil(32 << 10).max(1);
        let all = (headers * SECTOR_LEN).saturating_add(len);
        if all > 1 << 20 || block * SECTOR + all as u64 > device.len() {
            return Ok(());
        }
        let mut bytes = vec![0; all];
        device.read_at(block * SECTOR, &mut bytes)?;
        bytes[32..36].fill(0);
        let mut checksum = crc32c::crc32c(&bytes[..HEADER_LEN]);
        for more in 1..headers.min(len.div_ceil(32 << 10)) {
            let at = more * SECTOR_LEN;
            checksum = crc32c::crc32c_append(checksum, &bytes[at..at + MORE_HEADER_LEN]);
        }
        checksum = crc32c::crc32c_append(checksum, &bytes[headers * SECTOR_LEN..]);
        return device.write_at(block * SECTOR + 32, &checksum.to_le_bytes());
    }
    Ok(())
}

/// Corrects the checksums of the primary and the backup GPT of a disk with sectors of 512 bytes, if
/// they look like headers.
pub fn reseal_gpt(device: &dyn BlockDevice) -> imgasm_block::Result<()> {
    // UEFI specification, "GPT Header".
    for offset in [SECTOR, device.len() / SECTOR * SECTOR - SECTOR] {
        let mut header = [0; SECTOR_LEN];
        device.read_at(offset, &mut header)?;
        let number = |at: usize| {
            let bytes = header[at..at + 4].try_into().expect("four bytes");
            u64::from(u32::from_le_bytes(bytes))
        };
        let (header_len, first, entries) = (number(12), number(72), number(80) * number(84));
        let inside = first.saturating_mul(SECTOR).saturating_add(entries) <= device.len();
        if !header.starts_with(b"EFI PART") || header_len > SECTOR || entries > 1 << 16 || !inside {
            continue;
        }
        let mut array = vec![0; usize::try_from(entries).expect("at most 64 KiB")];
        device.read_at(first * SECTOR, &mut array)?;
        header[88..92].copy_from_slice(&crc32fast::hash(&array).to_le_bytes());
        header[16..20].fill(0);
        let len = usize::try_from(header_len).expect("at most a sector");
        let checksum = crc32fast::hash(&header[..len]);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        device.write_at(offset, &header)?;
    }
    Ok(())
}
