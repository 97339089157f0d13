//! `imgasm fetch`

use super::failure::Failure;
use super::output::{Output, bytes};
use super::recipe::{self, RecipeArgs};
use super::{Outcome, image, lock as locking};
use crate::environment::Environment;
use crate::lock::{self, Lock, Store};
use crate::recipe::packages;
use imgasm_repo::Transport;

/// Get the packages that imgasm.lock names, so that a build needs no server.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Into the folder `vendor` beside the recipe, instead of the cache.
    #[arg(long)]
    vendor: bool,
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let cache = image::cache(environment)?;
    let transport = Transport::new(environment.proxies.clone());
    let mut total = 0;
    for recipe in &recipe::load_all(&args.recipe, environment)? {
        locking::wishes(recipe)?;
        let path = packages::lock_path(&recipe.source, recipe.image.as_deref());
        let lock = Lock::read(&path)?;
        let lock = lock.ok_or_else(|| locking::explained(lock::Error::Missing { path }))?;
        let store = Store::new(recipe, cache.folder());
        for package in &lock.packages {
            let fetched = store.fetch(&lock, package, args.vendor, &transport);
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
