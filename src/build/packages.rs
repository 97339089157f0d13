//! The packages that a recipe itself names.

use std::collections::BTreeSet;

use super::Result;
use crate::lock::file::LockedRemoval;
use crate::lock::repositories::{self, Repository};
use crate::lock::{self, Lock, Store};
use crate::overlay::steps::package::PackageFile;
use crate::overlay::{Applier, Overlay};
use crate::recipe::Recipe;
use crate::recipe::packages::{lock_path, wishes_identity};
use imgasm_block::Digest;
use imgasm_container::Cache;
use imgasm_fs::FileSystem;
use imgasm_guest::packages;
use imgasm_guest::packages::database::Database;

/// A lock, and the repositories that it was made of.
pub(super) struct Locked {
    pub(super) lock: Lock,
    repositories: Vec<Repository>,
}

impl Locked {
    /// With the repositories of a recipe whose base has this root filesystem.
    pub(super) fn new(
        lock: Lock,
        recipe: &Recipe,
        fs: &dyn FileSystem,
    ) -> Result<Self, lock::Error> {
        let database = Database::read(fs)?.ok_or(lock::Error::NoDatabase)?;
        let repositories = repositories::all(recipe, fs, &database)?;
        Ok(Self { lock, repositories })
    }
}

/// The digests of the packages that nobody had to have signed.
pub(super) fn unsigned(recipe: &Recipe, locked: Option<&Locked>) -> BTreeSet<Digest> {
    let repositories = locked.into_iter().flat_map(|locked| &locked.repositories);
    let checked = repositories.filter(|one| one.gpgcheck);
    let checked: BTreeSet<_> = checked.map(|one| one.id.as_str()).collect();
    let locked = locked.into_iter().flat_map(|locked| &locked.lock.packages);
    let locked = locked.filter(|package| !checked.contains(package.repository.as_str()));
    let files = recipe.packages.iter().filter_map(PackageFile::unsigned);
    let overlays = recipe.overlays.iter().flat_map(Overlay::unsigned);
    locked
        .map(|package| package.sha256)
        .chain(files)
        .chain(overlays)
        .collect()
}

/// Installs the packages that the recipe itself names, by their files and, as the lock has them, by
/// their names, and removes those that are to go.
pub(super) fn install(
    applier: &mut Applier<'_>,
    recipe: &Recipe,
    locked: Option<&Locked>,
    cache: &Cache,
) -> Result<Vec<packages::Script>> {
    let files = recipe.packages.iter();
    let mut requests: Vec<_> = files.map(|file| file.request(&recipe.folder)).collect();
    let unwritable = recipe.packages.iter().map(PackageFile::unwritable);
    let unwritable = unwritable.min();
    let (Some(wishes), Some(Locked { lock, repositories })) = (&recipe.wishes, locked) else {
        let wishes = packages::Wishes::default();
        return match unwritable {
            Some(unwritable) => Ok(applier.install(&requests, &wishes, unwritable, &[])?),
            None => Ok(Vec::new()),
        };
    };
    requests.extend(Store::new(recipe, cache.folder()).requests(lock, repositories)?);
    let own = wishes.database.unwritable();
    let remove: Vec<_> = lock.removals.iter().map(LockedRemoval::nevra).collect();
    let also = packages::Wishes {
        remove: &remove,
        allows_older: true,
        scriptlets: wishes.scriptlets,
        overrides: &[],
    };
    let unwritable = unwritable.map_or(own, |unwritable| unwritable.min(own));
    let instead = &recipe.instead_of_scripts;
    Ok(applier.install(&requests, &also, unwritable, instead)?)
}

/// The lock of a recipe; `None` where it wishes for no packages by name.
///
/// # Errors
/// Where there is none, or it was made for another base or for other wishes.
pub(super) fn fitting_lock(
    recipe: &Recipe,
    fs: &dyn FileSystem,
) -> Result<Option<Locked>, lock::Error> {
    let Some(wishes) = &recipe.wishes else {
        return Ok(None);
    };
    let path = lock_path(&recipe.source, recipe.image.as_deref());
    let lock = Lock::read(&path)?;
    let lock = lock.ok_or(lock::Error::Missing { path })?;
    if lock.wishes != wishes_identity(&recipe.repositories, wishes) {
        return Err(stale(recipe, "`[packages]` or a `[[repository]]`"));
    }
    let database = Database::read(fs)?.ok_or(lock::Error::NoDatabase)?;
    let repositories = repositories::all(recipe, fs, &database)?;
    for one in &repositories {
        let keys = one.keyring()?.fingerprints();
        let mut known = lock.repositories.iter();
        if !known.any(|known| known.id == one.id && known.keys == keys) {
            return Err(stale(recipe, "a repository or its keys"));
        }
    }
    if lock.base != lock::make::identity(&database) {
        return Err(stale(recipe, "what is installed in the base"));
    }
    Ok(Some(Locked { lock, repositories }))
}

/// The lock was made for something else.
pub(super) fn stale(recipe: &Recipe, what: &'static str) -> lock::Error {
    let path = lock_path(&recipe.source, recipe.image.as_deref());
    lock::Error::Stale { path, what }
}
