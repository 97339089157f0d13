//! A small deterministic generator (splitmix64), so that a seed means the same everywhere.

use std::ops::Range;

/// The generators of the further rounds of a test that the environment asks for: as many as the variable
/// `rounds` says (none), from the seed in the variable `seed` (1) on. Each names its seed.
pub fn rounds(seed: &'static str, rounds: &str) -> impl Iterator<Item = Rng> {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let first = number(seed, 1);
    (first..first + number(rounds, 0)).map(move |number| {
        eprintln!("{seed}={number}");
        Rng::new(number)
    })
}

/// Numbers that follow from a seed alone.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        // Small seeds differ in few bits; one step apart is enough for splitmix64, but not for
        // two generators whose seeds are themselves consecutive outputs.
        let mut rng = Self(seed ^ 0x5851_f42d_4c95_7f2d);
        rng.next();
        rng
    }

    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator would give options"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `range`, which must not be empty.
    pub fn range(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.range(0..limit)
    }

    /// An index into something of length `len`, which must not be 0.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.range(0..u64::try_from(len).expect("usize has at most 64 bits")))
            .expect("below a usize")
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.range(0..100) < percent
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    /// A number below `2^max_bits` whose order of magnitude is uniform: small ones are as likely
    /// as large ones.
    pub fn magnitude(&mut self, max_bits: u32) -> u64 {
        let bits = self.range(0..u64::from(max_bits) + 1);
        if bits == 0 {
            0
        } else {
            self.next() >> (64 - bits)
        }
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for piece in buffer.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            piece.copy_from_slice(&bytes[..piece.len()]);
        }
    }
}
