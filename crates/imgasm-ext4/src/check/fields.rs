//! The fields of one inode against each other and against the features that are on; pure.

use crate::format::extent::Node;
use crate::format::features::{Compat, Incompat, RoCompat};
use crate::format::inode::{Inode, flags};
use crate::format::numbers::InodeNumber;
use crate::format::{read_u16, read_u32};
use crate::inline;
use crate::volume::Ext4;
use imgasm_fs::types::FileType;

/// What is wrong with an inode in use.
pub(super) fn problems(fs: &Ext4, number: InodeNumber, inode: &Inode) -> Vec<String> {
    let mut found = Vec::new();
    if number != InodeNumber::ROOT && number.0 < fs.geometry.first_inode {
        found.extend(reserved(fs, number, inode).map(str::to_owned));
    } else {
        match inode.file_type() {
            Ok(FileType::Regular) => {}
            Ok(FileType::Directory) => {
                found.extend(directory(fs, inode));
            }
            Ok(FileType::Symlink) => found.extend(link(inode).map(str::to_owned)),
            Ok(_) => found.extend(special(inode).map(str::to_owned)),
            // Reported with the mode itself.
            Err(_) => {}
        }
        found.extend(common(fs, inode));
        found.extend(form(fs, number, inode).map(str::to_owned));
        if number == InodeNumber::ROOT && inode.file_type() != Ok(FileType::Directory) {
            found.push("the root is not a directory".to_owned());
        }
    }
    found
}

/// Reserved inodes are empty, except those that have a purpose.
fn reserved(fs: &Ext4, number: InodeNumber, inode: &Inode) -> Option<&'static str> {
    const BAD_BLOCKS: u32 = 1;
    const QUOTAS: [u32; 2] = [3, 4];
    const BOOT_LOADER: u32 = 5;
    let sb = &fs.superblock;
    let head = &inode.head;
    let is_regular = inode.file_type() == Ok(FileType::Regular);
    let is_used = head.i_links_count.get() != 0
        || inode.sectors(fs.geometry.block_size) != 0
        || read_u32(&head.i_block, 0) != 0;
    let is_quota = [
        &sb.s_usr_quota_inum,
        &sb.s_grp_quota_inum,
        &sb.s_prj_quota_inum,
    ]
    .iter()
    .any(|field| field.get() == number.0)
        && fs.has_ro(RoCompat::QUOTA);
    if number.0 == BAD_BLOCKS {
        let is_touched = head.i_mode.get() != 0
            || inode.uid() != 0
            || inode.gid() != 0
            || head.i_links_count.get() != 0
            || inode.has_flag(flags::INLINE_DATA)
            || inode.xattr_block().is_some();
        return is_touched.then_some("the inode of bad blocks has a mode, an owner or links");
    }
    if number.0 == sb.s_journal_inum.get() || is_quota || number.0 == sb.s_orphan_file_inum.get() {
        return (is_used && !is_regular).then_some("it is reserved for a file, but is not one");
    }
    if number == InodeNumber::JOURNAL || QUOTAS.contains(&number.0) {
        return is_used.then_some("it is reserved for a feature that is off, but not empty");
    }
    let mode = head.i_mode.get();
    let is_right = match number.0 {
        BOOT_LOADER => inode.file_type() != Ok(FileType::Directory),
        _ if number == InodeNumber::RESIZE => {
            let compat = fs.geometry.features().compat;
            let is_kept = compat.contains(Compat::RESIZE_INODE);
            (mode == 0 && !is_kept) || (is_regular && (!is_kept || head.i_links_count.get() > 0))
        }
        _ => mode == 0,
    };
    (!is_right).then_some("it is reserved and has a mode that it cannot have")
}

fn directory(fs: &Ext4, inode: &Inode) -> Vec<String> {
    let mut found = Vec::new();
    let high = inode.head.i_size_high.get();
    if high != 0
        && !fs
            .geometry
            .features()
            .incompat
            .contains(Incompat::LARGE_DIR)
    {
        found.push(format!("i_size_high of a directory is {high}, expected 0"));
    }
    found
}

/// A short target lies in place of the block numbers, and no kernel looks for extents there.
fn link(inode: &Inode) -> Option<&'static str> {
    let is_short = (1..60).contains(&inode.size());
    if inode.has_flag(flags::IMMUTABLE | flags::APPEND) {
        Some("a symbolic link is immutable or append-only")
    } else if inode.has_flag(flags::EXTENTS) && !inode.has_flag(flags::INLINE_DATA) && is_short {
        Some("a symbolic link whose target lies in the inode has the extents flag")
    } else {
        None
    }
}

/// Devices, pipes and sockets hold at most a device number.
fn special(inode: &Inode) -> Option<&'static str> {
    if inode.has_flag(flags::EXTENTS | flags::INLINE_DATA | flags::INDEX) {
        Some("a device, pipe or socket has flags of a file")
    } else if inode.size() != 0 {
        Some("a device, pipe or socket has a size")
    } else {
        None
    }
}

/// Whether a link, device, pipe or socket has flags that only files and directories can have.
pub(super) fn is_frozen(inode: &Inode) -> bool {
    let is_file = matches!(
        inode.file_type(),
        Ok(FileType::Regular | FileType::Directory) | Err(_)
    );
    !is_file && inode.has_flag(flags::IMMUTABLE | flags::APPEND)
}

/// What holds for all inodes.
fn common(fs: &Ext4, inode: &Inode) -> Vec<String> {
    const FIRST_LARGE: u64 = 0x8000_0000;
    let features = fs.geometry.features();
    let head = &inode.head;
    let mut found = Vec::new();
    let deleted = head.i_dtime.get();
    if head.i_links_count.get() > 0 && deleted != 0 {
        found.push(format!("it has links, but was deleted at {deleted}"));
    }
    let fragment = head.i_obso_faddr.get();
    if fragment != 0 {
        found.push(format!("i_faddr is {fragment}, expected 0"));
    }
    if !fs.geometry.is_hurd {
        let high = head.i_file_acl_high.get();
        if high != 0 && !features.incompat.contains(Incompat::BIT64) {
            found.push(format!(
                "i_file_acl_high is {high} without the feature 64bit"
            ));
        }
        let high = head.i_blocks_high.get();
        if high != 0 && !features.ro_compat.contains(RoCompat::HUGE_FILE) {
            found.push(format!(
                "i_blocks_high is {high} without the feature huge_file"
            ));
        }
    }
    let compat = features.compat;
    if inode.xattr_block().is_some() && !compat.contains(Compat::EXT_ATTR) {
        found.push("it has a block of attributes without the feature ext_attr".to_owned());
    }
    if inode.has_flag(flags::IMAGIC) && !compat.contains(Compat::IMAGIC_INODES) {
        found.push("it is an imagic inode without the feature imagic_inodes".to_owned());
    }
    if inode.file_type() == Ok(FileType::Regular)
        && inode.size() >= FIRST_LARGE
        && !features.ro_compat.contains(RoCompat::LARGE_FILE)
    {
        found.push("it has 2 GiB or more without the feature large_file".to_owned());
    }
    let is_directory = inode.file_type() == Ok(FileType::Directory);
    if inode.has_flag(flags::INDEX) && !(is_directory && compat.contains(Compat::DIR_INDEX)) {
        found.push("it has an index, but is not a directory that can have one".to_owned());
    }
    if inode.has_flag(flags::CASEFOLD)
        && !(is_directory && features.incompat.contains(Incompat::CASEFOLD))
    {
        found.push("it ignores case, but is not a directory that can do so".to_owned());
    }
    found
}

/// What is wrong with the form in which the inode keeps its content.
fn form(fs: &Ext4, number: InodeNumber, inode: &Inode) -> Option<&'static str> {
    const EXTENT_MAGIC: u16 = 0xf30a;
    let incompat = fs.geometry.features().incompat;
    let has_extents = inode.has_flag(flags::EXTENTS);
    let file_type = inode.file_type().ok();
    if inode.has_flag(flags::INLINE_DATA) {
        let size = inode.size();
        let Ok(room) = inline::room(number, inode) else {
            return Some("its content is in the inode, but its attributes cannot be read");
        };
        let fills_it = match file_type {
            Some(FileType::Directory) => room.is_some_and(|room| room == size),
            _ => room.is_some_and(|room| size <= room),
        };
        if !incompat.contains(Incompat::INLINE_DATA) {
            Some("its content is in the inode without the feature inline_data")
        } else if has_extents {
            Some("its content is both in the inode and in extents")
        } else if room.is_none() {
            Some("its content is in the inode, but the attribute for the rest of it is not there")
        } else if !fills_it {
            Some("its size is not that of the content in the inode")
        } else {
            None
        }
    } else if has_extents && !incompat.contains(Incompat::EXTENT) {
        Some("it has extents without the feature extent")
    } else if !has_extents
        && incompat.contains(Incompat::EXTENT)
        && matches!(file_type, Some(FileType::Regular | FileType::Directory))
        && read_u16(&inode.head.i_block, 0) == EXTENT_MAGIC
        && Node::decode(&inode.head.i_block).is_ok()
    {
        Some("it holds extents, but its flag for them is not set")
    } else {
        None
    }
}
