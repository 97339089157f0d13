//! All packages together, installed and to be had, and which of them provide what.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};

use globset::{Glob, GlobSet};

use crate::metadata::modules::Modules;
use crate::metadata::{Loaded, Repository, primary};
use crate::modules::Filter;
use crate::names::{Id, Names};
use crate::package::{Available, Package, Relation, Relations};
use crate::{Error, Result, Transport};
use imgasm_guest::Arch;
use imgasm_guest::dnf::modules as guest;
use imgasm_guest::packages::file_list;
use imgasm_guest::packages::header::Header;
use imgasm_guest::packages::tags;
use imgasm_guest::packages::version::{self, Dependency, dependencies};

/// The number of a package in the pool.
pub type Number = usize;

/// Provided by packages of which several versions may be installed beside each other.
const SEVERAL: [&str; 2] = ["installonlypkg(kernel)", "installonlypkg(kernel-module)"];
/// Such packages, by name, of systems whose packages do not say so.
const SEVERAL_NAMES: [&str; 4] = ["kernel", "kernel-core", "kernel-modules", "kernel-devel"];

/// What a repository is worth against others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rank {
    priority: u32,
    cost: u32,
}

/// All packages.
#[derive(Debug)]
pub struct Pool {
    /// Their texts.
    pub names: Names,
    /// The packages, the installed ones first.
    pub packages: Vec<Package>,
    /// What modules hide of them.
    pub modules: Filter,
    arch: Option<Arch>,
    ranks: Vec<Rank>,
    by_name: HashMap<Id, Vec<Number>>,
    /// What is provided, in the order of the names: the package, and which of its relations.
    provided: Vec<(Id, Number, usize)>,
    by_file: HashMap<Id, Vec<Number>>,
    obsoleted: HashMap<Id, Vec<Number>>,
    is_merged: bool,
    preferred: HashSet<Number>,
}

impl Pool {
    /// A pool of what is installed in a system for this processor. In one that is merged, `/bin` and
    /// its like are links to the folders of the same names in `/usr`.
    pub fn of_installed<'h>(
        headers: impl Iterator<Item = &'h Header>,
        arch: Option<Arch>,
        is_merged: bool,
    ) -> Self {
        let mut names = Names::default();
        let packages = headers
            .map(|header| installed(header, &mut names))
            .collect();
        let mut pool = Self {
            names,
            packages,
            arch,
            ranks: Vec::new(),
            by_name: HashMap::new(),
            provided: Vec::new(),
            by_file: HashMap::new(),
            obsoleted: HashMap::new(),
            is_merged,
            preferred: HashSet::new(),
            modules: Filter::default(),
        };
        pool.index();
        pool
    }

    /// Adds a package whose file is named; gives its number. Of repositories, the same one is then not
    /// taken. Without its needs, what it requires and conflicts with is not looked at.
    pub fn add_file(&mut self, header: &Header, available: Available, with_needs: bool) -> Number {
        let mut package = installed(header, &mut self.names);
        package.available = Some(available);
        if !with_needs {
            let relations = &mut package.relations;
            relations.requires.clear();
            relations.conflicts.clear();
            relations.recommends.clear();
        }
        self.packages.push(package);
        self.packages.len() - 1
    }

    /// Adds what repositories have, but for what they, or `excludes`, leave out, what is for other
    /// processors, what modules hide by what the system says of them, and what a repository of higher
    /// priority hides.
    pub fn add(
        &mut self,
        repositories: &[Repository],
        transport: &Transport,
        excludes: &[String],
        modules: &guest::Modules,
    ) -> Result<Vec<Loaded>> {
        let mut all = Vec::new();
        for (number, repository) in repositories.iter().enumerate() {
            let mut loaded = repository.load(transport, &mut self.names, number)?;
            self.ranks.push(Rank {
                priority: repository.priority,
                cost: repository.cost,
            });
            let hidden = patterns(repository.excludes.iter().chain(excludes))?;
            let shown = patterns(repository.includes.iter())?;
            loaded.packages.retain(|package| {
                let name = self.names.text(package.name);
                let is_one_of = |globs: &[GlobSet]| {
                    let whole = package.nevra(&self.names);
                    let mut globs = globs.iter();
                    globs.any(|glob| glob.is_match(name) || glob.is_match(&whole))
                };
                self.arch_rank(package).is_some()
                    && (shown.is_empty() || is_one_of(&shown))
                    && (hidden.is_empty() || !is_one_of(&hidden))
            });
            all.push(loaded);
        }
        self.hide(repositories, &mut all, modules)?;
        let mut best: HashMap<Id, u32> = HashMap::new();
        for (loaded, rank) in all.iter().zip(&self.ranks) {
            for package in &loaded.packages {
                let best = best.entry(package.name).or_insert(rank.priority);
                *best = rank.priority.min(*best);
            }
        }
        // What is installed in the same build need not be had again, nor from two repositories.
        let same = |package: &Package| (package.name, package.version, package.arch);
        let mut seen: HashSet<_> = self.packages.iter().map(same).collect();
        let mut cheapest: Vec<usize> = (0..all.len()).collect();
        cheapest.sort_by_key(|number| self.ranks[*number].cost);
        for number in cheapest {
            let packages = std::mem::take(&mut all[number].packages);
            let priority = self.ranks[number].priority;
            self.packages.extend(packages.into_iter().filter(|package| {
                best.get(&package.name) == Some(&priority) && seen.insert(same(package))
            }));
        }
        self.index();
        Ok(all)
    }

    /// Takes away what modules hide.
    fn hide(
        &mut self,
        repositories: &[Repository],
        all: &mut [Loaded],
        system: &guest::Modules,
    ) -> Result<()> {
        let mut modules = Modules::default();
        for loaded in &mut *all {
            modules.merge(std::mem::take(&mut loaded.modules));
        }
        let fits = |arch: &str| self.arch_rank_of(arch).is_some();
        let filter = Filter::new(modules, system, self.platform(all), fits);
        let filter = filter.map_err(|problem| Error::Modules { problem })?;
        let filtered = repositories.iter().zip(all);
        for (_, loaded) in filtered.filter(|(one, _)| !filter.is_empty() && !one.module_hotfixes) {
            loaded.packages.retain(|package| {
                let provides = package.relations.provides.iter();
                let provides = provides.map(|relation| relation.name);
                let provides = provides.chain([package.name]);
                let provides = provides.map(|name| self.names.text(name));
                !filter.hides(&package.nevra(&self.names), provides)
            });
        }
        self.modules = filter;
        Ok(())
    }

    /// The platform that packages say that they are, those that can be had before those that are
    /// installed; `None` where they do not agree.
    fn platform(&self, all: &[Loaded]) -> Option<(String, String)> {
        let release = self.names.find("system-release")?;
        let of = |packages: &mut dyn Iterator<Item = &Package>| {
            let mut found = BTreeSet::new();
            for package in packages {
                let provides = &package.relations.provides;
                if provides.iter().any(|relation| relation.name == release) {
                    let names = provides
                        .iter()
                        .map(|relation| self.names.text(relation.name));
                    let told = names.filter_map(|name| name.strip_prefix("base-module("));
                    found.extend(told.filter_map(|name| name.strip_suffix(')')?.split_once(':')));
                }
            }
            let platform = found.pop_first().filter(|_| found.is_empty())?;
            Some((platform.0.to_owned(), platform.1.to_owned()))
        };
        of(&mut all.iter().flat_map(|loaded| &loaded.packages))
            .or_else(|| of(&mut self.packages.iter()))
    }

    /// Prefers the packages of these names, as [`Pool::nevra`] gives them, to other versions.
    pub fn prefer(&mut self, names: impl Iterator<Item = String>) {
        let names: HashSet<_> = names.collect();
        if !names.is_empty() {
            let all = 0..self.packages.len();
            self.preferred = all
                .filter(|number| names.contains(&self.nevra(*number)))
                .collect();
        }
    }

    /// Whether a package is preferred to other versions of it.
    pub fn is_preferred(&self, number: Number) -> bool {
        self.preferred.contains(&number)
    }

    /// The paths that packages depend on and that the shorter lists do not have.
    pub fn unlisted_paths(&self) -> BTreeSet<String> {
        let needs = self.packages.iter().flat_map(|package| {
            let relations = &package.relations;
            relations.requires.iter().chain(&relations.recommends)
        });
        let names: HashSet<_> = needs.map(|relation| relation.name).collect();
        let paths = names.into_iter().map(|name| self.names.text(name));
        let unlisted = paths.filter(|path| path.starts_with('/') && !primary::lists(path));
        unlisted.map(str::to_owned).collect()
    }

    /// Learns which packages have some paths that are not in the shorter lists.
    pub fn learn_files(
        &mut self,
        all: &[Loaded],
        transport: &Transport,
        wanted: &BTreeSet<String>,
    ) -> Result<()> {
        for (repository, loaded) in all.iter().enumerate() {
            let owners = loaded.owners(transport, wanted)?;
            for package in &mut self.packages {
                let is_of = package
                    .available
                    .as_ref()
                    .is_some_and(|available| available.repository == Some(repository));
                if !is_of {
                    continue;
                }
                for path in owners
                    .get(&package.nevra(&self.names))
                    .into_iter()
                    .flatten()
                {
                    let path = self.names.intern(path);
                    package.files.push(path);
                }
            }
        }
        self.index();
        Ok(())
    }

    fn index(&mut self) {
        self.by_name.clear();
        self.provided.clear();
        self.by_file.clear();
        self.obsoleted.clear();
        for (number, package) in self.packages.iter().enumerate() {
            self.by_name.entry(package.name).or_default().push(number);
            for (index, relation) in package.relations.provides.iter().enumerate() {
                self.provided.push((relation.name, number, index));
            }
            for file in &package.files {
                self.by_file.entry(*file).or_default().push(number);
            }
            for relation in &package.relations.obsoletes {
                let obsoleting = self.obsoleted.entry(relation.name).or_default();
                if obsoleting.last() != Some(&number) {
                    obsoleting.push(number);
                }
            }
        }
        self.provided.sort_unstable();
    }

    /// The packages of this name.
    pub fn named(&self, name: Id) -> &[Number] {
        self.by_name.get(&name).map_or(&[], Vec::as_slice)
    }

    /// The packages that take the place of others of this name, in whatever versions.
    pub fn obsoleting(&self, name: Id) -> &[Number] {
        self.obsoleted.get(&name).map_or(&[], Vec::as_slice)
    }

    /// The packages that provide this, in the order of their numbers, each once.
    pub fn providers(&self, wanted: &Dependency) -> Vec<Number> {
        let mut found = self.provided_as(wanted);
        if wanted.name.starts_with('/') && wanted.flags == 0 {
            let path = wanted.name.as_str();
            let other = self.is_merged.then(|| other_spelling(path)).flatten();
            for path in std::iter::once(path).chain(other.as_deref()) {
                let file = self.names.find(path);
                let owners = file.and_then(|file| self.by_file.get(&file));
                found.extend(owners.into_iter().flatten());
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Those that say so.
    fn provided_as(&self, wanted: &Dependency) -> Vec<Number> {
        let Some(name) = self.names.find(&wanted.name) else {
            return Vec::new();
        };
        let start = self.provided.partition_point(|(other, ..)| *other < name);
        let of_name = self.provided[start..].iter();
        let range = (wanted.flags, wanted.version.as_str());
        of_name
            .take_while(|(other, ..)| *other == name)
            .filter(|(_, number, index)| {
                let provided = &self.packages[*number].relations.provides[*index];
                let version = self.names.text(provided.version);
                version::overlap((provided.flags.into(), version), range)
            })
            .map(|(_, number, _)| *number)
            .collect()
    }

    /// Whether a package says that it takes the place of another.
    pub fn obsoletes(&self, one: Number, other: Number) -> bool {
        let (one, other) = (&self.packages[one], &self.packages[other]);
        let version = self.names.text(other.version);
        one.name != other.name
            && one.relations.obsoletes.iter().any(|relation| {
                let range = (relation.flags.into(), self.names.text(relation.version));
                relation.name == other.name
                    && version::overlap(range, (version::sense::EQUAL, version))
            })
    }

    /// Whether two packages are versions of one, of which only one can be installed.
    pub fn excludes(&self, one: Number, other: Number) -> bool {
        let (a, b) = (&self.packages[one], &self.packages[other]);
        let for_any = |package: &Package| self.names.text(package.arch) == "noarch";
        a.name == b.name
            && (a.arch == b.arch || for_any(a) || for_any(b))
            && (a.version == b.version || !self.allows_several(one))
    }

    /// Whether several versions of a package may be installed.
    pub fn allows_several(&self, number: Number) -> bool {
        let package = &self.packages[number];
        let mut provides = package.relations.provides.iter();
        SEVERAL_NAMES.contains(&self.names.text(package.name))
            || provides.any(|relation| SEVERAL.contains(&self.names.text(relation.name)))
    }

    /// Compares the versions of two packages.
    pub fn compare(&self, one: Number, other: Number) -> Ordering {
        let version = |number: Number| self.names.text(self.packages[number].version);
        version::compare(version(one), version(other))
    }

    /// How well packages of this architecture fit the system: less is better; `None` where they
    /// cannot be installed.
    pub fn arch_rank(&self, package: &Package) -> Option<u8> {
        self.arch_rank_of(self.names.text(package.arch))
    }

    fn arch_rank_of(&self, arch: &str) -> Option<u8> {
        if arch == "noarch" {
            return Some(0);
        }
        match self.arch {
            None => Some(0),
            Some(Arch::X86_64) => match arch {
                "x86_64" => Some(0),
                "i386" | "i486" | "i586" | "i686" | "athlon" => Some(1),
                _ => None,
            },
            Some(Arch::Arm64) => (arch == "aarch64").then_some(0),
            Some(Arch::I386) => matches!(arch, "i386" | "i486" | "i586" | "i686").then_some(0),
            Some(Arch::Arm) => arch.starts_with("arm").then_some(0),
            Some(Arch::Riscv64) => (arch == "riscv64").then_some(0),
        }
    }

    /// `name-[epoch:]version-release.arch` of a package.
    pub fn nevra(&self, number: Number) -> String {
        self.packages[number].nevra(&self.names)
    }
}

/// The other path of a file where `/bin` and its like lead to `/usr`.
fn other_spelling(path: &str) -> Option<String> {
    let is_there = |path: &str| {
        ["/bin/", "/sbin/", "/lib/", "/lib64/"]
            .iter()
            .any(|folder| path.starts_with(folder))
    };
    match path.strip_prefix("/usr") {
        Some(rest) => is_there(rest).then(|| rest.to_owned()),
        None => is_there(path).then(|| format!("/usr{path}")),
    }
}

/// Patterns as dnf knows them.
fn patterns<'p>(texts: impl Iterator<Item = &'p String>) -> Result<Vec<GlobSet>> {
    texts
        .map(|text| {
            let glob = Glob::new(text).and_then(|glob| GlobSet::new([glob]));
            glob.map_err(|_| Error::BadWish {
                wish: text.clone(),
                problem: "is not a pattern",
            })
        })
        .collect()
}

/// An installed package, or one that can be, by its header.
fn installed(header: &Header, names: &mut Names) -> Package {
    let mut known = imgasm_guest::packages::Package::of(header);
    known.epoch = known.epoch.filter(|epoch| *epoch != 0);
    let name = names.intern(&known.name);
    let version = names.intern(&known.full_version());
    let arch = names.intern(known.arch.as_deref().unwrap_or_default());
    let mut relations = |list: Vec<Dependency>| -> Vec<Relation> {
        list.iter()
            .map(|dependency| Relation::new(names, dependency))
            .collect()
    };
    let relations = Relations {
        requires: relations(version::requires(header)),
        provides: relations(version::provides(header)),
        conflicts: relations(version::conflicts(header)),
        obsoletes: relations(version::obsoletes(header)),
        recommends: relations(dependencies(
            header,
            tags::RECOMMEND_NAME,
            tags::RECOMMEND_FLAGS,
            tags::RECOMMEND_VERSION,
        )),
        supplements: Vec::new(),
    };
    let paths = file_list::raw_paths(header).unwrap_or_default();
    let paths = paths.iter().map(|path| String::from_utf8_lossy(path));
    Package {
        name,
        version,
        arch,
        relations,
        files: paths.map(|path| names.intern(&path)).collect(),
        available: None,
    }
}
