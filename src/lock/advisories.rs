//! Which advisories tell of what becomes newer: why a package does.

use std::collections::BTreeMap;

use super::Error;
use super::file::{Lock, LockedPackage};
use imgasm_repo::metadata::Loaded;
use imgasm_repo::metadata::updateinfo::{Advisory, Change};
use imgasm_repo::{Pool, Transport};

/// Notes at each package of a repository, of which an older version is installed, the advisories that
/// lie between the two; gives all of them, by their names.
pub(super) fn note(
    lock: &mut Lock,
    pool: &Pool,
    repositories: &[Loaded],
    transport: &Transport,
) -> Result<BTreeMap<String, Advisory>, Error> {
    let (mut changed, mut changes) = (Vec::new(), Vec::new());
    for (number, package) in lock.packages.iter().enumerate() {
        if let Some(change) = change(package, pool) {
            changed.push(number);
            changes.push(change);
        }
    }
    let mut all = BTreeMap::new();
    if changes.is_empty() {
        return Ok(all);
    }
    let is_active =
        |module: &str, stream: &str, context: &str| pool.modules.is_active(module, stream, context);
    for loaded in repositories {
        for (advisory, numbers) in loaded.advisories(transport, &changes, &is_active)? {
            for number in numbers {
                let package = &mut lock.packages[changed[number]];
                package.advisories.push(advisory.id.clone());
            }
            // Several repositories may have the same.
            all.entry(advisory.id.clone()).or_insert(advisory);
        }
    }
    for package in &mut lock.packages {
        package.advisories.sort();
        package.advisories.dedup();
    }
    Ok(all)
}

/// What a package of a repository is to the newest version of it that is installed.
fn change(package: &LockedPackage, pool: &Pool) -> Option<Change> {
    package.repository.as_ref()?;
    let named = pool.named(pool.names.find(&package.name)?);
    let text = |id| pool.names.text(id);
    let is_alike =
        |arch: &str| arch == package.arch || arch == "noarch" || package.arch == "noarch";
    let installed = named.iter().copied().filter(|number| {
        let other = &pool.packages[*number];
        other.is_installed() && is_alike(text(other.arch))
    });
    let newest = installed.max_by(|one, other| pool.compare(*one, *other))?;
    Some(Change {
        name: package.name.clone(),
        arch: package.arch.clone(),
        from: text(pool.packages[newest].version).to_owned(),
        to: package.version.clone(),
    })
}
