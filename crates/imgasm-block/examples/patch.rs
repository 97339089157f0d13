//! Copies an image, writes a text into the copy at an offset, and says what has changed.
//!
//! ```sh
//! cargo run -p imgasm-block --example patch -- base.raw patched.raw 440 disk
//! ```
//!
//! The base stays as it is. The copy appears when it is whole; it shares its blocks with the base if
//! the host's filesystem can do that, and has the base's holes in any case.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use imgasm_block::{BlockDevice, ChangeKind, Delta, FileDevice, Output};

fn patch(base: &Path, target: &Path, offset: u64, text: &str) -> Result<(), Box<dyn Error>> {
    let delta = Delta::new(Arc::new(FileDevice::open(base)?));
    delta.write_at(offset, text.as_bytes())?;
    let changes = delta.changes()?;
    let output = Output::create(target)?;
    output.write_delta(&delta, &changes)?;
    output.commit()?;
    for change in &changes {
        let what = match change.kind {
            ChangeKind::Data => "data",
            ChangeKind::Zero => "zeros",
        };
        println!(
            "{:>12}..{:<12} {what}",
            change.range.start, change.range.end
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, target, offset, text] = arguments.as_slice() else {
        eprintln!("usage: patch BASE TARGET OFFSET TEXT");
        return ExitCode::from(2);
    };
    let Ok(offset) = offset.parse() else {
        eprintln!("{offset:?} is not an offset in bytes");
        return ExitCode::from(2);
    };
    match patch(base.as_ref(), target.as_ref(), offset, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
