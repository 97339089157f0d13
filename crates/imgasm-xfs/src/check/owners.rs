//! The tree of owners against what the groups and inodes have.

use imgasm_fs::Location;

use crate::check::group::Group;
use crate::check::report::{Report, finding};
use crate::format::btree::Record;
use crate::format::btree::records::{OwnerRecord, owner};
use crate::format::geometry::CHUNK_INODES;
use crate::format::numbers::GroupBlock;
use crate::owners::{GroupRecords, runs_of};
use crate::volume::Volume;

/// Compares the groups' trees of owners, if they have them, with what they should hold.
pub(super) fn check(
    volume: &Volume,
    groups: &[Group],
    mut of_inodes: GroupRecords,
    report: Report<'_>,
) {
    for group in groups {
        let Some((seen, _)) = &group.owners else {
            continue;
        };
        let mut expected = of_inodes.remove(&group.number).unwrap_or_default();
        expected.extend(own_records(volume, group));
        expected.sort_unstable_by_key(Record::low);
        let differs = seen.iter().zip(&expected).find(|(one, other)| one != other);
        let problem = match differs {
            Some((seen, expected)) => format!("it holds {seen:?}, expected {expected:?}"),
            None if seen.len() == expected.len() => continue,
            None => format!("it holds {} records of {}", seen.len(), expected.len()),
        };
        finding(
            report,
            Location::Group(group.number.0),
            format!("rmapbt: {problem}"),
        );
    }
}

/// The records of what the group itself has.
fn own_records(volume: &Volume, group: &Group) -> Vec<OwnerRecord> {
    let geometry = &volume.geometry;
    let run = |start, len, owner| OwnerRecord {
        start,
        owner,
        offset: 0,
        len,
    };
    let mut records = vec![run(GroupBlock::FIRST, geometry.head_blocks(), owner::HEADS)];
    if let Some((start, blocks)) = geometry.log
        && let Some((home, start)) = geometry.split(start)
        && home == group.number
    {
        records.push(run(start, blocks, owner::LOG));
    }
    let mut space = [
        &group.free.by_block_blocks,
        &group.free.by_size_blocks,
        &group.free.list,
    ]
    .map(Clone::clone)
    .concat();
    if let Some((_, blocks)) = &group.owners {
        space.extend(blocks);
    }
    records.extend(runs_of(owner::FREE_SPACE, space));
    let inodes = &group.inodes;
    let trees = [&inodes.tree_blocks[..], &inodes.free_tree_blocks].concat();
    records.extend(runs_of(owner::INODE_TREES, trees));
    let chunk_blocks = inodes.chunks.iter().flat_map(|chunk| {
        (0..CHUNK_INODES)
            .filter(|index| chunk.has(*index))
            .map(|index| geometry.inode_block(chunk.start.plus(index)))
    });
    records.extend(runs_of(owner::INODES, chunk_blocks.collect()));
    if let Some((shared, blocks)) = &group.refcounts {
        records.extend(runs_of(owner::REFCOUNTS, blocks.clone()));
        let staged = shared.iter().filter(|record| record.staged);
        records.extend(staged.map(|record| run(record.start, record.len, owner::STAGED)));
    }
    records
}
