//! `imgasm fetch`

use super::download::{DownloadArgs, Downloads, explained};
use super::failure::Failure;
use super::output::{Output, bytes};
use super::recipe::{self, RecipeArgs};
use super::{Outcome, confine, image};
use crate::environment::Environment;
use crate::lock::named::Pinned;
use crate::lock::store::stale;
use crate::lock::{self, Lock, Store};
use crate::recipe::download::VENDOR;
use crate::recipe::{NamedPackage, packages};
use imgasm_repo::Transport;

/// Get what the recipe names by URLs, and the packages that imgasm.lock names, so that a build needs no
/// server.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Into the folder `vendor` beside the recipe, instead of the cache.
    #[arg(long)]
    vendor: bool,
    #[command(flatten)]
    download: DownloadArgs,
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let cache = image::cache(environment)?;
    let mut total = 0;
    let load = || recipe::load_all(&args.recipe, environment);
    for recipe in &confine::apart(confine::anything(), environment, load)? {
        let transport = Transport::new(environment.proxies.clone(), recipe.boundary.opener());
        let downloads = Downloads {
            args: &args.download,
            recipe,
            transport: &transport,
            environment,
            into_vendor: args.vendor,
        };
        if args.vendor {
            recipe.boundary.check(&recipe.folder.join(VENDOR))?;
        }
        let store = Store::new(recipe, cache.folder());
        let lock = if recipe.needs_lock() {
            let path = packages::lock_path(&recipe.source, recipe.image.as_deref());
            let lock = Lock::read(&path)?;
            Some(lock.ok_or_else(|| explained(lock::Error::Missing { path }))?)
        } else {
            None
        };
        let mut got: Vec<_> = downloads.base()?.into_iter().collect();
        let is_remote = |named: &&NamedPackage| {
            let mut places = std::iter::once(&named.path).chain(&named.signature);
            places.any(|place| place.url().is_some())
        };
        for named in recipe.packages.iter().filter(is_remote) {
            if named.path.url().is_some() && Pinned::of(named, lock.as_ref()).is_none() {
                return Err(explained(stale(recipe, "a `[[package]]`")));
            }
            got.extend(downloads.package(&store, named, lock.as_ref())?.1);
        }
        if got.is_empty() && lock.is_none() {
            return Err(Failure::new("the recipe has nothing on a server")
                .with_hint("a base and packages may be named by their URLs, or packages by name"));
        }
        for (path, bytes) in got {
            output.line(path.display())?;
            total += bytes;
        }
        let Some(lock) = lock else { continue };
        for package in lock.of_repositories() {
            let fetched = store.fetch(&lock, package, args.vendor, &transport);
            let (path, is_new) = fetched.map_err(explained)?;
            output.line(path.display())?;
            if is_new {
                total += package.size;
            }
        }
    }
    output.note("fetched", bytes(total));
    Ok(Outcome::Done)
}
