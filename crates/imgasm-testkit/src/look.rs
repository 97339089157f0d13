//! Asking a filesystem everything there is to ask, within bounds for a broken one. The fuzz targets
//! use it, too, so it needs nothing else from the test support.

use std::collections::BTreeSet;

use imgasm_fs::{FileSystem, FileType, NodeId};

/// How many nodes are looked at: more than any image here has, unless it is broken.
const NODES: usize = 5000;

/// Asks for everything, and accepts errors as answers.
pub fn look_at_all(fs: &dyn FileSystem) {
    let _ = fs.info();
    let _ = fs.used_extents();
    let _ = fs.check(&mut |_| {});
    let mut seen = BTreeSet::new();
    let mut pending = vec![fs.root()];
    while let Some(node) = pending.pop() {
        if seen.len() > NODES || !seen.insert(node) {
            continue;
        }
        let _ = fs.xattrs(node);
        match fs.metadata(node) {
            Ok(stat) if stat.file_type == FileType::Regular => {
                let _ = read_some(fs, node, stat.size);
            }
            _ => {
                let _ = fs.read_link(node);
            }
        }
        if let Ok(entries) = fs.read_dir(node) {
            for entry in entries {
                let _ = fs.lookup(node, &entry.name);
                pending.push(entry.node);
            }
        }
    }
}

/// Reads at both ends of a file and of its first extents.
fn read_some(fs: &dyn FileSystem, node: NodeId, size: u64) -> imgasm_fs::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let mut places = vec![0, size.saturating_sub(1 << 15), size / 2];
    let extents = fs.extents(node).unwrap_or_default();
    for extent in extents.iter().take(50) {
        let end = extent.file_offset.saturating_add(extent.len);
        places.extend([extent.file_offset, end]);
    }
    for place in places {
        fs.read_at(node, place, &mut buffer)?;
    }
    Ok(())
}
