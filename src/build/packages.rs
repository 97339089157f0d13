//! The packages that a recipe itself names.

use super::Result;
use crate::lock::file::LockedRemoval;
use crate::lock::named;
use crate::lock::repositories::{self, Repository};
use crate::lock::store::stale;
use crate::lock::{self, Lock, Store};
use crate::overlay::Applier;
use crate::recipe::packages::{lock_path, wishes_identity};
use crate::recipe::{NamedPackage, Recipe};
use imgasm_container::Cache;
use imgasm_fs::FileSystem;
use imgasm_guest::packages::Scriptlets;
use imgasm_guest::packages::database::Database;
use imgasm_guest::{Facts, packages};

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

/// Installs the packages that the recipe itself names, by their files and, as the lock has them, by
/// their names, and removes those that are to go.
pub(super) fn install(
    applier: &mut Applier<'_>,
    recipe: &Recipe,
    locked: Option<&Locked>,
    cache: &Cache,
) -> Result<Vec<packages::Script>> {
    let store = Store::new(recipe, cache.folder());
    let lock = locked.map(|locked| &locked.lock);
    let mut requests = named::requests(&store, &recipe.packages, lock)?;
    if recipe.packages.is_empty() && locked.is_none() {
        return Ok(Vec::new());
    }
    let named = recipe.packages.iter().map(NamedPackage::unwritable);
    let wished = recipe
        .own_wishes
        .iter()
        .map(|one| one.database.unwritable());
    let unwritable = named.chain(wished).min().unwrap_or_default();
    let Some(Locked { lock, repositories }) = locked else {
        let wishes = packages::Wishes::default();
        return Ok(applier.install(&requests, &wishes, unwritable, &[])?);
    };
    requests.extend(store.requests(lock, repositories)?);
    let remove: Vec<_> = lock.removals.iter().map(LockedRemoval::nevra).collect();
    let wishes = recipe.own_wishes.as_ref();
    let also = packages::Wishes {
        remove: &remove,
        allows_older: true,
        scriptlets: wishes.map_or(Scriptlets::Native, |wishes| wishes.scriptlets),
        overrides: &[],
    };
    let instead = &recipe.instead_of_scripts;
    Ok(applier.install(&requests, &also, unwritable, instead)?)
}

/// The lock of a recipe; `None` where it needs none.
///
/// # Errors
/// Where there is none, or it was made for another base or for other wishes.
pub(super) fn fitting_lock(
    recipe: &Recipe,
    facts: &Facts,
    fs: &dyn FileSystem,
) -> Result<Option<Locked>, lock::Error> {
    if !recipe.needs_lock() {
        return Ok(None);
    }
    let path = lock_path(&recipe.source, recipe.image.as_deref());
    let lock = Lock::read(&path)?;
    let lock = lock.ok_or(lock::Error::Missing { path })?;
    let wishes = recipe.wishes(facts, fs)?;
    if lock.wishes != wishes_identity(recipe, &wishes) {
        let what = "`[packages]`, a `[[package]]`, a `[[repository]]` or what overlays name";
        return Err(stale(recipe, what));
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
