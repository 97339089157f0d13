//! Which blocks are free or shared, and who owns them, derived from the files and the groups' other
//! trees.

use imgasm_fs::{Finding, Result};

use crate::check::blocks::{Swept, merged};
use crate::check::group::read_group;
use crate::check::inodes::{self, Held};
use crate::format::btree::records::{FreeRecord, RefcountRecord};
use crate::format::numbers::GroupNumber;
use crate::owners::GroupRecords;
use crate::problem::corrupt;
use crate::volume::Volume;

/// What a group's trees of free and shared blocks should hold.
pub(crate) struct DerivedSpace {
    pub(crate) group: GroupNumber,
    pub(crate) free: Vec<FreeRecord>,
    pub(crate) shared: Vec<RefcountRecord>,
}

/// What all groups' trees should hold.
pub(crate) struct Derived {
    pub(crate) groups: Vec<DerivedSpace>,
    /// The records of all inodes' blocks, for the trees of owners.
    pub(crate) owners: GroupRecords,
}

/// Derives it from all inodes.
///
/// # Errors
/// [`imgasm_fs::Error::Corrupt`] if an inode is not sound or two things have the same block.
pub(crate) fn derive(volume: &Volume) -> Result<Derived> {
    let groups = volume
        .geometry
        .group_numbers()
        .map(|number| read_group(volume, number))
        .collect::<Result<Vec<_>>>()?;
    let mut held = Held::default();
    let mut found: Option<Finding> = None;
    let mut report = |finding: Finding| {
        if finding.is_error() {
            found.get_or_insert(finding);
        }
    };
    inodes::scan(volume, &groups, &mut held, &mut report)?;
    let mut derived = Vec::with_capacity(groups.len());
    for group in &groups {
        let number = group.number;
        held.claims.add_own(volume, group);
        let length = volume.geometry.group_len(number);
        let Swept { gaps, shared } = held.claims.sweep(number, length, &mut report);
        derived.push(DerivedSpace {
            group: number,
            free: gaps,
            shared: merged(&shared),
        });
    }
    match found {
        Some(Finding { at, problem, .. }) => Err(corrupt(at, problem)),
        None => Ok(Derived {
            groups: derived,
            owners: held.owners,
        }),
    }
}
