//! `repomd.xml`: the list of a repository's metadata, with their digests.

use std::collections::BTreeMap;
use std::io::BufRead;

use super::xml::{self, Attributes, Visitor};
use imgasm_block::Digest;

/// Where the list lies in a repository.
pub const PATH: &str = "repodata/repomd.xml";

/// A file of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it lies, relative to the repository.
    pub location: String,
    /// The digest of the file as it is packed.
    pub sha256: Digest,
    /// Its bytes, where the list says so.
    pub size: Option<u64>,
}

/// Reads the list: the records by their kinds.
///
/// # Errors
/// What is wrong with it.
pub fn read(reader: impl BufRead) -> Result<BTreeMap<String, Record>, String> {
    let mut list = List::default();
    xml::read(reader, "repomd", &mut list)?;
    Ok(list.records)
}

#[derive(Default)]
struct List {
    records: BTreeMap<String, Record>,
    kind: String,
    location: Option<String>,
    is_sha256: bool,
    digest: Option<Digest>,
    size: Option<u64>,
}

impl Visitor for List {
    fn open(&mut self, name: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        match name {
            "data" => {
                self.kind = attributes.wanted("type")?.into_owned();
                (self.location, self.digest, self.size) = (None, None, None);
            }
            "checksum" => self.is_sha256 = attributes.get("type")?.as_deref() == Some("sha256"),
            "location" => self.location = Some(attributes.wanted("href")?.into_owned()),
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, name: &str, text: &str) -> Result<(), String> {
        match name {
            "checksum" if self.is_sha256 => {
                let digest = text.trim().parse();
                let digest = digest.map_err(|_| format!("`{text}` is no SHA-256"))?;
                self.digest = Some(digest);
            }
            "size" => self.size = text.trim().parse().ok(),
            "data" => {
                // What has another digest is not needed, or missed where it is.
                if let (Some(location), Some(sha256)) = (self.location.take(), self.digest) {
                    let record = Record {
                        location,
                        sha256,
                        size: self.size,
                    };
                    self.records.insert(std::mem::take(&mut self.kind), record);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
