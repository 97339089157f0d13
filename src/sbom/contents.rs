//! What there is in an image: packages, and the files of the root filesystem and of what it mounts.

use std::collections::{BTreeSet, HashMap};
use std::thread;

use purl::GenericPurlBuilder;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::Error;
use super::licence::Licence;
use crate::verify::boot;
use imgasm_block::Digest;
use imgasm_disk::{Disk, Place};
use imgasm_fs::digest::{ContentHasher, Hashers};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{At as _, LastLink, locate, walk};
use imgasm_fs::{FileSystem, FileType};
use imgasm_guest::OsRelease;
use imgasm_guest::packages::Package;
use imgasm_guest::packages::inventory::{Kind, inventory};

/// What there is.
pub struct Contents {
    /// The packages, in the order of their names.
    pub packages: Vec<Listed>,
    /// The regular files, in the order of their paths, first those of the root; a hard link is one,
    /// too.
    pub files: Vec<File>,
    /// The files that belong to no package, by their places in the list.
    pub unowned: Vec<usize>,
}

/// A package.
pub struct Listed {
    /// Which one.
    pub package: Package,
    /// Its package URL.
    pub url: String,
    /// Its licence, if it is known.
    pub licence: Option<Licence>,
    /// Those of its files that are there, by their places in the list. What several packages share
    /// is the file of the first of them.
    pub files: Vec<usize>,
}

/// A regular file.
pub struct File {
    /// Its path.
    pub path: ImagePath,
    /// Its digests; `None` for one with so many holes, or so many others with the same blocks, that it was not read.
    pub digests: Option<Digests>,
}

/// The digests of a file: SHA-1, upon which SPDX insists, and SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// In hexadecimal.
    pub sha1: String,
    /// SHA-256.
    pub sha256: Digest,
}

/// Computes [`Digests`].
#[derive(Default)]
struct Hasher {
    sha1: Sha1,
    sha256: Sha256,
}

impl ContentHasher for Hasher {
    type Output = Digests;

    fn feed(&mut self, piece: &[u8]) {
        self.sha1.update(piece);
        self.sha256.update(piece);
    }

    fn result(self) -> Digests {
        Digests {
            sha1: hex::encode(self.sha1.finalize()),
            sha256: Digest::finish(self.sha256),
        }
    }
}

impl Contents {
    /// Reads what the root filesystem at this place of a disk and those that it mounts hold, all of
    /// their files included.
    ///
    /// # Errors
    /// [`Error::NoDatabase`] if the image does not record its packages.
    pub fn read(disk: &Disk, root: Place) -> Result<Self, Error> {
        let root = disk.open_filesystem(root)?;
        let root = root.as_ref();
        let mut mounted = Vec::new();
        for (point, place) in boot::mounted(root, boot::filesystems(disk)?)? {
            mounted.push((point, disk.open_filesystem(place)?));
        }
        let (kind, installed) = inventory(root)?.ok_or(Error::NoDatabase)?;
        let distribution = OsRelease::read(root)?;
        let distribution = distribution.as_ref().map_or("", OsRelease::id);
        let files = files(root, &mounted)?;
        let numbered = files.iter().enumerate();
        let mut unowned: HashMap<&ImagePath, usize> =
            numbered.map(|(place, file)| (&file.path, place)).collect();
        let mut packages: Vec<Listed> = Vec::with_capacity(installed.len());
        let mut urls = BTreeSet::new();
        for one in installed {
            let url = url(kind, distribution, &one.package)?;
            // A database may list the same one twice, as RPM's does with keys.
            if !urls.insert(url.clone()) {
                continue;
            }
            let mut listed = Listed {
                licence: Licence::of(&one.licences),
                package: one.package,
                url,
                files: Vec::new(),
            };
            for path in &one.paths {
                // What lies on another filesystem is not found in this one.
                let real = real_path(root, path)?.unwrap_or_else(|| path.clone());
                listed.files.extend(unowned.remove(&real));
            }
            listed.files.sort_unstable();
            packages.push(listed);
        }
        let mut unowned: Vec<usize> = unowned.into_values().collect();
        unowned.sort_unstable();
        Ok(Self {
            packages,
            files,
            unowned,
        })
    }
}

/// Where a path leads; `None` if there is no such place.
fn real_path(root: &dyn FileSystem, path: &ImagePath) -> Result<Option<ImagePath>, Error> {
    match locate(root, path, LastLink::Keep) {
        Ok(place) => Ok(Some(place.path)),
        Err(error) if error.is_absence() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// All regular files of the root and of what is mounted below it, with their digests.
fn files(
    root: &dyn FileSystem,
    mounted: &[(ImagePath, Box<dyn FileSystem>)],
) -> Result<Vec<File>, Error> {
    let is_covered = |path: &ImagePath| mounted.iter().any(|(point, _)| path.starts_with(point));
    thread::scope(|scope| {
        let mut hashers: Hashers<Hasher> = Hashers::start(scope);
        let mut files = Vec::new();
        // What is hashed: its number, and its place among the files.
        let mut places = Vec::new();
        let mut add = |fs: &dyn FileSystem, point: Option<&ImagePath>| -> Result<(), Error> {
            hashers.begin(fs).at("read", &ImagePath::root())?;
            for entry in walk(fs, &ImagePath::root())? {
                let entry = entry?;
                let is_hidden = point.is_none() && is_covered(&entry.path);
                if entry.metadata.file_type != FileType::Regular || is_hidden {
                    continue;
                }
                let path = match point {
                    None => entry.path,
                    Some(point) => entry
                        .path
                        .names()
                        .fold(point.clone(), |path, name| path.child(name)),
                };
                let number = hashers.add(fs, entry.node, entry.metadata.size);
                let number = number.at("read", &path)?;
                places.extend(number.map(|number| (number, files.len())));
                files.push(File {
                    path,
                    digests: None,
                });
            }
            Ok(())
        };
        add(root, None)?;
        for (point, fs) in mounted {
            add(fs.as_ref(), Some(point))?;
        }
        let digests: HashMap<_, _> = hashers.finish().collect();
        for (number, file) in places {
            files[file].digests = digests.get(&number).cloned();
        }
        Ok(files)
    })
}

/// The package URL of a package (the package-url specification, types `deb` and `rpm`: an RPM
/// package's epoch is a qualifier, a Debian package's belongs to its version).
fn url(kind: Kind, distribution: &str, package: &Package) -> Result<String, Error> {
    let (url_type, version, epoch) = match kind {
        Kind::Rpm => ("rpm", package.version_and_release(), package.epoch),
        Kind::Deb => ("deb", package.full_version(), None),
    };
    let arch = package.arch.clone().unwrap_or_default();
    let epoch = epoch.map_or_else(String::new, |epoch| epoch.to_string());
    // An empty part is left out.
    let url = GenericPurlBuilder::new(url_type.to_owned(), package.name.as_str())
        .with_namespace(distribution)
        .with_version(version)
        .with_qualifier("arch", arch)
        .and_then(|url| url.with_qualifier("epoch", epoch))
        .and_then(GenericPurlBuilder::build);
    let url = url.map_err(|source| Error::PackageUrl {
        package: package.to_string(),
        source,
    })?;
    // The specification encodes them, the crate does not.
    Ok(url.to_string().replace('+', "%2B").replace('^', "%5E"))
}
