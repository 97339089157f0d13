//! Data volumes: each a filesystem, or swap, on a disk of its own. Making one, and having the root
//! mount it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use crate::base::{self, fill, tree};
use crate::config::readings::Readings;
use crate::filesystem::{self, Identity};
use crate::recipe::volume::Filesystem;
use imgasm_block::{BlockDevice, Change, ChunkMap, Delta, Hole};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self as edits, Attributes, Editor, LastLink};
use imgasm_fs::{FileType, Timestamp, WriteOptions};
use imgasm_guest::files::read_optional;
use imgasm_guest::fstab::{Entry, Field};
use imgasm_guest::{fstab, known_path};

/// Why a volume could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its filesystem could not be made.
    #[error("volume `{label}`: cannot make its filesystem")]
    Format {
        /// The volume's label.
        label: String,
        /// What was said about it.
        source: imgasm_fs::Error,
    },
    /// Its files could not be stored.
    #[error("volume `{label}`: cannot store {}", files.display())]
    Files {
        /// The volume's label.
        label: String,
        /// The folder on the host.
        files: PathBuf,
        /// Why not.
        source: base::Error,
    },
    /// Its device failed.
    #[error(transparent)]
    Block(#[from] imgasm_block::Error),
}

/// A data volume in memory.
pub struct FormattedVolume {
    /// Its content.
    pub delta: Arc<Delta>,
    /// What differs from an empty disk.
    pub changes: Vec<Change>,
    /// Its chunks.
    pub chunk_map: ChunkMap,
    /// The UUID of its filesystem.
    pub uuid: Uuid,
    /// The mode bits that its file may have: it is as private as the folder of its files.
    pub mask: u32,
}

/// The UUID of a filesystem that gets its identity from `seed`.
pub fn uuid(seed: Uuid) -> Uuid {
    Uuid::new_v5(&seed, b"UUID")
}

/// Makes the filesystem of a volume. `seed` gives it its identity; what is read of its files is noted.
pub fn format(
    filesystem: &Filesystem,
    now: Timestamp,
    seed: Uuid,
    readings: &Arc<Readings>,
) -> Result<FormattedVolume, Error> {
    let label = filesystem.label.as_str();
    let failed = |source| Error::Format {
        label: label.to_owned(),
        source,
    };
    let uuid = uuid(seed);
    let delta = Arc::new(Delta::new(Arc::new(Hole::new(filesystem.size.bytes()))));
    let device: Arc<dyn BlockDevice> = delta.clone();
    let identity = Identity {
        uuid,
        hash_seed: Uuid::new_v5(&seed, b"hash seed").into_bytes(),
    };
    let how = (filesystem.kind, &*filesystem.xfs);
    filesystem::make(&device, how, label, identity, now).map_err(failed)?;
    let mut mask = 0o777;
    if let Some(files) = &filesystem.files {
        mask = fs::metadata(&files.path).map_or(0, |metadata| metadata.mode());
        let failed = |source| Error::Files {
            label: label.to_owned(),
            files: files.path.clone(),
            source,
        };
        let tree = tree::read(&files.path, files.meta.as_deref(), readings).map_err(failed)?;
        let options = WriteOptions {
            now,
            seed: seed.into_bytes(),
        };
        let opened = imgasm_disk::open_writable(device, options);
        let mut fs = opened.map_err(|source| Error::Format {
            label: label.to_owned(),
            source,
        })?;
        fill::fill(fs.as_mut(), &tree).map_err(failed)?;
    }
    let changes = delta.changes()?;
    let chunk_map = ChunkMap::compute(&*delta)?;
    Ok(FormattedVolume {
        delta,
        changes,
        chunk_map,
        uuid,
        mask,
    })
}

/// Lets the root filesystem mount a volume, or use it as swap: makes the mount point and the line
/// in `/etc/fstab`.
pub fn mount(filesystem: &Filesystem, editor: &mut Editor<'_>) -> edits::Result<()> {
    let Some(mount) = &filesystem.mount else {
        return Ok(());
    };
    if let Ok(path) = ImagePath::parse(mount.as_str()) {
        let is_there = edits::exists(editor.fs(), &path)?;
        if !is_there {
            editor.mkdir_all(&path, Attributes::default())?;
        } else if let Ok((node, path)) = edits::resolve(editor.fs(), &path, LastLink::Follow) {
            let found = file_type(editor, node, &path)?;
            if found != FileType::Directory {
                return Err(edits::Error::WrongType {
                    path,
                    found,
                    expected: "a directory",
                });
            }
        }
    }
    let entry = Entry {
        device: Field::new(&format!("LABEL={}", filesystem.label.as_str()))
            .expect("a label is a word of printable characters"),
        mount: mount.clone(),
        kind: Field::new(filesystem.kind.name()).expect("the name is a constant"),
        options: filesystem.options.clone(),
        dump: 0,
        pass: 0,
    };
    let path = known_path("/etc/fstab");
    let content = read_optional(editor.fs(), &path)?.unwrap_or_default();
    let content = fstab::set(&content, &entry);
    editor.write(&path, LastLink::Follow, &content, Attributes::default())
}

fn file_type(
    editor: &Editor<'_>,
    node: imgasm_fs::NodeId,
    path: &ImagePath,
) -> edits::Result<FileType> {
    let metadata = editor.fs().metadata(node);
    let metadata = metadata.map_err(|source| edits::Error::FileSystem {
        action: "read",
        path: path.clone(),
        source,
    })?;
    Ok(metadata.file_type)
}
