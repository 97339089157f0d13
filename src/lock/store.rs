//! The package files on the host: in a folder beside the recipe, or in the cache.

use std::path::{Path, PathBuf};

use super::file::{Lock, LockedPackage};
use super::repositories::Repository;
use super::{Error, named};
use crate::recipe::Recipe;
use crate::recipe::download::VENDOR;
use crate::recipe::packages::lock_path;
use imgasm_guest::packages::{Request, Scriptlets};
use imgasm_repo::Transport;
use imgasm_repo::transport::{join, local};

/// Where package files are.
#[derive(Debug)]
pub struct Store<'r> {
    pub(super) recipe: &'r Recipe,
    vendor: PathBuf,
    cache: PathBuf,
}

impl<'r> Store<'r> {
    /// The store of a recipe, with the cache in this folder.
    pub fn new(recipe: &'r Recipe, cache: &Path) -> Self {
        Self {
            recipe,
            vendor: recipe.folder.join(VENDOR),
            cache: packages_in(cache),
        }
    }

    /// Where a file of this name lies, or would after it was fetched: in the folder beside the recipe,
    /// or else in the cache.
    pub fn place(&self, name: &str, into_vendor: bool) -> PathBuf {
        let folder = if into_vendor {
            &self.vendor
        } else {
            &self.cache
        };
        folder.join(name)
    }

    /// The file of this name, where it is.
    pub fn find_file(&self, name: &str) -> Option<PathBuf> {
        let places = [true, false].map(|vendor| self.place(name, vendor));
        self.inside(places)
    }

    /// The first of these files that is there: in the cache, or inside the project.
    fn inside(&self, [vendored, cached]: [PathBuf; 2]) -> Option<PathBuf> {
        let is_inside = |path: &PathBuf| self.recipe.boundary.open(path).is_ok();
        let vendored = Some(vendored).filter(is_inside);
        vendored.or_else(|| Some(cached).filter(|path| path.is_file()))
    }

    /// The file of a package of a repository, if it is there. Whether it is the right one is seen when
    /// it is opened.
    pub fn find(&self, package: &LockedPackage) -> Option<PathBuf> {
        self.inside([self.vendored(package), self.cached(package)])
    }

    /// Where a package lies in the folder beside the recipe.
    pub fn vendored(&self, package: &LockedPackage) -> PathBuf {
        // The names come from a repository.
        let name = package.nevra().replace(['/', '\0'], "_");
        self.vendor.join(format!("{name}.rpm"))
    }

    fn cached(&self, package: &LockedPackage) -> PathBuf {
        self.cache.join(named::file_name(package.sha256))
    }

    /// Gets a package of a repository, unless it is there; gives its file, and whether it was got. Into
    /// the folder beside the recipe, or else into the cache.
    pub fn fetch(
        &self,
        lock: &Lock,
        package: &LockedPackage,
        into_vendor: bool,
        transport: &Transport,
    ) -> Result<(PathBuf, bool), Error> {
        let target = if into_vendor {
            self.vendored(package)
        } else {
            self.cached(package)
        };
        // One that is cut off is got again.
        let is_whole = |path: &PathBuf| {
            let metadata = path.metadata();
            metadata.is_ok_and(|metadata| metadata.len() == package.size)
        };
        if let Some(found) = self.find(package).filter(is_whole)
            && (!into_vendor || found == target)
        {
            return Ok((found, false));
        }
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(|source| Error::Io {
                path: folder.to_owned(),
                source,
            })?;
        }
        let mut repositories = lock.repositories.iter();
        let repository = repositories.find(|one| Some(&one.id) == package.repository.as_ref());
        let places = repository.map_or(&[][..], |repository| &repository.places);
        let mut problem = None;
        for place in places {
            let url = join(place, &package.location);
            if let Some(path) = local(&url) {
                self.recipe.boundary.check(&path)?;
            }
            match transport.download(&url, package.sha256, package.size, &target) {
                Ok(()) => return Ok((target, true)),
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        Err(problem.map_or_else(|| unknown_repository(self.recipe, package), Error::from))
    }

    /// What a build asks for: every locked package of a repository, with the keys that must have
    /// signed it.
    ///
    /// # Errors
    /// Where files are missing.
    pub fn requests(
        &self,
        lock: &Lock,
        repositories: &[Repository],
    ) -> Result<Vec<Request>, Error> {
        let wishes = self.recipe.own_wishes.as_ref();
        let scriptlets = wishes.map_or(Scriptlets::Native, |wishes| wishes.scriptlets);
        let of_repositories = lock.of_repositories();
        let mut missing = of_repositories.filter(|package| self.find(package).is_none());
        if let Some(first) = missing.next() {
            return Err(Error::NotFetched {
                first: first.nevra(),
                count: 1 + missing.count(),
            });
        }
        let request = |package: &LockedPackage| {
            let mut known = repositories.iter();
            let repository = known.find(|one| Some(&one.id) == package.repository.as_ref());
            let repository = repository.ok_or_else(|| unknown_repository(self.recipe, package))?;
            let keyrings = if repository.gpgcheck {
                repository.keys.clone()
            } else {
                Vec::new()
            };
            Ok(Request {
                // It was there above; whether it is the right one is seen when it is opened.
                path: self.find(package).unwrap_or_else(|| self.cached(package)),
                sha256: package.sha256,
                nevra: Some(package.nevra()),
                keyrings,
                signature: None,
                weak_digests: Vec::new(),
                nodeps: false,
                scriptlets,
                reason: package.reason,
                repository: package.repository.clone(),
            })
        };
        lock.of_repositories().map(request).collect()
    }
}

/// The folder with package files in the folder of the cache.
pub fn packages_in(cache: &Path) -> PathBuf {
    cache.join("packages")
}

/// The lock of a recipe was made for something else.
pub fn stale(recipe: &Recipe, what: &'static str) -> Error {
    let path = lock_path(&recipe.source, recipe.image.as_deref());
    Error::Stale { path, what }
}

fn unknown_repository(recipe: &Recipe, package: &LockedPackage) -> Error {
    let repository = package.repository.as_deref().unwrap_or_default();
    Error::Unusable {
        path: lock_path(&recipe.source, recipe.image.as_deref()),
        problem: format!("there is no repository `{repository}`"),
    }
}
