//! A package file that is to be installed.

use std::collections::BTreeMap;
use std::io;

use super::super::digests::Algorithm;
use super::super::file_list::{self, PackagedFile, states};
use super::super::header::Header;
use super::super::payload::{Archive, Entry, Key, unpack};
use super::super::rpm_file::RpmFile;
use super::super::{Error, Package, signature};
use super::{Outcome, Request};
use imgasm_fs::FileType;

/// A package file that was read and checked by itself.
#[derive(Debug)]
pub struct Candidate {
    /// What was asked for.
    pub request: Request,
    /// The file.
    pub rpm: RpmFile,
    /// Which package it is.
    pub package: Package,
    /// Its files, in the order of the header.
    pub files: Vec<PackagedFile>,
    /// The algorithm of their digests.
    pub algorithm: Algorithm,
    /// The state of each of them: some may be left out.
    pub states: Vec<u64>,
    /// For each file the first of those that are names of one file with it.
    pub sets: Vec<usize>,
    /// For each file that is the first of such names the last of them.
    last: Vec<usize>,
    numbers: BTreeMap<Vec<u8>, usize>,
}

impl Candidate {
    /// Opens the file of a request.
    pub fn open(request: &Request) -> Result<Self, Error> {
        let rpm = RpmFile::open(&request.path, request.sha256)?;
        let (keyrings, weak) = (&request.keyrings, &request.weak_digests);
        if let Some(signature) = &request.signature {
            let content = rpm.content().map_err(|source| Error::Host {
                path: request.path.clone(),
                source,
            });
            signature::check_detached(&request.path, &mut content?, signature, keyrings, weak)?;
        } else if !keyrings.is_empty() {
            signature::check(&rpm, keyrings, weak)?;
        }
        let unsound = |problem| Error::Unsound {
            path: request.path.clone(),
            problem,
        };
        let package = Package::of(&rpm.header);
        if package.name.is_empty() || package.version.is_empty() || package.release.is_none() {
            return Err(unsound("it has no name, version or release".to_owned()));
        }
        if let Some(wanted) = request
            .nevra
            .as_ref()
            .filter(|nevra| **nevra != package.nevra())
        {
            return Err(Error::OtherPackage {
                path: request.path.clone(),
                wanted: wanted.clone(),
                found: package.nevra(),
            });
        }
        let algorithm = Algorithm::of(&rpm.header).ok_or_else(|| {
            unsound("the digests of its files are of an unknown algorithm".to_owned())
        })?;
        let files = file_list::files(&rpm.header).map_err(unsound)?;
        let sets = file_list::hard_links(&files);
        let mut last: Vec<_> = (0..files.len()).collect();
        for (index, &first) in sets.iter().enumerate() {
            last[first] = index;
        }
        let paths = files.iter().map(|file| file.path.as_bytes().to_vec());
        let numbers: BTreeMap<_, _> = paths.zip(0..).collect();
        if numbers.len() < files.len() {
            return Err(unsound("its header lists a path twice".to_owned()));
        }
        Ok(Self {
            request: request.clone(),
            rpm,
            package,
            states: vec![states::NORMAL; files.len()],
            files,
            algorithm,
            sets,
            last,
            numbers,
        })
    }

    /// Whether a file is left out by the image's own configuration.
    pub fn is_left_out(&self, index: usize) -> bool {
        self.states[index] != states::NORMAL
    }

    /// Hands over what the payload brings: each file, by its number, with its content, of which
    /// what is not read is passed over.
    pub fn unpack(
        &self,
        mut take: impl FnMut(usize, u64, &mut dyn io::Read) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let broken = |error: io::Error| {
            self.unsound(match error.kind() {
                io::ErrorKind::UnexpectedEof => "its payload is cut short".to_owned(),
                _ => format!("its payload cannot be unpacked: {error}"),
            })
        };
        let payload = self.rpm.payload().map_err(broken)?;
        let mut archive: Archive<_> = unpack(&self.rpm.header, payload).map_err(broken)?;
        let mut left = self.files.len();
        while left > 0 {
            let Some(entry) = archive.next_entry().map_err(broken)? else {
                break;
            };
            left -= 1;
            let index = self.index(&entry)?;
            let size = self.content_size(&entry, index)?;
            let mut content = archive.content(size);
            let taken = take(index, size, &mut content);
            // What stopped the taker may be that the payload ended.
            io::copy(&mut content, &mut io::sink()).map_err(broken)?;
            taken?;
        }
        Ok(())
    }

    /// Which file an entry of the payload is.
    fn index(&self, entry: &Entry) -> Result<usize, Error> {
        let index = match &entry.key {
            Key::Index(index) => Some(*index).filter(|index| *index < self.files.len()),
            Key::Path(path) => self.numbers.get(path).copied(),
        };
        index.ok_or_else(|| {
            let key = match &entry.key {
                Key::Index(index) => format!("file {index}"),
                Key::Path(path) => String::from_utf8_lossy(path).into_owned(),
            };
            self.unsound(format!(
                "its payload brings {key}, which its header does not list"
            ))
        })
    }

    /// How many bytes follow an entry of the payload. Of the names of one file all but one come
    /// without content, in the stripped form all but the last.
    fn content_size(&self, entry: &Entry, index: usize) -> Result<u64, Error> {
        let file = &self.files[index];
        let set = self.sets[index];
        let is_last = self.last[set] == index;
        let Some(size) = entry.size else {
            return Ok(match file.file_type {
                FileType::Regular if is_last => file.size,
                FileType::Symlink => file.target.len() as u64,
                _ => 0,
            });
        };
        let is_linked = self.last[set] != set;
        let is_regular = file.file_type == FileType::Regular;
        if is_regular && size != file.size && !(size == 0 && is_linked) {
            let (path, wanted) = (&file.path, file.size);
            let problem = format!("its payload has {size} bytes for {path}, its header {wanted}");
            return Err(self.unsound(problem));
        }
        Ok(size)
    }

    /// The package file is not sound.
    pub fn unsound(&self, problem: String) -> Error {
        Error::Unsound {
            path: self.request.path.clone(),
            problem,
        }
    }

    /// Whether an installed package is this one, in the same build: its record begins with the
    /// header of this file.
    pub fn is_recorded_as(&self, record: &Header) -> bool {
        record.extends(&self.rpm.header)
    }

    /// What became of it.
    pub fn outcome(&self, was_present: bool, skipped: Vec<String>) -> Outcome {
        Outcome {
            package: self.package.clone(),
            sha256: self.request.sha256,
            unsigned: self.request.keyrings.is_empty(),
            was_present,
            skipped,
        }
    }
}
