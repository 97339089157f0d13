//! Who has which block: all claims on a group's blocks, in order, must leave no gap, and may
//! overlap only if the filesystem counts the blocks as shared.

use std::collections::BTreeMap;

use imgasm_fs::Location;

use crate::check::group::Group;
use crate::check::report::{Report, finding};
use crate::format::btree::records::{FreeRecord, RefcountRecord};
use crate::format::numbers::{FsBlock, GroupBlock, GroupNumber, InodeNumber};
use crate::volume::Volume;

/// A run of a group's blocks and its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    start: GroupBlock,
    len: u32,
    /// Whether it is content of a regular file, which may be shared.
    shareable: bool,
    owner: Owner,
}

/// An owner of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Head,
    Log,
    Free,
    Trees,
    Inodes,
    Staged,
    Inode(InodeNumber),
}

/// All claims, by group.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<GroupNumber, Vec<Claim>>);

impl Claims {
    /// Notes that `owner` has some blocks of a group.
    pub(super) fn add(&mut self, group: GroupNumber, start: GroupBlock, len: u32, owner: Owner) {
        self.push(group, start, len, owner, false);
    }

    /// Notes that `inode` has a run of blocks, which lies inside the filesystem.
    pub(super) fn add_run(
        &mut self,
        volume: &Volume,
        start: FsBlock,
        blocks: u64,
        inode: InodeNumber,
        shareable: bool,
    ) {
        if let Some((group, start)) = volume.geometry.split(start) {
            let len = u32::try_from(blocks).expect("extents have 21 bits of length");
            self.push(group, start, len, Owner::Inode(inode), shareable);
        }
    }

    /// Notes what a group itself has: its head, the log, its trees.
    pub(super) fn add_own(&mut self, volume: &Volume, group: &Group) {
        let geometry = &volume.geometry;
        let number = group.number;
        self.add(
            number,
            GroupBlock::FIRST,
            geometry.head_blocks(),
            Owner::Head,
        );
        if let Some((start, blocks)) = geometry.log
            && let Some((home, start)) = geometry.split(start)
            && home == number
        {
            self.add(number, start, blocks, Owner::Log);
        }
        let no_blocks = Vec::new();
        let refcount_blocks = group
            .refcounts
            .as_ref()
            .map_or(&no_blocks, |(_, blocks)| blocks);
        let owner_blocks = group
            .owners
            .as_ref()
            .map_or(&no_blocks, |(_, blocks)| blocks);
        let trees = [
            &group.free.by_block_blocks,
            &group.free.by_size_blocks,
            &group.free.list,
            &group.inodes.tree_blocks,
            &group.inodes.free_tree_blocks,
            refcount_blocks,
            owner_blocks,
        ];
        for block in trees.into_iter().flatten() {
            self.add(number, *block, 1, Owner::Trees);
        }
    }

    /// Takes the claims on a group's blocks in order, and gives the gaps and the shared runs.
    pub(super) fn sweep(&mut self, group: GroupNumber, length: u32, report: Report<'_>) -> Swept {
        let mut claims = self.0.remove(&group).unwrap_or_default();
        claims.sort_unstable();
        sweep(group, length, &claims, report)
    }

    fn push(
        &mut self,
        group: GroupNumber,
        start: GroupBlock,
        len: u32,
        owner: Owner,
        shareable: bool,
    ) {
        self.0.entry(group).or_default().push(Claim {
            start,
            len,
            shareable,
            owner,
        });
    }
}

/// Adds what the groups themselves have to what the inodes have, and compares it all.
pub(super) fn check(volume: &Volume, groups: &[Group], mut claims: Claims, report: Report<'_>) {
    let geometry = &volume.geometry;
    for group in groups {
        let number = group.number;
        claims.add_own(volume, group);
        for run in &group.free.runs {
            claims.add(number, run.start, run.len, Owner::Free);
        }
        let records = group
            .refcounts
            .as_ref()
            .map_or(&[][..], |(records, _)| records);
        for record in records.iter().filter(|record| record.staged) {
            claims.add(number, record.start, record.len, Owner::Staged);
        }
        let Swept { gaps, shared } = claims.sweep(number, geometry.group_len(number), report);
        for gap in gaps {
            finding(
                report,
                Location::Group(number.0),
                format!(
                    "blocks {} to {} belong to nothing",
                    gap.start,
                    gap.start.plus(gap.len)
                ),
            );
        }
        let counted: Vec<_> = records
            .iter()
            .filter(|record| !record.staged)
            .copied()
            .collect();
        if merged(&shared) != merged(&counted) {
            finding(
                report,
                Location::Group(number.0),
                format!(
                    "refcountbt: it holds {} runs of shared blocks, the files share {}",
                    merged(&counted).len(),
                    merged(&shared).len()
                ),
            );
        }
    }
}

/// The result of a group's claims.
pub(super) struct Swept {
    /// Runs of blocks that nothing has.
    pub(super) gaps: Vec<FreeRecord>,
    /// Runs of blocks that several files share.
    pub(super) shared: Vec<RefcountRecord>,
}

/// Goes through a group's claims in order.
fn sweep(group: GroupNumber, length: u32, claims: &[Claim], report: Report<'_>) -> Swept {
    let mut gaps = Vec::new();
    let mut exclusive_end = GroupBlock::FIRST;
    let mut covered = GroupBlock::FIRST;
    let mut last = Owner::Head;
    // By how many the number of owners changes from this block on.
    let mut steps: BTreeMap<GroupBlock, i64> = BTreeMap::new();
    let mut shareable_end = GroupBlock::FIRST;
    for claim in claims {
        let end = claim.start.plus(claim.len);
        let other_end = if claim.shareable {
            exclusive_end
        } else {
            exclusive_end.max(shareable_end)
        };
        if claim.start < other_end {
            finding(
                report,
                Location::Group(group.0),
                format!(
                    "blocks {} to {end} belong to {:?}, but also to {last:?}",
                    claim.start, claim.owner
                ),
            );
        }
        if claim.start > covered {
            gaps.push(FreeRecord {
                start: covered,
                len: claim.start.since(covered),
            });
        }
        if claim.shareable {
            *steps.entry(claim.start).or_default() += 1;
            *steps.entry(end).or_default() -= 1;
            shareable_end = shareable_end.max(end);
        } else {
            exclusive_end = exclusive_end.max(end);
        }
        if end >= covered {
            covered = end;
            last = claim.owner;
        }
    }
    if covered.0 < length {
        gaps.push(FreeRecord {
            start: covered,
            len: length - covered.0,
        });
    }
    let mut shared = Vec::new();
    let mut count = 0i64;
    let mut from = GroupBlock::FIRST;
    for (block, step) in steps {
        if let Ok(count) = u32::try_from(count)
            && count >= 2
            && block > from
        {
            shared.push(RefcountRecord {
                staged: false,
                start: from,
                len: block.since(from),
                count,
            });
        }
        count += step;
        from = block;
    }
    Swept { gaps, shared }
}

/// The same runs, with neighbours that have the same count joined.
pub(super) fn merged(records: &[RefcountRecord]) -> Vec<RefcountRecord> {
    let mut merged: Vec<RefcountRecord> = Vec::new();
    for record in records {
        match merged.last_mut() {
            Some(last)
                if last.count == record.count && last.start.plus(last.len) == record.start =>
            {
                last.len += record.len;
            }
            _ => merged.push(*record),
        }
    }
    merged
}
