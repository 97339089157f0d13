//! The folders in which a recipe or an overlay may use files.
//!
//! A recipe may come from a stranger, as in a pull request, and must not bring files of the host into
//! an image, nor lines of them into a message. So what it names must lie in its project; what an
//! overlay names must lie in the overlay; and a link counts as its target.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, open, openat, statat};

use super::{Error, Result};
use imgasm_fs::text::chain;

/// The marks of the top of a project: a repository, or a file for this purpose.
const MARKS: [&str; 2] = [REPOSITORY, "imgasm.root"];

/// What git keeps of a project: no part of it, and often with the credentials of whoever fetched it.
const REPOSITORY: &str = ".git";

/// The folders in which files may lie.
#[derive(Debug, Clone)]
pub struct Boundary {
    /// As absolute paths without links; the first is that of the project or overlay.
    roots: Vec<PathBuf>,
}

impl Boundary {
    /// The boundary of a recipe in `folder`: that folder or the nearest one above it that holds `.git`
    /// or `imgasm.root`, or else `folder` itself. Files may lie in the folders `allowed`, too.
    pub fn of_recipe(folder: &Path, allowed: &[PathBuf]) -> Result<Self> {
        let folder = whole(folder)?;
        let is_top = |folder: &&Path| MARKS.iter().any(|mark| folder.join(mark).exists());
        let project = folder.ancestors().find(is_top).unwrap_or(&folder);
        let mut roots = vec![project.to_owned()];
        for allowed in allowed {
            roots.push(whole(allowed)?);
        }
        Ok(Self { roots })
    }

    /// A boundary of one folder and what is in it.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        let roots = vec![whole(folder)?];
        Ok(Self { roots })
    }

    /// The folders in which files may lie, that of the project or overlay first.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// The folders that are allowed besides.
    pub fn allowed(&self) -> &[PathBuf] {
        self.roots.get(1..).unwrap_or_default()
    }

    /// The folder that messages name as the allowed one.
    pub fn root(&self) -> &Path {
        self.roots.first().map_or(Path::new("/"), PathBuf::as_path)
    }

    /// Makes sure that what lies at `path`, if anything does, lies inside.
    ///
    /// # Errors
    /// [`Error::Outside`].
    pub fn check(&self, path: &Path) -> Result<()> {
        match self.resolve(path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            resolved => resolved.map(|_| ()),
        }
    }

    /// As [`Boundary::check`], for a folder that is used with all that is in it.
    ///
    /// # Errors
    /// [`Error::Outside`]; [`Error::Unusable`] for the top of a repository.
    pub fn check_tree(&self, path: &Path) -> Result<()> {
        self.check(path)?;
        let is_root = || whole(path).is_ok_and(|path| path == self.root());
        if self.root().join(REPOSITORY).exists() && is_root() {
            return Err(Error::Unusable {
                path: path.to_owned(),
                problem:
                    "holds the project's `.git`, which may have credentials: name a folder in it"
                        .to_owned(),
            });
        }
        Ok(())
    }

    /// Opens the regular file at `path` for reading. Nothing else is opened at all: a named pipe would
    /// wait, and a device may do anything.
    ///
    /// # Errors
    /// [`Error::Outside`]; [`Error::Unusable`] if it is something else.
    pub fn open(&self, path: &Path) -> Result<File> {
        let (root, below) = self.resolve(path)?;
        let io = |error: rustix::io::Errno| Error::Io {
            path: path.to_owned(),
            source: error.into(),
        };
        // The path had no link on it, so a link that is there now was added since.
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder = open(root, step, Mode::empty()).map_err(io)?;
        let Some(name) = below.file_name() else {
            return Err(not_a_file(path));
        };
        for above in below.parent().into_iter().flat_map(Path::components) {
            folder = openat(&folder, above.as_os_str(), step, Mode::empty()).map_err(io)?;
        }
        let before = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io)?;
        if !rustix::fs::FileType::from_raw_mode(before.st_mode).is_file() {
            return Err(not_a_file(path));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&folder, name, flags, Mode::empty()).map_err(io)?);
        let opened = file.metadata().map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        if opened.is_file() && (opened.dev(), opened.ino()) == (before.st_dev, before.st_ino) {
            Ok(file)
        } else {
            Err(not_a_file(path))
        }
    }

    /// What opens files on behalf of others, as [`Boundary::open`].
    pub fn opener(&self) -> impl Fn(&Path) -> io::Result<File> + Send + Sync + 'static {
        let boundary = self.clone();
        move |path| {
            let opened = boundary.open(path);
            opened.map_err(|error| io::Error::other(chain(&error)))
        }
    }

    /// Makes sure that what lies at `path`, if anything does, lies inside and is a regular file.
    ///
    /// # Errors
    /// As [`Boundary::open`].
    pub fn check_file(&self, path: &Path) -> Result<()> {
        match self.open(path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => opened.map(|_| ()),
        }
    }

    /// The root in which `path` lies, and the path from there, without links.
    fn resolve(&self, path: &Path) -> Result<(&Path, PathBuf)> {
        let resolved = whole(path)?;
        let within = |root: &PathBuf| resolved.strip_prefix(root).map(Path::to_owned).ok();
        let allowed = self.allowed().iter();
        let mut allowed = allowed.filter_map(|root| Some((root.as_path(), within(root)?)));
        match self.roots.first().and_then(within) {
            Some(below) if !is_of_repository(&below) => Ok((self.root(), below)),
            own => allowed.next().ok_or_else(|| match own {
                Some(_) => of_repository(path),
                None => Error::Outside {
                    path: path.to_owned(),
                    root: self.root().to_owned(),
                },
            }),
        }
    }
}

/// Whether a path below the top of a project or an overlay is what git keeps there.
pub fn is_of_repository(below: &Path) -> bool {
    below.starts_with(REPOSITORY)
}

/// That a path is.
pub fn of_repository(path: &Path) -> Error {
    Error::Unusable {
        path: path.to_owned(),
        problem: "lies in `.git`, which is no part of a project and may have credentials"
            .to_owned(),
    }
}

/// Opens the regular file at `path`, which was looked at before: never through a link, and nothing
/// but a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let not_a_file = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    let before = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    if !rustix::fs::FileType::from_raw_mode(before.st_mode).is_file() {
        return Err(not_a_file());
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(not_a_file())
    }
}

fn not_a_file(path: &Path) -> Error {
    Error::Unusable {
        path: path.to_owned(),
        problem: "is not a regular file".to_owned(),
    }
}

/// An absolute path without links.
fn whole(path: &Path) -> Result<PathBuf> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    path.canonicalize().map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })
}
