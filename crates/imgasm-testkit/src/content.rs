//! File contents that follow from a seed, without being stored anywhere.

use std::io::{self, Read};

use crate::rng::Rng;

const BLOCK: usize = 4096;

/// What the bytes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// No two blocks alike, none of zeros.
    Noise,
    /// Noise with runs of zero blocks.
    Gappy,
    /// Zeros alone.
    Zeros,
}

/// `size` bytes of a style from a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    pub seed: u64,
    pub size: u64,
    pub style: Style,
}

impl Content {
    pub fn noise(seed: u64, size: u64) -> Self {
        let style = Style::Noise;
        Self { seed, size, style }
    }

    /// All bytes at once; for sizes that fit memory well.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.reader()
            .read_to_end(&mut bytes)
            .expect("it never fails");
        bytes
    }

    pub fn reader(&self) -> Reader {
        Reader {
            content: *self,
            position: 0,
            block: [0; BLOCK],
        }
    }

    fn fill(&self, number: u64, block: &mut [u8; BLOCK]) {
        let mut rng = Rng::new(self.seed.wrapping_add(number.wrapping_mul(0x1_0001)));
        let zeros = match self.style {
            Style::Noise => false,
            Style::Zeros => true,
            // Runs of eight blocks are zeros or noise together.
            Style::Gappy => Rng::new(self.seed ^ (number / 8)).chance(50),
        };
        if zeros {
            block.fill(0);
            return;
        }
        for word in block.chunks_exact_mut(8) {
            word.copy_from_slice(&rng.next().to_le_bytes());
        }
    }
}

/// Reads a [`Content`] from its beginning.
pub struct Reader {
    content: Content,
    position: u64,
    block: [u8; BLOCK],
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let block_size = BLOCK as u64;
        let left = self.content.size - self.position;
        let start = usize::try_from(self.position % block_size).expect("below a block");
        if start == 0 && left > 0 {
            self.content
                .fill(self.position / block_size, &mut self.block);
        }
        let len = (BLOCK - start)
            .min(buf.len())
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        buf[..len].copy_from_slice(&self.block[start..start + len]);
        self.position += len as u64;
        Ok(len)
    }
}
