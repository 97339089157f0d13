//! Lists all files of an XFS image and checks it; puts a file of the host into its root first if one
//! is given.
//!
//! ```sh
//! cargo run -p imgasm-xfs --example xfs-tree -- image.raw [FILE]
//! ```

use std::error::Error;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use imgasm_block::{BlockDevice, Delta, FileDevice};
use imgasm_fs::{FileSystem, FileType, NewNode, NodeId, NodeKind, Timestamp, WriteOptions};
use imgasm_xfs::Xfs;

/// Puts a file into the root of the filesystem. All changes go to a delta, which is written to the
/// image only if everything has succeeded.
fn put(image: &Path, source: &Path) -> Result<(), Box<dyn Error>> {
    let device: Arc<dyn BlockDevice> = Arc::new(FileDevice::open_writable(image)?);
    let delta = Arc::new(Delta::new(Arc::clone(&device)));
    let options = WriteOptions {
        now: Timestamp {
            seconds: 1_700_000_000,
            nanoseconds: 0,
        },
        seed: [7; 16],
    };
    let mut fs = Xfs::open_writable(delta.clone(), options)?;
    let name = source.file_name().ok_or("the file has no name")?;
    let new = NewNode {
        kind: NodeKind::Regular,
        permissions: 0o644,
        uid: 0,
        gid: 0,
    };
    let node = fs.create(fs.root(), name.as_bytes(), &new)?;
    let mut content = File::open(source)?;
    let size = content.metadata()?.len();
    fs.write_content(node, size, &mut content)?;
    fs.flush()?;
    delta.copy_changes(&delta.changes()?, &device)?;
    Ok(())
}

/// Prints what lies below a directory. The trees of sound filesystems have no cycles.
fn list(fs: &Xfs, directory: NodeId, indent: usize) -> Result<(), Box<dyn Error>> {
    for entry in fs.read_dir(directory)? {
        let metadata = fs.metadata(entry.node)?;
        let name = String::from_utf8_lossy(&entry.name);
        println!("{:>12} {:indent$}{name}", metadata.size, "");
        if entry.file_type == FileType::Directory {
            list(fs, entry.node, indent + 2)?;
        }
    }
    Ok(())
}

fn run(image: &Path, source: Option<&Path>) -> Result<bool, Box<dyn Error>> {
    if let Some(source) = source {
        put(image, source)?;
    }
    let fs = Xfs::open(Arc::new(FileDevice::open(image)?))?;
    let mut is_sound = true;
    fs.check(&mut |finding| {
        is_sound = false;
        eprintln!("{}: {}", finding.at, finding.problem);
    })?;
    if is_sound {
        list(&fs, fs.root(), 0)?;
    }
    Ok(is_sound)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(image) = arguments.next() else {
        eprintln!("usage: xfs-tree IMAGE [FILE]");
        return ExitCode::from(2);
    };
    let source = arguments.next();
    match run(Path::new(&image), source.as_deref().map(Path::new)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}: {error}", Path::new(&image).display());
            ExitCode::from(2)
        }
    }
}
