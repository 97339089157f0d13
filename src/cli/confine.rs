//! What each command may still reach when it opens the first byte of a stranger.
//!
//! A command that reads a recipe knows only then which files that takes. Until then it can read
//! everything, but write and reach no more than afterwards; see [`narrow`].

use std::path::{Path, PathBuf};
use std::thread;

use super::failure::Failure;
use super::{Command, image};
use crate::base::tree::meta_path;
use crate::build;
use crate::environment::Environment;
use crate::lock::store;
use crate::origin::Origin;
use crate::recipe::volume::Content;
use crate::recipe::{Base, Recipe};
use crate::sandbox::{self, Needs};
use imgasm_block::InPlace;

/// The stack of the thread that works for the main one, which has as much.
const STACK_BYTES: usize = 8 << 20;

/// What a command needs, if it opens the bytes of strangers and reaches nothing else itself. `None`
/// also for one that does so [`apart`].
pub(super) fn needs(command: &Command, environment: &Environment) -> Option<Needs> {
    let needs = match command {
        Command::Check(_) | Command::Complete(_) => return Some(anything()),
        Command::Apply(args) => return Some(args.needs()),
        Command::Grow(args) => return Some(args.needs()),
        Command::Recover(args) => return Some(args.needs()),
        Command::Plan(args) => args.needs(),
        Command::Build(args) => args.needs()?,
        Command::Ls(args) => args.needs(),
        Command::Cat(args) => args.needs(),
        Command::Find(args) => args.needs(),
        Command::Cp(args) => match args.needs() {
            (needs, true) => needs,
            (needs, false) => return Some(needs),
        },
        Command::Tar(args) => args.needs(),
        Command::Inspect(args) => args.needs(),
        Command::Convert(args) => args.needs(),
        Command::Verify(args) => args.needs(),
        Command::Diff(args) => args.needs(),
        // They start programs of the machine.
        Command::Boot(_) | Command::Edit(_) => return None,
        // They ask servers.
        Command::Lock(_) | Command::Fetch(_) => return None,
        #[cfg(feature = "aws")]
        Command::Import(_) | Command::Pull(_) | Command::Gc(_) => return None,
        // They open nothing of strangers.
        Command::Init(_)
        | Command::BootRelay(_)
        | Command::Schema(_)
        | Command::Completions(_)
        | Command::Man(_) => {
            return None;
        }
    };
    Some(with_cache(needs, environment))
}

/// With the cache, which is made if it is not there.
fn with_cache(mut needs: Needs, environment: &Environment) -> Needs {
    if let Ok(cache) = image::cache(environment) {
        // If it cannot be made, who needs it will say so.
        let _ = cache.prepare();
        needs.write.push(cache.folder().to_owned());
        needs.read.extend(fetched(environment));
    }
    needs
}

/// Reading everything, until [`narrow`].
pub(super) fn anything() -> Needs {
    reading([PathBuf::from("/")])
}

/// Reading these.
pub(super) fn reading(files: impl IntoIterator<Item = PathBuf>) -> Needs {
    Needs {
        read: files.into_iter().collect(),
        ..Needs::default()
    }
}

/// Changing an image where it lies, with its undo file beside it.
pub(super) fn changing(image: &Path) -> Needs {
    let undo_files = InPlace::undo_files(image).into_iter();
    // What an image says about that file only counts if it is there.
    let folders = undo_files
        .enumerate()
        .filter(|(place, file)| *place == 0 || file.exists())
        .map(|(_, file)| folder_of(&file));
    Needs {
        read: InPlace::looks_at(image),
        write: std::iter::once(image.to_owned()).chain(folders).collect(),
        ..Needs::default()
    }
}

/// An image that is read, with what belongs to it.
pub(super) fn of_image(image: &Path) -> impl Iterator<Item = PathBuf> {
    let beside = [image.to_owned(), Origin::path_of(image)];
    let extents = imgasm_container::has_extents(image).then(|| folder_of(image));
    let beside = beside.into_iter().chain(extents);
    beside.chain(InPlace::undo_files(image))
}

/// What a recipe's image is made of.
pub(super) fn of_recipe(recipe: &Recipe) -> Vec<PathBuf> {
    let mut files = recipe.boundary.roots().to_vec();
    match &recipe.base {
        Base::File { path, .. } => files.extend(of_image(path)),
        Base::Rootfs { path, .. } => files.extend([path.clone(), meta_path(path)]),
    }
    files
}

/// An image with the volumes that a build left beside it, and what its recipe names.
pub(super) fn of_built(image: &Path, recipe: &Recipe) -> Vec<PathBuf> {
    let mut files = of_recipe(recipe);
    files.extend(of_image(image));
    for volume in &recipe.volumes {
        if let Content::Filesystem(made) = &volume.content {
            let file = image.with_file_name(build::volume_file(recipe, made));
            files.extend(of_image(&file));
        }
    }
    files
}

/// The folder of a file.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Shuts this thread off, and those that it will start.
pub(super) fn enter(needs: &Needs) {
    let lacking = sandbox::enter(needs);
    if !lacking.is_empty() {
        tracing::info!("the sandbox is not whole: {}", lacking.join("; "));
    }
}

/// The folder with packages that were fetched, which may be a link in the cache.
fn fetched(environment: &Environment) -> Option<PathBuf> {
    environment.cache_dir.as_deref().map(store::packages_in)
}

/// From here on, only these can be read, packages, and what can be written.
pub(super) fn narrow(read: &[PathBuf], environment: &Environment) -> Result<(), Failure> {
    let fetched = fetched(environment);
    let read: Vec<PathBuf> = read.iter().cloned().chain(fetched).collect();
    Ok(sandbox::narrow(&read)?)
}

/// Does what opens the bytes of strangers, for a command that has to start other programs itself: in a
/// thread that is shut off.
pub(super) fn apart<T: Send>(
    needs: Needs,
    environment: &Environment,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(STACK_BYTES);
        let worker = worker.spawn_scoped(scope, || {
            if environment.confines {
                enter(&with_cache(needs, environment));
            }
            work()
        })?;
        match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
