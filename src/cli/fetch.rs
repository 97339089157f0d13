//! `imgasm fetch`

use super::download::DownloadArgs;
use super::failure::Failure;
use super::output::{Output, bytes};
use super::recipe::{self, RecipeArgs};
use super::{Outcome, confine, download, image, lock as locking};
use crate::environment::Environment;
use crate::lock::{self, Lock, Store};
use crate::recipe::packages;
use imgasm_repo::Transport;

/// Get a base that lies on a server, and the packages that imgasm.lock names, so that a build needs no
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
    let transport = Transport::new(environment.proxies.clone());
    let mut total = 0;
    let load = || recipe::load_all(&args.recipe, environment);
    for recipe in &confine::apart(confine::anything(), environment, load)? {
        let (args, vendor) = (&args.download, args.vendor);
        let base = download::fetch_base(args, recipe, vendor, &transport, environment)?;
        if let Some((path, size)) = &base {
            output.line(path.display())?;
            total += size;
        }
        if base.is_some() && recipe.wishes.is_none() {
            continue;
        }
        locking::wishes(recipe)?;
        let path = packages::lock_path(&recipe.source, recipe.image.as_deref());
        let lock = Lock::read(&path)?;
        let lock = lock.ok_or_else(|| locking::explained(lock::Error::Missing { path }))?;
        let store = Store::new(recipe, cache.folder());
        for package in &lock.packages {
            let fetched = store.fetch(&lock, package, vendor, &transport);
            let (path, is_new) = fetched.map_err(locking::explained)?;
            output.line(path.display())?;
            if is_new {
                total += package.size;
            }
        }
    }
    output.note("fetched", bytes(total));
    Ok(Outcome::Done)
}
