//! `imgasm build`

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::failure::Failure;
use super::output::{Output, bytes};
use super::progress::Bars;
use super::recipe::RecipeArgs;
use super::{Outcome, confine, images, recipe, reproduce};
use crate::build::{Bases, Build};
use crate::envelope::{self, Key};
use crate::environment::Environment;
use crate::manifest::{self, Manifest};
use crate::provenance::Statement;
use crate::recipe::Recipe;
use crate::sandbox::{self, Needs};
use crate::sbom;
use imgasm_disk::Disk;

/// The usual folder for outputs.
const OUTPUT: &str = "out";

/// Build the image of a recipe: NAME.raw, a raw file per formatted volume, manifest.json.
#[derive(Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The folder for the outputs.
    #[arg(short, long, value_name = "DIR", default_value = OUTPUT)]
    output: PathBuf,
    /// Replace an image that another recipe has built there.
    #[arg(long)]
    force: bool,
    /// Take nothing on trust, as in CI: unpacked images in the cache are compared with their digests.
    /// Packages and bases from servers are always those of imgasm.lock, which must fit the recipe.
    #[arg(long, conflicts_with = "trust_cache")]
    locked: bool,
    /// Build again, elsewhere and in another environment, and fail with status 1 if that gives
    /// other bytes.
    #[arg(long)]
    check_reproducible: bool,
    /// Build what a manifest records: with its variables and its time, from the same inputs, which
    /// must be unchanged.
    #[arg(long, value_name = "FILE", conflicts_with = "set")]
    from_manifest: Option<PathBuf>,
    /// Also write where the image comes from, as an in-toto statement with SLSA provenance.
    #[arg(long, value_name = "FILE")]
    provenance: Option<PathBuf>,
    /// Sign the provenance with the key in this file (PEM, Ed25519 or P-256): it is written in a DSSE
    /// envelope.
    #[arg(long, value_name = "KEY", requires = "provenance")]
    sign: Option<PathBuf>,
    /// Also write which packages and files are in the image, with licences and digests: a bill of
    /// materials as SPDX 2.3 if the name ends in .spdx.json, else as CycloneDX 1.5. Both may be wanted.
    #[arg(long, value_name = "FILE")]
    sbom: Vec<PathBuf>,
    /// As JSON: a list with the files of each image and its manifest.
    #[arg(long)]
    json: bool,
}

/// An image that was built, for programs.
#[derive(Serialize)]
struct Built<'b> {
    /// Which of the recipe's images it is, if the recipe has several.
    image: Option<&'b str>,
    files: &'b [PathBuf],
    manifest: &'b Manifest,
}

impl Args {
    /// `None` with a second build, which is another program.
    pub(super) fn needs(&self) -> Option<Needs> {
        (!self.check_reproducible).then(|| self.own_needs())
    }

    /// Makes sure that a link that came with the project does not take the usual folder for outputs
    /// out of it.
    fn check_links(&self, recipe: &Recipe) -> Result<(), Failure> {
        if self.output != Path::new(OUTPUT) {
            return Ok(());
        }
        for folder in [self.output.clone(), recipe.outputs(&self.output)] {
            if folder.is_symlink() {
                let inside = recipe.boundary.check(&folder);
                inside.map_err(|error| {
                    Failure::from(error).with_hint("`-o DIR` names a folder outside of the project")
                })?;
            }
        }
        Ok(())
    }

    fn own_needs(&self) -> Needs {
        let beside = self.provenance.iter().chain(&self.sbom);
        Needs {
            write: beside.map(|file| confine::folder_of(file)).collect(),
            make: vec![self.output.clone()],
            ..confine::anything()
        }
    }
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let mut environment = environment.clone();
    environment.trusts_cache &= !args.locked;
    let environment = &environment;
    if !args.check_reproducible {
        build_all(args, environment, output)?;
        return Ok(Outcome::Done);
    }
    let work = || build_all(args, environment, output);
    let built = confine::apart(args.own_needs(), environment, work)?;
    let mut outcome = Outcome::Done;
    for (recipe, paths) in &built {
        let again = reproduce::check(recipe, environment, &args.output, paths, output)?;
        if let Outcome::Differs = again {
            outcome = Outcome::Differs;
        }
    }
    Ok(outcome)
}

/// Builds every image, and gives each recipe with the files that were made.
fn build_all(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Vec<(Recipe, Vec<PathBuf>)>, Failure> {
    let recorded = args
        .from_manifest
        .as_deref()
        .map(read_manifest)
        .transpose()?;
    let recipes = match &recorded {
        Some(recorded) => vec![recipe::load_recorded(&args.recipe, recorded, environment)?],
        None => recipe::load_all(&args.recipe, environment)?,
    };
    if recipes.len() > 1 && (args.provenance.is_some() || !args.sbom.is_empty()) {
        return Err(Failure::new("a file can be about one image only")
            .with_hint("choose an image with --image"));
    }
    for recipe in &recipes {
        args.check_links(recipe)?;
    }
    if !args.force {
        for recipe in &recipes {
            let manifest = recipe.outputs(&args.output).join(manifest::FILE_NAME);
            refuse_foreign(&manifest, &recipe.name)?;
        }
    }
    let key = args.sign.as_deref().map(Key::read).transpose()?;
    let mut read: Vec<PathBuf> = recipes.iter().flat_map(confine::of_recipe).collect();
    if args.provenance.is_some() {
        read.push(std::env::current_exe()?);
    }
    confine::narrow(&read, environment)?;
    let wanted = Wanted {
        args,
        recorded: recorded.as_ref(),
        key: key.as_ref(),
    };
    let one = |recipe: &Recipe, bases: &Bases, bars: &Bars, output: &mut Output| {
        let (paths, manifest) = build(&wanted, recipe, (bases, bars), output)?;
        Ok((recipe.clone(), paths, manifest))
    };
    let (built, outcome) = images::each(&recipes, environment, output, one)?;
    if args.json {
        let all = built.iter().map(|(recipe, files, manifest)| Built {
            image: recipe.image.as_deref(),
            files,
            manifest,
        });
        output.json(&all.collect::<Vec<_>>())?;
    }
    outcome?;
    let built = built.into_iter();
    Ok(built.map(|(recipe, paths, _)| (recipe, paths)).collect())
}

/// What is wanted of each image.
struct Wanted<'a> {
    args: &'a Args,
    recorded: Option<&'a Manifest>,
    key: Option<&'a Key>,
}

/// Builds the image of a recipe, and gives the files that were made and its manifest.
fn build(
    wanted: &Wanted<'_>,
    recipe: &Recipe,
    (bases, bars): (&Bases, &Bars),
    output: &mut Output,
) -> Result<(Vec<PathBuf>, Manifest), Failure> {
    let Wanted {
        args,
        recorded,
        key,
    } = *wanted;
    let folder = recipe.outputs(&args.output);
    let build = recipe::prepare(recipe, bases, bars, output)?;
    let manifest = &build.manifest;
    let recorded = recorded.map(|recorded| {
        let mut recorded = recorded.clone();
        // How the bytes were compared does not change them.
        recorded.base.bound = manifest.base.bound;
        recorded
    });
    if let Some(recorded) = recorded.filter(|recorded| recorded != manifest) {
        return Err(reproduce::not_the_recorded(&recorded, manifest));
    }
    // Before anything is written, because the packages may not be known.
    let sboms = bills_of_materials(&args.sbom, &build, recipe)?;
    sandbox::keep();
    let paths = build.commit(&folder, bases.cache())?;
    output.note(
        "base",
        format_args!("{}  {}", manifest.base.name, manifest.base.digest),
    );
    if manifest.base.unpinned {
        let name = &manifest.base.name;
        output.note(
            "unpinned",
            format_args!("{name}: the recipe gives no sha256 for it"),
        );
    }
    for package in manifest.packages.iter().filter(|package| package.unsigned) {
        let (name, version) = (&package.name, &package.version);
        output.note(
            "unsigned",
            format_args!("{name}-{version}: no key had to have signed it"),
        );
    }
    for overlay in &manifest.overlays {
        let changes = manifest
            .changes
            .iter()
            .filter(|change| change.overlay == overlay.name);
        output.note(
            "overlay",
            format_args!("{}  {} paths", overlay.name, changes.count()),
        );
    }
    for volume in &manifest.volumes {
        let device = &volume.device_name;
        if let Some(filesystem) = &volume.filesystem {
            let (kind, label) = (&filesystem.kind, &filesystem.label);
            let size = bytes(filesystem.size);
            output.note(
                "volume",
                format_args!("{device}  {size} {kind}, label {label}"),
            );
        }
    }
    output.note(
        "image",
        format_args!("{}  {}", bytes(manifest.image.size), manifest.image.digest),
    );
    if let Some(path) = &args.provenance {
        let disks = paths
            .iter()
            .filter(|path| !path.ends_with(manifest::FILE_NAME));
        let disks: Vec<&Path> = disks.map(PathBuf::as_path).collect();
        let tool = std::env::current_exe()?;
        let statement = Statement::new(manifest, &recipe.base, &disks, &tool)?;
        let statement = statement.to_json();
        let written = match key {
            Some(key) => envelope::seal(statement.as_bytes(), key),
            None => statement,
        };
        imgasm_block::Output::write(path, written.as_bytes())?;
    }
    for (path, document) in sboms {
        imgasm_block::Output::write(path, &document)?;
    }
    for path in paths.iter().filter(|_| !args.json) {
        output.line(path.display())?;
    }
    Ok((paths, build.manifest))
}

/// What is in an image, for files of these names.
fn bills_of_materials<'p>(
    paths: &'p [PathBuf],
    build: &Build,
    recipe: &Recipe,
) -> Result<Vec<(&'p Path, Vec<u8>)>, Failure> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let disk = Disk::open(build.delta.clone())?;
    let root = disk.root(recipe.base.partition())?;
    let contents = sbom::Contents::read(&disk, root)?;
    let documents = paths.iter().map(|path| {
        let form = sbom::Form::of_name(path);
        let document = sbom::document(form, &build.manifest, &contents)?;
        Ok((path.as_path(), document))
    });
    documents.collect()
}

fn read_manifest(path: &Path) -> Result<Manifest, Failure> {
    let failed = |failure: Failure| failure.in_context(format!("cannot read {}", path.display()));
    let json = manifest::read(path).map_err(|error| failed(error.into()))?;
    let json = json.ok_or_else(|| failed(Failure::new("it is not a manifest")))?;
    Manifest::parse(&json).map_err(|error| failed(error.into()))
}

/// Refuses to replace what a recipe with another name has built.
fn refuse_foreign(path: &Path, name: &str) -> Result<(), Failure> {
    let what = match manifest::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => format!("cannot be read: {error}"),
        Ok(None) => "is not a manifest".to_owned(),
        Ok(Some(json)) => match Manifest::parse(&json) {
            Ok(manifest) if manifest.name == name => return Ok(()),
            Ok(manifest) => format!("is of the image `{}`", manifest.name),
            Err(error) => format!("is not a manifest: {error}"),
        },
    };
    Err(Failure::new(format!("{} {what}", path.display()))
        .with_hint("choose another folder with -o, or replace it with --force"))
}
