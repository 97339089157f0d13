//! The directories on the way to a package's files.

use std::collections::BTreeSet;

use super::super::Error;
use super::candidate::Candidate;
use super::content::{failed, refused};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, LastLink};
use imgasm_fs::{FileSystem, FileType};

/// Refuses files behind symbolic links that the package itself brings, that an ordinary user could
/// have made, or that lead above the image's root: RPM does not follow the first two either.
pub(super) fn check_ways(fs: &dyn FileSystem, candidate: &Candidate) -> Result<(), Error> {
    let links = candidate
        .files
        .iter()
        .filter(|file| file.file_type == FileType::Symlink);
    let links: BTreeSet<_> = links.map(|file| &file.path).collect();
    let mut known = BTreeSet::new();
    for file in &candidate.files {
        let Some(folder) = file.path.parent() else {
            continue;
        };
        let mut way = ImagePath::root();
        for name in folder.names() {
            way = way.child(name);
            if links.contains(&way) {
                let problem = format!("lies behind the symbolic link {way} of the same package");
                return Err(refused(candidate, &file.path, &problem));
            }
            if !known.insert(way.clone()) {
                continue;
            }
            if let Some(problem) = link_problem(fs, &way)? {
                return Err(refused(candidate, &file.path, &problem));
            }
        }
    }
    Ok(())
}

/// Why a path must not be used on the way to a file, if it must not.
fn link_problem(fs: &dyn FileSystem, way: &ImagePath) -> Result<Option<String>, Error> {
    let place = match tree::locate(fs, way, LastLink::Keep) {
        Ok(place) => place,
        Err(tree::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(node) = place.node else {
        return Ok(None);
    };
    let metadata = fs
        .metadata(node)
        .map_err(|error| failed("read", way, error))?;
    if metadata.file_type != FileType::Symlink {
        return Ok(None);
    }
    if metadata.uid != 0 {
        let uid = metadata.uid;
        return Ok(Some(format!(
            "lies behind the symbolic link {way} of the user {uid}"
        )));
    }
    let target = fs
        .read_link(node)
        .map_err(|error| failed("read", way, error))?;
    let is_absolute = target.starts_with(b"/");
    let mut depth = if is_absolute {
        0
    } else {
        place.path.names().count() - 1
    };
    for name in target.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(higher) => depth = higher,
                None => {
                    return Ok(Some(format!(
                        "would leave the image by the symbolic link {way}"
                    )));
                }
            },
            _ => depth += 1,
        }
    }
    Ok(None)
}
