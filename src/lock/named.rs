//! The packages that a recipe names by their files: which those are, and where they lie.

use std::path::PathBuf;

use super::file::LockedPackage;
use super::store::stale;
use super::{Error, Lock, Store};
use crate::config::{self, Place};
use crate::recipe::NamedPackage;
use imgasm_block::Digest;
use imgasm_guest::packages::Request;
use imgasm_guest::packages::install::candidate::Candidate;

/// A package as the recipe names it, of which it is known which one that is.
#[derive(Debug)]
pub struct Pinned<'r> {
    /// How the recipe names it.
    pub named: &'r NamedPackage,
    /// The digest of its file.
    pub sha256: Digest,
}

/// What the lock has of a package that the recipe names.
pub fn locked<'l>(named: &NamedPackage, lock: &'l Lock) -> Option<&'l LockedPackage> {
    let place = named.path.text();
    let mut packages = lock.packages.iter();
    packages.find(|one| one.repository.is_none() && one.location == place)
}

impl<'r> Pinned<'r> {
    /// By the digest that the recipe or the lock has; `None` where they have none.
    pub fn of(named: &'r NamedPackage, lock: Option<&Lock>) -> Option<Self> {
        let in_lock = || Some(locked(named, lock?)?.sha256);
        let sha256 = named.sha256.or_else(in_lock)?;
        Some(Self { named, sha256 })
    }

    /// By the file itself, where the recipe gives no digest.
    pub fn of_file(store: &Store<'_>, named: &'r NamedPackage) -> Result<Self, Error> {
        if let Some(sha256) = named.sha256 {
            return Ok(Self { named, sha256 });
        }
        let path = store.recipe.folder.join(named.path.text());
        let sha256 = config::digest::file(&store.recipe.boundary, &path)?;
        Ok(Self { named, sha256 })
    }

    /// The file on the host, and that of its signature, where they are.
    fn files(&self, store: &Store<'_>) -> Option<(PathBuf, Option<PathBuf>)> {
        let at = |place: &Place, name: String| match place {
            Place::Inside(path) => Some(store.recipe.folder.join(path.as_path())),
            Place::Server(_) => store.find_file(&name),
        };
        let path = at(&self.named.path, file_name(self.sha256))?;
        let signature = match &self.named.signature {
            Some(signature) => Some(at(signature, signature_name(self.sha256))?),
            None => None,
        };
        Some((path, signature))
    }

    /// What a build asks for; `None` where its files have not been fetched.
    pub fn request(&self, store: &Store<'_>) -> Option<Request> {
        let (path, signature) = self.files(store)?;
        let (folder, sha256) = (&store.recipe.folder, self.sha256);
        Some(self.named.request_for(folder, path, sha256, signature))
    }

    /// Opens and checks it.
    ///
    /// # Errors
    /// Where its files are missing, or it is not what the recipe says.
    pub fn open(&self, store: &Store<'_>) -> Result<Candidate, Error> {
        let request = self.request(store).ok_or_else(|| Error::NotFetched {
            first: self.named.path.text(),
            count: 1,
        })?;
        Ok(Candidate::open(&request)?)
    }
}

/// What a package that was fetched by its URL is called, wherever it lies.
pub fn file_name(sha256: Digest) -> String {
    format!("{sha256}.rpm")
}

/// What its signature is called.
pub fn signature_name(sha256: Digest) -> String {
    format!("{sha256}.rpm.sig")
}

/// What the build of a recipe asks for, of the packages that it names by their files.
///
/// # Errors
/// Where files are missing, and where neither recipe nor lock know which they are.
pub fn requests(
    store: &Store<'_>,
    packages: &[NamedPackage],
    lock: Option<&Lock>,
) -> Result<Vec<Request>, Error> {
    let pinned = packages
        .iter()
        .map(|named| Pinned::of(named, lock).ok_or_else(|| stale(store.recipe, "a `[[package]]`")));
    let pinned = pinned.collect::<Result<Vec<_>, _>>()?;
    let requests: Vec<_> = pinned.iter().map(|one| one.request(store)).collect();
    let missing = pinned.iter().zip(&requests);
    let mut missing = missing.filter(|(_, request)| request.is_none());
    match missing.next() {
        None => Ok(requests.into_iter().flatten().collect()),
        Some((first, _)) => Err(Error::NotFetched {
            first: first.named.path.text(),
            count: 1 + missing.count(),
        }),
    }
}
