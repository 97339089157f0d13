//! The cache of the dynamic loader, as ldconfig(8) makes it.
//!
//! - [`update`]: reads the folders of libraries, makes the links between them, and writes
//!   `/etc/ld.so.cache`.
//! - `config`: which folders these are.
//! - `elf`: what a library says of itself.
//! - `cache`: the file.
//!
//! The rules are those of glibc's `ldconfig`. What depends on more than the tree, or is met on no
//! system that is known, is not approximated: then the cache stays as it is.

mod cache;
mod config;
mod elf;

use std::collections::BTreeMap;

use cache::Entry;
use elf::Library;

use crate::files::{entry, list, write_of_root};
use crate::{Arch, known_path};
use imgasm_fs::path::ImagePath;
use imgasm_fs::text::name_text;
use imgasm_fs::tree::{self, Editor, LastLink};
use imgasm_fs::{FileSystem, FileType, NodeId};

/// Where the cache is.
const CACHE: &str = "/etc/ld.so.cache";
/// The most libraries that are read: far more than any system has.
const MAX_LIBRARIES: usize = 100_000;
/// Folders below those of libraries in which old loaders look for variants for certain processors
/// (`_dl_hwcap_flags`, `_dl_x86_hwcap_flags`, `_dl_x86_platforms`, `HWCAP_IMPORTANT`).
const VARIANTS: [&[u8]; 11] = [
    b"tls",
    b"sse2",
    b"x86_64",
    b"avx512_1",
    b"haswell",
    b"xeon_phi",
    b"i386",
    b"i486",
    b"i586",
    b"i686",
    b"atomics",
];
/// The folder in which newer ones do.
const HWCAPS: &[u8] = b"glibc-hwcaps";

/// Why the cache stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is met that is not known here.
    #[error("{0}")]
    Unknown(String),
    /// The image could not be read or written.
    #[error(transparent)]
    Tree(#[from] tree::Error),
}

/// A folder in which libraries are looked for.
struct Folder {
    /// As it is written, which is how the cache has it.
    path: ImagePath,
    node: NodeId,
}

/// A library of a folder, by its name for programs.
struct Candidate {
    /// The name of the file.
    name: Vec<u8>,
    flags: u32,
    is_link: bool,
}

/// Writes the cache, and with `makes_links` the links from the names by which programs ask for
/// libraries to their files.
///
/// # Errors
/// [`Error::Unknown`] if the effect of ldconfig is not known; then nothing is changed.
pub fn update(editor: &mut Editor<'_>, makes_links: bool) -> Result<(), Error> {
    let fs = editor.fs();
    let arch = Arch::detect(fs)?.filter(|arch| matches!(arch, Arch::X86_64 | Arch::Arm64));
    let arch = arch.ok_or_else(|| Error::Unknown("for this processor".to_owned()))?;
    let config = config::read(fs)?;
    let folders = folders(fs, &config.folders)?;
    let mut strings = Vec::new();
    for folder in &folders {
        strings.extend(check_variants(fs, folder, &config.variants)?);
    }
    // Links in one folder may lead to another: they are made folder by folder, and only once it is
    // clear that all of them are known.
    let (mut entries, is_whole) = read(editor, &folders, arch, false)?;
    if makes_links && !is_whole {
        (entries, _) = read(editor, &folders, arch, true)?;
    }
    let bytes = cache::encode(entries, &strings);
    let path = known_path(CACHE);
    Ok(write_of_root(editor, &path, LastLink::Keep, &bytes, 0o644)?)
}

/// Reads the folders, and makes their links; gives the libraries, and whether no link was wrong.
fn read(
    editor: &mut Editor<'_>,
    folders: &[Folder],
    arch: Arch,
    makes_links: bool,
) -> Result<(Vec<Entry>, bool), Error> {
    let mut entries = Vec::new();
    let mut is_whole = true;
    for folder in folders {
        let mut stale = Vec::new();
        let found = libraries(editor.fs(), folder, arch, &mut stale)?;
        is_whole &= stale.is_empty();
        for path in stale.iter().filter(|_| makes_links) {
            editor.remove_tree(path)?;
        }
        for (soname, candidate) in found {
            let path = folder.path.child(&soname);
            let file = folder.path.child(&candidate.name);
            if !candidate.is_link && is_link_missing(editor.fs(), &path, &file)? {
                is_whole = false;
                if makes_links {
                    editor.symlink(&path, &candidate.name)?;
                }
            }
            entries.push(Entry {
                path: path.as_bytes().to_vec(),
                soname,
                flags: candidate.flags,
            });
        }
        if entries.len() > MAX_LIBRARIES {
            let problem = format!("there are more than {MAX_LIBRARIES} libraries");
            return Err(Error::Unknown(problem));
        }
    }
    Ok((entries, is_whole))
}

/// The folders that are there, each once, by the first of its names.
fn folders(fs: &dyn FileSystem, paths: &[ImagePath]) -> Result<Vec<Folder>, Error> {
    let mut folders: Vec<Folder> = Vec::new();
    for path in paths {
        let Some((place, FileType::Directory)) = at(fs, path)? else {
            continue;
        };
        let node = place.node.unwrap_or_else(|| fs.root());
        if !folders.iter().any(|known| known.node == node) {
            let path = path.clone();
            folders.push(Folder { path, node });
        }
    }
    Ok(folders)
}

/// What is at a path, following links; `None` if nothing is, or the way to it is none.
fn at(fs: &dyn FileSystem, path: &ImagePath) -> tree::Result<Option<(tree::Place, FileType)>> {
    match entry(fs, path, LastLink::Follow) {
        Err(tree::Error::WrongType { .. } | tree::Error::TooManyLinks { .. }) => Ok(None),
        found => found,
    }
}

/// Refuses libraries for certain processors; gives the names of the folders for such that a newer
/// cache names whether or not something is in them.
fn check_variants(
    fs: &dyn FileSystem,
    folder: &Folder,
    more: &[Vec<u8>],
) -> Result<Vec<Vec<u8>>, Error> {
    let names = VARIANTS
        .iter()
        .copied()
        .chain(more.iter().map(Vec::as_slice));
    let mut variants: Vec<_> = names.map(|name| folder.path.child(name)).collect();
    let newer = folder.path.child(HWCAPS);
    let mut known = Vec::new();
    for (name, _) in list_at(fs, &newer)? {
        let path = newer.child(&name);
        let is_hidden = name.starts_with(b".") || name.contains(&b':');
        if !is_hidden && matches!(at(fs, &path)?, Some((_, FileType::Directory))) {
            variants.push(path);
            known.push(name);
        }
    }
    for path in variants {
        if list_at(fs, &path)?.iter().any(|(name, _)| is_library(name)) {
            return Err(Error::Unknown(format!(
                "{path} has libraries for certain processors"
            )));
        }
    }
    Ok(known)
}

fn list_at(fs: &dyn FileSystem, path: &ImagePath) -> tree::Result<Vec<(Vec<u8>, FileType)>> {
    match at(fs, path)? {
        Some((place, FileType::Directory)) => list(fs, &place.path),
        _ => Ok(Vec::new()),
    }
}

/// Whether a name is that of a library or of the loader (`_dl_is_dso`), and not of one that prelink
/// is about to make.
fn is_library(name: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 4] = [b"lib", b"ld-", b"ld.so.", b"ld64.so."];
    let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
    let is_temporary = name.ends_with(b".#prelink#")
        || name.len() >= 17 && name[name.len() - 17..].starts_with(b".#prelink#.");
    BEGINNINGS.iter().any(|begin| name.starts_with(begin)) && has(b".so") && !is_temporary
}

/// The libraries of a folder, by the names by which programs ask for them. `stale` gets the links
/// that lead nowhere.
fn libraries(
    fs: &dyn FileSystem,
    folder: &Folder,
    arch: Arch,
    stale: &mut Vec<ImagePath>,
) -> Result<BTreeMap<Vec<u8>, Candidate>, Error> {
    let mut found: BTreeMap<Vec<u8>, Candidate> = BTreeMap::new();
    for (name, file_type) in list_at(fs, &folder.path)? {
        if !is_library(&name) {
            continue;
        }
        let path = folder.path.child(&name);
        let mut is_link = file_type == FileType::Symlink;
        let (place, file_type) = match at(fs, &path)? {
            Some(found) => found,
            None if is_link => {
                if name.windows(4).any(|part| part == b".so.") {
                    stale.push(path);
                }
                continue;
            }
            None => continue,
        };
        let (Some(node), FileType::Regular) = (place.node, file_type) else {
            continue;
        };
        let read = elf::read(fs, node, arch).map_err(|source| tree::Error::FileSystem {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let Some(Library { flags, soname }) = read else {
            continue;
        };
        let mut soname = soname.unwrap_or_else(|| name.clone());
        if is_link && name != soname {
            // The link for the linker, `libx.so` to the `libx.so.1` of that name, is one; another
            // counts as a file.
            is_link = name.ends_with(b".so") && soname.starts_with(&name);
        }
        if is_link {
            soname.clone_from(&name);
        }
        if !(imgasm_fs::is_name(&soname) && soname.is_ascii() && name.is_ascii()) {
            let soname = name_text(&soname);
            return Err(Error::Unknown(format!("{path} calls itself {soname}")));
        }
        let candidate = Candidate {
            name,
            flags,
            is_link,
        };
        match found.get_mut(&soname) {
            None => drop(found.insert(soname, candidate)),
            Some(known) if known.flags != candidate.flags => {
                let soname = name_text(&soname);
                let problem = format!("{path} and another {soname} are for different processors");
                return Err(Error::Unknown(problem));
            }
            // A file counts more than a link, and of two the newer.
            Some(known) => {
                let is_newer = cache::compare(&known.name, &candidate.name).is_lt();
                let is_better = known.is_link && !candidate.is_link;
                if is_better || known.is_link == candidate.is_link && is_newer {
                    *known = candidate;
                }
            }
        }
    }
    Ok(found)
}

/// Whether a link to a file is to be made: the file is not there by this name, and nothing else is
/// but a link.
fn is_link_missing(fs: &dyn FileSystem, path: &ImagePath, file: &ImagePath) -> Result<bool, Error> {
    let node = |path| Ok::<_, Error>(at(fs, path)?.and_then(|(place, _)| place.node));
    let there = node(path)?;
    if there.is_some() && there == node(file)? {
        return Ok(false);
    }
    let found = entry(fs, path, LastLink::Keep)?;
    Ok(found.is_none_or(|(_, file_type)| file_type == FileType::Symlink))
}
