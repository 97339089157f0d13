//! `imgasm complete`: what can stand where the cursor is, as far as that is only known now.
//!
//! The scripts of `imgasm completions` ask for it: the variables and images of a recipe, paths inside
//! an image, profiles of AWS. About other arguments the status is 1, and the scripts know what can stand
//! there. If anything fails, nothing is said. No image is unpacked for it, nothing is written, and after
//! a second it is over.
//!
//! - [`words`]: which argument the cursor is at, and what the others are.

mod words;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::failure::Failure;
use super::inert;
use super::output::Output;
use super::{Outcome, command, image, recipe};
use crate::config::Declarations;
use crate::config::variables::Declaration;
use crate::environment::Environment;
use crate::overlay::OverlayFile;
use crate::recipe::{Options, Recipe};
use crate::sandbox;
use imgasm_disk::Disk;
use imgasm_fs::path::ImagePath;
use imgasm_fs::text::shown;
use imgasm_fs::tree::LastLink;
use imgasm_fs::{FileSystem, FileType};
use imgasm_guest::files::{entry, list};
use words::Asked;

/// How long someone waits who has pressed a key.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most that is offered.
const MOST: usize = 1000;

/// The longest file with profiles that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Print what can stand where the cursor is, for the scripts of `imgasm completions`.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(super) struct Args {
    /// The words have the shell's quotes.
    #[arg(long)]
    raw: bool,
    /// The words of the command line up to the cursor, the program first.
    #[arg(last = true, value_name = "WORD")]
    words: Vec<OsString>,
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    thread::spawn(|| {
        thread::sleep(PATIENCE);
        sandbox::leave();
        std::process::exit(0);
    });
    let words: Vec<OsString> = if args.raw {
        args.words
            .iter()
            .map(|word| words::unquoted(word))
            .collect()
    } else {
        args.words.clone()
    };
    let mut root = command();
    root.build();
    let asked = words::asked(&root, &words);
    let asked = asked.and_then(|asked| Some((Kind::of(&asked)?, asked)));
    let Some((kind, asked)) = asked else {
        return Ok(Outcome::Differs);
    };
    let found = candidates(kind, &asked, environment).unwrap_or_default();
    // The shell shows them, and types them for the user: only those that are what they look like.
    let is_plain = |word: &str| inert::lines(word) == word && shown(word) == word;
    let is_meant = |word: &&String| word.starts_with(&asked.text) && is_plain(word);
    for word in found.iter().filter(is_meant).take(MOST) {
        output.bytes(format!("{}{word}\n", asked.before).as_bytes())?;
    }
    Ok(Outcome::Done)
}

/// What is only known now.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// `NAME=VALUE` of a variable.
    Assignment,
    /// `NAME=` of a variable.
    Variable,
    /// An image of a recipe.
    Image,
    /// A profile of AWS.
    Profile,
    /// A path in the image that an argument before it names.
    Path,
    /// `IMAGE:/PATH`, with the place of the colon.
    ImagePath(usize),
}

impl Kind {
    fn of(asked: &Asked<'_>) -> Option<Self> {
        let text = &asked.text;
        match (asked.argument.get_id().as_str(), asked.argument.get_long()) {
            ("set", _) => Some(Self::Assignment),
            // What follows is a file.
            ("set_file", _) => (!text.contains('=')).then_some(Self::Variable),
            (_, Some("image")) => Some(Self::Image),
            ("profile", _) => Some(Self::Profile),
            ("path", None) => asked.value("image").map(|_| Self::Path),
            ("from" | "to", None) => text.find(":/").map(Self::ImagePath),
            _ => None,
        }
    }
}

/// What can stand there, among other things that do not begin with what there is already.
fn candidates(kind: Kind, asked: &Asked<'_>, environment: &Environment) -> Option<Vec<String>> {
    let text = asked.text.as_str();
    Some(match kind {
        Kind::Assignment => variables(&declarations(asked)?, text),
        Kind::Variable => {
            let declarations = declarations(asked)?;
            let names = declarations.iter().map(|(name, _)| format!("{name}="));
            names.collect()
        }
        Kind::Image => Recipe::images(&recipe_path(asked)?, &options(asked)).ok()?,
        Kind::Profile => {
            let files = environment.aws_profiles.iter();
            files.flat_map(|path| profiles(path)).collect()
        }
        Kind::Path => {
            let root = root(Path::new(asked.value("image")?), asked, environment)?;
            inside(root.as_ref(), text)?
        }
        Kind::ImagePath(colon) => {
            let root = root(Path::new(&text[..colon]), asked, environment)?;
            let found = inside(root.as_ref(), &text[colon + 1..])?.into_iter();
            found
                .map(|path| format!("{}{path}", &text[..=colon]))
                .collect()
        }
    })
}

/// `NAME=` of those that may stand there, and what follows, if a variable has few values.
fn variables(declarations: &Declarations, text: &str) -> Vec<String> {
    let Some((name, _)) = text.split_once('=') else {
        // Others could see the values of sensitive ones.
        let plain = declarations.iter().filter(|(_, known)| !known.is_sensitive);
        return plain.map(|(name, _)| format!("{name}=")).collect();
    };
    let choices = declarations.get(name).map(Declaration::choices);
    let choices = choices.unwrap_or_default().into_iter();
    choices.map(|choice| format!("{name}={choice}")).collect()
}

/// The variables of the recipe that is meant, or of the overlays that are applied.
fn declarations(asked: &Asked<'_>) -> Option<Declarations> {
    let Some(folder) = asked.value("overlays") else {
        return Recipe::declarations(&recipe_path(asked)?, &options(asked)).ok();
    };
    let overlay = OverlayFile::read(&folder.to_string_lossy(), Path::new(folder)).ok()?;
    Some(overlay.declarations().clone())
}

/// The recipe that is named, or the one of this folder.
fn recipe_path(asked: &Asked<'_>) -> Option<PathBuf> {
    let is_recipe = |name: &&str| {
        let value = asked.value(name);
        value.is_some_and(|value| crate::compare::is_recipe(Path::new(value)))
    };
    let named = asked.value("file");
    let named = named.or_else(|| asked.value(["old", "new"].iter().find(|name| is_recipe(name))?));
    named.map_or_else(|| recipe::nearest().ok(), |path| Some(path.into()))
}

fn options(asked: &Asked<'_>) -> Options {
    Options {
        allow_outside: asked.values("allow_outside").map(PathBuf::from).collect(),
        ..Options::default()
    }
}

/// The root filesystem of an image, if nothing has to be unpacked for it.
fn root(image: &Path, asked: &Asked<'_>, environment: &Environment) -> Option<Box<dyn FileSystem>> {
    let device = image::cache(environment).ok()?.at_hand(image).ok()??;
    let disk = Disk::open(device).ok()?;
    let partition = asked.value("partition");
    let partition = partition.and_then(|number| number.to_str()?.parse().ok());
    disk.open_filesystem(disk.root(partition).ok()?).ok()
}

/// The paths inside an image that begin with `text`; those of directories end in `/`.
fn inside(fs: &dyn FileSystem, text: &str) -> Option<Vec<String>> {
    let folder = &text[..text.rfind('/').map_or(0, |slash| slash + 1)];
    let above = if folder.is_empty() { "/" } else { folder };
    let path = ImagePath::parse(above).ok()?;
    let stem = &text[folder.len()..];
    let names = list(fs, &path).ok()?.into_iter();
    let names = names.filter_map(|(name, kind)| Some((String::from_utf8(name).ok()?, kind)));
    let names = names.filter(|(name, _)| name.starts_with(stem));
    let paths = names.take(MOST).map(|(name, kind)| {
        let leads_on = || entry(fs, &path.child(name.as_bytes()), LastLink::Follow);
        let is_folder = match kind {
            FileType::Symlink => matches!(leads_on(), Ok(Some((_, FileType::Directory)))),
            kind => kind == FileType::Directory,
        };
        format!("{above}{name}{}", if is_folder { "/" } else { "" })
    });
    Some(paths.collect())
}

/// The names of the profiles in a file of the AWS CLI: `[profile NAME]`, or `[NAME]`.
fn profiles(path: &Path) -> Vec<String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let heads = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix('[')?.strip_suffix(']'));
    let names = heads.filter_map(|head| match head.trim().split_once(char::is_whitespace) {
        None => Some(head.trim()),
        Some(("profile", name)) => Some(name.trim()),
        // Sessions and services.
        Some(_) => None,
    });
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_of_both_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let text = "[default]\nregion = x\n [profile dev ]\n[sso-session a]\n[other]\n[broken\n";
        std::fs::write(&path, text).unwrap();
        assert_eq!(profiles(&path), ["default", "dev", "other"]);
        assert!(profiles(&folder.path().join("none")).is_empty());
    }
}
