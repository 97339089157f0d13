//! The same small tree in memory and in a folder of the host, for comparisons with the guest's
//! own tools, which can work on a folder.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink, walk};
use imgasm_fs::{FileSystem, FileType};

use crate::memory_fs::MemoryFs;

/// Files by path and content. A content that starts with `->` makes a symbolic link, a path that
/// ends in `/` a directory.
pub type Files<'a> = &'a [(&'a str, &'a str)];

pub fn path(text: &str) -> ImagePath {
    ImagePath::parse(text).expect("a path of the test")
}

/// The tree in memory.
pub fn in_memory(files: Files<'_>) -> MemoryFs {
    let mut fs = MemoryFs::new();
    add(&mut fs, files);
    fs
}

/// Adds to a tree in memory.
pub fn add(fs: &mut MemoryFs, files: Files<'_>) {
    let mut editor = Editor::new(fs);
    let plain = Attributes::default();
    for (name, content) in files {
        let path = path(name);
        if name.ends_with('/') {
            editor.mkdir_all(&path, plain).unwrap();
            continue;
        }
        editor.mkdir_all(&path.parent().unwrap(), plain).unwrap();
        match content.strip_prefix("->") {
            Some(target) => editor.symlink(&path, target.as_bytes()).unwrap(),
            None => editor
                .write(&path, LastLink::Keep, content.as_bytes(), plain)
                .unwrap(),
        }
    }
}

/// The tree in a folder of the host.
pub fn on_host(folder: &Path, files: Files<'_>) {
    for (name, content) in files {
        let path = folder.join(&name[1..]);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix("->") {
            Some(target) => symlink(target, path).unwrap(),
            None => fs::write(path, content).unwrap(),
        }
    }
}

/// All symbolic links below `top` by path, with their targets.
pub fn links_in_memory(fs: &MemoryFs, top: &str) -> BTreeMap<String, String> {
    let mut links = BTreeMap::new();
    for entry in walk(fs, &path(top)).unwrap() {
        let entry = entry.unwrap();
        if entry.metadata.file_type == FileType::Symlink {
            let target = fs.read_link(entry.node).unwrap();
            links.insert(entry.path.to_string(), String::from_utf8(target).unwrap());
        }
    }
    links
}

/// The same for a folder of the host.
pub fn links_on_host(folder: &Path, top: &str) -> BTreeMap<String, String> {
    let mut links = BTreeMap::new();
    let mut pending = vec![folder.join(&top[1..])];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let file_type = entry.file_type().unwrap();
            if file_type.is_dir() {
                pending.push(entry.path());
            } else if file_type.is_symlink() {
                let target = fs::read_link(entry.path()).unwrap();
                let target = String::from_utf8(target.as_os_str().as_bytes().to_vec()).unwrap();
                let below = entry.path().strip_prefix(folder).unwrap().to_owned();
                links.insert(format!("/{}", below.display()), target);
            }
        }
    }
    links
}

/// All directories below `top`.
pub fn folders_on_host(folder: &Path, top: &str) -> Vec<String> {
    let mut folders = Vec::new();
    let mut pending = vec![folder.join(&top[1..])];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                let below = entry.path().strip_prefix(folder).unwrap().to_owned();
                folders.push(format!("/{}", below.display()));
                pending.push(entry.path());
            }
        }
    }
    folders.sort();
    folders
}

/// All directories below `top`, in memory.
pub fn folders_in_memory(fs: &MemoryFs, top: &str) -> Vec<String> {
    let entries = walk(fs, &path(top)).unwrap().map(Result::unwrap);
    let mut folders: Vec<_> = entries
        .filter(|entry| entry.metadata.file_type == FileType::Directory)
        .map(|entry| entry.path.to_string())
        .filter(|path| path != top)
        .collect();
    folders.sort();
    folders
}
