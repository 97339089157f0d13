//! The hash by which names of directories and attributes are found.

/// The hash of a name (`xfs_da_hashname`): the hash is rotated by seven bits for each byte, which
/// is mixed in.
pub(crate) fn name_hash(name: &[u8]) -> u32 {
    name.iter()
        .fold(0u32, |hash, byte| hash.rotate_left(7) ^ u32::from(*byte))
}
