//! From `imgasm.toml` to a [`Recipe`].

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;
use toml::de::DeValue;

use super::base::RawBase;
use super::disk::RawDisk;
use super::overlays::{self, RawOverlay};
use super::packages::{self, PackageWishes};
use super::volume::{self, RawVolume};
use super::{AmiFacts, Base, NamedPackage, Options, Recipe, ami, compose, identity};
use crate::config::decode::{self, Value};
use crate::config::{
    self, Boundary, ByteSize, Declarations, Diagnostic, Epoch, Given, Source, Values, Variables,
    template,
};
use crate::overlay::{Overlay, ScriptSteps};
use crate::verify::expect::Expectation;
use crate::verify::live;
use imgasm_aws::wish::Ami;

/// A recipe as it is written, without its variables.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRecipe {
    name: Spanned<String>,
    description: Option<String>,
    base: Spanned<RawBase>,
    disk: Option<Spanned<RawDisk>>,
    disk_size: Option<ByteSize>,
    #[serde(default)]
    sparsify: bool,
    source_date_epoch: Option<Epoch>,
    #[serde(default)]
    overlays: Vec<Spanned<RawOverlay>>,
    #[serde(default)]
    package: Vec<NamedPackage>,
    packages: Option<Spanned<PackageWishes>>,
    #[serde(default)]
    volume: Vec<Spanned<RawVolume>>,
    #[serde(default)]
    expect: Vec<Expectation>,
    // What is taken out before this is decoded. Named here, so that messages know the keys.
    #[serde(rename = "extends")]
    _extends: Option<IgnoredAny>,
    #[serde(rename = "image")]
    _image: Option<IgnoredAny>,
    #[serde(rename = "variables")]
    _variables: Option<IgnoredAny>,
    #[serde(rename = "repository")]
    _repository: Option<IgnoredAny>,
    #[serde(rename = "ami")]
    _ami: Option<IgnoredAny>,
}

impl Recipe {
    /// Reads a recipe and its overlays.
    pub fn load(path: &Path, options: &Options) -> config::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let boundary = Boundary::of_recipe(folder, &options.allow_outside)?;
        Self::from_source(text(path, &boundary)?, folder, options)
    }

    /// Like [`Recipe::load`], for a text in memory; paths are relative to `folder`.
    pub fn from_source(source: Source, folder: &Path, options: &Options) -> config::Result<Self> {
        let boundary = Boundary::of_recipe(folder, &options.allow_outside)?;
        let source = compose::with_extended(source, folder, &boundary)?;
        let text = source.clone();
        let (mut table, image) = compose::composed(&text, options.image.as_deref())?;
        let declarations = Declarations::decode(&source, table.remove("variables"))?;
        let variables = resolve(&source, &declarations, &options.values)?;
        // What an overlay's variable becomes is sensitive in its turn.
        for (_, value) in table.iter().filter(|(key, _)| key.get_ref() != "overlays") {
            template::check_sensitive(&source, value, &variables)?;
        }
        let mut used = template::used(&table);
        let revealing = overlays::revealing(&table, &variables);
        if let Some(value) = table.remove("ami") {
            check_public(&source, &value, &variables)?;
            // It is rendered again when the image is known, but its errors are reported now.
            ami::read(&source, value, &variables, &ami::sample_facts())?;
        }

        let mut live = live::read(&source, &mut table, &variables)?;
        let repositories = table.remove("repository");
        let repositories = repositories
            .map(|value| packages::repositories(&source, value, &variables))
            .transpose()?
            .unwrap_or_default();

        let instead_of_scripts = take_overrides(&source, &mut table, &variables)?;
        let value = Value::new(0..source.text().len(), DeValue::Table(table));
        let raw: RawRecipe = template::read(&source, value, &variables)?;

        let base_span = raw.base.span();
        let disk_span = raw.disk.as_ref().map(Spanned::span);
        let disk = raw.disk.map(Spanned::into_inner);
        let base = raw.base.into_inner();
        let base = base.check(folder, options.downloads.as_deref(), disk);
        let base = base.map_err(|problem| {
            let place = disk_span.unwrap_or_else(|| base_span.clone());
            source.error(place, problem)
        })?;
        let inside = base.check_place(&boundary);
        inside.map_err(|error| outside(&source, base_span.clone(), error, Some(&base)))?;
        let inside = check_files(folder, &boundary, &raw.package, &repositories);
        inside.map_err(|error| outside(&source, 0..0, error, None))?;
        let epoch = raw.source_date_epoch.or(options.source_date_epoch);
        let name = checked_name(&source, raw.name)?;
        let wishes_span = raw.packages.as_ref().map_or(0..0, Spanned::span);
        let wishes = raw.packages.map(Spanned::into_inner);
        let place = (folder, &boundary);
        let volumes = volume::check_all(&source, place, &options.folders, raw.volume)?;
        let overlays = overlays::read(&source, place, raw.overlays, revealing, &variables)?;
        let has_lock = packages::need_lock(wishes.as_ref(), &raw.package, &overlays);
        if let Some(problem) = packages::problem(&repositories, wishes.as_ref(), has_lock) {
            return Err(source.error(wishes_span, problem).into());
        }
        if repositories.is_empty() {
            overlays.iter().try_for_each(Overlay::check_nameless)?;
        }
        let mut expectations = raw.expect;
        for overlay in &overlays {
            expectations.extend(overlay.expectations.iter().cloned());
            live.extend(overlay.live.iter().cloned());
        }
        let names = overlays.iter().flat_map(|overlay| overlay.variables.iter());
        used.extend(names.map(|(name, _)| name.to_owned()));
        // What one image does not use, another one may.
        let warnings = match image {
            Some(_) => Vec::new(),
            None => declarations.unused(&source, &used),
        };
        let overlay_digests = options
            .folders
            .digests(overlays.iter().map(Overlay::folder))?;
        let lock = if has_lock {
            packages::lock_digest(&source, image.as_deref(), &boundary)?
        } else {
            None
        };
        let own = (&overlays[..], &overlay_digests[..]);
        let digest = identity::digest(&source, &name, &variables, own, &volumes);
        Ok(Self {
            digest: identity::with_composed(digest, lock, image.as_deref(), &source),
            image,
            name,
            description: raw.description,
            variables,
            base,
            base_span,
            disk_size: raw.disk_size,
            sparsify: raw.sparsify,
            source_date_epoch: epoch.unwrap_or(Epoch::DEFAULT).seconds(),
            packages: raw.package,
            repositories,
            own_wishes: wishes,
            instead_of_scripts,
            overlays,
            overlay_digests,
            folders: options.folders.clone(),
            volumes,
            expectations,
            live,
            folder: folder.to_owned(),
            boundary,
            warnings,
            source,
        })
    }

    /// The names of the images of the recipe in a file; none if it is about one image only.
    pub fn images(path: &Path, options: &Options) -> config::Result<Vec<String>> {
        Ok(compose::images(&extended(path, options)?)?)
    }

    /// The variables that the recipe in a file declares.
    pub fn declarations(path: &Path, options: &Options) -> config::Result<Declarations> {
        let source = extended(path, options)?;
        let variables = compose::merged(&source)?.remove("variables");
        Ok(Declarations::decode(&source, variables)?)
    }

    /// The recipe of this image as one text: with what it extends, and without its templates filled
    /// in.
    pub fn resolved(&self) -> config::Result<String> {
        let (table, _) = compose::composed(&self.source, self.image.as_deref())?;
        let value = Value::new(0..self.source.text().len(), DeValue::Table(table));
        let table: toml::Table = decode::decode(&self.source, value)?;
        Ok(table.to_string())
    }

    /// The folder for the outputs of this image, below the one that the user names.
    pub fn outputs(&self, folder: &Path) -> PathBuf {
        match &self.image {
            Some(image) => folder.join(image),
            None => folder.to_owned(),
        }
    }

    /// The recipe's `[ami]` for an image with these facts; `None` if it has none.
    pub fn ami(&self, facts: &AmiFacts) -> config::Result<Option<Ami>> {
        let (mut table, _) = compose::composed(&self.source, self.image.as_deref())?;
        let value = table.remove("ami");
        let ami = value.map(|value| ami::read(&self.source, value, &self.variables, facts));
        ami.transpose()
    }

    /// The recipe's `[ami]`, rendered without the facts that are known only at the import.
    pub fn any_ami(&self) -> config::Result<Option<Ami>> {
        self.ami(&AmiFacts {
            now: self.source_date_epoch,
            digest: self.digest,
            source: Some(<(String, String)>::default()),
        })
    }
}

/// The text of a recipe, with those that it extends.
fn extended(path: &Path, options: &Options) -> config::Result<Source> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let boundary = Boundary::of_recipe(folder, &options.allow_outside)?;
    compose::with_extended(text(path, &boundary)?, folder, &boundary)
}

/// Makes sure that files of packages and keys lie inside the boundary.
fn check_files(
    folder: &Path,
    boundary: &Boundary,
    packages: &[NamedPackage],
    repositories: &[packages::Repository],
) -> config::Result<()> {
    for file in packages {
        file.check(folder, boundary)?;
    }
    let mut keys = repositories.iter().flat_map(|one| one.key_files(folder));
    keys.try_for_each(|file| boundary.check_file(&file))
}

/// Makes sure that `[ami]`, which others see, uses no sensitive variable.
fn check_public(source: &Source, ami: &Value<'_>, variables: &Variables) -> Result<(), Diagnostic> {
    let used = template::used_in(ami);
    match used.iter().find(|name| variables.is_sensitive(name)) {
        None => Ok(()),
        Some(name) => {
            let message = format!("`{name}` is sensitive, and an AMI is seen by others");
            Err(source.error(ami.span(), message))
        }
    }
}

/// Takes the table `[packages.override]` out of a recipe.
fn take_overrides(
    source: &Source,
    table: &mut decode::Table<'_>,
    variables: &Variables,
) -> config::Result<Vec<ScriptSteps>> {
    let value = match table.get_mut("packages").map(Value::get_mut) {
        Some(DeValue::Table(packages)) => packages.remove("override"),
        _ => None,
    };
    let value = value.map(|value| ScriptSteps::decode(source, value, variables));
    Ok(value.transpose()?.unwrap_or_default())
}

/// The values of the recipe's variables: what is set from outside, or the defaults.
fn resolve(
    source: &Source,
    declarations: &Declarations,
    values: &Values,
) -> config::Result<Variables> {
    if let Some(unknown) = values.names().find(|name| !declarations.contains(name)) {
        declarations.parse(unknown, "")?;
    }
    let given = values.declared(declarations)?;
    let given = |name: &str| given.get(name).cloned().map(Given::from);
    Ok(declarations.resolve(source, given)?)
}

/// Checks the name, with which the names of files begin.
fn checked_name(source: &Source, name: Spanned<String>) -> Result<String, Diagnostic> {
    let span = name.span();
    let name = name.into_inner();
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(is_safe) {
        return Ok(name);
    }
    let error = source.error(span, format!("{name:?} cannot be the name of an image"));
    let hint = "files are named after it: letters, digits, `.`, `_` and `-`, first a letter or \
                digit";
    Err(error.with_hint(hint))
}

/// The text of a recipe. The file may have come with the project, as a link: its lines may stand in
/// messages, so that it must lie inside like all that it names.
fn text(path: &Path, boundary: &Boundary) -> config::Result<Source> {
    let file = boundary.open(path);
    let file = file.map_err(|error| {
        let nothing = Source::new(&path.display().to_string(), "");
        outside(&nothing, 0..0, error, None)
    })?;
    Source::from_file(file, path)
}

/// Why something that the recipe names must not lie where it does, with the place that names it.
pub(super) fn outside(
    source: &Source,
    span: std::ops::Range<usize>,
    error: config::Error,
    base: Option<&Base>,
) -> config::Error {
    if !matches!(error, config::Error::Outside { .. }) {
        return error;
    }
    let allow = "`--allow-outside DIR` allows a folder, for a recipe that you trust";
    let hint = match base {
        Some(Base::File { .. }) => {
            format!("a base may lie anywhere if its `sha256` is given; or {allow}")
        }
        _ => allow.to_owned(),
    };
    source.error(span, error.to_string()).with_hint(hint).into()
}
