//! Inodes: each is sound, and each in use has as many names as it says, at least one.

use std::collections::BTreeMap;

use imgasm_fs::{FileType, Location, Result};

use crate::check::blocks::{Claims, Owner};
use crate::check::group::Group;
use crate::check::report::{Report, finding, found};
use crate::check::{attributes, directories};
use crate::format::btree::records::InodeRecord;
use crate::format::geometry::CHUNK_INODES;
use crate::format::inode::decode_core;
use crate::format::numbers::{GroupNumber, InodeNumber};
use crate::format::superblock::Superblock;
use crate::inode::{Fork, Inode};
use crate::owners::{GroupRecords, add_inode};
use crate::volume::Volume;
use crate::{attr, dir, inode, symlink};

/// The blocks that inodes have, for the two ways of comparing them.
#[derive(Default)]
pub(super) struct Held {
    pub(super) claims: Claims,
    pub(super) owners: GroupRecords,
}

/// What is known about an inode that is in use.
pub(super) struct Known {
    file_type: FileType,
    links: u32,
    /// Names found, and for a directory its own `.` and the `..` of its subdirectories.
    names: u32,
    /// For a directory, what its `..` names.
    parent: InodeNumber,
}

/// The entries of all directories: directory, name's inode and its type.
pub(super) type Names = Vec<(InodeNumber, InodeNumber, Option<FileType>)>;

/// Checks every inode of the groups, notes the blocks that they have, and counts their names.
pub(super) fn check(
    volume: &Volume,
    superblock: &Superblock,
    groups: &[Group],
    held: &mut Held,
    report: Report<'_>,
) -> Result<()> {
    let (mut known, names) = scan(volume, groups, held, report)?;
    check_names(volume, superblock, &mut known, &names, report);
    Ok(())
}

/// Checks every inode by itself, and notes its blocks.
pub(super) fn scan(
    volume: &Volume,
    groups: &[Group],
    held: &mut Held,
    report: Report<'_>,
) -> Result<(BTreeMap<InodeNumber, Known>, Names)> {
    let mut known = BTreeMap::new();
    let mut names = Names::new();
    for group in groups {
        for chunk in &group.inodes.chunks {
            claim_chunk(volume, group.number, chunk, &mut held.claims);
            for index in (0..CHUNK_INODES).filter(|index| chunk.has(*index)) {
                let number = volume
                    .geometry
                    .inode_number(group.number, chunk.start.plus(index));
                if chunk.is_free(index) {
                    check_free(volume, number, report)?;
                } else if let Some(inode) = found(report, Inode::read(volume, number))? {
                    let entry = check_inode(volume, &inode, held, &mut names, report)?;
                    known.insert(number, entry);
                }
            }
        }
    }
    Ok((known, names))
}

fn claim_chunk(volume: &Volume, group: GroupNumber, chunk: &InodeRecord, claims: &mut Claims) {
    let geometry = &volume.geometry;
    let mut last = None;
    for index in (0..CHUNK_INODES).filter(|index| chunk.has(*index)) {
        let inode = chunk.start.plus(index);
        let block = geometry.inode_block(inode);
        // Chunks share a block that holds more inodes than one chunk; the first one claims it.
        let begins = inode.0.is_multiple_of(geometry.inodes_per_block()) || last.is_some();
        if last != Some(block) && begins {
            claims.add(group, block, 1, Owner::Inodes);
        }
        last = Some(block);
    }
}

fn check_free(volume: &Volume, number: InodeNumber, report: Report<'_>) -> Result<()> {
    let bytes = inode::read_bytes(volume, number)?;
    match decode_core(&volume.geometry, number, &bytes) {
        Ok(core) if core.di_mode.get() == 0 => {}
        Ok(core) => finding(
            report,
            Location::Inode(number.0),
            format!("free, but of mode {:o}", core.di_mode.get()),
        ),
        Err(problem) => finding(report, Location::Inode(number.0), problem),
    }
    Ok(())
}

fn check_inode(
    volume: &Volume,
    inode: &Inode,
    held: &mut Held,
    names: &mut Names,
    report: Report<'_>,
) -> Result<Known> {
    let number = inode.number;
    let mut blocks = 0;
    let regular = inode.file_type == FileType::Regular;
    for (fork, shareable) in [
        (Some(&inode.data), regular),
        (inode.attributes.as_ref(), false),
    ] {
        let Some(map) = fork.and_then(|fork| fork.map()) else {
            continue;
        };
        for extent in map.extents() {
            held.claims
                .add_run(volume, extent.start, extent.blocks, number, shareable);
        }
        for block in &map.tree_blocks {
            held.claims.add_run(volume, *block, 1, number, false);
        }
        blocks += map.data_blocks() + map.tree_blocks.len() as u64;
    }
    if blocks != inode.core.di_nblocks.get() {
        finding(
            report,
            Location::Inode(number.0),
            format!("di_nblocks is {}, expected {blocks}", inode.core.di_nblocks),
        );
    }
    let (data, attributes) = inode.core.extent_counts();
    let in_inode = |fork: Option<&Fork>| fork.and_then(Fork::map).is_none();
    if (in_inode(Some(&inode.data)) && data != 0)
        || (in_inode(inode.attributes.as_ref()) && attributes != 0)
    {
        finding(
            report,
            Location::Inode(number.0),
            format!("{data} and {attributes} extents are counted, a fork in the inode has none"),
        );
    }
    if let Some(problem) = inode.core.contradiction(&volume.geometry, inode.file_type) {
        finding(report, Location::Inode(number.0), problem);
    }
    if volume.geometry.features.rmapbt {
        add_inode(volume, inode, &mut held.owners)?;
    }
    if let Some(attributes) = found(report, attr::load::load(volume, inode))? {
        for problem in attr::bad_acls(&attributes) {
            finding(report, Location::Inode(number.0), problem);
        }
        let checked = attributes::check(volume, inode, report);
        found(report, checked)?;
    }
    let mut known = Known {
        file_type: inode.file_type,
        links: inode.core.link_count(),
        names: 0,
        parent: InodeNumber(0),
    };
    match inode.file_type {
        FileType::Directory => {
            if let Some(directory) = found(report, dir::load::load(volume, inode))? {
                known.parent = directory.parent;
                known.names = 1;
                let checked = directories::check(volume, inode, &directory, report);
                found(report, checked)?;
                names.extend(
                    directory
                        .entries()
                        .map(|entry| (number, entry.inode, entry.file_type)),
                );
            }
        }
        FileType::Symlink => {
            found(report, symlink::read(volume, inode).map(drop))?;
        }
        _ => {}
    }
    Ok(known)
}

fn check_names(
    volume: &Volume,
    superblock: &Superblock,
    known: &mut BTreeMap<InodeNumber, Known>,
    names: &Names,
    report: Report<'_>,
) {
    let root = InodeNumber(superblock.raw.sb_rootino.get());
    for (directory, number, file_type) in names {
        let Some(target) = known.get_mut(number) else {
            finding(
                report,
                Location::Inode(directory.0),
                format!("a name of inode {number}, which is not in use or not sound"),
            );
            continue;
        };
        target.names += 1;
        if volume.geometry.features.ftype && *file_type != Some(target.file_type) {
            finding(
                report,
                Location::Inode(directory.0),
                format!("a name of inode {number} with the wrong file type"),
            );
        }
        if target.file_type == FileType::Directory {
            if target.parent != *directory || *number == root {
                finding(
                    report,
                    Location::Inode(number.0),
                    format!("`..` names {}, the parent is {directory}", target.parent),
                );
            }
            if let Some(parent) = known.get_mut(directory) {
                parent.names += 1;
            }
        }
    }
    if let Some(root) = known.get_mut(&root) {
        // The root has no name but its own `..`.
        root.names += 1;
    }
    let raw = &superblock.raw;
    let unnamed = [
        &raw.sb_rbmino,
        &raw.sb_rsumino,
        &raw.sb_uquotino,
        &raw.sb_gquotino,
        &raw.sb_pquotino,
    ]
    .map(|number| InodeNumber(number.get()));
    for (number, inode) in known {
        if inode.links != inode.names && !unnamed.contains(number) {
            finding(
                report,
                Location::Inode(number.0),
                format!("{} links, expected {}", inode.links, inode.names),
            );
        }
    }
}
