//! Making a lock: the base's packages, the repositories, the solution.

use std::collections::BTreeSet;

use super::file::{Lock, LockedPackage, LockedRemoval, LockedRepository};
use super::{Error, repositories};
use crate::recipe::Recipe;
use crate::recipe::packages::{self, PackageWishes};
use imgasm_block::Digest;
use imgasm_fs::FileSystem;
use imgasm_guest::files::{known_path, link_target};
use imgasm_guest::packages::database::Database;
use imgasm_guest::packages::openpgp::Keyring;
use imgasm_guest::{Arch, Facts, packages as rpm};
use imgasm_repo::metadata::{Location, Repository};
use imgasm_repo::wish::Wishes;
use imgasm_repo::{Pool, Solution, Transport, solve};

/// What else is to be known.
#[derive(Debug, Default)]
pub struct Options {
    /// The packages that are to stay as this lock has them, where that can be.
    pub prefer: Option<Lock>,
    /// The names of those that need not; `None` is that of none.
    pub update: Option<Vec<String>>,
}

/// A lock, with what a person should know of it.
#[derive(Debug)]
pub struct Made {
    /// The lock.
    pub lock: Lock,
    /// What was asked for that is so already.
    pub notes: Vec<String>,
}

/// The identity of the packages that a system has.
pub fn identity(database: &Database) -> Digest {
    let lines = database.records.iter().map(|record| {
        let package = rpm::Package::of(&record.header);
        format!("{package} {}\n", Digest::of(record.header.bytes()))
    });
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    Digest::of(lines.concat().as_bytes())
}

/// What a base says of its packages and of where others come from: all that a lock needs of it.
pub struct Base {
    arch: Option<Arch>,
    database: Database,
    repositories: Vec<repositories::Repository>,
    is_merged: bool,
}

impl Base {
    /// Reads the base of a recipe, whose root filesystem is `fs`.
    pub fn read(recipe: &Recipe, fs: &dyn FileSystem) -> Result<Self, Error> {
        let database = Database::read(fs)?.ok_or(Error::NoDatabase)?;
        Ok(Self {
            arch: Facts::detect(fs)?.arch,
            repositories: repositories::all(recipe, fs, &database)?,
            is_merged: link_target(fs, &known_path("/bin"))?.is_some(),
            database,
        })
    }
}

/// Solves the wishes of a recipe for its base.
pub fn make(
    recipe: &Recipe,
    wishes: &PackageWishes,
    base: Base,
    transport: &Transport,
    options: &Options,
) -> Result<Made, Error> {
    let Base {
        arch,
        database,
        repositories: known,
        is_merged,
    } = base;
    let keyrings = known.iter().map(repositories::Repository::keyring);
    let keyrings = keyrings.collect::<Result<Vec<_>, _>>()?;
    let keys: Vec<_> = keyrings.iter().map(Keyring::fingerprints).collect();
    let mut repositories = Vec::new();
    for (one, keyring) in known.into_iter().zip(keyrings) {
        let old = options.prefer.iter().flat_map(|old| &old.repositories);
        let mut old = old.filter(|old| old.id == one.id);
        repositories.push(Repository {
            prefer: old.find_map(|old| old.places.first().cloned()),
            keyring: one.repo_gpgcheck.then_some(keyring),
            id: one.id,
            location: one.location,
            priority: one.priority,
            cost: one.cost,
            excludes: one.excludes,
            includes: one.includes,
        });
    }
    let headers = database.records.iter().map(|record| &record.header);
    let mut pool = Pool::of_installed(headers, arch, is_merged);
    let loaded = pool.add(&repositories, transport, &wishes.exclude)?;
    if let Some(old) = &options.prefer {
        let may_change = options.update.as_deref().unwrap_or_default();
        let kept = old
            .packages
            .iter()
            .filter(|package| !may_change.contains(&package.name));
        pool.prefer(kept.map(LockedPackage::nevra));
    }
    let wanted = Wishes {
        install: wishes.install.clone(),
        upgrade: wishes.upgrade.clone(),
        remove: wishes.remove.clone(),
        swap: wishes.swap.clone().into_iter().collect(),
        protected: wishes.protected.clone(),
        weak: wishes.install_weak_deps,
    };
    let solution = solve(&mut pool, &wanted, &loaded, transport)?;
    let mut lock = Lock::new(
        identity(&database),
        packages::wishes_identity(&recipe.repositories, wishes),
    );
    lock.repositories = repositories
        .iter()
        .zip(&loaded)
        .zip(keys)
        .map(|((repository, loaded), keys)| LockedRepository {
            id: repository.id.clone(),
            places: match &repository.location {
                Location::Places(places) => places.clone(),
                Location::MirrorList(_) | Location::Metalink(_) => vec![loaded.place.clone()],
            },
            repomd: loaded.repomd,
            keys,
        })
        .collect();
    lock.repositories
        .sort_by(|one, other| one.id.cmp(&other.id));
    fill(&mut lock, &pool, &solution, &repositories);
    Ok(Made {
        lock,
        notes: solution.notes,
    })
}

/// Writes the solution into the lock.
fn fill(lock: &mut Lock, pool: &Pool, solution: &Solution, repositories: &[Repository]) {
    let text = |id| pool.names.text(id).to_owned();
    let mut replaced = BTreeSet::new();
    for (number, reason) in solution.arriving.iter().zip(&solution.reasons) {
        let package = &pool.packages[*number];
        let Some(available) = &package.available else {
            continue;
        };
        let leaving = solution.leaving.iter().copied();
        let going: Vec<_> = leaving
            .filter(|old| pool.excludes(*number, *old) || pool.obsoletes(*number, *old))
            .collect();
        let older = going
            .iter()
            .find(|old| pool.packages[**old].name == package.name);
        replaced.extend(going.iter().copied());
        lock.packages.push(LockedPackage {
            name: text(package.name),
            version: text(package.version),
            arch: text(package.arch),
            repository: repositories[available.repository].id.clone(),
            location: available.location.clone(),
            size: available.size,
            sha256: available.sha256,
            source: available.source.clone(),
            replaces: older.map(|old| text(pool.packages[*old].version)),
            reason: *reason,
        });
    }
    let leaving = solution
        .leaving
        .iter()
        .filter(|old| !replaced.contains(old));
    lock.removals = leaving
        .map(|old| &pool.packages[*old])
        .map(|package| LockedRemoval {
            name: text(package.name),
            version: text(package.version),
            arch: text(package.arch),
        })
        .collect();
    lock.packages.sort_by_key(LockedPackage::nevra);
    lock.removals.sort_by_key(LockedRemoval::nevra);
}
