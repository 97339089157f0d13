//! `imgasm apply IMAGE OVERLAY…`

use std::path::PathBuf;
use std::sync::Arc;

use super::Outcome;
use super::failure::Failure;
use super::image::{ImageArgs, tell_recovery};
use super::output::Output;
use super::recipe::assignment;
use crate::overlay::{Applier, OverlayFile};
use crate::recipe::DEFAULT_EPOCH;
use imgasm_block::{Delta, InPlace};
use imgasm_disk::Disk;
use imgasm_fs::{Timestamp, WriteOptions};

/// Apply overlays to a raw image in place: a partitioned disk or a bare filesystem.
///
/// The image is changed as a whole or not at all. A change that is interrupted is undone when the
/// image is opened again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// Folders with an overlay.toml, applied in this order.
    #[arg(required = true, value_name = "OVERLAY")]
    overlays: Vec<PathBuf>,
    /// Set a variable of the overlays.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// As JSON: one object a changed path.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Failure> {
    let overlays = load(args)?;
    let path = &args.image.image;
    let image = InPlace::open(path)?;
    if let Some(recovery) = image.recovery() {
        tell_recovery(path, recovery, output);
    }
    let delta = Arc::new(Delta::new(image.device().clone()));
    let disk = Disk::open(delta.clone()).map_err(|error| {
        Failure::from(error).in_context(format!("cannot open {}", path.display()))
    })?;
    let place = disk.root(args.image.partition)?;
    let now = now()?;
    // An image that is edited in place has no recipe, and so no name to derive an identity from.
    let options = WriteOptions {
        now,
        seed: *b"imgasm apply    ",
    };
    let mut root = disk.open_filesystem_writable(place, options)?;
    let mut applier = Applier::new(root.as_mut(), now)?;
    for overlay in &overlays {
        applier.apply(overlay)?;
    }
    let report = applier.finish();
    root.flush()?;
    let changed = report.changed_paths(root.as_ref(), args.json)?;
    drop(root);
    image.commit(&delta)?;
    for change in &changed {
        if args.json {
            output.json_line(&crate::build::change(change))?;
        } else {
            let what = change
                .file_type
                .map_or("removed", imgasm_fs::FileType::name);
            let (path, overlay, step, kind) =
                (&change.path, &change.overlay, change.step, change.kind);
            output.line(format_args!(
                "{what:<9} {path}  ({overlay}, step {step}: {kind})"
            ))?;
        }
    }
    Ok(Outcome::Done)
}

fn load(args: &Args) -> Result<Vec<crate::overlay::Overlay>, Failure> {
    let mut files = Vec::with_capacity(args.overlays.len());
    for folder in &args.overlays {
        files.push(OverlayFile::read(&folder.display().to_string(), folder)?);
    }
    for (name, _) in &args.set {
        if !files.iter().any(|file| file.declarations().contains(name)) {
            return Err(Failure::new(format!("no overlay has a variable `{name}`")));
        }
    }
    let mut overlays = Vec::with_capacity(files.len());
    for file in files {
        let mut given = Vec::new();
        for (name, text) in &args.set {
            if file.declarations().contains(name) {
                given.push((name.clone(), file.declarations().parse(name, text)?));
            }
        }
        overlays.push(file.resolve(|name| {
            given
                .iter()
                .rev()
                .find(|(given, _)| given == name)
                .map(|(_, value)| value.clone())
        })?);
    }
    Ok(overlays)
}

fn now() -> Result<Timestamp, Failure> {
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) if !text.is_empty() => text.parse().map_err(|_| {
            Failure::new(format!(
                "SOURCE_DATE_EPOCH is {text:?}, not a number of seconds since 1970"
            ))
        })?,
        _ => DEFAULT_EPOCH,
    };
    Ok(Timestamp {
        seconds,
        nanoseconds: 0,
    })
}
