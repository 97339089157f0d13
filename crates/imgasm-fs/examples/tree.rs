//! Lists the ext2, ext3 or ext4 filesystem in a file, after writing a text to a path in it, if both
//! are given.
//!
//! ```sh
//! cargo run -p imgasm-fs --example tree -- root.ext4
//! cargo run -p imgasm-fs --example tree -- root.ext4 /etc/motd "Hello"
//! ```
//!
//! The text is written to a delta over the file; the file changes only if all went well.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use imgasm_block::{Delta, FileDevice};
use imgasm_ext4::Ext4;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink, walk};
use imgasm_fs::{FileSystem, Timestamp, WriteOptions};

fn list(fs: &dyn FileSystem) -> Result<(), Box<dyn Error>> {
    for entry in walk(fs, &ImagePath::root())? {
        let entry = entry?;
        let metadata = &entry.metadata;
        println!(
            "{:04o} {:>5} {:>5} {:>12} {}",
            metadata.permissions, metadata.uid, metadata.gid, metadata.size, entry.path
        );
    }
    Ok(())
}

fn write(image: &Path, path: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let device = Arc::new(FileDevice::open_writable(image)?);
    let delta = Arc::new(Delta::new(device.clone()));
    let options = WriteOptions {
        now: Timestamp {
            seconds: 1_700_000_000,
            nanoseconds: 0,
        },
        seed: [7; 16],
    };
    let mut fs = Ext4::open_writable(delta.clone(), options)?;
    let mut editor = Editor::new(&mut fs);
    editor.write(
        &ImagePath::parse(path)?,
        LastLink::Follow,
        text.as_bytes(),
        Attributes::default(),
    )?;
    for touched in editor.take_touched() {
        println!("{} {:?}", touched.path, touched.change);
    }
    fs.flush()?;
    delta.copy_changes(&delta.changes()?, &*device)?;
    device.file().sync_all()?;
    Ok(())
}

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let image = match arguments {
        [image] => image,
        [image, path, text] => {
            write(image.as_ref(), path, text)?;
            image
        }
        _ => return Err("usage: tree IMAGE [PATH TEXT]".into()),
    };
    let device = Arc::new(FileDevice::open(image.as_ref())?);
    list(&Ext4::open(device)?)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
