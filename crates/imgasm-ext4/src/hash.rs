//! The hashes of names by which an indexed (htree) directory is ordered.
//!
//! Kernel documentation, ext4, "Hash Tree Directories": the algorithm is named by the root of the
//! tree (or, for a new tree, by `s_def_hash_version`), and seeded by `s_hash_seed`. Every algorithm
//! exists in two kinds, because the first kernels treated the bytes of a name as `char`, which is
//! signed on some machines and unsigned on others: the superblock's flags say which one holds.

/// An algorithm, and whether it takes the bytes of a name as signed. The numbers are those of the
/// on-disk format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashVersion {
    algorithm: Algorithm,
    signedness: Signedness,
}

/// How a name is mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Legacy,
    HalfMd4,
    Tea,
}

/// Whether a byte from 0x80 on counts as a negative number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signedness {
    /// `char` is signed, as on x86.
    Signed,
    /// `char` is unsigned, as on ARM.
    Unsigned,
}

/// `EXT2_FLAGS_SIGNED_HASH` in `s_flags`.
pub const FLAG_SIGNED_HASH: u32 = 0x1;
/// `EXT2_FLAGS_UNSIGNED_HASH` in `s_flags`.
pub const FLAG_UNSIGNED_HASH: u32 = 0x2;

impl Signedness {
    /// The kind that the superblock's `s_flags` name. If neither is named, the kernel takes its own
    /// machine's; we take x86's on every host.
    pub const fn from_superblock_flags(s_flags: u32) -> Self {
        if s_flags & FLAG_UNSIGNED_HASH != 0 {
            Self::Unsigned
        } else {
            Self::Signed
        }
    }

    /// A byte of a name as a number, in the two's complement of 32 bits.
    fn extend(self, byte: u8) -> u32 {
        match self {
            Self::Signed => i32::from(byte.cast_signed()).cast_unsigned(),
            Self::Unsigned => u32::from(byte),
        }
    }
}

impl HashVersion {
    /// Half MD4, signed: the version of a fresh filesystem on x86.
    pub const HALF_MD4: Self = Self {
        algorithm: Algorithm::HalfMd4,
        signedness: Signedness::Signed,
    };

    /// The version that `s_def_hash_version` or a tree root's `hash_version` names, `None` if it
    /// names none that can be computed without an encryption key. The numbers 0 to 2 leave the kind
    /// to the superblock; 3 to 5 are the unsigned ones by themselves.
    pub const fn from_number(number: u8, superblock: Signedness) -> Option<Self> {
        let (algorithm, signedness) = match number {
            0 => (Algorithm::Legacy, superblock),
            1 => (Algorithm::HalfMd4, superblock),
            2 => (Algorithm::Tea, superblock),
            3 => (Algorithm::Legacy, Signedness::Unsigned),
            4 => (Algorithm::HalfMd4, Signedness::Unsigned),
            5 => (Algorithm::Tea, Signedness::Unsigned),
            _ => return None,
        };
        Some(Self {
            algorithm,
            signedness,
        })
    }

    /// The number that the root of a new tree stores: the kind is left to the superblock, as the
    /// kernel does.
    pub const fn number(self) -> u8 {
        match self.algorithm {
            Algorithm::Legacy => 0,
            Algorithm::HalfMd4 => 1,
            Algorithm::Tea => 2,
        }
    }
}

/// Where a name belongs in a tree.
///
/// Ordered by `major`, then `minor`. The tree itself knows only the major hash, whose lowest bit is
/// always clear: the tree uses that bit to mark that one hash continues from one leaf into the
/// next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameHash {
    /// What the index compares.
    pub major: u32,
    /// Tells names of one major hash apart; zero for the legacy algorithm.
    pub minor: u32,
}

/// The largest major hash is reserved for the end of a directory: a name that would have it gets
/// the one below.
const MAJOR_END: u32 = 0xffff_fffe;

/// The state in which MD4 starts; used if the filesystem's seed is zero.
const DEFAULT_SEED: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The hash of `name`, seeded by the superblock's `s_hash_seed` (an all-zero seed stands for the
/// default one).
pub fn hash_name(name: &[u8], version: HashVersion, seed: [u32; 4]) -> NameHash {
    let mut state = if seed == [0; 4] { DEFAULT_SEED } else { seed };
    let signedness = version.signedness;
    let (major, minor) = match version.algorithm {
        Algorithm::Legacy => (legacy(name, signedness), 0),
        Algorithm::HalfMd4 => {
            let mut rest = name;
            while !rest.is_empty() {
                half_md4(&mut state, &words::<8>(rest, signedness));
                rest = rest.get(32..).unwrap_or_default();
            }
            (state[1], state[2])
        }
        Algorithm::Tea => {
            let mut rest = name;
            while !rest.is_empty() {
                tea(&mut state, &words::<4>(rest, signedness));
                rest = rest.get(16..).unwrap_or_default();
            }
            (state[0], state[1])
        }
    };
    let major = match major & !1 {
        MAJOR_END => MAJOR_END - 2,
        major => major,
    };
    NameHash { major, minor }
}

/// The first `N` words of what is left of a name, padded with its length in every byte.
fn words<const N: usize>(rest: &[u8], signedness: Signedness) -> [u32; N] {
    // The length of any name in a directory fits a byte; a longer one is cut as the kernel's
    // arithmetic would cut it.
    let len = u32::try_from(rest.len()).unwrap_or(u32::MAX);
    let pad = len | len.wrapping_shl(8);
    let pad = pad | pad.wrapping_shl(16);
    let mut words = [pad; N];
    for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
        for &byte in bytes {
            *word = signedness.extend(byte).wrapping_add(word.wrapping_shl(8));
        }
    }
    words
}

/// The hash of the first kernels with indexed directories.
fn legacy(name: &[u8], signedness: Signedness) -> u32 {
    let mut last: u32 = 0x12a3_fe2d;
    let mut before: u32 = 0x37ab_e8f9;
    for &byte in name {
        let mixed = last ^ signedness.extend(byte).wrapping_mul(7_152_373);
        let mut next = before.wrapping_add(mixed);
        if next & 0x8000_0000 != 0 {
            next = next.wrapping_sub(0x7fff_ffff);
        }
        before = last;
        last = next;
    }
    last.wrapping_shl(1)
}

/// One step of a round of MD4: a word joins `a`, and the four registers move on by one.
fn md4_step(registers: [u32; 4], mixed: u32, word: u32, shift: u32) -> [u32; 4] {
    let [a, b, c, d] = registers;
    let next = a.wrapping_add(mixed).wrapping_add(word).rotate_left(shift);
    [d, next, b, c]
}

/// MD4 (RFC 1320) cut down to eight words per block and eight steps per round.
fn half_md4(state: &mut [u32; 4], block: &[u32; 8]) {
    const ROUND_2: u32 = 0x5a82_7999;
    const ROUND_3: u32 = 0x6ed9_eba1;
    let mut registers = *state;
    for (step, word) in [0, 1, 2, 3, 4, 5, 6, 7].into_iter().enumerate() {
        let [_, b, c, d] = registers;
        let mixed = d ^ (b & (c ^ d));
        registers = md4_step(registers, mixed, block[word], [3, 7, 11, 19][step % 4]);
    }
    for (step, word) in [1, 3, 5, 7, 0, 2, 4, 6].into_iter().enumerate() {
        let [_, b, c, d] = registers;
        let mixed = (b & c).wrapping_add((b ^ c) & d);
        let word = block[word].wrapping_add(ROUND_2);
        registers = md4_step(registers, mixed, word, [3, 5, 9, 13][step % 4]);
    }
    for (step, word) in [3, 7, 2, 6, 1, 5, 0, 4].into_iter().enumerate() {
        let [_, b, c, d] = registers;
        let word = block[word].wrapping_add(ROUND_3);
        registers = md4_step(registers, b ^ c ^ d, word, [3, 9, 11, 15][step % 4]);
    }
    for (value, register) in state.iter_mut().zip(registers) {
        *value = value.wrapping_add(register);
    }
}

/// Sixteen rounds of the Tiny Encryption Algorithm over the first two words of the state, with the
/// name as the key.
fn tea(state: &mut [u32; 4], key: &[u32; 4]) {
    const DELTA: u32 = 0x9e37_79b9;
    let [mut left, mut right, ..] = *state;
    let half = |half: u32, sum: u32, low: u32, high: u32| {
        half.wrapping_shl(4).wrapping_add(low)
            ^ half.wrapping_add(sum)
            ^ (half >> 5).wrapping_add(high)
    };
    let mut sum: u32 = 0;
    for _ in 0..16 {
        sum = sum.wrapping_add(DELTA);
        left = left.wrapping_add(half(right, sum, key[0], key[1]));
        right = right.wrapping_add(half(left, sum, key[2], key[3]));
    }
    state[0] = state[0].wrapping_add(left);
    state[1] = state[1].wrapping_add(right);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_versions() {
        for number in 0..=2 {
            let signed = HashVersion::from_number(number, Signedness::Signed).unwrap();
            let unsigned = HashVersion::from_number(number, Signedness::Unsigned).unwrap();
            assert_ne!(signed, unsigned);
            assert_eq!(
                HashVersion::from_number(number + 3, Signedness::Signed),
                Some(unsigned)
            );
            assert_eq!(unsigned.number(), number);
        }
        assert_eq!(HashVersion::from_number(6, Signedness::Signed), None);
    }

    #[test]
    fn superblock_flags_name_the_kind() {
        assert_eq!(Signedness::from_superblock_flags(0), Signedness::Signed);
        assert_eq!(Signedness::from_superblock_flags(1), Signedness::Signed);
        assert_eq!(Signedness::from_superblock_flags(2), Signedness::Unsigned);
    }
}
