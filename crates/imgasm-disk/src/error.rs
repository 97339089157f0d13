//! Why a disk could not be understood or changed.

use std::fmt;

use super::Place;

/// What was found at one place on a disk, for messages that list the choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where.
    pub place: Place,
    /// What the table and the filesystem there say.
    pub description: String,
}

/// Lists candidates, one per line.
struct Listed<'a>(&'a [Candidate]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for candidate in self.0 {
            write!(f, "\n  {}: {}", candidate.place, candidate.description)?;
        }
        Ok(())
    }
}

/// Why a disk could not be understood or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The partition table contradicts itself or the device.
    #[error("{table} partition table: {problem}")]
    Corrupt {
        /// `GPT` or `MBR`.
        table: &'static str,
        /// What was seen and what was expected.
        problem: String,
    },
    /// Both copies of a GPT are damaged.
    #[error("GPT: both copies are damaged; primary: {primary}; backup: {backup}")]
    BothDamaged {
        /// What is wrong with the one at the start of the disk.
        primary: String,
        /// What is wrong with the one at its end.
        backup: String,
    },
    /// There is neither a partition table nor a filesystem that we know.
    #[error("neither a partition table nor a known filesystem was found on {len} bytes")]
    Unknown {
        /// Length of the device in bytes.
        len: u64,
    },
    /// The disk has no partition of this number.
    #[error("there is no partition {number}; the disk has {}", numbers(available))]
    NoPartition {
        /// The number asked for.
        number: u32,
        /// The numbers there are.
        available: Vec<u32>,
    },
    /// No partition looks like a root filesystem.
    #[error("no root filesystem was found; name its partition. The disk has:{}", Listed(.0))]
    NoRoot(Vec<Candidate>),
    /// More than one partition looks like a root filesystem.
    #[error("which partition is the root filesystem? Name one of these:{}", Listed(.0))]
    AmbiguousRoot(Vec<Candidate>),
    /// The table cannot be laid out or grown as asked.
    #[error("cannot lay out the partitions: {0}")]
    Layout(String),
    /// A filesystem on the disk failed.
    #[error("{place}: {source}")]
    FileSystem {
        /// Where the filesystem lies.
        place: Place,
        /// What it said.
        source: imgasm_fs::Error,
    },
    /// The device failed.
    #[error(transparent)]
    Block(#[from] imgasm_block::Error),
}

fn numbers(available: &[u32]) -> String {
    if available.is_empty() {
        return "none".to_owned();
    }
    let numbers: Vec<String> = available.iter().map(u32::to_string).collect();
    numbers.join(", ")
}

/// What the functions of this module return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
