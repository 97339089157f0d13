//! Whether packages fit into an image: their architecture, dependencies and files.

use super::super::boolean::Expression;
use super::super::file_list::{self, PackagedFile};
use super::super::header::Header;
use super::super::version::{self, Dependency, sense};
use super::super::{Error, tags};
use super::candidate::Candidate;
use super::world::{Member, World};
use crate::{Arch, Facts};
use imgasm_fs::FileSystem;

/// What packages may require of RPM itself, and imgasm has too.
const FEATURES: [&str; 18] = [
    "BuiltinLuaScripts",
    "CaretInVersions",
    "CompressedFileNames",
    "ConcurrentAccess",
    "ExplicitPackageProvide",
    "FileCaps",
    "FileDigests",
    "HeaderLoadSortsTags",
    "LargeFiles",
    "PartialHardlinkSets",
    "PayloadFilesHavePrefix",
    "PayloadIsBzip2",
    "PayloadIsLzma",
    "PayloadIsXz",
    "PayloadIsZstd",
    "RichDependencies",
    "ScriptletInterpreterArgs",
    "TildeInVersions",
];
/// Those that have been in RPM since before any package that is still in use.
const OLD_FEATURES: [&str; 3] = ["VersionedDependencies", "ScriptletExpansion", "Lua"];

/// Whether every package is for the image's processor.
pub(super) fn check_architectures(facts: &Facts, new: &[Candidate]) -> Result<(), Error> {
    let Some(image) = facts.arch else {
        return Ok(());
    };
    for candidate in new {
        let wanted = candidate.package.arch.as_deref().unwrap_or("noarch");
        let fits = wanted == "noarch"
            || match image {
                Arch::X86_64 => {
                    matches!(wanted, "x86_64" | "i386" | "i486" | "i586" | "i686")
                        || wanted.starts_with("x86_64_v")
                }
                Arch::Arm64 => wanted == "aarch64",
                Arch::I386 => matches!(wanted, "i386" | "i486" | "i586" | "i686"),
                Arch::Arm => wanted.starts_with("arm"),
                Arch::Riscv64 => wanted == "riscv64",
            };
        if !fits {
            return Err(Error::Architecture {
                package: candidate.package.to_string(),
                wanted: wanted.to_owned(),
                image: image.name(),
            });
        }
    }
    Ok(())
}

/// Whether all that the new packages require will be there, what the others require stays there,
/// and nobody conflicts.
pub(super) fn check_dependencies(world: &World<'_>) -> Result<(), Error> {
    let mut unmet = Vec::new();
    for member in world.arriving() {
        if member
            .candidate
            .is_some_and(|candidate| candidate.request.nodeps)
        {
            continue;
        }
        for required in version::requires(member.header) {
            // What a script needs before anything is changed must have been there.
            let is_early = required.flags & sense::BEFORE_ALL != 0;
            let counts = |_, other: &Member<'_>| {
                if is_early {
                    other.record.is_some()
                } else {
                    other.stays()
                }
            };
            if !is_met(world, &required, &counts) {
                unmet.push(format!("{} requires `{required}`", member.package));
            }
        }
    }
    let something_goes = world.replaced().next().is_some();
    for member in &world.members {
        if member.record.is_none() || !member.stays() {
            continue;
        }
        let requires = version::requires(member.header).into_iter();
        // What comes can break only what depends on a condition.
        let affected = requires.filter(|one| {
            let is_affected = something_goes || one.name.starts_with('(');
            is_affected && !sense::is_transient(one.flags)
        });
        for required in affected {
            let met_after = is_met(world, &required, &|_, other| other.stays());
            let was_met = || is_met(world, &required, &|_, other| other.record.is_some());
            if !met_after && was_met() {
                let package = &member.package;
                unmet.push(format!(
                    "{package}, which is installed, requires `{required}`"
                ));
            }
        }
    }
    unmet.dedup();
    if !unmet.is_empty() {
        return Err(Error::Unmet { unmet });
    }
    check_conflicts(world)
}

fn is_met(
    world: &World<'_>,
    required: &Dependency,
    counts: &dyn Fn(usize, &Member<'_>) -> bool,
) -> bool {
    if required.flags & sense::MISSING_OK != 0 {
        return true;
    }
    let feature = required.name.strip_prefix("rpmlib(");
    if let Some(feature) = feature.and_then(|name| name.strip_suffix(')')) {
        return FEATURES.contains(&feature) || OLD_FEATURES.contains(&feature);
    }
    let expression = Expression::parse(required);
    expression.is_some_and(|expression| {
        expression.holds(&|dependency| world.providers(dependency, counts))
    })
}

fn check_conflicts(world: &World<'_>) -> Result<(), Error> {
    let staying = world.members.iter().enumerate();
    for (number, member) in staying.filter(|(_, member)| member.stays()) {
        let ignores = member
            .candidate
            .is_some_and(|candidate| candidate.request.nodeps);
        for conflict in version::conflicts(member.header) {
            // A package may provide what it conflicts with. Between two that are installed it is
            // not ours to say anything.
            let counts = |other: usize, with: &Member<'_>| {
                other != number
                    && with.stays()
                    && (member.candidate.is_some() || with.candidate.is_some())
                    && !with
                        .candidate
                        .is_some_and(|candidate| candidate.request.nodeps)
            };
            let Some(expression) = Expression::parse(&conflict) else {
                continue;
            };
            let first = std::cell::Cell::new(None);
            let holds = expression.holds(&|dependency| {
                let providers = world.providers(dependency, &counts);
                first.set(first.get().or(providers.first().copied()));
                providers
            });
            if let Some(other) = first.get()
                && holds
                && !ignores
            {
                return Err(Error::Conflict {
                    package: member.package.to_string(),
                    other: world.name(other),
                    conflict: conflict.to_string(),
                });
            }
        }
    }
    Ok(())
}

/// Whether the files of the new packages agree with each other and with those of the packages that
/// stay.
pub(super) fn check_files(fs: &dyn FileSystem, world: &World<'_>) -> Result<(), Error> {
    each_conflict(fs, world, |conflict| {
        let (_, candidate) = conflict.new;
        Err(Error::FileConflict {
            path: candidate.files[conflict.file].path.clone(),
            package: candidate.package.to_string(),
            other: world.name(conflict.other.0),
        })
    })
}

/// Programs for 32 bit, and those for 64 bit, which are preferred (RPM's `_prefer_color`).
const COLORS: u64 = 3;
const PREFERRED: u64 = 2;

/// The files that are left to programs for 64 bit at the same place, which are other ones: the numbers of
/// the new package and of the file in it.
pub(super) fn outcolored(
    fs: &dyn FileSystem,
    world: &World<'_>,
) -> Result<Vec<(usize, usize)>, Error> {
    let color = |header: &Header, file: usize| {
        let colors = header.numbers(tags::FILE_COLORS);
        colors.get(file).copied().unwrap_or_default() & COLORS
    };
    let mut found = Vec::new();
    each_conflict(fs, world, |conflict| {
        let ((number, candidate), (other, theirs)) = (conflict.new, conflict.other);
        let own = color(&candidate.rpm.header, conflict.file);
        let theirs = color(world.members[other].header, theirs);
        if own != 0 && own & PREFERRED == 0 && theirs & PREFERRED != 0 {
            found.push((number, conflict.file));
        }
        Ok(())
    })?;
    Ok(found)
}

/// Two different files at one place.
struct Conflict<'w> {
    /// The number of the new package among all new ones, and what it is.
    new: (usize, &'w Candidate),
    /// The number of the file in it.
    file: usize,
    /// The member that has the other file, and its number there.
    other: (usize, usize),
}

/// Finds the files of new packages at whose places other packages, which stay or come, have others.
fn each_conflict<'w>(
    fs: &dyn FileSystem,
    world: &World<'w>,
    mut take: impl FnMut(Conflict<'w>) -> Result<(), Error>,
) -> Result<(), Error> {
    let lists: Vec<_> = world
        .members
        .iter()
        .map(|_| std::cell::OnceCell::new())
        .collect();
    let list = |number: usize| -> &[PackagedFile] {
        lists[number].get_or_init(|| {
            let member = &world.members[number];
            member.candidate.map_or_else(
                || file_list::files(member.header).unwrap_or_default(),
                |candidate| candidate.files.clone(),
            )
        })
    };
    let mut new = 0;
    for member in world.arriving() {
        let Some(candidate) = member.candidate else {
            continue;
        };
        let own_number = new;
        new += 1;
        for (own, file) in candidate.files.iter().enumerate() {
            if candidate.is_left_out(own) {
                continue;
            }
            for (number, index) in world.at(fs, &file.path)? {
                let other = &world.members[number];
                // A package may have several paths that lead to one place.
                let is_itself = index == own
                    && other
                        .candidate
                        .is_some_and(|it| std::ptr::eq(it, candidate));
                let is_left_out = other.candidate.is_some_and(|it| it.is_left_out(index));
                if is_itself || is_left_out || !other.stays() {
                    continue;
                }
                let agrees = list(number).get(index).is_none_or(|theirs| {
                    // Digests of different algorithms cannot be compared.
                    let comparable = member.header.number(tags::FILE_DIGEST_ALGO)
                        == other.header.number(tags::FILE_DIGEST_ALGO);
                    let theirs = PackagedFile {
                        digest: if comparable {
                            &theirs.digest
                        } else {
                            &file.digest
                        }
                        .clone(),
                        ..theirs.clone()
                    };
                    file.agrees_with(&theirs)
                });
                if !agrees {
                    take(Conflict {
                        new: (own_number, candidate),
                        file: own,
                        other: (number, index),
                    })?;
                }
            }
        }
    }
    Ok(())
}
