//! A tree, put into an empty filesystem.

use std::collections::BTreeMap;

use super::tree::{Content, Item, Tree};
use super::{Error, Result};
use imgasm_fs::path::ImagePath;
use imgasm_fs::{FileSystem, FileType, MetadataChange, NewNode, NodeId, NodeKind};

/// Makes everything that `tree` holds, in the order of its paths, and flushes. The root directory
/// is there already and gets its mode, owner and attributes.
///
/// # Errors
/// [`Error::Host`] if a file cannot be read, [`Error::Fill`] if it cannot be stored.
pub fn fill(fs: &mut dyn FileSystem, tree: &Tree) -> Result<()> {
    let mut nodes = BTreeMap::from([(ImagePath::root(), fs.root())]);
    // Further names come last, when the files that they name exist.
    let (links, items): (Vec<_>, Vec<_>) = tree
        .iter()
        .partition(|(_, item)| matches!(item.content, Content::HardLink(_)));
    for (path, item) in items {
        let node = make(fs, &nodes, path, item)?;
        nodes.insert(path.clone(), node);
    }
    for (path, item) in links {
        if let Content::HardLink(target) = &item.content {
            let (directory, name) = place(&nodes, path)?;
            let node = known(&nodes, target)?;
            fs.link(node, directory, name).map_err(failed(path))?;
        }
    }
    fs.flush().map_err(failed(&ImagePath::root()))
}

fn make(
    fs: &mut dyn FileSystem,
    nodes: &BTreeMap<ImagePath, NodeId>,
    path: &ImagePath,
    item: &Item,
) -> Result<NodeId> {
    let node = if path.is_root() {
        let change = MetadataChange {
            permissions: Some(item.mode),
            uid: Some(item.uid),
            gid: Some(item.gid),
            ..MetadataChange::default()
        };
        fs.set_metadata(fs.root(), &change).map_err(failed(path))?;
        fs.root()
    } else {
        let (directory, name) = place(nodes, path)?;
        let new = NewNode {
            kind: kind(&item.content),
            permissions: item.mode,
            uid: item.uid,
            gid: item.gid,
        };
        fs.create(directory, name, &new).map_err(failed(path))?
    };
    if let Content::File { source, size } = &item.content {
        let mut content = source.open()?;
        fs.write_content(node, *size, &mut content)
            .map_err(failed(path))?;
    }
    for (name, value) in &item.xattrs {
        fs.set_xattr(node, name, Some(value))
            .map_err(failed(path))?;
    }
    Ok(node)
}

fn kind(content: &Content) -> NodeKind<'_> {
    match content {
        Content::Directory => NodeKind::Directory,
        Content::Symlink(target) => NodeKind::Symlink(target),
        Content::Special((FileType::CharDevice, Some(number))) => NodeKind::CharDevice(*number),
        Content::Special((FileType::BlockDevice, Some(number))) => NodeKind::BlockDevice(*number),
        Content::Special(_) => NodeKind::Fifo,
        Content::File { .. } | Content::HardLink(_) => NodeKind::Regular,
    }
}

/// The directory that contains a path, and the name in it.
fn place<'a>(
    nodes: &BTreeMap<ImagePath, NodeId>,
    path: &'a ImagePath,
) -> Result<(NodeId, &'a [u8])> {
    let directory = path.parent().unwrap_or_else(ImagePath::root);
    let name = path.file_name().unwrap_or_default();
    Ok((known(nodes, &directory)?, name))
}

/// The node at a path that was made before.
fn known(nodes: &BTreeMap<ImagePath, NodeId>, path: &ImagePath) -> Result<NodeId> {
    nodes.get(path).copied().ok_or_else(|| Error::Fill {
        path: path.clone(),
        source: imgasm_fs::Error::NotFound {
            directory: NodeId(0),
            name: path.as_bytes().to_vec(),
        },
    })
}

fn failed(path: &ImagePath) -> impl FnOnce(imgasm_fs::Error) -> Error {
    let path = path.clone();
    move |source| Error::Fill { path, source }
}
