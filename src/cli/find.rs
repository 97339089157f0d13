//! `imgasm find IMAGE [PATH]`

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::failure::Failure;
use super::image::ImageArgs;
use super::output::Output;
use super::{Outcome, confine, image, ls};
use crate::environment::Environment;
use crate::sandbox::Needs;
use imgasm_fs::FileType;
use imgasm_fs::path::ImagePath;
use imgasm_fs::text::name_text;
use imgasm_fs::tree::glob::Pattern;
use imgasm_fs::tree::{self, Entry};
use imgasm_guest::accounts::Accounts;

/// Find files inside an image.
///
/// What is asked for must hold together. The status is 1 if nothing is found.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// The directory inside the image in which is looked.
    #[arg(default_value = "/", value_parser = image::path())]
    path: ImagePath,
    /// A pattern of the last name: `*.service`.
    #[arg(long, value_name = "PATTERN", value_parser = name_pattern)]
    name: Option<Pattern>,
    /// A pattern of the whole path: `/etc/**/*.conf`.
    #[arg(long, value_name = "PATTERN", value_parser = path_pattern)]
    matching: Option<Pattern>,
    /// What it is.
    #[arg(long = "type", value_name = "TYPE", value_parser = file_type())]
    kind: Option<FileType>,
    /// The owner, a name or a number.
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// The group, a name or a number.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Modes that have all of these bits: 4000 finds what is set-user-ID.
    #[arg(long, value_name = "BITS", value_parser = bits)]
    mode: Option<u16>,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

fn name_pattern(text: &str) -> Result<Pattern, String> {
    if text.contains('/') {
        return Err("a name has no slash; `--matching` takes whole paths".to_owned());
    }
    path_pattern(&format!("/**/{text}"))
}

fn path_pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}

const TYPES: [FileType; 7] = [
    FileType::Regular,
    FileType::Directory,
    FileType::Symlink,
    FileType::CharDevice,
    FileType::BlockDevice,
    FileType::Fifo,
    FileType::Socket,
];

/// Parses the name of a type; completions know them.
fn file_type() -> impl TypedValueParser<Value = FileType> {
    PossibleValuesParser::new(TYPES.map(FileType::name)).map(|name| {
        let known = TYPES.into_iter().find(|kind| kind.name() == name);
        known.expect("only these names are possible")
    })
}

fn bits(text: &str) -> Result<u16, String> {
    let bits = u16::from_str_radix(text, 8).ok();
    let bits = bits.filter(|bits| *bits <= 0o7777);
    bits.ok_or_else(|| "octal digits are wanted, at most 7777".to_owned())
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
    let start = tree::resolve(fs, &args.path, tree::LastLink::Follow)
        .map_err(|error| image::explained(fs, error))?
        .1;
    let accounts = Accounts::read(fs).unwrap_or_default();
    let number = |name: &Option<String>, what: &str, known: &dyn Fn(&str) -> Option<u32>| {
        let resolve = |name: &String| {
            let number = name.parse().ok().or_else(|| known(name));
            number.ok_or_else(|| Failure::new(format!("the image has no {what} {name}")))
        };
        name.as_ref().map(resolve).transpose()
    };
    let uid = number(&args.owner, "user", &|name| Some(accounts.user(name)?.uid))?;
    let gid = number(&args.group, "group", &|name| {
        Some(accounts.group(name)?.gid)
    })?;
    let is_wanted = |entry: &Entry| {
        let metadata = &entry.metadata;
        args.name
            .as_ref()
            .is_none_or(|pattern| pattern.matches(&entry.path))
            && args
                .matching
                .as_ref()
                .is_none_or(|pattern| pattern.matches(&entry.path))
            && args.kind.is_none_or(|kind| kind == metadata.file_type)
            && uid.is_none_or(|uid| uid == metadata.uid)
            && gid.is_none_or(|gid| gid == metadata.gid)
            && args
                .mode
                .is_none_or(|bits| metadata.permissions & bits == bits)
    };
    let mut outcome = Outcome::Differs;
    for entry in tree::walk(fs, &start)? {
        let entry = entry?;
        if !is_wanted(&entry) {
            continue;
        }
        outcome = Outcome::Done;
        if args.json {
            output.json_line(&ls::row(fs, &entry, None)?)?;
        } else {
            output.line(name_text(entry.path.as_bytes()))?;
        }
    }
    Ok(outcome)
}
