//! Making a lock: the base's packages, the repositories, the solution.

use std::collections::{BTreeMap, BTreeSet};

use super::file::{Lock, LockedPackage, LockedRemoval, LockedRepository};
use super::{Error, advisories, repositories};
use crate::recipe::Recipe;
use crate::recipe::packages::{self, PackageWishes};
use imgasm_block::Digest;
use imgasm_fs::FileSystem;
use imgasm_guest::dnf::Modules;
use imgasm_guest::files::{known_path, link_target};
use imgasm_guest::packages::database::Database;
use imgasm_guest::packages::install::candidate::Candidate;
use imgasm_guest::packages::openpgp::Keyring;
use imgasm_guest::packages::tags;
use imgasm_guest::{Arch, Facts, packages as rpm};
use imgasm_repo::metadata::updateinfo::Advisory;
use imgasm_repo::metadata::{Location, Repository};
use imgasm_repo::package::Available;
use imgasm_repo::pool::Number;
use imgasm_repo::wish::Wishes;
use imgasm_repo::{Pool, Solution, Transport, solve};

/// A lock, with what a person should know of it.
#[derive(Debug)]
pub struct Made {
    /// The lock.
    pub lock: Lock,
    /// What was asked for that is so already.
    pub notes: Vec<String>,
    /// The advisories that the lock names, by their names.
    pub advisories: BTreeMap<String, Advisory>,
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

/// What a base says of its packages, of where others come from, and of what is wished for: all that
/// a lock needs of it.
pub struct Base {
    arch: Option<Arch>,
    wishes: PackageWishes,
    database: Database,
    repositories: Vec<repositories::Repository>,
    modules: Modules,
    is_merged: bool,
}

impl Base {
    /// Reads the base of a recipe, whose root filesystem is `fs`.
    pub fn read(recipe: &Recipe, fs: &dyn FileSystem) -> Result<Self, Error> {
        let database = Database::read(fs)?.ok_or(Error::NoDatabase)?;
        let facts = Facts::detect(fs)?;
        Ok(Self {
            arch: facts.arch,
            wishes: recipe.wishes(&facts, fs)?,
            repositories: repositories::all(recipe, fs, &database)?,
            modules: Modules::read(fs)?,
            is_merged: link_target(fs, &known_path("/bin"))?.is_some(),
            database,
        })
    }
}

/// Solves the wishes of a recipe for its base; `named` are the packages that it names by their files,
/// in order. The packages of `kept` stay as they are there, where that can be.
pub fn make(
    recipe: &Recipe,
    named: &[Candidate],
    base: Base,
    transport: &Transport,
    kept: Option<&Lock>,
) -> Result<Made, Error> {
    let Base {
        arch,
        wishes,
        database,
        repositories: known,
        modules,
        is_merged,
    } = base;
    let wishes_identity = packages::wishes_identity(recipe, &wishes);
    let keyrings = known.iter().map(repositories::Repository::keyring);
    let keyrings = keyrings.collect::<Result<Vec<_>, _>>()?;
    let keys: Vec<_> = keyrings.iter().map(Keyring::fingerprints).collect();
    let mut repositories = Vec::new();
    for (one, keyring) in known.into_iter().zip(keyrings) {
        let old = kept.into_iter().flat_map(|old| &old.repositories);
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
            module_hotfixes: one.module_hotfixes,
        });
    }
    let headers = database.records.iter().map(|record| &record.header);
    let mut pool = Pool::of_installed(headers, arch, is_merged);
    let files = add_named(&mut pool, recipe, named, &database)?;
    let loaded = pool.add(&repositories, transport, &wishes.exclude, &modules)?;
    let stay = kept.into_iter().flat_map(|old| &old.packages);
    pool.prefer(stay.map(LockedPackage::nevra));
    let wanted = Wishes {
        install: wishes.install,
        upgrade: wishes.upgrade,
        remove: wishes.remove,
        swap: wishes.swap.into_iter().collect(),
        files,
        protected: wishes.protected,
        weak: wishes.install_weak_deps,
    };
    let solution = solve(&mut pool, &wanted, &loaded, transport)?;
    let mut lock = Lock::new(identity(&database), wishes_identity);
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
    let advisories = advisories::note(&mut lock, &pool, &loaded, transport)?;
    Ok(Made {
        lock,
        notes: solution.notes,
        advisories,
    })
}

/// Adds the packages that a recipe names by their files, unless they are installed already; gives their
/// numbers, with what the recipe calls them.
fn add_named(
    pool: &mut Pool,
    recipe: &Recipe,
    named: &[Candidate],
    database: &Database,
) -> Result<Vec<(String, Number)>, Error> {
    let installed = 0..pool.packages.len();
    let mut files = Vec::new();
    for (file, candidate) in recipe.packages.iter().zip(named) {
        let mut records = database.records.iter();
        if records.any(|record| candidate.is_recorded_as(&record.header)) {
            continue;
        }
        let header = &candidate.rpm.header;
        let place = file.path.text();
        let available = Available {
            repository: None,
            location: place.clone(),
            sha256: candidate.request.sha256,
            size: candidate.rpm.size(),
            source: header.string(tags::SOURCE_RPM).unwrap_or_default(),
        };
        let number = pool.add_file(header, available, !file.nodeps);
        let mut others = installed.clone();
        let newer =
            others.find(|old| pool.excludes(number, *old) && pool.compare(number, *old).is_lt());
        if let Some(newer) = newer {
            return Err(Error::Packages(rpm::Error::Older {
                package: pool.nevra(number),
                installed: pool.nevra(newer),
            }));
        }
        files.push((place, number));
    }
    Ok(files)
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
            repository: available
                .repository
                .map(|number| repositories[number].id.clone()),
            location: available.location.clone(),
            size: available.size,
            sha256: available.sha256,
            source: available.source.clone(),
            replaces: older.map(|old| text(pool.packages[*old].version)),
            advisories: Vec::new(),
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
