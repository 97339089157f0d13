//! `imgasm edit IMAGE PATH`

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use super::failure::Failure;
use super::image::{self, ImageArgs};
use super::output::Output;
use super::{Outcome, confine};
use crate::apply::{self, Options};
use crate::environment::Environment;
use crate::private;
use imgasm_block::InPlace;
use imgasm_disk::Disk;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes, LastLink};

/// The largest file that is given to an editor, in bytes.
const LIMIT: u64 = 64 << 20;

/// Edit a file inside a raw image with your editor.
///
/// The editor of VISUAL, or else of EDITOR, works on a copy. When it ends well and the content is another
/// one, the image is changed as a whole or not at all; the file keeps its mode and owner. Nobody else
/// changes the image meanwhile.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// Path of a file inside the image; symbolic links are followed inside the image.
    #[arg(value_parser = image::path())]
    path: ImagePath,
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let options = Options {
        partition: args.image.partition,
        now: environment.now()?,
        with_digests: false,
    };
    let place = &args.image.image;
    let needs = || confine::changing(place);
    let (in_place, path, before) = confine::apart(needs(), environment, || {
        let in_place = image::to_change(place, output)?;
        let (path, content) = content(&in_place, args)?;
        Ok((in_place, path, content))
    })?;
    let after = edited(&before, &path, environment)?;
    if after == before {
        output.note("unchanged", format_args!("{path}: nothing is written"));
        return Ok(Outcome::Done);
    }
    confine::apart(needs(), environment, || {
        let changed = apply::change(in_place, &options, |applier| {
            Ok(applier.edit("edit", "write", |editor, _| {
                editor.write(&path, LastLink::Keep, &after, Attributes::default())
            })?)
        });
        changed.map_err(|error| image::unchanged(place, error))
    })?;
    output.note("changed", &path);
    Ok(Outcome::Done)
}

/// The file that a path leads to, and what is in it.
fn content(image: &InPlace, args: &Args) -> Result<(ImagePath, Vec<u8>), Failure> {
    let disk = Disk::open(image.device().clone())?;
    let fs = disk.open_filesystem(disk.root(args.image.partition)?)?;
    let fs = fs.as_ref();
    let (_, path) = tree::resolve(fs, &args.path, LastLink::Follow)
        .map_err(|error| image::explained(fs, error))?;
    let content = tree::read_file(fs, &path, LIMIT)?;
    Ok((path, content))
}

/// What the user's editor makes of a file.
fn edited(before: &[u8], path: &ImagePath, environment: &Environment) -> Result<Vec<u8>, Failure> {
    let editor = environment.editor.as_ref().ok_or_else(|| {
        Failure::new("there is no editor").with_hint("set VISUAL or EDITOR to the command of yours")
    })?;
    // The name tells the editor what it is.
    let folder = private::folder("imgasm-").tempdir()?;
    let name = path.file_name().unwrap_or(b"file");
    let copy = folder.path().join(OsStr::from_bytes(name));
    fs::write(&copy, before)?;
    let failed = |problem: String| {
        Failure::new(format!("{}: {problem}", editor.display()))
            .with_hint("nothing was changed in the image")
    };
    let status = command(editor, &copy).status();
    let status = status.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(format!("it ended with {status}")));
    }
    let after = fs::symlink_metadata(&copy).map_err(|error| failed(error.to_string()))?;
    if !after.is_file() || after.len() > LIMIT {
        return Err(failed(
            "it left no file, or one that is too large".to_owned(),
        ));
    }
    Ok(fs::read(&copy)?)
}

/// The user's editor may come with arguments of its own, as git takes it.
fn command(editor: &OsStr, file: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    let mut script = OsString::from(editor);
    script.push(" \"$@\"");
    command.arg("-c").arg(script).arg(editor).arg(file);
    command
}
