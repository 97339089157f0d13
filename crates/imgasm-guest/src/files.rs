//! Small files of the guest, read whole.

use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes, Editor, LastLink, Place, locate, read_file};
use imgasm_fs::{FileSystem, FileType};

/// The longest file of text that is read: far above any configuration file or script.
pub const MAX_TEXT_BYTES: u64 = 16 << 20;

/// The content of a file, following links; `None` if nothing is there.
pub fn read_optional(fs: &dyn FileSystem, path: &ImagePath) -> tree::Result<Option<Vec<u8>>> {
    match read_file(fs, path, MAX_TEXT_BYTES) {
        Ok(content) => Ok(Some(content)),
        Err(tree::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The content of a file whose path is written in this program; `None` if nothing is there.
pub fn read_known(fs: &dyn FileSystem, path: &str) -> tree::Result<Option<Vec<u8>>> {
    read_optional(fs, &known_path(path))
}

/// Writes a file of root's with this mode, whatever was there, in a directory that is made if it is
/// missing.
pub(crate) fn write_of_root(
    editor: &mut Editor<'_>,
    path: &ImagePath,
    last: LastLink,
    content: &[u8],
    mode: u16,
) -> tree::Result<()> {
    if let Some(folder) = path.parent() {
        editor.mkdir_all(&folder, Attributes::default())?;
    }
    editor.write(path, last, content, Attributes::of_root(mode))
}

/// A path that is written in this program.
pub fn known_path(path: &str) -> ImagePath {
    ImagePath::parse(path).expect("the path is a constant of this program")
}

/// What is at a path, and its type; `None` if nothing is there.
pub fn entry(
    fs: &dyn FileSystem,
    path: &ImagePath,
    last: LastLink,
) -> tree::Result<Option<(Place, FileType)>> {
    let place = match locate(fs, path, last) {
        Ok(place) => place,
        Err(tree::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(node) = place.node else {
        return Ok(None);
    };
    let metadata = fs
        .metadata(node)
        .map_err(|source| tree::Error::FileSystem {
            action: "read",
            path: place.path.clone(),
            source,
        })?;
    Ok(Some((place, metadata.file_type)))
}

/// The names in a directory in the order of their bytes, with their types; none if there is no
/// such directory.
pub fn list(fs: &dyn FileSystem, path: &ImagePath) -> tree::Result<Vec<(Vec<u8>, FileType)>> {
    let Some((place, FileType::Directory)) = entry(fs, path, LastLink::Follow)? else {
        return Ok(Vec::new());
    };
    let node = place.node.unwrap_or_else(|| fs.root());
    let entries = fs
        .read_dir(node)
        .map_err(|source| tree::Error::FileSystem {
            action: "list",
            path: place.path,
            source,
        })?;
    let mut names: Vec<_> = entries
        .into_iter()
        .map(|entry| (entry.name, entry.file_type))
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// The target of the symbolic link at a path; `None` if there is no link.
pub fn link_target(fs: &dyn FileSystem, path: &ImagePath) -> tree::Result<Option<Vec<u8>>> {
    let Some((place, FileType::Symlink)) = entry(fs, path, LastLink::Keep)? else {
        return Ok(None);
    };
    let node = place.node.unwrap_or_else(|| fs.root());
    let target = fs
        .read_link(node)
        .map_err(|source| tree::Error::FileSystem {
            action: "read",
            path: place.path,
            source,
        })?;
    Ok(Some(target))
}
