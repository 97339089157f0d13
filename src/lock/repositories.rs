//! The repositories of a recipe: those that it describes, and those that its base is configured with.

use super::Error;
use crate::recipe::Recipe;
use crate::recipe::packages::{self, COST, PRIORITY};
use imgasm_fs::FileSystem;
use imgasm_guest::Facts;
use imgasm_guest::dnf;
use imgasm_guest::dnf::repository::Place;
use imgasm_guest::dnf::variables::Variables;
use imgasm_guest::packages::database::Database;
use imgasm_guest::packages::openpgp::Keyring;
use imgasm_guest::packages::signature::{self, KeyFile};
use imgasm_repo::metadata::Location;
use imgasm_repo::transport::local;

/// A repository with all that the base knows of it.
#[derive(Debug)]
pub struct Repository {
    /// What it is called.
    pub id: String,
    /// Where it is.
    pub location: Location,
    /// The files with the keys of which one must have signed what it has.
    pub keys: Vec<KeyFile>,
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
    /// If there are any, patterns of the only packages that are.
    pub includes: Vec<String>,
    /// Whether modules hide none of its packages.
    pub module_hotfixes: bool,
}

impl Repository {
    /// Its keys.
    pub fn keyring(&self) -> Result<Keyring, Error> {
        Ok(signature::keyring(&self.keys, &[])?)
    }
}

/// The repositories of a recipe whose base has this root filesystem and these packages. One that the
/// recipe describes takes the place of the base's own of the same name.
pub fn all(
    recipe: &Recipe,
    fs: &dyn FileSystem,
    database: &Database,
) -> Result<Vec<Repository>, Error> {
    let facts = Facts::detect(fs)?;
    let variables = Variables::read(fs, &facts, &database.records)?;
    let described = recipe.repositories.iter().filter(|one| !one.from_image);
    let described = described.map(|one| described_by(recipe, one, &variables));
    let mut all = described.collect::<Result<Vec<_>, _>>()?;
    if recipe.repositories.iter().any(|one| one.from_image) {
        let own: Vec<_> = all.iter().map(|one| one.id.clone()).collect();
        let own: Vec<_> = own.iter().map(String::as_str).collect();
        for one in dnf::Repository::enabled(fs, &variables, &own)? {
            all.push(configured(fs, one)?);
        }
    }
    Ok(all)
}

fn described_by(
    recipe: &Recipe,
    repository: &packages::Repository,
    variables: &Variables,
) -> Result<Repository, Error> {
    // Files are found from the recipe's folder.
    let url = |text: &String| {
        let text = variables.fill(text);
        match local(&text) {
            Some(path) => {
                let path = recipe.folder.join(path);
                recipe.boundary.check(&path)?;
                Ok(format!("file:{}", path.display()))
            }
            None => Ok::<_, Error>(text),
        }
    };
    let location = if let Some(places) = &repository.baseurl {
        let places = places.0.iter().map(url);
        Location::Places(places.collect::<Result<_, _>>()?)
    } else if let Some(list) = &repository.mirrorlist {
        Location::MirrorList(url(list)?)
    } else {
        Location::Metalink(url(&repository.metalink.clone().unwrap_or_default())?)
    };
    let keys = repository.key_files(&recipe.folder);
    Ok(Repository {
        id: repository.id.clone(),
        location,
        keys: keys.into_iter().map(KeyFile::Host).collect(),
        gpgcheck: repository.gpgcheck,
        repo_gpgcheck: repository.repo_gpgcheck,
        priority: repository.priority,
        cost: repository.cost,
        excludes: repository.excludes.clone(),
        includes: Vec::new(),
        module_hotfixes: repository.module_hotfixes,
    })
}

fn configured(fs: &dyn FileSystem, repository: dnf::Repository) -> Result<Repository, Error> {
    let keys = repository.keys.iter();
    let keys = keys.map(|path| KeyFile::in_image(fs, path));
    Ok(Repository {
        keys: keys.collect::<Result<_, _>>()?,
        id: repository.id,
        location: match repository.place {
            Place::Urls(urls) => Location::Places(urls),
            Place::MirrorList(url) => Location::MirrorList(url),
            Place::Metalink(url) => Location::Metalink(url),
        },
        gpgcheck: repository.gpgcheck,
        repo_gpgcheck: repository.repo_gpgcheck,
        priority: repository.priority.unwrap_or(PRIORITY),
        cost: repository.cost.unwrap_or(COST),
        excludes: repository.excludes,
        includes: repository.includes,
        module_hotfixes: repository.module_hotfixes,
    })
}
