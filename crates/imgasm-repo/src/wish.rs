//! What is asked for, and the packages that it could mean.

use std::collections::{BTreeMap, BTreeSet};

use globset::{Glob, GlobSet};

use crate::metadata::comps::Group;
use crate::pool::{Number, Pool};
use crate::{Error, Result};
use imgasm_guest::packages::boolean::Expression;
use imgasm_guest::packages::version::Dependency;

/// How deep groups may lie in each other.
const MAX_GROUP_DEPTH: usize = 4;

/// Wishes in the words of a person: names as dnf takes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// What is to be there.
    pub install: Vec<String>,
    /// What is to become newer; `*` is all that is installed.
    pub upgrade: Vec<String>,
    /// What is to go.
    pub remove: Vec<String>,
    /// What is to go, and what is to take its place.
    pub swap: Vec<(String, String)>,
    /// The packages whose files are named, each with that name.
    pub files: Vec<(String, Number)>,
    /// The names of packages that must not go.
    pub protected: Vec<String>,
    /// Whether what packages recommend is installed too.
    pub weak: bool,
}

/// What a wish comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// One of these is to be installed, the first that can be.
    One {
        /// The wish.
        wish: String,
        /// The candidates, the best first.
        candidates: Vec<Number>,
    },
    /// None of these is to be installed.
    None {
        /// The wish.
        wish: String,
        /// They.
        packages: Vec<Number>,
    },
}

impl Wishes {
    /// The jobs, and what is asked for that is so already.
    pub fn jobs(&self, pool: &Pool, groups: &[Group]) -> Result<(Vec<Job>, Vec<String>)> {
        let (mut jobs, mut notes) = (Vec::new(), Vec::new());
        for wish in self
            .remove
            .iter()
            .chain(self.swap.iter().map(|(old, _)| old))
        {
            let mut found = matching(pool, wish)?;
            found.retain(|number| pool.packages[*number].is_installed());
            if found.is_empty() {
                notes.push(format!("nothing that is installed is called `{wish}`"));
                continue;
            }
            // Nor is it to come back in another version.
            let names = found.iter().map(|number| pool.packages[*number].name);
            let mut packages: Vec<_> = names.flat_map(|name| pool.named(name)).copied().collect();
            packages.sort_unstable();
            packages.dedup();
            jobs.push(Job::None {
                wish: wish.clone(),
                packages,
            });
        }
        for wish in self
            .install
            .iter()
            .chain(self.swap.iter().map(|(_, new)| new))
        {
            match wish.strip_prefix('@') {
                Some(group) => install_group(pool, groups, group, wish, &mut jobs)?,
                None => install(pool, wish, &mut jobs)?,
            }
        }
        for (wish, number) in &self.files {
            jobs.push(Job::One {
                wish: wish.clone(),
                candidates: vec![*number],
            });
        }
        for wish in &self.upgrade {
            upgrade(pool, wish, &mut jobs)?;
        }
        Ok((jobs, notes))
    }
}

/// A wish to install; a pattern stands for every name that it matches.
fn install(pool: &Pool, wish: &str, jobs: &mut Vec<Job>) -> Result<()> {
    let found = matching(pool, wish)?;
    if found.is_empty() {
        return Err(Error::NoMatch {
            what: "no repository has a package for",
            wish: wish.to_owned(),
        });
    }
    let by_name = if is_pattern(wish) {
        let mut by_name: BTreeMap<&str, Vec<Number>> = BTreeMap::new();
        for number in found {
            let name = pool.names.text(pool.packages[number].name);
            by_name.entry(name).or_default().push(number);
        }
        by_name.into_values().collect()
    } else {
        vec![found]
    };
    for candidates in by_name {
        jobs.push(Job::One {
            wish: wish.to_owned(),
            candidates: with_successors(pool, candidates, wish),
        });
    }
    Ok(())
}

/// The candidates in order, before them what takes the place of the best, and behind them what takes
/// that of older ones, if any version will do. What is installed will do first of all.
fn with_successors(pool: &Pool, mut candidates: Vec<Number>, wish: &str) -> Vec<Number> {
    sort_best_first(pool, &mut candidates);
    let is_by_name = candidates
        .iter()
        .all(|number| pool.names.text(pool.packages[*number].name) == wish);
    let Some(best) = candidates.first().copied().filter(|_| is_by_name) else {
        candidates.sort_by_key(|number| !pool.packages[*number].is_installed());
        return candidates;
    };
    let obsoleting = pool.obsoleting(pool.packages[best].name).iter().copied();
    let (mut all, mut last): (Vec<_>, Vec<_>) = obsoleting
        .filter(|other| candidates.iter().any(|one| pool.obsoletes(*other, *one)))
        .partition(|other| pool.obsoletes(*other, best));
    sort_best_first(pool, &mut all);
    sort_best_first(pool, &mut last);
    all.extend(candidates);
    all.extend(last);
    all.sort_by_key(|number| !pool.packages[*number].is_installed());
    all
}

fn install_group(
    pool: &Pool,
    groups: &[Group],
    group: &str,
    wish: &str,
    jobs: &mut Vec<Job>,
) -> Result<()> {
    let mut called = BTreeMap::<&str, Vec<&Group>>::new();
    for group in groups {
        called.entry(&group.id).or_default().push(group);
        if group.name != group.id {
            called.entry(&group.name).or_default().push(group);
        }
    }
    let mut pending = vec![(group, 0)];
    let mut seen = BTreeSet::new();
    while let Some((id, depth)) = pending.pop() {
        if depth > MAX_GROUP_DEPTH || !seen.insert(id) {
            continue;
        }
        let known = called.get(id);
        if known.is_none() && id.contains(':') {
            return Err(Error::BadWish {
                wish: wish.to_owned(),
                problem: "is no group; streams of modules are enabled in the base, in \
                          /etc/dnf/modules.d, and their packages wished for by their names",
            });
        }
        let Some(known) = known else {
            return Err(Error::NoMatch {
                what: "no repository has a group for",
                wish: wish.to_owned(),
            });
        };
        for group in known {
            pending.extend(group.groups.iter().map(|id| (id.as_str(), depth + 1)));
            let is_there = |name: &str| {
                let name = pool.names.find(name);
                let all = name.map_or(&[][..], |name| pool.named(name));
                all.iter()
                    .any(|number| pool.packages[*number].is_installed())
            };
            let conditional = group.conditional.iter();
            let conditional = conditional
                .filter(|(needed, _)| is_there(needed))
                .map(|(_, name)| name);
            for name in group.packages.iter().chain(conditional) {
                // Groups name packages that other architectures have.
                let id = pool.names.find(name);
                let candidates = id.map_or(&[][..], |id| pool.named(id)).to_vec();
                if !candidates.is_empty() {
                    jobs.push(Job::One {
                        wish: format!("{wish}, {name}"),
                        candidates: with_successors(pool, candidates, name),
                    });
                }
            }
        }
    }
    Ok(())
}

/// A wish for newer versions of what is installed.
fn upgrade(pool: &Pool, wish: &str, jobs: &mut Vec<Job>) -> Result<()> {
    let found: BTreeSet<_> = if wish == "*" {
        (0..pool.packages.len()).collect()
    } else {
        matching(pool, wish)?.into_iter().collect()
    };
    let is_installed = |number: &Number| pool.packages[*number].is_installed();
    let names = found.iter().map(|number| pool.packages[*number].name);
    let mut installed: Vec<_> = names
        .flat_map(|name| pool.named(name))
        .copied()
        .filter(is_installed)
        .collect();
    // A name that is new is a wish for what takes the place of an old one.
    let is_new = |number: &&Number| {
        let named = pool.named(pool.packages[**number].name);
        !named.iter().any(is_installed)
    };
    for new in found.iter().filter(is_new) {
        let obsoletes = pool.packages[*new].relations.obsoletes.iter();
        let old = obsoletes.flat_map(|relation| pool.named(relation.name));
        let old = old.copied().filter(is_installed);
        installed.extend(old.filter(|old| pool.obsoletes(*new, *old)));
    }
    installed.sort_unstable();
    installed.dedup();
    if installed.is_empty() {
        return Err(Error::NoMatch {
            what: "nothing is installed that could be upgraded for",
            wish: wish.to_owned(),
        });
    }
    for number in installed {
        if pool.allows_several(number) {
            continue;
        }
        let name = pool.packages[number].name;
        let mut candidates: Vec<_> = pool
            .named(name)
            .iter()
            .copied()
            .filter(|other| {
                *other == number
                    || (found.contains(other) || !is_versioned(pool, wish, name))
                        && pool.excludes(number, *other)
                        && pool.compare(number, *other).is_lt()
            })
            .collect();
        sort_best_first(pool, &mut candidates);
        let obsoleting = pool.obsoleting(name).iter().copied();
        let mut all: Vec<_> = obsoleting
            .filter(|other| !pool.packages[*other].is_installed() && pool.obsoletes(*other, number))
            .collect();
        sort_best_first(pool, &mut all);
        all.extend(candidates);
        if all.len() > 1 {
            jobs.push(Job::One {
                wish: format!("upgrade of {}", pool.nevra(number)),
                candidates: all,
            });
        }
    }
    Ok(())
}

/// Whether a wish says more than the name.
fn is_versioned(pool: &Pool, wish: &str, name: crate::names::Id) -> bool {
    wish != pool.names.text(name) && !is_pattern(wish)
}

/// The better one first: what is preferred; of the same name the newer, then the one for the better architecture, then
/// the installed one, then by name.
pub fn sort_best_first(pool: &Pool, candidates: &mut [Number]) {
    candidates.sort_by(|one, other| {
        let (a, b) = (&pool.packages[*one], &pool.packages[*other]);
        let by_arch = pool.arch_rank(a).cmp(&pool.arch_rank(b));
        let by_version = || {
            if a.name == b.name {
                pool.compare(*other, *one)
            } else {
                pool.names.text(a.name).cmp(pool.names.text(b.name))
            }
        };
        let by_preference = pool.is_preferred(*other).cmp(&pool.is_preferred(*one));
        by_preference
            .then(by_arch)
            .then_with(by_version)
            .then_with(|| b.is_installed().cmp(&a.is_installed()))
            .then_with(|| one.cmp(other))
    });
}

fn is_pattern(wish: &str) -> bool {
    !wish.starts_with('(') && wish.contains(['*', '?', '['])
}

/// The packages that a wish could mean, as dnf reads it: by name with or without version and
/// architecture, else by what they provide.
pub fn matching(pool: &Pool, wish: &str) -> Result<Vec<Number>> {
    let bad = |problem| Error::BadWish {
        wish: wish.to_owned(),
        problem,
    };
    if wish.is_empty() || wish.len() > 1024 {
        return Err(bad("is not the name of a package"));
    }
    let dependency = match wish.split_whitespace().collect::<Vec<_>>().as_slice() {
        [_] => Dependency::any(wish),
        _ => match Expression::parse(&Dependency::any(&format!("({wish})"))) {
            Some(Expression::Simple(dependency)) => dependency,
            _ => return Err(bad("is neither a package nor `name >= version`")),
        },
    };
    if dependency.flags != 0 {
        return Ok(pool.providers(&dependency));
    }
    let glob = Glob::new(wish).and_then(|glob| GlobSet::new([glob]));
    let glob = glob.map_err(|_| bad("is not a pattern"))?;
    let is_pattern = is_pattern(wish);
    let fits = |text: &str| text == wish || (is_pattern && glob.is_match(text));
    // A plain name is looked up; only the other forms need every package to be looked at.
    if !is_pattern
        && let Some(name) = pool.names.find(wish)
        && !pool.named(name).is_empty()
    {
        return Ok(pool.named(name).to_vec());
    }
    if !wish.starts_with('/') {
        // All forms begin with the name.
        let may_fit = |number: &Number| {
            let name = pool.names.text(pool.packages[*number].name);
            is_pattern || wish.starts_with(name)
        };
        let numbers = (0..pool.packages.len()).filter(may_fit);
        let matches = numbers.filter_map(|number| {
            let forms = forms(pool, number);
            let form = forms.iter().position(|form| fits(form))?;
            Some((form, number))
        });
        let matches: Vec<_> = matches.collect();
        // Only what matches in the best form counts.
        if let Some(best) = matches.iter().map(|(form, _)| *form).min() {
            let of_best = matches.iter().filter(|(form, _)| *form == best);
            return Ok(of_best.map(|(_, number)| *number).collect());
        }
    }
    Ok(pool.providers(&dependency))
}

/// The texts by which a package can be called, in the order in which dnf tries them.
fn forms(pool: &Pool, number: Number) -> Vec<String> {
    let package = &pool.packages[number];
    let name = pool.names.text(package.name);
    let arch = pool.names.text(package.arch);
    let full = pool.names.text(package.version);
    let plain = full.split_once(':').map_or(full, |(_, plain)| plain);
    let version = plain.rsplit_once('-').map_or(plain, |(version, _)| version);
    let epoch = full.split_once(':').map_or("0", |(epoch, _)| epoch);
    vec![
        format!("{name}-{plain}.{arch}"),
        format!("{name}-{epoch}:{plain}.{arch}"),
        format!("{name}.{arch}"),
        name.to_owned(),
        format!("{name}-{plain}"),
        format!("{name}-{epoch}:{plain}"),
        format!("{name}-{version}"),
        format!("{name}-{epoch}:{version}"),
    ]
}
