//! Decoding the blocks of .bz2 streams on all cores.
//!
//! A stream is `BZh` and a digit, blocks, and an end. Each block begins with 48 bits that mark it,
//! at any bit of a byte, and can be decoded by itself: with a header before it and an end after it,
//! it is a stream of one block. So the marks are looked for, and what lies between two of them is
//! given to a thread. The same 48 bits occur by chance inside a block about once in some hundred
//! TiB; then neither of the two pieces decodes, but both together do.
//!
//! Source of the format: the documentation of bzip2 1.0.8 and of its `bzip2recover`.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use bzip2::{Decompress, Status};

use imgasm_block::bytes::byte_len;
use imgasm_block::pool::{self, Workers};

/// The 48 bits at the start of a block, followed by the CRC of its content.
const BLOCK_MARK: u64 = 0x3141_5926_5359;
/// The 48 bits at the end of a stream, followed by the CRC over the CRCs of the blocks.
const END_MARK: u64 = 0x1772_4538_5090;
const MARK_BITS: u64 = 48;
const MARK_MASK: u64 = (1 << MARK_BITS) - 1;
const CRC_BITS: u64 = 32;

/// No block of 900,000 bytes takes more than this.
const PACKED_LIMIT_BYTES: usize = 2 << 20;

/// Five bytes of a block stand for at most 259; the digit limits the bytes before that expansion.
const CONTENT_LIMIT_BYTES: usize = 900_000 / 5 * 259 + 259;

/// How many blocks may be under way: each can hold 45 MiB.
const AHEAD: usize = 3;

/// A run of bits; the first one is the highest of the first byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Bits {
    bytes: Vec<u8>,
    len: u64,
}

impl Bits {
    /// The `len` bits of `bytes` after the first `skip`, which is less than 8.
    fn part(bytes: &[u8], skip: u64, len: u64) -> Self {
        let shift = 8 + u32::try_from(skip).expect("fewer than 8");
        let count = usize::try_from(len.div_ceil(8)).expect("inside a buffer");
        let mut part: Vec<u8> = (0..count)
            .map(|i| {
                let next = bytes.get(i + 1).copied().unwrap_or(0);
                let pair = u16::from_be_bytes([bytes[i], next]);
                pair.rotate_left(shift).to_le_bytes()[0]
            })
            .collect();
        let unused = u32::try_from(len.wrapping_neg() % 8).expect("fewer than 8");
        if let Some(last) = part.last_mut() {
            *last = *last >> unused << unused;
        }
        Self { bytes: part, len }
    }

    /// Adds the lowest `count` bits of `value`.
    fn push(&mut self, value: u64, count: u64) {
        for bit in (0..count).rev() {
            if self.len.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if value >> bit & 1 != 0
                && let Some(last) = self.bytes.last_mut()
            {
                *last |= 0x80 >> (self.len % 8);
            }
            self.len += 1;
        }
    }

    fn append(&mut self, other: &Self) {
        for (byte, start) in other.bytes.iter().zip((0..).step_by(8)) {
            let count = (other.len - start).min(8);
            self.push(u64::from(*byte) >> (8 - count), count);
        }
    }

    /// The CRC behind the mark of a block.
    fn crc(&self) -> Option<u32> {
        let field = self.bytes.get(6..10)?;
        Some(u32::from_be_bytes(field.try_into().ok()?))
    }
}

/// A block, or what lies between two marks.
#[derive(Debug, Clone)]
struct Block {
    /// The digit of its stream.
    level: u8,
    bits: Bits,
}

impl Block {
    fn content(&self) -> io::Result<Vec<u8>> {
        let crc = self.bits.crc().ok_or(io::ErrorKind::InvalidData)?;
        let mut stream = Bits {
            bytes: vec![b'B', b'Z', b'h', self.level],
            len: 32,
        };
        stream.bytes.extend_from_slice(&self.bits.bytes);
        stream.len += self.bits.len;
        stream.push(END_MARK, MARK_BITS);
        stream.push(u64::from(crc), CRC_BITS);
        let mut decoder = Decompress::new(false);
        let mut content = Vec::with_capacity(1 << 20);
        loop {
            let done = usize::try_from(decoder.total_in()).expect("inside a buffer");
            let status = decoder.decompress_vec(&stream.bytes[done..], &mut content)?;
            if matches!(status, Status::StreamEnd) {
                return Ok(content);
            }
            // There is room, so input is missing.
            if content.len() < content.capacity() || content.len() > CONTENT_LIMIT_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            content.reserve(4 << 20);
        }
    }
}

/// Finds the blocks of one stream in its bytes after the header.
struct Scanner {
    level: u8,
    /// The last eight bytes.
    window: u64,
    /// What has been read, from the byte in which the current block begins.
    bytes: Vec<u8>,
    /// Bits of the first of those bytes that belong to what was before.
    skip: u64,
    /// How many bits of `bytes` are before the mark of the end, if it was seen.
    end: Option<u64>,
}

/// What a byte has completed.
enum Found {
    Nothing,
    /// A block.
    Block(Block),
    /// The stream: its last block, unless it is empty, and the CRC over the CRCs of all.
    End(Option<Block>, u32),
}

/// Whether a byte can be the last but one with bits of a mark.
const POSSIBLE: [bool; 256] = possible();

const fn possible() -> [bool; 256] {
    let mut possible = [false; 256];
    let mut after = 0;
    while after < 8 {
        possible[(BLOCK_MARK >> (8 - after) & 0xff) as usize] = true;
        possible[(END_MARK >> (8 - after) & 0xff) as usize] = true;
        after += 1;
    }
    possible
}

impl Scanner {
    fn new(level: u8) -> Self {
        Self {
            level,
            window: 0,
            bytes: Vec::new(),
            skip: 0,
            end: None,
        }
    }

    /// Takes one more byte of the stream.
    fn take(&mut self, byte: u8) -> io::Result<Found> {
        if self.bytes.len() == PACKED_LIMIT_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.window = self.window << 8 | u64::from(byte);
        self.bytes.push(byte);
        let len = byte_len(&self.bytes) * 8;
        if let Some(end) = self.end {
            let past = len.saturating_sub(end + MARK_BITS + CRC_BITS);
            if len < end + MARK_BITS + CRC_BITS {
                return Ok(Found::Nothing);
            }
            self.end = None;
            if self.window & ((1 << past) - 1) == 0 {
                let crc = u32::try_from(self.window >> past & 0xffff_ffff).expect("32 bits");
                let last = (end > self.skip).then(|| self.cut(end));
                return Ok(Found::End(last, crc));
            }
        }
        if len < MARK_BITS || !POSSIBLE[usize::from(self.window.to_be_bytes()[6])] {
            return self.begun(len);
        }
        for after in (0..8.min(len - MARK_BITS + 1)).rev() {
            let at = len - MARK_BITS - after;
            let mark = self.window >> after & MARK_MASK;
            if mark == END_MARK && at >= self.skip {
                self.end = Some(at);
                return Ok(Found::Nothing);
            }
            if mark == BLOCK_MARK && at > self.skip {
                let block = self.cut(at);
                self.skip = at % 8;
                let whole = usize::try_from(at / 8).expect("inside a buffer");
                self.bytes.drain(..whole);
                return Ok(Found::Block(block));
            }
        }
        self.begun(len)
    }

    /// Only a mark may follow the header.
    fn begun(&self, len: u64) -> io::Result<Found> {
        if len == MARK_BITS && self.skip == 0 && self.window & MARK_MASK != BLOCK_MARK {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Found::Nothing)
    }

    /// The block that ends before bit `end`.
    fn cut(&self, end: u64) -> Block {
        Block {
            level: self.level,
            bits: Bits::part(&self.bytes, self.skip, end - self.skip),
        }
    }
}

/// What comes next in the streams.
enum Step {
    /// The content of the next block.
    Block,
    /// The end of a stream, with the CRC over the CRCs of its blocks.
    End(u32),
}

/// The content of streams that follow each other.
pub(super) struct Blocks<R> {
    input: R,
    /// The stream that is being read.
    scanner: Option<Scanner>,
    steps: VecDeque<Step>,
    workers: Workers<Block, (Block, io::Result<Vec<u8>>)>,
    /// The CRC over the CRCs of the stream's blocks so far.
    crc: u32,
    current: io::Cursor<Vec<u8>>,
}

impl<R: BufRead> Blocks<R> {
    /// Begins with the header of a stream.
    pub(super) fn begin(mut input: R) -> io::Result<Self> {
        let scanner = Some(header(&mut input)?);
        Ok(Self {
            input,
            scanner,
            steps: VecDeque::new(),
            workers: Workers::start(|block: Block| {
                let content = block.content();
                (block, content)
            }),
            crc: 0,
            current: io::Cursor::default(),
        })
    }

    /// The input after the streams.
    pub(super) fn into_input(self) -> R {
        self.input
    }

    /// Gives the workers blocks until they have enough or none is left.
    fn fill(&mut self) -> io::Result<()> {
        while self.workers.under_way() < AHEAD.min(pool::size() + 1) {
            let Some(scanner) = &mut self.scanner else {
                // Only what looks like another stream belongs to the content.
                if self.input.fill_buf()?.first() != Some(&b'B') {
                    return Ok(());
                }
                self.scanner = Some(header(&mut self.input)?);
                continue;
            };
            let buf = self.input.fill_buf()?;
            if buf.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut taken = 0;
            let mut found = Found::Nothing;
            while let (Found::Nothing, Some(&byte)) = (&found, buf.get(taken)) {
                found = scanner.take(byte)?;
                taken += 1;
            }
            self.input.consume(taken);
            match found {
                Found::Nothing => {}
                Found::Block(block) => self.submit(block),
                Found::End(last, crc) => {
                    if let Some(block) = last {
                        self.submit(block);
                    }
                    self.steps.push_back(Step::End(crc));
                    self.scanner = None;
                }
            }
        }
        Ok(())
    }

    fn submit(&mut self, block: Block) {
        self.steps.push_back(Step::Block);
        self.workers.submit(block);
    }

    /// The content of the next block; nothing at the end of all streams.
    fn next_content(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            self.fill()?;
            match self.steps.pop_front() {
                None => return Ok(None),
                Some(Step::End(crc)) if crc == self.crc => self.crc = 0,
                Some(Step::End(_)) => return Err(io::ErrorKind::InvalidData.into()),
                Some(Step::Block) => return self.next_block().map(Some),
            }
        }
    }

    fn next_block(&mut self) -> io::Result<Vec<u8>> {
        let (mut block, mut content) = self.taken();
        if content.is_err() && matches!(self.steps.front(), Some(Step::Block)) {
            // The mark between these two may have occurred by chance.
            self.steps.pop_front();
            block.bits.append(&self.taken().0.bits);
            content = block.content();
        }
        let content = content?;
        let crc = block.bits.crc().ok_or(io::ErrorKind::InvalidData)?;
        self.crc = self.crc.rotate_left(1) ^ crc;
        Ok(content)
    }

    fn taken(&mut self) -> (Block, io::Result<Vec<u8>>) {
        self.workers.take().expect("a job for every block")
    }
}

impl<R: BufRead> Read for Blocks<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let len = self.current.read(buf)?;
            if len > 0 || buf.is_empty() {
                return Ok(len);
            }
            match self.next_content()? {
                Some(content) => self.current = io::Cursor::new(content),
                None => return Ok(0),
            }
        }
    }
}

/// Reads the header of a stream.
fn header(input: &mut impl BufRead) -> io::Result<Scanner> {
    let mut header = [0; 4];
    input.read_exact(&mut header)?;
    match header {
        [b'B', b'Z', b'h', level @ b'1'..=b'9'] => Ok(Scanner::new(level)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use bzip2::Compression;
    use bzip2::write::BzEncoder;

    use super::*;

    fn packed(content: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = BzEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Blocks::begin(packed)?.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Text that packs to blocks of uneven lengths.
    fn text(len: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0] % 61 + b'0'
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn streams_of_any_number_of_blocks() {
        let long = text(350_000);
        let zeros = vec![0; 7_000_000];
        for content in [b"".as_slice(), b"a", &long[..99_000], &long, &zeros] {
            for level in [1, 9] {
                assert!(unpacked(&packed(content, level)).unwrap() == content);
            }
        }
        let several = [packed(&long, 1), packed(b"", 1), packed(b"end", 9)].concat();
        assert!(unpacked(&several).unwrap() == [&long[..], b"end"].concat());
    }

    #[test]
    fn what_is_after_the_streams_is_left() {
        let bytes = [packed(b"content", 1), vec![0; 5]].concat();
        let mut blocks = Blocks::begin(&bytes[..]).unwrap();
        blocks.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(blocks.into_input(), [0; 5]);
    }

    #[test]
    fn damage_is_noticed() {
        let sound = packed(&text(250_000), 1);
        for at in (4..sound.len()).step_by(sound.len() / 50) {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x10;
            assert!(unpacked(&damaged).is_err(), "at {at}");
            assert!(unpacked(&sound[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn pieces_of_a_block_are_joined() {
        let sound = packed(b"some content of one block", 9);
        let mut scanner = Scanner::new(b'9');
        let found = sound[4..]
            .iter()
            .find_map(|byte| match scanner.take(*byte) {
                Ok(Found::End(Some(block), _)) => Some(block.bits),
                _ => None,
            });
        let whole = found.unwrap();
        for at in [81, 88, 103] {
            let mut head = Bits::part(&whole.bytes, 0, at);
            let skip = usize::try_from(at / 8).unwrap();
            head.append(&Bits::part(&whole.bytes[skip..], at % 8, whole.len - at));
            assert_eq!(head, whole);
        }
    }
}
