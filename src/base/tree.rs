//! What a root filesystem is to hold, from a tree on the host and the file beside it.
//!
//! From the tree come names, contents, the targets of symbolic links, and whether a file's owner
//! may execute it: what git stores. The host's users, times, umask and order of directories have no
//! effect.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::meta::{Meta, Set, Special};
use super::source::Source;
use super::{Error, Result, archive};
use crate::config::boundary::open_regular;
use crate::config::readings::Readings;
use imgasm_block::Digest;
use imgasm_fs::path::ImagePath;
use imgasm_guest::{Accounts, known_path};

/// What lies at a path.
#[derive(Debug, Clone)]
pub enum Content {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its content.
        source: Source,
        /// Its size in bytes.
        size: u64,
    },
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// A device node or a named pipe.
    Special(Special),
    /// A further name of the file at this path.
    HardLink(ImagePath),
}

/// A file to be made.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it is.
    pub content: Content,
    /// The low twelve bits of the mode.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Item {
    /// One of root's without extended attributes.
    pub(super) fn of_root(content: Content, mode: u16) -> Self {
        Self {
            content,
            mode,
            uid: 0,
            gid: 0,
            xattrs: BTreeMap::new(),
        }
    }

    pub(super) fn directory() -> Self {
        Self::of_root(Content::Directory, 0o755)
    }
}

/// What a root filesystem is to hold: each path, its directory before it.
pub type Tree = BTreeMap<ImagePath, Item>;

/// The file beside a tree: `rootfs.meta.toml` for `rootfs`.
pub fn meta_path(root: &Path) -> PathBuf {
    let mut name = root.file_name().unwrap_or_default().to_owned();
    name.push(".meta.toml");
    root.with_file_name(name)
}

/// The largest file beside a tree that is read, in bytes.
const META_LIMIT: u64 = 4 << 20;

/// The content of the file beside a tree, if there is one. A link is refused: it could lead
/// elsewhere, and a message might show lines from there.
pub fn meta_bytes(root: &Path) -> Result<Option<Vec<u8>>> {
    let path = meta_path(root);
    let file = match open_regular(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(host("read", &path)(error)),
    };
    let mut bytes = Vec::new();
    let read = file.take(META_LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(host("read", &path))?;
    if bytes.len() as u64 > META_LIMIT {
        let problem = format!("has more than {META_LIMIT} bytes");
        return Err(Error::Meta { path, problem });
    }
    Ok(Some(bytes))
}

/// The identity of a tree: that of its content, and of what the file beside it says.
pub fn identity(content: Digest, meta: Option<&[u8]>) -> Digest {
    Digest::of(&[content.as_bytes(), meta.unwrap_or_default()].concat())
}

/// Reads the tree in the folder `root`; `meta` is what the file beside it says, if there is one. What is
/// read of the folder is noted, now and when the content of a file is.
///
/// # Errors
/// [`Error::Host`]; [`Error::Tree`] for sockets and the like; [`Error::Meta`] if the file beside it
/// names an owner that the tree does not know, a path that is not there, or a pattern that nothing
/// matches.
pub fn read(root: &Path, meta: Option<&[u8]>, readings: &Arc<Readings>) -> Result<Tree> {
    // The root may be a link to a directory.
    let root = root.canonicalize().map_err(host("find", root))?;
    let mut tree = Tree::from([(ImagePath::root(), Item::directory())]);
    collect(&root, &ImagePath::root(), &mut tree, readings)?;
    let names = tree.keys().filter(|path| !path.is_root());
    let names = names.map(|path| OsStr::from_bytes(&path.as_bytes()[1..]).into());
    readings.listed(&root, names.collect());
    with_meta(&root, meta, tree)
}

/// As [`read`], from a tar file; gives its SHA-256 too.
///
/// # Errors
/// Also as [`archive::tar::read`].
pub fn read_archive(path: &Path, meta: Option<&[u8]>) -> Result<(Tree, Digest)> {
    let path = path.canonicalize().map_err(host("find", path))?;
    let file = open_regular(&path).map_err(host("read", &path))?;
    let (tree, digest) = archive::tar::read(&path, file)?;
    Ok((with_meta(&path, meta, tree)?, digest))
}

/// A tree with what the file beside it says.
fn with_meta(root: &Path, meta: Option<&[u8]>, mut tree: Tree) -> Result<Tree> {
    let path = meta_path(root);
    if let Some(bytes) = meta {
        let meta = Meta::parse(&path, bytes)?;
        let accounts = accounts(&tree)?;
        apply(&meta, &mut tree, &accounts).map_err(|problem| Error::Meta { path, problem })?;
    }
    Ok(tree)
}

/// Adds what lies in a directory of the host.
fn collect(
    directory: &Path,
    at: &ImagePath,
    tree: &mut Tree,
    readings: &Arc<Readings>,
) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(host("list", directory))? {
        let entry = entry.map_err(host("list", directory))?;
        let source = entry.path();
        let path = at.child(entry.file_name().as_bytes());
        let metadata = fs::symlink_metadata(&source).map_err(host("read", &source))?;
        let kind = metadata.file_type();
        let item = if kind.is_dir() {
            collect(&source, &path, tree, readings)?;
            Item::directory()
        } else if kind.is_symlink() {
            let target = fs::read_link(&source).map_err(host("read", &source))?;
            readings.link(&source, target.as_os_str());
            Item::of_root(Content::Symlink(target.into_os_string().into_vec()), 0o777)
        } else if kind.is_file() {
            let executable = metadata.permissions().mode() & 0o100 != 0;
            let size = metadata.len();
            let mode = if executable { 0o755 } else { 0o644 };
            readings.executable(&source, executable);
            let source = Source::Host(source, Arc::clone(readings));
            Item::of_root(Content::File { source, size }, mode)
        } else {
            return Err(Error::Tree {
                path: source,
                problem: "only directories, files and symbolic links can be taken from the host; \
                          describe others in the file beside the tree"
                    .to_owned(),
            });
        };
        tree.insert(path, item);
    }
    Ok(())
}

/// The accounts of the tree itself.
fn accounts(tree: &Tree) -> Result<Accounts> {
    let content = |path: &str| {
        let path = known_path(path);
        match tree.get(&path).map(|item| &item.content) {
            Some(Content::File { source, .. }) => {
                let mut bytes = Vec::new();
                let read = source.open()?.take(META_LIMIT).read_to_end(&mut bytes);
                read.map_err(source.failed("read"))?;
                Ok::<_, Error>(bytes)
            }
            _ => Ok(Vec::new()),
        }
    };
    Ok(Accounts::parse(
        &content("/etc/passwd")?,
        &content("/etc/group")?,
    ))
}

/// Adds what the file beside the tree says.
fn apply(meta: &Meta, tree: &mut Tree, accounts: &Accounts) -> Result<(), String> {
    for path in meta.directories()? {
        add_directories(tree, &path)?;
    }
    for (path, special) in meta.nodes()? {
        let parent = path.parent().ok_or("the root cannot be a device node")?;
        add_directories(tree, &parent)?;
        if tree.contains_key(&path) {
            return Err(format!("{path} is in the tree already"));
        }
        tree.insert(path, Item::of_root(Content::Special(special), 0o644));
    }
    let links = meta.hard_links()?;
    for (path, target) in &links {
        match tree.get(target).map(|item| &item.content) {
            Some(Content::File { .. } | Content::Special(_)) => {}
            Some(_) => return Err(format!("{target} cannot have a second name, {path}")),
            None => {
                return Err(format!(
                    "{target} does not exist, so it cannot have a second name, {path}"
                ));
            }
        }
        let parent = path.parent().ok_or("the root is not a link")?;
        add_directories(tree, &parent)?;
        if tree.contains_key(path) {
            return Err(format!("{path} is in the tree already"));
        }
    }
    for set in meta.sets()? {
        change(tree, &set, accounts)?;
    }
    for (path, target) in links {
        tree.insert(path, Item::of_root(Content::HardLink(target), 0));
    }
    Ok(())
}

/// Makes a directory and those above it, where they are not there.
pub(super) fn add_directories(tree: &mut Tree, path: &ImagePath) -> Result<(), String> {
    if let Some(parent) = path.parent() {
        add_directories(tree, &parent)?;
    }
    let item = tree.entry(path.clone()).or_insert_with(Item::directory);
    match item.content {
        Content::Directory => Ok(()),
        _ => Err(format!("{path} is in the tree, but is not a directory")),
    }
}

/// Applies settings to what they match.
fn change(tree: &mut Tree, set: &Set, accounts: &Accounts) -> Result<(), String> {
    let number = |name: &Option<String>, what: &str, known: &dyn Fn(&str) -> Option<u32>| {
        let resolve = |name: &String| {
            name.parse()
                .ok()
                .or_else(|| known(name))
                .ok_or_else(|| format!("there is no {what} {name:?} in the tree's /etc"))
        };
        name.as_ref().map(resolve).transpose()
    };
    let uid = number(&set.owner, "user", &|name| Some(accounts.user(name)?.uid))?;
    let gid = number(&set.group, "group", &|name| Some(accounts.group(name)?.gid))?;
    for (text, pattern) in &set.patterns {
        let mut matched = false;
        for (path, item) in tree.iter_mut() {
            if !pattern.is_match(path.as_path()) {
                continue;
            }
            matched = true;
            // The mode of a symbolic link means nothing, and is always the same.
            if !matches!(item.content, Content::Symlink(_)) {
                item.mode = set.mode.unwrap_or(item.mode);
            }
            item.uid = uid.unwrap_or(item.uid);
            item.gid = gid.unwrap_or(item.gid);
            item.xattrs.extend(set.xattrs.clone());
        }
        if !matched {
            return Err(format!("nothing in the tree matches {text:?}"));
        }
    }
    Ok(())
}

fn host(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Host {
        action,
        path,
        source,
    }
}
