//! Packages by their names: the repositories that have them, and what is wished for.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};

use super::{NamedPackage, Recipe};
use crate::config::decode::Value;
use crate::config::values::OneOrMany;
use crate::config::{self, Boundary, ProjectPath, Setting, Source, Variables, template};
use crate::overlay::Overlay;
use crate::overlay::steps::package::Database;
use imgasm_block::Digest;
use imgasm_fs::{FileSystem, tree};
use imgasm_guest::Facts;
use imgasm_guest::packages::Scriptlets;

/// The priority and the cost of a repository that says nothing of them, which are dnf's.
pub const PRIORITY: u32 = 99;
/// See [`PRIORITY`].
pub const COST: u32 = 1000;

/// A repository, in the words of dnf.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the recipe")]
pub struct Repository {
    /// Whether this stands for all repositories that the base is configured with.
    pub from_image: bool,
    /// What it is called.
    pub id: String,
    /// The places where it is, each as good as the others.
    pub baseurl: Option<OneOrMany<String>>,
    /// The URL of a list of such places.
    pub mirrorlist: Option<String>,
    /// The URL of a metalink.
    pub metalink: Option<String>,
    /// The files with the keys of which one must have signed what it has.
    pub gpgkey: Option<OneOrMany<ProjectPath>>,
    /// Whether its packages must be signed.
    pub gpgcheck: bool,
    /// Whether its list of metadata must be.
    pub repo_gpgcheck: bool,
    /// Packages of repositories with a higher number are hidden by those of the same name here.
    pub priority: u32,
    /// Of equal packages that of the repository with the lowest number is taken.
    pub cost: u32,
    /// Patterns of packages that are not taken from it.
    pub excludes: Vec<String>,
    /// Whether modules hide none of its packages.
    pub module_hotfixes: bool,
}

/// What is wished for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageWishes {
    /// What is to be there: names, with version and architecture or without, patterns, `@groups`,
    /// files.
    #[serde(default)]
    pub install: Vec<String>,
    /// What is to become newer; `*` is everything.
    #[serde(default)]
    pub upgrade: Vec<String>,
    /// What is to go.
    #[serde(default)]
    pub remove: Vec<String>,
    /// What is to go, with what is to come instead.
    #[serde(default)]
    pub swap: BTreeMap<String, String>,
    /// Patterns of packages that no repository is taken to have.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// The names of packages that must not go.
    #[serde(default)]
    pub protected: Vec<String>,
    /// Whether what packages recommend is installed too.
    #[serde(default = "yes")]
    pub install_weak_deps: bool,
    /// What is done about scripts that cannot be carried out.
    #[serde(default)]
    pub scriptlets: Scriptlets,
    /// What is done where the database cannot be written.
    #[serde(default)]
    pub database: Database,
    // What is taken out before this is decoded. Named here, so that messages know the key.
    #[serde(rename = "override")]
    _override: Option<IgnoredAny>,
}

const fn yes() -> bool {
    true
}

impl Default for PackageWishes {
    fn default() -> Self {
        Self {
            install: Vec::new(),
            upgrade: Vec::new(),
            remove: Vec::new(),
            swap: BTreeMap::new(),
            exclude: Vec::new(),
            protected: Vec::new(),
            install_weak_deps: true,
            scriptlets: Scriptlets::default(),
            database: Database::default(),
            _override: None,
        }
    }
}

impl Default for Repository {
    fn default() -> Self {
        Self {
            from_image: false,
            id: String::new(),
            baseurl: None,
            mirrorlist: None,
            metalink: None,
            gpgkey: None,
            gpgcheck: true,
            repo_gpgcheck: false,
            priority: PRIORITY,
            cost: COST,
            excludes: Vec::new(),
            module_hotfixes: false,
        }
    }
}

impl Repository {
    /// The files with its keys, where the recipe's paths are relative to `folder`.
    pub fn key_files(&self, folder: &Path) -> Vec<PathBuf> {
        let files = self.gpgkey.iter().flat_map(|keys| &keys.0);
        files.map(|file| folder.join(file.as_path())).collect()
    }

    /// What is wrong with it by itself.
    pub(super) fn problem(&self) -> Option<String> {
        if self.from_image {
            let alone = Self {
                from_image: true,
                ..Self::default()
            };
            let problem = "with `from_image` all is as the base says, and there is no other key";
            return (*self != alone).then(|| problem.to_owned());
        }
        if self.id.is_empty() {
            return Some("a repository has an `id`, or `from_image = true`".to_owned());
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if !self.id.chars().all(is_name) {
            let id = &self.id;
            return Some(format!("{id:?} cannot be the `id` of a repository"));
        }
        let places = [
            self.baseurl.is_some(),
            self.mirrorlist.is_some(),
            self.metalink.is_some(),
        ];
        if places.iter().filter(|given| **given).count() != 1 {
            return Some(
                "a repository has one of `baseurl`, `mirrorlist` and `metalink`".to_owned(),
            );
        }
        if self.key_files(Path::new("")).is_empty() && (self.gpgcheck || self.repo_gpgcheck) {
            return Some(
                "a repository needs the files of its keys as `gpgkey`, or `gpgcheck = false`"
                    .to_owned(),
            );
        }
        None
    }
}

/// Reads the value of the key `repository`. What only the base knows is filled in when it is known:
/// `{{ releasever }}` is dnf's `$releasever`.
pub(super) fn repositories(
    source: &Source,
    value: Value<'_>,
    variables: &Variables,
) -> config::Result<Vec<Repository>> {
    let mut all = variables.clone();
    for name in ["releasever", "basearch", "arch"] {
        if all.get(name).is_none() {
            all.set(name, Setting::Text(format!("${name}")));
        }
    }
    Ok(template::read(source, value, &all)?)
}

/// What is wrong with repositories and wishes together, where the recipe has a lock or none.
pub(super) fn problem(
    repositories: &[Repository],
    wishes: Option<&PackageWishes>,
    has_lock: bool,
) -> Option<String> {
    if let Some(problem) = repositories.iter().find_map(Repository::problem) {
        return Some(problem);
    }
    let ids: BTreeSet<_> = repositories.iter().map(|one| &one.id).collect();
    if ids.len() < repositories.len() {
        return Some("two repositories have the same `id`".to_owned());
    }
    match wishes {
        None if !repositories.is_empty() && !has_lock => Some(
            "a repository is of use with `[packages]`, with a `[[package]]` that has no `sha256`, or \
             with an overlay that names packages"
                .to_owned(),
        ),
        Some(wishes) if repositories.is_empty() && wishes.needs_repositories() => {
            Some("`[packages]` needs a `[[repository]]`".to_owned())
        }
        _ => None,
    }
}

/// Whether wishes, those of overlays among them, and packages that are named by their files come to
/// what only a lock knows.
pub(super) fn need_lock(
    wishes: Option<&PackageWishes>,
    named: &[NamedPackage],
    overlays: &[Overlay],
) -> bool {
    wishes.is_some()
        || named.iter().any(|package| package.sha256.is_none())
        || overlays.iter().any(Overlay::wishes)
}

impl PackageWishes {
    fn needs_repositories(&self) -> bool {
        !(self.install.is_empty() && self.upgrade.is_empty() && self.swap.is_empty())
    }
}

/// Where the lock of a recipe, or of one of its images, is: beside it, and called alike.
pub fn lock_path(source: &Source, image: Option<&str>) -> PathBuf {
    let path = Path::new(source.name());
    match image {
        Some(image) => path.with_extension(format!("{image}.lock")),
        None => path.with_extension("lock"),
    }
}

/// The digest of a recipe's lock, where there is one.
pub(super) fn lock_digest(
    source: &Source,
    image: Option<&str>,
    boundary: &Boundary,
) -> config::Result<Option<Digest>> {
    let path = lock_path(source, image);
    match config::digest::file(boundary, &path) {
        Err(config::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        digest => digest.map(Some),
    }
}

impl Recipe {
    /// What it and its overlays wish for together, where the base is this system with this root
    /// filesystem.
    ///
    /// # Errors
    /// If a guard in an overlay looks at what cannot be read.
    pub fn wishes(&self, facts: &Facts, fs: &dyn FileSystem) -> tree::Result<PackageWishes> {
        let mut wishes = self.own_wishes.clone().unwrap_or_default();
        for overlay in &self.overlays {
            for step in overlay.wishing(facts, fs)? {
                wishes.install.extend(step.names().map(str::to_owned));
                wishes.remove.extend(step.removed().map(str::to_owned));
            }
        }
        Ok(wishes)
    }
}

/// The identity of all that decides which packages come and go: in a recipe, and in what it and its
/// overlays wish for.
pub fn wishes_identity(recipe: &Recipe, wishes: &PackageWishes) -> Digest {
    let mut hasher = Sha256::new();
    // The debugging form of texts and of lists of them is exact.
    let mut line = |text: String| {
        hasher.update(text.as_bytes());
        hasher.update(b"\n");
    };
    for one in &recipe.repositories {
        if one.from_image {
            line("those of the image".to_owned());
            continue;
        }
        let places = one.baseurl.as_ref().map(|urls| &urls.0);
        line(format!(
            "{:?} {places:?} {:?} {:?}",
            one.id, one.mirrorlist, one.metalink
        ));
        line(format!("{} {} {:?}", one.priority, one.cost, one.excludes));
        if one.module_hotfixes {
            line("module_hotfixes".to_owned());
        }
    }
    line(format!("{:?} {:?}", wishes.install, wishes.upgrade));
    line(format!("{:?} {:?}", wishes.remove, wishes.swap));
    line(format!("{:?} {:?}", wishes.exclude, wishes.protected));
    line(format!("{}", wishes.install_weak_deps));
    for one in &recipe.packages {
        let (path, sha256) = (one.path.text(), one.sha256);
        line(format!("{path:?} {sha256:?} {}", one.nodeps));
    }
    Digest::finish(hasher)
}
