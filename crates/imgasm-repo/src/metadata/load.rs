//! All that is read of a repository, from the first place that has it whole.

use std::collections::{BTreeMap, BTreeSet};

use super::comps::{self, Group};
use super::filelists;
use super::mirrors::{self, Mirrors};
use super::modules::Modules;
use super::primary;
use super::repomd::{self, Record};
use super::unpack::unpack;
use super::updateinfo::{self, Advisory, Change, IsActive};
use crate::names::Names;
use crate::package::Package;
use crate::transport::{self, Transport};
use crate::{Error, Result};
use imgasm_block::Digest;
use imgasm_guest::packages::openpgp::Keyring;

/// The most bytes of lists: of metadata, of mirrors, and of a signature.
const MAX_LIST: u64 = 8 << 20;
/// The most bytes of packed metadata.
const MAX_PACKED: u64 = 1 << 30;

/// Where a repository says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// At one of these places, in the order of preference.
    Places(Vec<String>),
    /// At the places that a list at this URL names.
    MirrorList(String),
    /// At the places that a metalink at this URL names.
    Metalink(String),
}

/// A repository as it is asked for.
#[derive(Debug)]
pub struct Repository {
    /// Its name.
    pub id: String,
    /// Where it is.
    pub location: Location,
    /// Of the places that a list names, the one that is tried first.
    pub prefer: Option<String>,
    /// The keys of which one must have signed its list of metadata, where that is wanted.
    pub keyring: Option<Keyring>,
    /// Packages of repositories with a higher number are hidden by those of the same name here.
    pub priority: u32,
    /// Among equal packages, those of the repository with the lowest number are taken.
    pub cost: u32,
    /// Patterns of the packages that are not to be seen.
    pub excludes: Vec<String>,
    /// If there are any, patterns of the only packages that are.
    pub includes: Vec<String>,
    /// Whether modules hide none of its packages.
    pub module_hotfixes: bool,
}

/// What was read of a repository.
#[derive(Debug)]
pub struct Loaded {
    /// The place that it was read from.
    pub place: String,
    /// The digest of its list of metadata.
    pub repomd: Digest,
    /// Its packages.
    pub packages: Vec<Package>,
    /// Its groups.
    pub groups: Vec<Group>,
    /// What it says of modules.
    pub modules: Modules,
    records: BTreeMap<String, Record>,
}

impl Repository {
    /// Reads the repository, which gets this number.
    pub fn load(&self, transport: &Transport, names: &mut Names, number: usize) -> Result<Loaded> {
        let mirrors = self.mirrors(transport)?;
        let mut problems = Vec::new();
        for place in &mirrors.places {
            match self.load_from(transport, names, number, place, &mirrors.repomd) {
                Ok(loaded) => return Ok(loaded),
                Err(error) => problems.push(error.to_string()),
            }
        }
        if problems.is_empty() {
            problems.push("its list of mirrors names none".to_owned());
        }
        Err(Error::Repository {
            id: self.id.clone(),
            problems,
        })
    }

    fn mirrors(&self, transport: &Transport) -> Result<Mirrors> {
        let read = |url: &str| {
            let bytes = transport.read(url, MAX_LIST)?;
            String::from_utf8(bytes).map_err(|_| damaged(url, "it is not text"))
        };
        let (url, mut mirrors) = match &self.location {
            Location::Places(places) => {
                return Ok(Mirrors {
                    places: places.clone(),
                    repomd: Vec::new(),
                });
            }
            Location::MirrorList(url) => (url, mirrors::read_list(&read(url)?)),
            Location::Metalink(url) => {
                let mirrors = mirrors::read_metalink(&read(url)?);
                (url, mirrors.map_err(|problem| damaged(url, problem))?)
            }
        };
        // A server does not send us to files of this host.
        let is_local = |url: &str| url.starts_with("file:");
        mirrors
            .places
            .retain(|place| is_local(url) || !is_local(place));
        mirrors
            .places
            .sort_by_key(|place| Some(place) != self.prefer.as_ref());
        Ok(mirrors)
    }

    fn load_from(
        &self,
        transport: &Transport,
        names: &mut Names,
        number: usize,
        place: &str,
        known: &[Digest],
    ) -> Result<Loaded> {
        let url = transport::join(place, repomd::PATH);
        let bytes = transport.read(&url, MAX_LIST)?;
        let digest = Digest::of(&bytes);
        if !known.is_empty() && !known.contains(&digest) {
            return Err(damaged(
                &url,
                "it is not the one that the metalink names: the mirror is stale",
            ));
        }
        if let Some(keyring) = &self.keyring {
            check_signature(transport, keyring, &url, &bytes)?;
        }
        let records = repomd::read(bytes.as_slice());
        let records = records.map_err(|problem| damaged(&url, problem))?;
        let mut loaded = Loaded {
            place: place.to_owned(),
            repomd: digest,
            packages: Vec::new(),
            groups: Vec::new(),
            modules: Modules::default(),
            records,
        };
        loaded.packages = loaded
            .read(transport, "primary", |reader| {
                primary::read(reader, names, number)
            })?
            .ok_or_else(|| damaged(&url, "it names no list of packages with a SHA-256"))?;
        for kind in ["group_gz", "group", "group_xz", "group_zst"] {
            if let Some(groups) = loaded.read(transport, kind, comps::read)? {
                loaded.groups = groups;
                break;
            }
        }
        let modules = loaded.read(transport, "modules", Modules::read)?;
        loaded.modules = modules.unwrap_or_default();
        Ok(loaded)
    }
}

impl Loaded {
    /// Which of its packages have one of these paths.
    pub fn owners(
        &self,
        transport: &Transport,
        wanted: &BTreeSet<String>,
    ) -> Result<filelists::Owners> {
        let owners = self.read(transport, "filelists", |reader| {
            filelists::read(reader, wanted)
        })?;
        Ok(owners.unwrap_or_default())
    }

    /// Which of its advisories tell of these changes, each with their numbers.
    pub fn advisories(
        &self,
        transport: &Transport,
        changes: &[Change],
        is_active: &IsActive<'_>,
    ) -> Result<Vec<(Advisory, Vec<usize>)>> {
        let advisories = self.read(transport, "updateinfo", |reader| {
            updateinfo::read(reader, changes, is_active)
        })?;
        Ok(advisories.unwrap_or_default())
    }

    /// Reads a file of the metadata, unless there is none of this kind.
    fn read<T>(
        &self,
        transport: &Transport,
        kind: &str,
        read: impl FnOnce(Box<dyn std::io::BufRead>) -> Result<T, String>,
    ) -> Result<Option<T>> {
        let Some(record) = self.records.get(kind) else {
            return Ok(None);
        };
        let url = transport::join(&self.place, &record.location);
        let limit = record.size.unwrap_or(MAX_PACKED).min(MAX_PACKED);
        let bytes = transport.read(&url, limit)?;
        let found = Digest::of(&bytes);
        if found != record.sha256 {
            return Err(Error::OtherFile {
                url,
                wanted: record.sha256,
                found,
            });
        }
        let reader = unpack(bytes).map_err(|error| damaged(&url, error))?;
        read(reader)
            .map(Some)
            .map_err(|problem| damaged(&url, problem))
    }
}

fn check_signature(
    transport: &Transport,
    keyring: &Keyring,
    url: &str,
    signed: &[u8],
) -> Result<()> {
    let signature = transport.read(&format!("{url}.asc"), MAX_LIST)?;
    let signature = imgasm_guest::packages::openpgp::unarmored(&signature);
    let signature = signature.map_err(|problem| damaged(url, problem))?;
    let verdict = keyring.verify(&signature, &mut &*signed);
    let verdict = verdict.map_err(|error| damaged(url, error))?;
    verdict.map_err(|problem| damaged(url, format!("its signature is not sound: {problem}")))
}

fn damaged(url: &str, problem: impl std::fmt::Display) -> Error {
    Error::Metadata {
        url: url.to_owned(),
        problem: problem.to_string(),
    }
}
