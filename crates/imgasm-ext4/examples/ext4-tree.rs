//! Lists all files of an ext2, ext3 or ext4 image and checks it; makes the image first if it does not
//! exist.
//!
//! ```sh
//! cargo run -p imgasm-ext4 --example ext4-tree -- image.raw
//! ```

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use imgasm_block::FileDevice;
use imgasm_ext4::{Ext4, FormatOptions};
use imgasm_fs::{FileSystem, FileType, NewNode, NodeId, NodeKind, Timestamp, WriteOptions};

const NOW: Timestamp = Timestamp {
    seconds: 1_700_000_000,
    nanoseconds: 0,
};

/// Makes a filesystem of 64 MiB with one file in one directory.
fn make(path: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::File::create_new(path)?.set_len(64 << 20)?;
    let device = Arc::new(FileDevice::open_writable(path)?);
    let mut options = FormatOptions::new(*b"an identity here", *b"seed of the hash", NOW);
    options.label = b"example".to_vec();
    imgasm_ext4::format(&*device, &options)?;

    let options = WriteOptions {
        now: NOW,
        seed: [7; 16],
    };
    let mut fs = Ext4::open_writable(device, options)?;
    let node = |kind, permissions| NewNode {
        kind,
        permissions,
        uid: 0,
        gid: 0,
    };
    let folder = fs.create(fs.root(), b"folder", &node(NodeKind::Directory, 0o755))?;
    let file = fs.create(folder, b"hello", &node(NodeKind::Regular, 0o644))?;
    fs.write_content(file, 13, &mut &b"Hello, world\n"[..])?;
    fs.flush()?;
    Ok(())
}

/// Prints what lies below a directory. The trees of sound filesystems have no cycles.
fn list(fs: &Ext4, directory: NodeId, indent: usize) -> Result<(), Box<dyn Error>> {
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

fn run(path: &Path) -> Result<bool, Box<dyn Error>> {
    if !path.exists() {
        make(path)?;
    }
    let fs = Ext4::open(Arc::new(FileDevice::open(path)?))?;
    let mut is_sound = true;
    fs.check(&mut |finding| {
        is_sound &= !finding.is_error();
        eprintln!(
            "{:?}: {}: {}",
            finding.severity, finding.at, finding.problem
        );
    })?;
    if is_sound {
        list(&fs, fs.root(), 0)?;
    }
    Ok(is_sound)
}

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: ext4-tree IMAGE");
        return ExitCode::from(2);
    };
    match run(Path::new(&path)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}: {error}", Path::new(&path).display());
            ExitCode::from(2)
        }
    }
}
