//! The packages of an image, before and after an installation.

use std::collections::{BTreeSet, HashMap};

use super::super::database::Record;
use super::super::file_list;
use super::super::header::Header;
use super::super::version::{self, Dependency, sense};
use super::super::{Error, Package};
use super::Wishes;
use super::candidate::Candidate;
use super::folders::{Folder, Folders};
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::text::name_text;

/// Provided by packages of which several versions may be installed beside each other.
const INSTALL_ONLY: [&str; 2] = ["installonlypkg(kernel)", "installonlypkg(kernel-module)"];
/// Such packages, by name, of systems whose packages do not say so.
const INSTALL_ONLY_NAMES: [&str; 4] = ["kernel", "kernel-core", "kernel-modules", "kernel-devel"];

/// A package before, after, or both.
pub struct Member<'a> {
    /// Which it is.
    pub package: Package,
    /// Its header.
    pub header: &'a Header,
    /// What it provides.
    pub provides: Vec<Dependency>,
    /// The number of the candidate that replaces it.
    pub replaced_by: Option<usize>,
    /// The record that it comes from, where it is installed already.
    pub record: Option<&'a Record>,
    /// The candidate that it comes from, where it is to be installed.
    pub candidate: Option<&'a Candidate>,
    /// Whether it is to go, and nothing takes its place.
    pub is_removed: bool,
}

impl Member<'_> {
    /// Whether it is installed in the end.
    pub fn stays(&self) -> bool {
        self.replaced_by.is_none() && !self.is_removed
    }
}

/// All of them: what is installed, and what is to be.
pub struct World<'a> {
    /// The installed ones first, then the candidates, each in their order.
    pub members: Vec<Member<'a>>,
    installed: usize,
    removed: Vec<usize>,
    by_name: HashMap<String, Vec<(usize, usize)>>,
    by_path: HashMap<Vec<u8>, Vec<(usize, usize)>>,
    /// The names of files, each with the folders in which packages have such a file, in the order in
    /// which they came.
    by_name_of_file: HashMap<Vec<u8>, Vec<Folder>>,
    folders: Folders,
}

impl<'a> World<'a> {
    /// Puts them together, and finds out what is replaced by what, and what goes by itself.
    ///
    /// # Errors
    /// Where a candidate is older than what is installed and may not be, two are the same package,
    /// or what is to go is not there.
    pub fn of(
        records: &'a [Record],
        candidates: &'a [Candidate],
        wishes: &Wishes<'_>,
    ) -> Result<Self, Error> {
        let installed = records
            .iter()
            .map(|record| (&record.header, Some(record), None));
        let new = candidates
            .iter()
            .map(|candidate| (&candidate.rpm.header, None, Some(candidate)));
        let members = installed
            .chain(new)
            .map(|(header, record, candidate)| Member {
                package: Package::of(header),
                header,
                provides: version::provides(header),
                replaced_by: None,
                record,
                candidate,
                is_removed: false,
            });
        let mut world = Self {
            members: members.collect(),
            installed: records.len(),
            removed: Vec::new(),
            by_name: HashMap::new(),
            by_path: HashMap::new(),
            by_name_of_file: HashMap::new(),
            folders: Folders::default(),
        };
        world.replace(wishes.allows_older)?;
        world.remove(wishes.remove)?;
        for (number, member) in world.members.iter().enumerate() {
            for (index, provided) in member.provides.iter().enumerate() {
                let name = provided.name.clone();
                world.by_name.entry(name).or_default().push((number, index));
            }
            // A record whose list of files is damaged has none.
            let paths = file_list::raw_paths(member.header).unwrap_or_default();
            for (index, path) in paths.into_iter().enumerate() {
                let (folder, name) = split(&path);
                let folder = world.folders.add(folder);
                let name = name.to_vec();
                let owners = world.by_path.entry(path).or_default();
                if owners.is_empty() {
                    world.by_name_of_file.entry(name).or_default().push(folder);
                }
                owners.push((number, index));
            }
        }
        Ok(world)
    }

    /// Marks the installed packages that candidates take the place of.
    fn replace(&mut self, allows_older: bool) -> Result<(), Error> {
        for new in self.installed..self.members.len() {
            let candidate = &self.members[new];
            let obsoletes = version::obsoletes(candidate.header);
            let mut replaced = Vec::new();
            for (number, other) in self.members.iter().enumerate() {
                if number == new {
                    continue;
                }
                let is_installed = number < self.installed;
                let is_same = is_same_kind(&candidate.package, &other.package);
                if is_same && !is_installed {
                    return Err(Error::Twice {
                        one: candidate.package.to_string(),
                        other: other.package.to_string(),
                    });
                }
                if is_same && !allows_several(candidate) {
                    if !allows_older && candidate.package.compare(&other.package).is_lt() {
                        return Err(Error::Older {
                            package: candidate.package.to_string(),
                            installed: other.package.to_string(),
                        });
                    }
                    replaced.push(number);
                } else if is_installed && is_obsoleted(&other.package, &obsoletes) {
                    replaced.push(number);
                }
            }
            for number in replaced {
                self.members[number].replaced_by = Some(new - self.installed);
            }
        }
        Ok(())
    }

    /// Marks the installed packages that are to go.
    fn remove(&mut self, names: &[String]) -> Result<(), Error> {
        for name in names {
            let mut members = self.members.iter();
            let number = members
                .position(|member| member.record.is_some() && member.package.nevra() == *name);
            let number = number.ok_or_else(|| Error::NotInstalled {
                package: name.clone(),
            })?;
            let member = &mut self.members[number];
            if member.replaced_by.is_none() && !member.is_removed {
                member.is_removed = true;
                self.removed.push(number);
            }
        }
        Ok(())
    }

    /// The packages to be installed.
    pub fn arriving(&self) -> &[Member<'a>] {
        &self.members[self.installed..]
    }

    /// The installed packages that do not stay.
    pub fn replaced(&self) -> impl Iterator<Item = &'a Record> {
        let going = self.members.iter().filter(|member| !member.stays());
        going.filter_map(|member| member.record)
    }

    /// The numbers of the installed packages that go, and nothing takes their place, in the order in
    /// which that is wished for.
    pub fn removed(&self) -> &[usize] {
        &self.removed
    }

    /// The packages that meet a simple dependency, among those that `counts` lets count.
    pub fn providers(
        &self,
        wanted: &Dependency,
        counts: &dyn Fn(usize, &Member<'_>) -> bool,
    ) -> BTreeSet<usize> {
        let by_name = self.by_name.get(&wanted.name).into_iter().flatten();
        let by_name = by_name.filter(|(number, index)| {
            let provided = self.members[*number].provides.get(*index);
            provided.is_some_and(|provided| provided.overlaps(wanted))
        });
        let by_path = if wanted.flags & sense::COMPARISON == 0 && wanted.name.starts_with('/') {
            self.at_known(wanted.name.as_bytes())
        } else {
            Vec::new()
        };
        by_name
            .copied()
            .chain(by_path)
            .map(|(number, _)| number)
            .filter(|number| counts(*number, &self.members[*number]))
            .collect()
    }

    /// The packages that have a file at this path: their numbers, and the file's among theirs.
    pub fn with_path(&self, path: &[u8]) -> &[(usize, usize)] {
        self.by_path
            .get(path)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// The packages that have a file at this place of the image, by whatever path: one place is one
    /// file, whichever links lead to it.
    pub fn at(&self, fs: &dyn FileSystem, path: &ImagePath) -> Result<Vec<(usize, usize)>, Error> {
        let (folder, name) = split(path.as_bytes());
        let Some(others) = self.by_name_of_file.get(name) else {
            return Ok(Vec::new());
        };
        let own = self.folders.find(folder);
        let place = match own {
            Some(own) => self.folders.place(fs, own)?,
            None => self.folders.place_of(fs, folder)?,
        };
        let mut found = Vec::new();
        for &other in others {
            let is_same =
                Some(other) == own || (place.is_some() && self.folders.place(fs, other)? == place);
            if is_same {
                found.extend(self.with_path(&self.path_in(other, name)));
            }
        }
        Ok(found)
    }

    /// As [`World::at`], by the folders that [`World::learn`] has looked at.
    fn at_known(&self, path: &[u8]) -> Vec<(usize, usize)> {
        let (folder, name) = split(path);
        let others = self.by_name_of_file.get(name).into_iter().flatten();
        let own = self.folders.find(folder);
        let place = own.and_then(|own| self.folders.known_place(own));
        others
            .filter(|other| {
                let is_same = || self.folders.known_place(**other) == place;
                Some(**other) == own || (place.is_some() && is_same())
            })
            .flat_map(|other| self.with_path(&self.path_in(*other, name)))
            .copied()
            .collect()
    }

    /// The path of a file in a folder.
    fn path_in(&self, folder: Folder, name: &[u8]) -> Vec<u8> {
        [self.folders.path(folder), b"/", name].concat()
    }

    /// Finds out where the folders lie that packages have files in or require files of.
    pub fn learn(&mut self, fs: &dyn FileSystem) -> Result<(), Error> {
        let required = self.members.iter().flat_map(|member| {
            version::requires(member.header)
                .into_iter()
                .chain(version::conflicts(member.header))
        });
        let paths = required.filter(|required| required.name.starts_with('/'));
        let paths: BTreeSet<_> = paths.map(|required| required.name).collect();
        for path in &paths {
            let (folder, name) = split(path.as_bytes());
            let own = self.folders.add(folder);
            let others = self.by_name_of_file.get(name).into_iter().flatten();
            for folder in std::iter::once(&own).chain(others) {
                self.folders.place(fs, *folder)?;
            }
        }
        Ok(())
    }

    /// The name of a member, for messages.
    pub fn name(&self, number: usize) -> String {
        let name = self.members[number].package.to_string();
        name_text(name.as_bytes())
    }
}

/// The folder of a path, without the slash behind it, and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Whether one of two packages is an update of the other: same name, and not for different
/// architectures, which may be installed side by side.
fn is_same_kind(one: &Package, other: &Package) -> bool {
    let for_any = |package: &Package| package.arch.as_deref() == Some("noarch");
    one.name == other.name && (one.arch == other.arch || for_any(one) || for_any(other))
}

fn allows_several(member: &Member<'_>) -> bool {
    let mut provides = member.provides.iter();
    INSTALL_ONLY_NAMES.contains(&member.package.name.as_str())
        || provides.any(|provided| INSTALL_ONLY.contains(&provided.name.as_str()))
}

fn is_obsoleted(package: &Package, obsoletes: &[Dependency]) -> bool {
    let own = Dependency {
        name: package.name.clone(),
        flags: sense::EQUAL,
        version: package.full_version(),
    };
    let mut matching = obsoletes
        .iter()
        .filter(|obsolete| obsolete.name == own.name);
    matching.any(|obsolete| obsolete.overlaps(&own))
}
