//! Getting bases, and packages that are named by their URLs, from their servers.

use std::fs;
use std::path::PathBuf;

use super::failure::Failure;
use super::progress::Bars;
use crate::config::{ByteSize, Place, Url};
use crate::environment::Environment;
use crate::lock::named::{Pinned, file_name, signature_name};
use crate::lock::{self, Lock, Store, named};
use crate::recipe::{NamedPackage, Recipe};
use imgasm_block::Digest;
use imgasm_repo::Transport;
use imgasm_repo::transport::resume::{Remote, Wanted, fetch};

/// The most bytes of a detached signature.
const MAX_SIGNATURE: u64 = 1 << 20;

/// How files on servers are fetched.
#[derive(Debug, clap::Args)]
pub(super) struct DownloadArgs {
    /// The most bytes that a base, or a package that is named by its URL, may have.
    #[arg(long, value_name = "SIZE", default_value = "64 GiB")]
    max_size: ByteSize,
    #[cfg(feature = "aws")]
    #[command(flatten)]
    connection: super::connection::ConnectionArgs,
}

/// Gets what a recipe names by URLs.
pub(super) struct Downloads<'a> {
    pub(super) args: &'a DownloadArgs,
    pub(super) recipe: &'a Recipe,
    pub(super) transport: &'a Transport,
    pub(super) environment: &'a Environment,
    /// Into the folder beside the recipe, instead of the cache.
    pub(super) into_vendor: bool,
}

/// A file, and how many bytes of it were got.
pub(super) type Got = (PathBuf, u64);

impl Downloads<'_> {
    /// Gets the recipe's base, unless it is there or lies on the host.
    pub(super) fn base(&self) -> Result<Option<Got>, Failure> {
        let Some(download) = self.recipe.base.download() else {
            return Ok(None);
        };
        let target = match self.environment.downloads() {
            Some(downloads) if !self.into_vendor => download.cached(&downloads),
            _ => download.vendored(&self.recipe.folder),
        };
        let found = self.recipe.base.path();
        if found.is_file() && (!self.into_vendor || found == target) {
            return Ok(Some((found.to_owned(), 0)));
        }
        let wanted = Wanted {
            sha256: Some(download.sha256),
            limit: self.args.max_size.0,
            target: &target,
        };
        self.get("base", &download.url, wanted)?;
        let bytes = fs::metadata(&target)?.len();
        Ok(Some((target, bytes)))
    }

    /// Gets a package that the recipe names and its signature, unless they are there. Gives which
    /// package it is, and its files from servers.
    pub(super) fn package<'n>(
        &self,
        store: &Store<'_>,
        named: &'n NamedPackage,
        lock: Option<&Lock>,
    ) -> Result<(Pinned<'n>, Vec<Got>), Failure> {
        let mut got = Vec::new();
        let pinned = match (&named.path, Pinned::of(named, lock)) {
            (Place::Inside(_), _) => Pinned::of_file(store, named).map_err(explained)?,
            (Place::Server(url), Some(pinned)) => {
                let locked = lock.and_then(|lock| named::locked(named, lock));
                let limit = locked.map_or(self.args.max_size.0, |locked| locked.size);
                let name = file_name(pinned.sha256);
                let file = self.file(store, &name, url, Some(pinned.sha256), limit);
                got.push(file.map_err(|failure| match locked {
                    Some(locked) => failure.with_hint(format!(
                        "if there is a new file at this URL, `imgasm lock --update {}` takes it",
                        locked.name
                    )),
                    None => failure,
                })?);
                pinned
            }
            (Place::Server(url), None) => {
                let new = format!("{}.new", Digest::of(url.as_str().as_bytes()));
                let new = store.place(&new, self.into_vendor);
                let wanted = Wanted {
                    sha256: None,
                    limit: self.args.max_size.0,
                    target: &new,
                };
                let sha256 = self.get("package", url, wanted)?;
                let path = new.with_file_name(file_name(sha256));
                fs::rename(&new, &path)?;
                let bytes = fs::metadata(&path)?.len();
                got.push((path, bytes));
                Pinned { named, sha256 }
            }
        };
        if let Some(Place::Server(url)) = &named.signature {
            let name = signature_name(pinned.sha256);
            got.push(self.file(store, &name, url, None, MAX_SIGNATURE)?);
        }
        Ok((pinned, got))
    }

    /// Gets a file of this name, unless it is there.
    fn file(
        &self,
        store: &Store<'_>,
        name: &str,
        url: &Url,
        sha256: Option<Digest>,
        limit: u64,
    ) -> Result<Got, Failure> {
        let target = store.place(name, self.into_vendor);
        if let Some(found) = store.find_file(name)
            && (!self.into_vendor || found == target)
        {
            return Ok((found, 0));
        }
        let wanted = Wanted {
            sha256,
            limit,
            target: &target,
        };
        self.get("package", url, wanted)?;
        let bytes = fs::metadata(&target)?.len();
        Ok((target, bytes))
    }

    /// Gets a file on a server.
    fn get(&self, what: &str, url: &Url, wanted: Wanted<'_>) -> Result<Digest, Failure> {
        if let Some(folder) = wanted.target.parent() {
            fs::create_dir_all(folder).map_err(|error| {
                Failure::from(error).in_context(format!("cannot make {}", folder.display()))
            })?;
        }
        let bars = Bars::new();
        let show = bars.reading(what);
        let progress = |done: u64, all: Option<u64>| show(done, all.unwrap_or(done));
        let remote: Box<dyn Remote> = if url.as_str().starts_with("s3://") {
            in_bucket(self.args, self.recipe, url.as_str(), self.environment)?
        } else {
            Box::new(self.transport.remote(url.as_str()))
        };
        let fetched = fetch(&*remote, wanted, &progress);
        bars.finish();
        Ok(fetched?)
    }
}

/// An object of S3.
#[cfg(feature = "aws")]
fn in_bucket<'u>(
    args: &DownloadArgs,
    recipe: &Recipe,
    url: &'u str,
    environment: &Environment,
) -> Result<Box<dyn Remote + 'u>, Failure> {
    let ami = recipe.any_ami()?;
    let region = ami.and_then(|ami| Some(ami.region?.to_string()));
    let settings = args.connection.settings(environment, region, None);
    let object = super::s3_object::S3Object::connect(url, &settings)?;
    Ok(Box::new(object))
}

#[cfg(not(feature = "aws"))]
fn in_bucket<'u>(
    _: &DownloadArgs,
    _: &Recipe,
    url: &'u str,
    _: &Environment,
) -> Result<Box<dyn Remote + 'u>, Failure> {
    Err(Failure::new(format!("{url} cannot be fetched"))
        .with_hint("this imgasm was built without the feature `aws`"))
}

/// A failure with the advice of its error.
pub(super) fn explained(error: lock::Error) -> Failure {
    let hint = error.hint();
    Failure::advised(error, hint)
}
