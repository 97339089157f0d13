//! Unwrapping a disk as a stream.

use std::fmt;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

use super::budget::{Budget, Limited, Meter};
use super::decode::Decoder;
use super::detect::{Content, HEAD_LEN, detect};
use super::tar::{self, Archive};
use super::{Codec, Error, Result, WHOLE_DISK};

/// How often something may be wrapped: a compressed disk in a compressed tar has three.
const DEPTH_LIMIT: u32 = 5;

/// How many names of a tar file without a disk an error shows.
const NAMES_SHOWN: usize = 5;

/// Something that a disk is wrapped in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// It is compressed.
    Packed(Codec),
    /// It is the file with this name in a tar file.
    Tar(String),
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packed(codec) => codec.fmt(f),
            Self::Tar(name) => write!(f, "tar ({name})"),
        }
    }
}

/// The receiver of the bytes of the disk.
pub(super) trait Sink {
    /// Takes all that `input` holds.
    fn take(&mut self, input: &mut dyn Read) -> io::Result<()>;

    /// How many bytes it has taken.
    fn taken(&self) -> u64;
}

/// Gives the disk that `input` holds to `sink` and says what it was wrapped in.
pub(super) fn peel(
    path: &Path,
    input: &mut dyn Read,
    budget: Budget,
    sink: &mut dyn Sink,
) -> Result<Vec<Layer>> {
    let mut peeler = Peeler {
        path,
        sink,
        budget,
        meter: Meter::new(budget),
        found: None,
    };
    let mut layers = Vec::new();
    peeler.visit(input, None, &mut layers, 0)?;
    match peeler.found {
        Some(layers) if peeler.sink.taken() > 0 => Ok(layers),
        _ => Err(Error::Empty {
            path: path.to_owned(),
        }),
    }
}

struct Peeler<'a> {
    path: &'a Path,
    sink: &'a mut dyn Sink,
    budget: Budget,
    /// What has been unpacked, of all layers and members.
    meter: Meter,
    /// The layers of the disk, once it has been taken.
    found: Option<Vec<Layer>>,
}

impl Peeler<'_> {
    /// Whether `input`, which has `len` bytes if that is known, is a disk or holds one. The first one
    /// found is taken.
    fn visit(
        &mut self,
        input: &mut dyn Read,
        len: Option<u64>,
        layers: &mut Vec<Layer>,
        depth: u32,
    ) -> Result<bool> {
        if depth > DEPTH_LIMIT {
            return Err(Error::TooDeep {
                path: self.path.to_owned(),
                limit: DEPTH_LIMIT,
            });
        }
        let mut head = Vec::new();
        let limit = u64::try_from(HEAD_LEN).expect("a small constant");
        input
            .take(limit)
            .read_to_end(&mut head)
            .map_err(|e| self.failed(layers, e))?;
        let content = detect(&head);
        let mut whole = Cursor::new(head).chain(input);
        let inside_tar = layers.iter().any(|layer| matches!(layer, Layer::Tar(_)));
        match content {
            Content::Packed(codec) => {
                layers.push(Layer::Packed(codec));
                let decoder = Decoder::new(codec, BufReader::with_capacity(256 << 10, whole));
                let decoder = decoder.map_err(|e| self.failed(layers, e))?;
                let mut decoder = Limited::new(decoder, codec, self.meter.clone());
                let is_disk = self.visit(&mut decoder, None, layers, depth + 1)?;
                layers.pop();
                Ok(is_disk)
            }
            Content::Tar => self.visit_tar(&mut whole, layers, depth),
            Content::Unknown if inside_tar => Ok(false),
            Content::Foreign(..) | Content::Descriptor if inside_tar => Ok(false),
            Content::Descriptor => Err(Error::Unsupported {
                path: self.path.to_owned(),
                what: "a VMDK descriptor file".to_owned(),
                advice: WHOLE_DISK.to_owned(),
            }),
            Content::Foreign(name, advice) => Err(Error::Unsupported {
                path: self.path.to_owned(),
                what: name.to_owned(),
                advice: advice.to_owned(),
            }),
            Content::Unknown => Err(Error::Unknown {
                path: self.path.to_owned(),
            }),
            Content::Disk(_) => {
                if self.found.is_none() {
                    self.budget
                        .check(len.unwrap_or(0))
                        .map_err(|e| self.failed(layers, e))?;
                    let taken = self.sink.take(&mut whole);
                    taken.map_err(|e| self.failed(layers, e))?;
                    self.found = Some(layers.clone());
                }
                Ok(true)
            }
        }
    }

    /// Looks at every file of a tar. There must be exactly one disk.
    fn visit_tar(
        &mut self,
        input: &mut dyn Read,
        layers: &mut Vec<Layer>,
        depth: u32,
    ) -> Result<bool> {
        let mut disks = Vec::new();
        let mut others = Vec::new();
        let mut count: u64 = 0;
        let mut archive = Archive::new(input);
        loop {
            let member = archive.next_file();
            let Some(member) = member.map_err(|e| self.failed_tar(layers, e))? else {
                break;
            };
            count += 1;
            let name = String::from_utf8_lossy(&member.name).into_owned();
            layers.push(Layer::Tar(name.clone()));
            let (len, mut content) = (Some(member.len), archive.content(&member));
            let is_disk = self.visit(&mut content, len, layers, depth + 1)?;
            layers.pop();
            if is_disk {
                disks.push(name);
            } else if others.len() < NAMES_SHOWN {
                others.push(name);
            }
        }
        if disks.len() > 1 {
            return Err(Error::SeveralDisks {
                path: self.path.to_owned(),
                names: disks,
            });
        }
        let inside_tar = layers.iter().any(|layer| matches!(layer, Layer::Tar(_)));
        if disks.is_empty() && !inside_tar {
            if count > block_count(others.len()) {
                others.push("…".to_owned());
            }
            return Err(Error::NoDisk {
                path: self.path.to_owned(),
                count,
                names: others.join(", "),
            });
        }
        Ok(!disks.is_empty())
    }

    /// The error for a failure to read what the layers hold.
    fn failed(&self, layers: &[Layer], source: io::Error) -> Error {
        let codec = layers.iter().rev().find_map(|layer| match layer {
            Layer::Packed(codec) => Some(*codec),
            Layer::Tar(_) => None,
        });
        Error::reading(self.path, codec, self.sink.taken(), source)
    }

    /// The error for a failure to find the next file of a tar.
    fn failed_tar(&self, layers: &[Layer], source: io::Error) -> Error {
        let is_over = Budget::exceeded(&source).is_some();
        if tar::is_damage(&source) || (layers.is_empty() && !is_over) {
            Error::Corrupt {
                path: self.path.to_owned(),
                format: "tar",
                problem: source.to_string(),
            }
        } else {
            self.failed(layers, source)
        }
    }
}

fn block_count(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits 64 bits")
}
