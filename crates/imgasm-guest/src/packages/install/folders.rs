//! The folders in which packages have files, and where they really lie: by numbers, since there are
//! names, such as `__init__.py`, that files of a thousand folders have.

use std::cell::RefCell;
use std::collections::HashMap;

use super::super::Error;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, LastLink};

/// The number of a folder, by one of its paths.
pub(super) type Folder = usize;

/// The number of a place of the image.
pub(super) type Place = usize;

/// All of them. A folder's path has no slash behind it.
#[derive(Default)]
pub(super) struct Folders {
    numbers: HashMap<Vec<u8>, Folder>,
    paths: Vec<Vec<u8>>,
    places: RefCell<Places>,
}

/// What has been found out of places.
#[derive(Default)]
struct Places {
    numbers: HashMap<ImagePath, Place>,
    /// Where each folder lies.
    of_folders: Vec<Where>,
}

/// Where a folder lies.
#[derive(Clone, Copy, Default)]
enum Where {
    /// Nobody has asked yet.
    #[default]
    Unasked,
    /// That cannot be known.
    Unknown,
    /// There.
    At(Place),
}

impl Folders {
    /// The number of a folder, a new one if it is new.
    pub(super) fn add(&mut self, path: &[u8]) -> Folder {
        if let Some(number) = self.numbers.get(path) {
            return *number;
        }
        let number = self.paths.len();
        self.paths.push(path.to_vec());
        self.places.get_mut().of_folders.push(Where::default());
        self.numbers.insert(path.to_vec(), number);
        number
    }

    /// The number of a folder that was added.
    pub(super) fn find(&self, path: &[u8]) -> Option<Folder> {
        self.numbers.get(path).copied()
    }

    /// The path of a folder.
    pub(super) fn path(&self, folder: Folder) -> &[u8] {
        &self.paths[folder]
    }

    /// Where a folder lies, as far as [`Folders::place`] has found that out.
    pub(super) fn known_place(&self, folder: Folder) -> Option<Place> {
        match self.places.borrow().of_folders[folder] {
            Where::At(place) => Some(place),
            Where::Unasked | Where::Unknown => None,
        }
    }

    /// Where a folder lies; `None` if that is not known.
    pub(super) fn place(
        &self,
        fs: &dyn FileSystem,
        folder: Folder,
    ) -> Result<Option<Place>, Error> {
        let known = self.places.borrow().of_folders[folder];
        match known {
            Where::At(place) => return Ok(Some(place)),
            Where::Unknown => return Ok(None),
            Where::Unasked => {}
        }
        let place = self.place_of(fs, self.path(folder))?;
        self.places.borrow_mut().of_folders[folder] = place.map_or(Where::Unknown, Where::At);
        Ok(place)
    }

    /// The same for a path.
    pub(super) fn place_of(
        &self,
        fs: &dyn FileSystem,
        path: &[u8],
    ) -> Result<Option<Place>, Error> {
        let Some(real) = real(fs, path)? else {
            return Ok(None);
        };
        let mut places = self.places.borrow_mut();
        let next = places.numbers.len();
        Ok(Some(*places.numbers.entry(real).or_insert(next)))
    }
}

/// Where a folder lies without links on the way; `None` if that is not known. A part that is not there
/// yet lies where it will be made.
fn real(fs: &dyn FileSystem, folder: &[u8]) -> Result<Option<ImagePath>, Error> {
    let path = if folder.is_empty() { b"/" } else { folder };
    let Ok(path) = ImagePath::parse(path) else {
        return Ok(None);
    };
    let mut real = ImagePath::root();
    for name in path.names() {
        let next = real.child(name);
        real = match tree::locate(fs, &next, LastLink::Follow) {
            Ok(place) => place.path,
            Err(tree::Error::NotFound { missing, .. }) if next.starts_with(&missing) => next,
            Err(error) if error.is_absence() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
    }
    Ok(Some(real))
}
