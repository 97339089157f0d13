//! The superblock's flags and counters, and its copies in the other groups.

use imgasm_fs::{Location, Result};

use crate::check::group::Group;
use crate::check::report::{Report, finding};
use crate::format::features::{incompat, version};
use crate::format::superblock::{RawSuperblock, Superblock};
use crate::volume::Volume;

/// Checks that the filesystem is not marked as damaged, and that each copy of the superblock agrees
/// with the first one. Only fields that the kernel changes in the first one alone may differ.
pub(super) fn check(volume: &Volume, superblock: &Superblock, report: Report<'_>) -> Result<()> {
    if superblock.features.needs_repair {
        finding(
            report,
            Location::Superblock,
            "it is marked as damaged (needsrepair)",
        );
    }
    let raw = &superblock.raw;
    if raw.sb_frextents.get() != 0 {
        finding(
            report,
            Location::Superblock,
            "free realtime extents without a realtime section",
        );
    }
    let (size, log) = (raw.sb_logsectsize.get(), raw.sb_logsectlog);
    let none = size == 0 && log == 0;
    let agree = 1u32.checked_shl(u32::from(log)) == Some(u32::from(size));
    if !none && (size < 512 || !agree) {
        finding(
            report,
            Location::Superblock,
            format!("sectors of the log of {size} bytes with logarithm {log}"),
        );
    }
    for group in volume.geometry.group_numbers().skip(1) {
        let sector = volume.read_sector(group, 0)?;
        let problem = match Superblock::decode_copy(&sector) {
            Ok(copy) => difference(&superblock.raw, &copy.raw)
                .map(|field| format!("its superblock differs from the first one in {field}")),
            Err(imgasm_fs::Error::Corrupt { problem, .. }) => {
                Some(format!("superblock: {problem}"))
            }
            Err(error) => Some(format!("superblock: {error}")),
        };
        if let Some(problem) = problem {
            finding(report, Location::Group(group.0), problem);
        }
    }
    Ok(())
}

/// The first field of a copy that differs although it never changes, or changes in all copies.
fn difference(first: &RawSuperblock, copy: &RawSuperblock) -> Option<&'static str> {
    let bits = |raw: &RawSuperblock| raw.sb_versionnum.get() & !version::ATTRIBUTES;
    let incompat = |raw: &RawSuperblock| raw.sb_features_incompat.get() & !incompat::NEEDS_REPAIR;
    [
        ("sb_blocksize", first.sb_blocksize == copy.sb_blocksize),
        ("sb_dblocks", first.sb_dblocks == copy.sb_dblocks),
        ("sb_rblocks", first.sb_rblocks == copy.sb_rblocks),
        ("sb_rextents", first.sb_rextents == copy.sb_rextents),
        ("sb_frextents", copy.sb_frextents.get() == 0),
        ("sb_logstart", first.sb_logstart == copy.sb_logstart),
        ("sb_rextsize", first.sb_rextsize == copy.sb_rextsize),
        ("sb_agblocks", first.sb_agblocks == copy.sb_agblocks),
        ("sb_agcount", first.sb_agcount == copy.sb_agcount),
        ("sb_rbmblocks", first.sb_rbmblocks == copy.sb_rbmblocks),
        ("sb_logblocks", first.sb_logblocks == copy.sb_logblocks),
        ("sb_versionnum", bits(first) == bits(copy)),
        (
            "sb_features_ro_compat",
            first.sb_features_ro_compat == copy.sb_features_ro_compat,
        ),
        ("sb_features_incompat", incompat(first) == incompat(copy)),
        ("sb_sectsize", first.sb_sectsize == copy.sb_sectsize),
        ("sb_inodesize", first.sb_inodesize == copy.sb_inodesize),
        ("sb_inoalignmt", first.sb_inoalignmt == copy.sb_inoalignmt),
        ("sb_dirblklog", first.sb_dirblklog == copy.sb_dirblklog),
    ]
    .into_iter()
    .find_map(|(field, same)| (!same).then_some(field))
}

/// Compares the counters of the superblock with the groups' totals.
pub(super) fn check_counters(
    volume: &Volume,
    superblock: &Superblock,
    groups: &[Group],
    report: Report<'_>,
) {
    let sum = |count: &dyn Fn(&Group) -> u32| -> u64 {
        groups.iter().map(|group| u64::from(count(group))).sum()
    };
    let free = sum(&|group| group.free.agf.agf_freeblks.get())
        + sum(&|group| group.free.agf.agf_flcount.get())
        + if volume.geometry.features.lazy_count {
            sum(&|group| group.free.agf.agf_btreeblks.get())
        } else {
            0
        };
    let counters = [
        ("sb_fdblocks", superblock.raw.sb_fdblocks.get(), free),
        (
            "sb_icount",
            superblock.raw.sb_icount.get(),
            sum(&|group| group.inodes.agi.agi_count.get()),
        ),
        (
            "sb_ifree",
            superblock.raw.sb_ifree.get(),
            sum(&|group| group.inodes.agi.agi_freecount.get()),
        ),
    ];
    for (what, seen, expected) in counters {
        if seen != expected {
            finding(
                report,
                Location::Superblock,
                format!("{what} is {seen}, expected {expected}"),
            );
        }
    }
}
