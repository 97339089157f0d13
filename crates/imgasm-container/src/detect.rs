//! What some bytes are, judged by themselves.

use std::fmt;

use super::WHOLE_DISK;

/// How many bytes at the beginning decide what a file is: the superblock of btrfs is the furthest.
pub(super) const HEAD_LEN: usize = 68 << 10;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// RFC 1952.
    Gzip,
    /// The .xz file format.
    Xz,
    /// RFC 8878.
    Zstd,
    /// bzip2.
    Bzip2,
}

impl Codec {
    /// The bytes that such a stream begins with.
    pub(super) fn magic(self) -> &'static [u8] {
        match self {
            Self::Gzip => b"\x1f\x8b\x08",
            Self::Xz => b"\xfd7zXZ\0",
            Self::Zstd => b"\x28\xb5\x2f\xfd",
            Self::Bzip2 => b"BZh",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        })
    }
}

/// How the bytes of a disk lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// As they are.
    Raw,
    /// QEMU's format, version 2 or 3.
    Qcow2,
    /// Sparse extents of VMDK: hosted or stream-optimized.
    Vmdk,
    /// Virtual PC's and Azure's format, fixed or dynamic.
    Vhd,
    /// Hyper-V's format.
    Vhdx,
    /// VirtualBox's format.
    Vdi,
}

impl fmt::Display for DiskFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vdi => "vdi",
        })
    }
}

/// What a file begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// A compressed stream.
    Packed(Codec),
    /// A tar file.
    Tar,
    /// A disk image. Raw ones are recognised by a partition table or a filesystem.
    Disk(DiskFormat),
    /// The text that describes a VMDK of several files.
    Descriptor,
    /// A format that holds disks or files but is not read: its name, and what to do about it.
    Foreign(&'static str, &'static str),
    /// Anything else.
    Unknown,
}

/// What to do about a file that only holds the image.
const UNPACKED: &str = "unpack it first: only gzip, xz, zstd, bzip2 and tar are unpacked here";

/// Judges by the beginning of a file, of which `head` has up to [`HEAD_LEN`] bytes.
pub(super) fn detect(head: &[u8]) -> Content {
    let at = |offset: usize, magic: &[u8]| {
        head.get(offset..)
            .is_some_and(|rest| rest.starts_with(magic))
    };
    for codec in [Codec::Gzip, Codec::Xz, Codec::Zstd] {
        if at(0, codec.magic()) {
            return Content::Packed(codec);
        }
    }
    // A block or the end of the stream follows the level.
    if at(0, Codec::Bzip2.magic()) && (at(4, b"1AY&SY") || at(4, b"\x17\x72\x45\x38\x50\x90")) {
        return Content::Packed(Codec::Bzip2);
    }
    // Skippable frames, which may come first: 0x184d2a50 to 0x184d2a5f.
    if at(1, b"\x2a\x4d\x18") && head[0] & 0xf0 == 0x50 {
        return Content::Packed(Codec::Zstd);
    }
    if at(257, b"ustar") || super::tar::is_header(head) {
        return Content::Tar;
    }
    if at(0, b"QFI\xfb") {
        return Content::Disk(DiskFormat::Qcow2);
    }
    if at(0, b"KDMV") {
        return Content::Disk(DiskFormat::Vmdk);
    }
    if at(0, b"conectix") {
        return Content::Disk(DiskFormat::Vhd);
    }
    if at(0, b"vhdxfile") {
        return Content::Disk(DiskFormat::Vhdx);
    }
    if at(0x40, b"\x7f\x10\xda\xbe") {
        return Content::Disk(DiskFormat::Vdi);
    }
    if at(0, super::vmdk_descriptor::MAGIC.as_bytes()) {
        return Content::Descriptor;
    }
    let disks = [
        (&b"COWD"[..], "a VMDK of ESX 2"),
        (b"QED\0", "a QED image"),
        (b"WithoutFreeSpace", "a Parallels image"),
        (b"WithouFreSpacExt", "a Parallels image"),
        (b"Bochs Virtual HD Image", "a Bochs image"),
        (b"\x3a\xff\x26\xed", "an Android sparse image"),
        (b"EVF\t\r\n\xff\0", "an EnCase image"),
        (b"MSWIM\0\0\0", "a WIM image"),
    ];
    let packed = [
        (&b"PK\x03\x04"[..], "a zip file"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z file"),
        (b"\x04\x22\x4d\x18", "an lz4 file"),
        (b"LZIP", "an lzip file"),
        (b"\x89LZO\0", "an lzop file"),
        (b"\x1f\x9d", "a compress (.Z) file"),
        (b"Rar!", "a rar file"),
        (b"07070", "a cpio archive"),
    ];
    let disks = disks.map(|(magic, name)| (magic, name, WHOLE_DISK));
    let packed = packed.map(|(magic, name)| (magic, name, UNPACKED));
    for (magic, name, advice) in disks.into_iter().chain(packed) {
        if at(0, magic) {
            return Content::Foreign(name, advice);
        }
    }
    let raw = [
        (510, &b"\x55\xaa"[..]), // MBR, FAT, NTFS, exFAT
        (512, b"EFI PART"),
        (4096, b"EFI PART"),
        (1080, b"\x53\xef"), // ext2, ext3, ext4
        (0, b"XFSB"),
        (0, b"hsqs"), // squashfs
        (0, b"LUKS\xba\xbe"),
        (0, b"\xfc\x4e\x2b\xa9"),    // md RAID 1.1
        (4096, b"\xfc\x4e\x2b\xa9"), // md RAID 1.2
        (3, b"NTFS    "),
        (3, b"EXFAT   "),
        (54, b"FAT"),
        (82, b"FAT"),
        (32, b"NXSB"),               // APFS
        (1024, b"\xe2\xe1\xf5\xe0"), // EROFS
        (1024, b"\x10\x20\xf5\xf2"), // F2FS
        (4086, b"SWAPSPACE2"),
        (65600, b"_BHRfS_M"), // btrfs
        (536, b"LABELONE"),   // LVM
        (24, b"LVM2 001"),
        (32769, b"CD001"), // ISO 9660
        (32769, b"BEA01"), // UDF
    ];
    if raw.into_iter().any(|(offset, magic)| at(offset, magic)) {
        return Content::Disk(DiskFormat::Raw);
    }
    Content::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_or_foreign_is_not_misread() {
        for len in 0..64 {
            assert_eq!(detect(&vec![0; len]), Content::Unknown);
            assert_eq!(detect(&vec![0x50; len]), Content::Unknown);
        }
        let advice = |head: &[u8]| match detect(head) {
            Content::Foreign(_, advice) => advice,
            other => panic!("{other:?}"),
        };
        assert_eq!(advice(b"QED\0 and more"), WHOLE_DISK);
        assert_eq!(advice(b"070701 and more"), UNPACKED);
        assert_eq!(detect(b"BZh9 is how a text may begin"), Content::Unknown);
    }
}
