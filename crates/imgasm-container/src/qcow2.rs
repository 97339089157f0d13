//! Reading QEMU's qcow2, versions 2 and 3 (QEMU documentation, "Qcow2 Image File Format").

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::bytes::{be_u32, be_u64};
use super::clusters::{ClusterFile, Clusters, Lru, Mapping, Named, Stretch, Table, repeated};
use super::family::Family;
use super::{DiskFormat, Error, Result, WHOLE_DISK, inflate};
use imgasm_block::BlockDevice;

const FORMAT: &str = "qcow2";

/// The longest header that is read, with the compression type.
const HEADER_LEN: usize = 112;

/// QEMU's own limit for the first-level table.
const L1_LIMIT_BYTES: u64 = 32 << 20;

/// Memory for second-level tables. One of them has at most 2 MiB.
const L2_CACHE_BYTES: u64 = 16 << 20;

/// Bits of `incompatible_features`.
const INCOMPATIBLE_DIRTY: u64 = 1 << 0;
const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;

/// Bits 9 to 55 of a table entry are an offset in the file.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// The second-level entry belongs to a compressed cluster.
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros, whatever it holds; only in standard second-level entries.
const READS_ZEROS: u64 = 1;

/// Subclusters in a cluster, if second-level entries are extended.
const SUBCLUSTERS: u64 = 32;

/// Opens the disk in a qcow2 file. It cannot be written.
pub(super) fn open(
    device: Arc<dyn BlockDevice>,
    path: &Path,
    family: Family,
) -> Result<Arc<dyn BlockDevice>> {
    let file = ClusterFile::new(device, path);
    let (table, backing) = Qcow2::read(&file)?;
    let below = backing.map(|backing| {
        let format = match backing.format.as_deref() {
            Some("raw") => DiskFormat::Raw,
            Some("qcow2") => DiskFormat::Qcow2,
            // QEMU would guess, and a guest can write into a raw disk what it likes.
            other => {
                let of = other.map_or(String::new(), |format| format!(" of the format {format:?}"));
                return Err(Error::Unsupported {
                    path: path.to_owned(),
                    what: format!("the backing file {:?}{of}", backing.name),
                    advice: "the file must say that it is raw or qcow2".to_owned(),
                });
            }
        };
        let (_, disk) = family.backing(path, &backing.name, format)?;
        Ok(disk)
    });
    Ok(Arc::new(Clusters::based_on(
        file,
        table,
        below.transpose()?,
    )))
}

/// What a disk is based on.
struct Backing {
    name: String,
    /// The name of its format.
    format: Option<String>,
}

/// The header extension with the format of the backing file.
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;

/// The most header extensions that are looked through; QEMU writes four kinds.
const EXTENSIONS_LIMIT: usize = 64;

/// The format that the header extensions, which begin at `offset`, give for the backing file.
fn backing_format(file: &ClusterFile, mut offset: u64) -> Result<Option<String>> {
    for _ in 0..EXTENSIONS_LIMIT {
        let head = file.read("header extension", offset, 8)?;
        let (kind, len) = (be_u32(&head, 0), u64::from(be_u32(&head, 4)));
        match kind {
            0 => break,
            EXTENSION_BACKING_FORMAT => {
                let name = file.read("format of the backing file", offset + 8, len.min(64))?;
                return Ok(Some(String::from_utf8_lossy(&name).into_owned()));
            }
            _ => offset += 8 + len.next_multiple_of(8),
        }
    }
    Ok(None)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Deflate,
    Zstd,
}

struct Qcow2 {
    version: u32,
    cluster_bits: u32,
    disk_len: u64,
    compression: Compression,
    extended_l2: bool,
    /// What is not stored here lies below.
    absent: Mapping,
    l1: Vec<u64>,
    l2_tables: Mutex<Lru<Vec<u64>>>,
}

impl Qcow2 {
    fn read(file: &ClusterFile) -> Result<(Self, Option<Backing>)> {
        let corrupt = |problem: String| Error::Corrupt {
            path: file.path().to_owned(),
            format: FORMAT,
            problem,
        };
        let unsupported = |what: String, advice: &str| Error::Unsupported {
            path: file.path().to_owned(),
            what,
            advice: advice.to_owned(),
        };
        let flatten = WHOLE_DISK;

        let most = u64::try_from(HEADER_LEN).expect("a small constant");
        let mut header = file.read("header", 0, file.len().min(most))?;
        if header.len() < 72 {
            return Err(corrupt(format!("a header of {} bytes", header.len())));
        }
        header.resize(HEADER_LEN, 0);
        let version = be_u32(&header, 4);
        if !(2..=3).contains(&version) {
            return Err(unsupported(format!("qcow version {version}"), flatten));
        }
        let (incompatible, header_len) = if version == 2 {
            (0, 72)
        } else {
            (be_u64(&header, 72), be_u32(&header, 100))
        };
        let known = INCOMPATIBLE_DIRTY | INCOMPATIBLE_COMPRESSION | INCOMPATIBLE_EXTENDED_L2;
        if incompatible & INCOMPATIBLE_CORRUPT != 0 {
            return Err(corrupt(
                "it is marked as corrupt: repair it where it comes from".to_owned(),
            ));
        }
        if incompatible & INCOMPATIBLE_DATA_FILE != 0 {
            return Err(unsupported("an external data file".to_owned(), flatten));
        }
        if incompatible & !known != 0 {
            let what = format!("incompatible features {:#x}", incompatible & !known);
            return Err(unsupported(what, flatten));
        }
        let backing = match be_u64(&header, 8) {
            0 => None,
            offset => {
                // QEMU allows 1023 bytes.
                let len = u64::from(be_u32(&header, 16)).min(1023);
                let name = file.read("name of the backing file", offset, len)?;
                Some(Backing {
                    name: String::from_utf8_lossy(&name).into_owned(),
                    format: backing_format(file, u64::from(header_len))?,
                })
            }
        };
        if be_u32(&header, 32) != 0 {
            return Err(unsupported("encryption".to_owned(), flatten));
        }
        let extended_l2 = incompatible & INCOMPATIBLE_EXTENDED_L2 != 0;
        let cluster_bits = be_u32(&header, 20);
        let smallest = if extended_l2 { 14 } else { 9 };
        if !(smallest..=21).contains(&cluster_bits) {
            return Err(corrupt(format!("clusters of 2^{cluster_bits} bytes")));
        }
        let compression = match header[104] {
            _ if header_len <= 104 => Compression::Deflate,
            0 => Compression::Deflate,
            1 => Compression::Zstd,
            other => return Err(unsupported(format!("compression type {other}"), flatten)),
        };
        let mut qcow2 = Self {
            version,
            cluster_bits,
            disk_len: be_u64(&header, 24),
            compression,
            extended_l2,
            absent: match backing {
                Some(_) => Mapping::Below,
                None => Mapping::Zeros,
            },
            l1: Vec::new(),
            l2_tables: Mutex::new(Lru::new(L2_CACHE_BYTES)),
        };
        let entries = u64::from(be_u32(&header, 36));
        let needed = qcow2.disk_len.div_ceil(qcow2.l2_span());
        let l1_offset = be_u64(&header, 40);
        if entries < needed || entries * 8 > L1_LIMIT_BYTES {
            let problem = format!("a first-level table of {entries} entries; {needed} are needed");
            return Err(corrupt(problem));
        }
        qcow2.l1 = numbers(&file.read("first-level table", l1_offset, needed * 8)?);
        let tables = qcow2.l1.iter().map(|entry| entry & OFFSET_MASK);
        if let Some(offset) = repeated(tables.filter(|offset| *offset != 0)) {
            let problem = format!("the second-level table at offset {offset} is named twice");
            return Err(corrupt(problem));
        }
        Ok((qcow2, backing))
    }

    fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Numbers in an entry of a second-level table.
    fn l2_entry_numbers(&self) -> u64 {
        if self.extended_l2 { 2 } else { 1 }
    }

    fn l2_entries(&self) -> u64 {
        self.cluster_bytes() / 8 / self.l2_entry_numbers()
    }

    /// Bytes of the disk that one second-level table covers: at most 2^39.
    fn l2_span(&self) -> u64 {
        self.l2_entries() << self.cluster_bits
    }

    fn l2_table(&self, file: &ClusterFile, offset: u64) -> imgasm_block::Result<Arc<Vec<u64>>> {
        let cache = || {
            self.l2_tables
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(table) = cache().get(offset) {
            return Ok(table);
        }
        if !offset.is_multiple_of(self.cluster_bytes()) {
            return Err(file.corrupt(format!("a second-level table at offset {offset}")));
        }
        let bytes = file.read("second-level table", offset, self.cluster_bytes())?;
        let table = Arc::new(numbers(&bytes));
        file.claim(offset, self.cluster_bytes(), self.named(&table))?;
        cache().put(offset, table.clone(), self.cluster_bytes());
        Ok(table)
    }

    /// How many clusters a second-level table names.
    fn named(&self, table: &[u64]) -> Named {
        let mut named = Named::default();
        for entry in table.chunks_exact(if self.extended_l2 { 2 } else { 1 }) {
            let host = entry[0] & OFFSET_MASK;
            let reads_zeros = !self.extended_l2 && self.version >= 3 && entry[0] & READS_ZEROS != 0;
            if entry[0] & COMPRESSED != 0 {
                named.packed += 1;
            } else if host != 0 && !reads_zeros {
                named.stored += 1;
            }
        }
        named
    }

    /// What an entry without extension says about the rest of its cluster from `inside`.
    fn standard(&self, entry: u64, inside: u64) -> Stretch {
        let host = entry & OFFSET_MASK;
        Stretch {
            len: self.cluster_bytes() - inside,
            mapping: if self.version >= 3 && entry & READS_ZEROS != 0 {
                Mapping::Zeros
            } else if host == 0 {
                self.absent
            } else {
                Mapping::Stored(host + inside)
            },
        }
    }

    /// What an extended entry says about the rest of the subcluster: the low half of `bitmap` has
    /// the allocated ones, the high half those that read as zeros.
    fn extended(&self, entry: u64, bitmap: u64, inside: u64) -> Stretch {
        let subcluster_bytes = self.cluster_bytes() / SUBCLUSTERS;
        let index = inside / subcluster_bytes;
        let allocated = bitmap & (1 << index) != 0;
        let zeros = bitmap & (1 << (SUBCLUSTERS + index)) != 0;
        let host = entry & OFFSET_MASK;
        Stretch {
            len: subcluster_bytes - inside % subcluster_bytes,
            mapping: if zeros {
                Mapping::Zeros
            } else if allocated {
                Mapping::Stored(host + inside)
            } else {
                self.absent
            },
        }
    }

    /// What an entry of a compressed cluster says: its offset in the low bits, above them how many
    /// sectors of 512 bytes it touches after the first.
    fn compressed(&self, entry: u64, inside: u64) -> Stretch {
        let offset_bits = 62 - (self.cluster_bits - 8);
        let offset = entry & ((1 << offset_bits) - 1);
        let sectors = (entry & (COMPRESSED - 1)) >> offset_bits;
        Stretch {
            len: self.cluster_bytes() - inside,
            mapping: Mapping::Packed {
                offset,
                len: (sectors + 1) * 512 - offset % 512,
                start: inside,
            },
        }
    }
}

impl Table for Qcow2 {
    fn disk_len(&self) -> u64 {
        self.disk_len
    }

    fn lookup(&self, file: &ClusterFile, offset: u64) -> imgasm_block::Result<Stretch> {
        let at = |index: u64| usize::try_from(index).ok();
        let l1_entry = at(offset / self.l2_span()).and_then(|index| self.l1.get(index));
        let l2_offset = l1_entry.copied().unwrap_or(0) & OFFSET_MASK;
        if l2_offset == 0 {
            return Ok(Stretch {
                len: self.l2_span() - offset % self.l2_span(),
                mapping: self.absent,
            });
        }
        let table = self.l2_table(file, l2_offset)?;
        let index = offset % self.l2_span() / self.cluster_bytes() * self.l2_entry_numbers();
        let index = at(index).expect("an index into a table in memory");
        let entry = table[index];
        let inside = offset % self.cluster_bytes();
        Ok(if entry & COMPRESSED != 0 {
            self.compressed(entry, inside)
        } else if self.extended_l2 {
            self.extended(entry, table[index + 1], inside)
        } else {
            self.standard(entry, inside)
        })
    }

    fn unpack(&self, packed: &[u8]) -> Result<Vec<u8>, String> {
        let cluster_len = usize::try_from(self.cluster_bytes()).expect("at most 2 MiB");
        match self.compression {
            Compression::Deflate => inflate::exactly(packed, cluster_len, inflate::Wrapper::None),
            Compression::Zstd => inflate::zstd_exactly(packed, cluster_len),
        }
    }

    fn packed_limit(&self) -> u64 {
        // The number of sectors has enough bits for two clusters.
        2 * self.cluster_bytes()
    }
}

/// Big-endian numbers.
fn numbers(bytes: &[u8]) -> Vec<u64> {
    let (numbers, _) = bytes.as_chunks();
    numbers
        .iter()
        .map(|bytes| u64::from_be_bytes(*bytes))
        .collect()
}
