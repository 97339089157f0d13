//! `imgasm ls IMAGE [PATH]`

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::thread;

use jiff::Timestamp;
use serde::Serialize;

use super::failure::Failure;
use super::image::ImageArgs;
use super::output::Output;
use super::{Outcome, confine, image};
use crate::environment::Environment;
use crate::sandbox::Needs;
use imgasm_block::Digest;
use imgasm_fs::digest::Hashers;
use imgasm_fs::path::ImagePath;
use imgasm_fs::text::{name_text, value_text};
use imgasm_fs::tree::{self, Entry};
use imgasm_fs::{DeviceNumber, FileSystem, FileType};
use imgasm_guest::accounts::Accounts;

/// List files inside an image.
#[derive(Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// Path inside the image; for a directory, what it holds is listed.
    #[arg(default_value = "/", value_parser = image::path())]
    path: ImagePath,
    /// Show type, mode, links, owner, group, size, time and link target.
    #[arg(short)]
    long: bool,
    /// List the path itself and everything below it.
    #[arg(short = 'R', long)]
    recursive: bool,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
    /// Read every file and give its SHA-256.
    #[arg(long)]
    digest: bool,
}

/// A file as `--json` shows it. Every key is always present; what does not apply is `null`.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    path: String,
    r#type: &'static str,
    /// Four octal digits.
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    /// RFC 3339, in UTC.
    mtime: String,
    nlink: u32,
    target: Option<String>,
    /// `major:minor`.
    rdev: Option<String>,
    xattrs: BTreeMap<String, String>,
    sha256: Option<Digest>,
}

impl Args {
    pub(super) fn needs(&self) -> Needs {
        confine::reading(confine::of_image(&self.image.image))
    }
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let fs = image::root(&args.image, environment, output)?;
    let fs = fs.as_ref();
    let start = tree::resolve(fs, &args.path, tree::LastLink::Keep)
        .map_err(|error| image::explained(fs, error))?
        .1;
    let accounts = if args.long && !args.json {
        Accounts::read(fs).unwrap_or_default()
    } else {
        Accounts::default()
    };
    let mut walk = tree::walk(fs, &start)?;
    if !args.recursive {
        walk = walk.max_depth(1);
    }
    let entries = walk.filter(|entry| {
        // Without -R, a directory stands for its entries.
        args.recursive
            || !matches!(entry, Ok(e) if e.path == start && e.metadata.file_type == FileType::Directory)
    });
    let mut print = |entry: &Entry, digest: Option<Digest>| {
        if args.json {
            output.json_line(&row(fs, entry, digest)?)
        } else {
            output.line(line(fs, entry, digest, args, &start, &accounts)?)
        }
    };
    if args.digest {
        let left_out = with_digests(fs, entries, &mut print)?;
        if left_out > 0 {
            output.warning(format_args!(
                "{left_out} files have no digest here, because they are holes for the most part"
            ));
        }
    } else {
        for entry in entries {
            print(&entry?, None)?;
        }
    }
    Ok(Outcome::Done)
}

/// Prints entries in order while the digests of those that follow are being computed. Gives the number
/// of files that were not hashed.
fn with_digests(
    fs: &dyn FileSystem,
    entries: impl Iterator<Item = tree::Result<Entry>>,
    print: &mut impl FnMut(&Entry, Option<Digest>) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    thread::scope(|scope| {
        let mut left_out = 0;
        let mut hashers: Hashers = Hashers::start(scope);
        hashers.begin(fs)?;
        let mut waiting: VecDeque<(Entry, Option<usize>)> = VecDeque::new();
        let mut digests = BTreeMap::new();
        for entry in entries {
            let entry = entry?;
            let is_file = entry.metadata.file_type == FileType::Regular;
            let number = is_file
                .then(|| hashers.add(fs, entry.node, entry.metadata.size))
                .transpose();
            let number = number.map_err(|error| {
                Failure::from(error).in_context(format!("cannot read {}", entry.path))
            })?;
            left_out += u64::from(is_file && number.flatten().is_none());
            waiting.push_back((entry, number.flatten()));
            digests.extend(hashers.ready());
            print_ready(&mut waiting, &digests, print)?;
        }
        digests.extend(hashers.finish());
        print_ready(&mut waiting, &digests, print)?;
        Ok(left_out)
    })
}

fn print_ready(
    waiting: &mut VecDeque<(Entry, Option<usize>)>,
    digests: &BTreeMap<usize, Digest>,
    print: &mut impl FnMut(&Entry, Option<Digest>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    while let Some((entry, number)) = waiting.front() {
        let digest = number.and_then(|number| digests.get(&number).copied());
        if number.is_some() && digest.is_none() {
            break;
        }
        print(entry, digest)?;
        waiting.pop_front();
    }
    Ok(())
}

/// An entry as `--json` shows it.
pub(super) fn row(
    fs: &dyn FileSystem,
    entry: &Entry,
    sha256: Option<Digest>,
) -> imgasm_fs::Result<Row> {
    let metadata = &entry.metadata;
    let xattrs = fs.xattrs(entry.node)?;
    Ok(Row {
        path: name_text(entry.path.as_bytes()),
        r#type: metadata.file_type.name(),
        mode: format!("{:04o}", metadata.permissions),
        uid: metadata.uid,
        gid: metadata.gid,
        size: metadata.size,
        mtime: time_text(metadata.modified),
        nlink: metadata.links,
        target: target(fs, entry)?.map(|target| name_text(&target)),
        rdev: metadata
            .device
            .map(|DeviceNumber { major, minor }| format!("{major}:{minor}")),
        xattrs: xattrs
            .iter()
            .map(|(name, value)| (name_text(name), value_text(value)))
            .collect(),
        sha256,
    })
}

fn target(fs: &dyn FileSystem, entry: &Entry) -> imgasm_fs::Result<Option<Vec<u8>>> {
    let is_link = entry.metadata.file_type == FileType::Symlink;
    is_link.then(|| fs.read_link(entry.node)).transpose()
}

fn line(
    fs: &dyn FileSystem,
    entry: &Entry,
    digest: Option<Digest>,
    args: &Args,
    start: &ImagePath,
    accounts: &Accounts,
) -> imgasm_fs::Result<String> {
    let mut line = String::new();
    if let Some(digest) = digest {
        line = format!("{digest}  ");
    } else if args.digest {
        line = format!("{:64}  ", "");
    }
    let metadata = &entry.metadata;
    if args.long {
        let size = match metadata.device {
            Some(DeviceNumber { major, minor }) => format!("{major}, {minor}"),
            None => metadata.size.to_string(),
        };
        write!(
            line,
            "{} {:>3} {:<8} {:<8} {size:>10} {} ",
            mode_text(metadata.file_type, metadata.permissions),
            metadata.links,
            accounts.user_name(metadata.uid),
            accounts.group_name(metadata.gid),
            time_text(metadata.modified),
        )
        .expect("a string takes all");
    }
    let name = if args.recursive || entry.path == *start {
        entry.path.as_bytes()
    } else {
        entry.path.file_name().unwrap_or(b"/")
    };
    line += &name_text(name);
    if args.long
        && let Some(target) = target(fs, entry)?
    {
        line += " -> ";
        line += &name_text(&target);
    }
    Ok(line)
}

/// The ten characters in which `ls -l` shows type and permissions.
fn mode_text(file_type: FileType, permissions: u16) -> String {
    let mut text = String::with_capacity(10);
    text.push(match file_type {
        FileType::Regular => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::CharDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = permissions >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 != 0, permissions & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// RFC 3339 in UTC; seconds since 1970 if the year has more than four digits.
fn time_text(time: imgasm_fs::Timestamp) -> String {
    let nanoseconds = i32::try_from(time.nanoseconds).unwrap_or(0);
    match Timestamp::new(time.seconds, nanoseconds) {
        Ok(time) => time.to_string(),
        Err(_) => time.seconds.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_as_ls_shows_them() {
        assert_eq!(mode_text(FileType::Regular, 0o644), "-rw-r--r--");
        assert_eq!(mode_text(FileType::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(mode_text(FileType::Regular, 0o4755), "-rwsr-xr-x");
        assert_eq!(mode_text(FileType::Regular, 0o2640), "-rw-r-S---");
    }
}
