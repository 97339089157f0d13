//! The first inodes: the root directory, and the two of the realtime section, which every filesystem
//! has, even without such a section.

use crate::alloc::chunk_blocks::{first_generation, write_new_inodes};
use crate::alloc::fresh::FreshGroup;
use crate::dir::{Directory, shortform};
use crate::format::geometry::Geometry;
use crate::format::inode::{Core, Time, encode, flags, flags2, format};
use crate::format::numbers::{GroupNumber, InodeNumber};
use crate::format::superblock::Superblock;
use crate::mkfs::options::FormatOptions;
use crate::writes::Writes;

/// Their number.
pub(super) const COUNT: u32 = 3;

/// The multiple of blocks at which the first chunk of inodes starts.
pub(super) fn alignment(superblock: &Superblock) -> u32 {
    let (own, unit) = (
        superblock.raw.sb_inoalignmt.get().max(1),
        superblock.raw.sb_unit.get(),
    );
    if own > 1 && unit > 0 && unit.is_multiple_of(own) {
        unit
    } else {
        own
    }
}

/// Writes them, and all other inodes of the first group.
pub(super) fn write(
    geometry: &Geometry,
    superblock: &Superblock,
    group: &FreshGroup,
    options: &FormatOptions,
    writes: &mut Writes,
) {
    let raw = &superblock.raw;
    let root = InodeNumber(raw.sb_rootino.get());
    let content = shortform::encode(&Directory::new(root), geometry);
    let mut core = new_core(geometry, root, options);
    core.di_mode = 0o040_755.into();
    core.di_uid = options.root_uid.into();
    core.di_gid = options.root_gid.into();
    core.di_nlink = 2.into();
    core.di_format = format::LOCAL;
    core.di_size = (content.len() as u64).into();
    let first = group.inodes().start;
    let mut put = |index: u32, core: &Core, data: &[u8]| {
        let offset = geometry.inode_offset(GroupNumber::FIRST, first.plus(index));
        writes.put(offset, encode(geometry, core, data, &[]));
    };
    put(0, &core, &content);
    for (index, number, flags) in [
        (1, raw.sb_rbmino.get(), flags::NEW_BITMAP),
        (2, raw.sb_rsumino.get(), 0),
    ] {
        let mut core = new_core(geometry, InodeNumber(number), options);
        core.di_mode = 0o100_000.into();
        core.di_nlink = 1.into();
        core.di_flags = flags.into();
        put(index, &core, &[]);
    }
    write_new_inodes(
        geometry,
        GroupNumber::FIRST,
        group.inodes(),
        options.uuid,
        writes,
    );
}

fn new_core(geometry: &Geometry, number: InodeNumber, options: &FormatOptions) -> Core {
    let mut core = Core::empty(geometry, number);
    core.di_gen = first_generation(options.uuid, number).into();
    core.di_flags2 = flags2::of_new(geometry.features).into();
    core.di_changecount = 1.into();
    for time in [Time::Accessed, Time::Modified, Time::Changed, Time::Created] {
        core.set_time(time, options.now);
    }
    core
}
