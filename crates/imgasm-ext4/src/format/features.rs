//! The three feature sets of the superblock, by the names that `mke2fs` and `dumpe2fs` use.

use bitflags::bitflags;

bitflags! {
    /// Features that may be ignored by an implementation that does not know them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Compat: u32 {
        const DIR_PREALLOC = 0x1;
        const IMAGIC_INODES = 0x2;
        const HAS_JOURNAL = 0x4;
        const EXT_ATTR = 0x8;
        const RESIZE_INODE = 0x10;
        const DIR_INDEX = 0x20;
        const LAZY_BG = 0x40;
        const EXCLUDE_BITMAP = 0x100;
        const SPARSE_SUPER2 = 0x200;
        const FAST_COMMIT = 0x400;
        const STABLE_INODES = 0x800;
        const ORPHAN_FILE = 0x1000;
        const _ = !0;
    }

    /// Features that must be known to read the filesystem.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Incompat: u32 {
        const COMPRESSION = 0x1;
        const FILETYPE = 0x2;
        const NEEDS_RECOVERY = 0x4;
        const JOURNAL_DEV = 0x8;
        const META_BG = 0x10;
        const EXTENT = 0x40;
        const BIT64 = 0x80;
        const MMP = 0x100;
        const FLEX_BG = 0x200;
        const EA_INODE = 0x400;
        const DIRDATA = 0x1000;
        const METADATA_CSUM_SEED = 0x2000;
        const LARGE_DIR = 0x4000;
        const INLINE_DATA = 0x8000;
        const ENCRYPT = 0x10000;
        const CASEFOLD = 0x20000;
        const _ = !0;
    }

    /// Features that must be known to write the filesystem.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct RoCompat: u32 {
        const SPARSE_SUPER = 0x1;
        const LARGE_FILE = 0x2;
        const BTREE_DIR = 0x4;
        const HUGE_FILE = 0x8;
        const UNINIT_BG = 0x10;
        const DIR_NLINK = 0x20;
        const EXTRA_ISIZE = 0x40;
        const HAS_SNAPSHOT = 0x80;
        const QUOTA = 0x100;
        const BIGALLOC = 0x200;
        const METADATA_CSUM = 0x400;
        const REPLICA = 0x800;
        const READ_ONLY = 0x1000;
        const PROJECT = 0x2000;
        const SHARED_BLOCKS = 0x4000;
        const VERITY = 0x8000;
        const ORPHAN_PRESENT = 0x10000;
        const _ = !0;
    }
}

/// Incompatible features with which files can be read.
const READABLE: Incompat = Incompat::FILETYPE
    .union(Incompat::NEEDS_RECOVERY)
    .union(Incompat::META_BG)
    .union(Incompat::EXTENT)
    .union(Incompat::BIT64)
    .union(Incompat::MMP)
    .union(Incompat::FLEX_BG)
    .union(Incompat::EA_INODE)
    .union(Incompat::METADATA_CSUM_SEED)
    .union(Incompat::LARGE_DIR)
    .union(Incompat::INLINE_DATA)
    .union(Incompat::ENCRYPT)
    .union(Incompat::CASEFOLD);

/// Incompatible features with which files can be written. Some concern single files: those that need
/// them are refused when they are to be changed.
const WRITABLE: Incompat = Incompat::FILETYPE
    .union(Incompat::NEEDS_RECOVERY)
    .union(Incompat::META_BG)
    .union(Incompat::EXTENT)
    .union(Incompat::BIT64)
    .union(Incompat::FLEX_BG)
    .union(Incompat::METADATA_CSUM_SEED)
    .union(Incompat::LARGE_DIR)
    .union(Incompat::EA_INODE)
    .union(Incompat::INLINE_DATA)
    .union(Incompat::ENCRYPT)
    .union(Incompat::CASEFOLD);

/// Read-only compatible features with which files can be written, if what is changed does not need
/// them: with `bigalloc`, everything that allocates or frees blocks is refused.
const RO_WRITABLE: RoCompat = RoCompat::SPARSE_SUPER
    .union(RoCompat::LARGE_FILE)
    .union(RoCompat::HUGE_FILE)
    .union(RoCompat::UNINIT_BG)
    .union(RoCompat::DIR_NLINK)
    .union(RoCompat::EXTRA_ISIZE)
    .union(RoCompat::QUOTA)
    .union(RoCompat::BIGALLOC)
    .union(RoCompat::METADATA_CSUM)
    .union(RoCompat::PROJECT)
    .union(RoCompat::VERITY)
    .union(RoCompat::ORPHAN_PRESENT);

/// Compatible features that would need upkeep that we do not do.
const NOT_KEPT_UP: Compat = Compat::EXCLUDE_BITMAP;

/// All features of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// May be ignored.
    pub compat: Compat,
    /// Must be known to read.
    pub incompat: Incompat,
    /// Must be known to write.
    pub ro_compat: RoCompat,
}

impl Features {
    /// Whether structures carry CRC-32C checksums.
    pub fn metadata_csum(self) -> bool {
        self.ro_compat.contains(RoCompat::METADATA_CSUM)
    }

    /// Whether group descriptors carry a checksum of either kind, and so may say that their group
    /// is not initialised.
    pub fn group_checksums(self) -> bool {
        self.ro_compat
            .intersects(RoCompat::METADATA_CSUM.union(RoCompat::UNINIT_BG))
    }

    /// The names of the features without which reading would go wrong.
    pub fn unreadable(self) -> Vec<String> {
        names_of(&self.incompat.difference(READABLE), "incompatible")
    }

    /// The names of the features that forbid writing.
    pub fn unwritable(self) -> Vec<String> {
        let mut names = names_of(&self.compat.intersection(NOT_KEPT_UP), "compatible");
        names.extend(names_of(
            &self.incompat.difference(WRITABLE),
            "incompatible",
        ));
        names.extend(names_of(
            &self.ro_compat.difference(RO_WRITABLE),
            "read-only compatible",
        ));
        names
    }

    /// The names of the known features that are on, in the order of their bits.
    pub fn names(self) -> Vec<&'static str> {
        let compat = self.compat.iter_names().map(|(name, _)| name);
        let incompat = self.incompat.iter_names().map(|(name, _)| name);
        let ro_compat = self.ro_compat.iter_names().map(|(name, _)| name);
        compat
            .chain(incompat)
            .chain(ro_compat)
            .map(display_name)
            .collect()
    }
}

/// The names of all flags in a set; bits without a name are given as numbers.
fn names_of<F: bitflags::Flags<Bits = u32>>(flags: &F, set: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut named = 0;
    for (name, flag) in flags.iter_names() {
        names.push(display_name(name).to_owned());
        named |= flag.bits();
    }
    let unknown = flags.bits() & !named;
    if unknown != 0 {
        names.push(format!("unknown {set} feature {unknown:#x}"));
    }
    names
}

/// What e2fsprogs calls a feature.
fn display_name(constant: &'static str) -> &'static str {
    match constant {
        "DIR_PREALLOC" => "dir_prealloc",
        "IMAGIC_INODES" => "imagic_inodes",
        "HAS_JOURNAL" => "has_journal",
        "EXT_ATTR" => "ext_attr",
        "RESIZE_INODE" => "resize_inode",
        "DIR_INDEX" => "dir_index",
        "LAZY_BG" => "lazy_bg",
        "EXCLUDE_BITMAP" => "snapshot_bitmap",
        "SPARSE_SUPER2" => "sparse_super2",
        "FAST_COMMIT" => "fast_commit",
        "STABLE_INODES" => "stable_inodes",
        "ORPHAN_FILE" => "orphan_file",
        "COMPRESSION" => "compression",
        "FILETYPE" => "filetype",
        "NEEDS_RECOVERY" => "needs_recovery",
        "JOURNAL_DEV" => "journal_dev",
        "META_BG" => "meta_bg",
        "EXTENT" => "extent",
        "BIT64" => "64bit",
        "MMP" => "mmp",
        "FLEX_BG" => "flex_bg",
        "EA_INODE" => "ea_inode",
        "DIRDATA" => "dirdata",
        "METADATA_CSUM_SEED" => "metadata_csum_seed",
        "LARGE_DIR" => "large_dir",
        "INLINE_DATA" => "inline_data",
        "ENCRYPT" => "encrypt",
        "CASEFOLD" => "casefold",
        "SPARSE_SUPER" => "sparse_super",
        "LARGE_FILE" => "large_file",
        "BTREE_DIR" => "btree_dir",
        "HUGE_FILE" => "huge_file",
        "UNINIT_BG" => "uninit_bg",
        "DIR_NLINK" => "dir_nlink",
        "EXTRA_ISIZE" => "extra_isize",
        "HAS_SNAPSHOT" => "snapshot",
        "QUOTA" => "quota",
        "BIGALLOC" => "bigalloc",
        "METADATA_CSUM" => "metadata_csum",
        "REPLICA" => "replica",
        "READ_ONLY" => "read-only",
        "PROJECT" => "project",
        "SHARED_BLOCKS" => "shared_blocks",
        "VERITY" => "verity",
        "ORPHAN_PRESENT" => "orphan_present",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_bits_are_named_by_number() {
        let features = Features {
            compat: Compat::empty(),
            incompat: Incompat::from_bits_retain(0x4000_0042),
            ro_compat: RoCompat::from_bits_retain(0xc200),
        };
        assert_eq!(
            features.unreadable(),
            ["unknown incompatible feature 0x40000000"]
        );
        assert_eq!(
            features.unwritable(),
            ["unknown incompatible feature 0x40000000", "shared_blocks"]
        );
        assert_eq!(
            features.names(),
            ["filetype", "extent", "bigalloc", "shared_blocks", "verity"]
        );
    }
}
