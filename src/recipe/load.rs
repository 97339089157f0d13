//! From `imgasm.toml` to a [`Recipe`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use toml::Spanned;
use toml::de::DeValue;

use super::base::RawBase;
use super::disk::RawDisk;
use super::packages::{self, PackageWishes};
use super::volume::{Content, RawVolume, Volume};
use super::{AmiFacts, Base, Options, Recipe, compose};
use crate::config::decode::{self, Value};
use crate::config::given::keyed_digest;
use crate::config::{
    self, Boundary, ByteSize, Declarations, Diagnostic, Epoch, Given, Setting, Source, Values,
    Variables, template,
};
use crate::overlay::steps::package::PackageFile;
use crate::overlay::{Overlay, OverlayFile, ScriptSteps};
use crate::verify::expect::Expectation;
use crate::verify::live;
use imgasm_aws::wish::Ami;
use imgasm_block::Digest;

/// A recipe as it is written, without its variables.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecipe {
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
    package: Vec<PackageFile>,
    packages: Option<Spanned<PackageWishes>>,
    #[serde(default)]
    volume: Vec<Spanned<RawVolume>>,
    #[serde(default)]
    expect: Vec<Expectation>,
}

/// An entry of `overlays`: the path of a folder, alone or with values for its variables.
struct RawOverlay {
    path: PathBuf,
    variables: BTreeMap<Spanned<String>, Setting>,
    /// The names of those whose texts use a sensitive variable.
    revealing: BTreeSet<String>,
}

impl<'de> Deserialize<'de> for RawOverlay {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            path: PathBuf,
            #[serde(default)]
            variables: BTreeMap<Spanned<String>, Setting>,
        }

        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = RawOverlay;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the path of a folder, or a table with `path` and `variables`")
            }

            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<RawOverlay, E> {
                Ok(RawOverlay {
                    path: path.into(),
                    variables: BTreeMap::new(),
                    revealing: BTreeSet::new(),
                })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<RawOverlay, A::Error> {
                let map = serde::de::value::MapAccessDeserializer::new(map);
                let Table { path, variables } = Table::deserialize(map)?;
                Ok(RawOverlay {
                    path,
                    variables,
                    revealing: BTreeSet::new(),
                })
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl Recipe {
    /// Reads a recipe and its overlays.
    pub fn load(path: &Path, options: &Options) -> config::Result<Self> {
        let source = Source::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::from_source(source, folder, options)
    }

    /// Like [`Recipe::load`], for a text in memory; paths are relative to `folder`.
    pub fn from_source(source: Source, folder: &Path, options: &Options) -> config::Result<Self> {
        let boundary = Boundary::of_recipe(folder, &options.allow_outside)?;
        let source = compose::with_extended(source, folder, &boundary)?;
        let image = chosen(&source, options.image.as_deref())?;
        let text = source.clone();
        let mut table = compose::composed(&text, image.as_deref())?;
        let declarations = Declarations::decode(&source, table.remove("variables"))?;
        let variables = resolve(&source, &declarations, &options.values)?;
        let mut used = template::used(&table);
        let revealing = revealing(&table, &variables);
        if let Some(value) = table.remove("ami") {
            // It is rendered again when the image is known, but its errors are reported now.
            ami(&source, value, &variables, &sample_facts())?;
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
        let base = raw.base.into_inner().check(folder, disk);
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
        if let Some(problem) = packages::problem(&repositories, wishes.as_ref()) {
            return Err(source.error(wishes_span, problem).into());
        }
        let volumes = volumes(&source, folder, &boundary, raw.volume)?;
        let mut overlays = Vec::with_capacity(raw.overlays.len());
        let mut revealing = revealing.into_iter();
        for mut raw in raw.overlays {
            // A list that a variable holds has none.
            raw.get_mut().revealing = revealing.next().unwrap_or_default();
            overlays.push(overlay(&source, (folder, &boundary), raw, &variables)?);
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
        let digests = overlays.iter().map(Overlay::digest);
        let overlay_digests = digests.collect::<config::Result<Vec<_>>>()?;
        let lock = match &wishes {
            Some(_) => packages::lock_digest(&source, image.as_deref(), &boundary)?,
            None => None,
        };
        let own = (&overlays[..], &overlay_digests[..]);
        let digest = digest(&source, &name, &variables, own, &volumes);
        Ok(Self {
            digest: with_composed(digest, lock, image.as_deref(), &source),
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
            wishes,
            instead_of_scripts,
            overlays,
            overlay_digests,
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
        let source = Source::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let boundary = Boundary::of_recipe(folder, &options.allow_outside)?;
        let source = compose::with_extended(source, folder, &boundary)?;
        let names = compose::images(&source)?.into_iter();
        Ok(names.map(Spanned::into_inner).collect())
    }

    /// The recipe of this image as one text: with what it extends, and without its templates filled
    /// in.
    pub fn resolved(&self) -> config::Result<String> {
        let table = compose::composed(&self.source, self.image.as_deref())?;
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
        let mut table = compose::composed(&self.source, self.image.as_deref())?;
        let value = table.remove("ami");
        let ami = value.map(|value| ami(&self.source, value, &self.variables, facts));
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

/// Makes sure that files of packages and keys lie inside the boundary.
fn check_files(
    folder: &Path,
    boundary: &Boundary,
    packages: &[PackageFile],
    repositories: &[packages::Repository],
) -> config::Result<()> {
    for file in packages {
        file.check(folder, boundary)?;
    }
    let mut keys = repositories.iter().flat_map(|one| one.key_files(folder));
    keys.try_for_each(|file| boundary.check_file(&file))
}

/// The image that is meant, if the recipe has several.
fn chosen(source: &Source, wanted: Option<&str>) -> Result<Option<String>, Diagnostic> {
    let images = compose::images(source)?;
    let names: Vec<_> = images.iter().map(|name| name.get_ref().as_str()).collect();
    match (wanted, &images[..]) {
        (None, []) => Ok(None),
        (Some(wanted), _) if names.contains(&wanted) => Ok(Some(wanted.to_owned())),
        (Some(wanted), _) => {
            let error = source.error(0..0, format!("the recipe has no image `{wanted}`"));
            Err(error.with_hint(decode::alternatives("image", "images", wanted, &names)))
        }
        (None, [first, ..]) => {
            let error = source.error(first.span(), "the recipe is about several images");
            Err(error.with_hint(format!("choose one with --image: {}", names.join(", "))))
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

/// Reads the value of the key `ami`.
fn ami(
    source: &Source,
    value: Value<'_>,
    variables: &Variables,
    facts: &AmiFacts,
) -> config::Result<Ami> {
    let span = value.span();
    let day = jiff::Timestamp::from_second(facts.now).map_or_else(
        |_| facts.now.to_string(),
        |time| time.strftime("%Y-%m-%d").to_string(),
    );
    let mut known = vec![
        ("timestamp", Setting::Integer(facts.now)),
        ("date", Setting::Text(day)),
        ("digest", Setting::Text(facts.digest.to_string())),
    ];
    if let Some((id, name)) = &facts.source {
        known.push(("source_ami", Setting::Text(id.clone())));
        known.push(("source_ami_name", Setting::Text(name.clone())));
    }
    let mut all = variables.clone();
    for (name, value) in known {
        // The recipe's own variables take precedence.
        if all.get(name).is_none() {
            all.set(name, value);
        }
    }
    let ami: Ami = template::read(source, value, &all)?;
    ami.check().map_err(|problem| source.error(span, problem))?;
    Ok(ami)
}

/// Sample facts, in the form that those of an image have.
fn sample_facts() -> AmiFacts {
    AmiFacts {
        now: Epoch::DEFAULT.seconds(),
        digest: Digest::of(b""),
        source: Some(("ami-0".to_owned(), "name".to_owned())),
    }
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

/// For each entry of `overlays`, the names of the overlay's variables whose texts use a sensitive
/// variable of the recipe: they are sensitive themselves.
fn revealing(table: &decode::Table<'_>, variables: &Variables) -> Vec<BTreeSet<String>> {
    let Some(DeValue::Array(entries)) = table.get("overlays").map(Spanned::get_ref) else {
        return Vec::new();
    };
    let of_entry = |entry: &Value<'_>| {
        let settings = match entry.get_ref() {
            DeValue::Table(entry) => entry.get("variables").map(Spanned::get_ref),
            _ => None,
        };
        let Some(DeValue::Table(settings)) = settings else {
            return BTreeSet::new();
        };
        let reveals = |value: &Value<'_>| {
            let used = template::used_in(value);
            used.iter().any(|name| variables.is_sensitive(name))
        };
        let revealing = settings.iter().filter(|(_, value)| reveals(value));
        revealing
            .map(|(name, _)| name.get_ref().to_string())
            .collect()
    };
    entries.iter().map(of_entry).collect()
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

fn volumes(
    source: &Source,
    folder: &Path,
    boundary: &Boundary,
    raw: Vec<Spanned<RawVolume>>,
) -> Result<Vec<Volume>, Diagnostic> {
    let mut volumes: Vec<Volume> = Vec::with_capacity(raw.len());
    for raw in raw {
        let span = raw.span();
        let volume = raw.into_inner().check(folder, boundary);
        let volume = volume.map_err(|problem| source.error(span.clone(), problem))?;
        if let Some(problem) = volumes.iter().find_map(|other| clash(other, &volume)) {
            return Err(source.error(span, problem));
        }
        volumes.push(volume);
    }
    Ok(volumes)
}

/// What two volumes have in common but must not.
fn clash(one: &Volume, other: &Volume) -> Option<String> {
    if one.settings.device_name == other.settings.device_name {
        let name = one.settings.device_name.as_str();
        return Some(format!("{name} is the device of another volume already"));
    }
    let (Content::Filesystem(one), Content::Filesystem(other)) = (&one.content, &other.content)
    else {
        return None;
    };
    if one.label == other.label {
        let label = one.label.as_str();
        return Some(format!("`{label}` is the label of another volume already"));
    }
    let mount = one.mount.as_ref().filter(|_| one.mount == other.mount)?;
    Some(format!(
        "{} is mounted from another volume already",
        mount.as_str()
    ))
}

/// Reads an overlay. Its variables get what its entry gives, or what the recipe's variables of the
/// same names hold, or their defaults.
fn overlay(
    source: &Source,
    (folder, boundary): (&Path, &Boundary),
    raw: Spanned<RawOverlay>,
    variables: &Variables,
) -> config::Result<Overlay> {
    let span = raw.span();
    let RawOverlay {
        path,
        variables: settings,
        revealing,
    } = raw.into_inner();
    let given = |name: &str, value: &Setting| Given {
        value: value.clone(),
        is_sensitive: revealing.contains(name),
    };
    let name = path.display().to_string();
    let on_host = folder.join(path);
    if !on_host.is_dir() {
        let error = source.error(
            span,
            format!("there is no overlay at {}", on_host.display()),
        );
        let hint = "an overlay is a folder with an overlay.toml, relative to the recipe";
        return Err(error.with_hint(hint).into());
    }
    let inside = boundary.check(&on_host);
    inside.map_err(|error| outside(source, span, error, None))?;
    let file = OverlayFile::read(&name, &on_host)?;
    for (name, value) in &settings {
        let declarations = file.declarations();
        if !declarations.contains(name.get_ref()) {
            let known: Vec<_> = declarations.iter().map(|(name, _)| name).collect();
            let message = format!("the overlay has no variable `{}`", name.get_ref());
            let hint = decode::alternatives("variable", "variables", name.get_ref(), &known);
            return Err(source.error(name.span(), message).with_hint(hint).into());
        }
        if let Err(problem) = declarations.fit(name.get_ref(), given(name.get_ref(), value)) {
            let message = format!("the variable `{}`: {problem}", name.get_ref());
            return Err(source.error(name.span(), message).into());
        }
    }
    file.resolve(|name| {
        let own = settings.iter().find(|(known, _)| known.get_ref() == name);
        own.map(|(_, value)| given(name, value))
            .or_else(|| variables.given(name))
    })
}

/// Why something that the recipe names must not lie where it does, with the place that names it.
fn outside(
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

/// The identity of a recipe with its lock, the name of its image, and what it extends.
fn with_composed(
    mut digest: Digest,
    lock: Option<Digest>,
    image: Option<&str>,
    source: &Source,
) -> Digest {
    let mut also = |bytes: &[u8]| {
        digest = Digest::of(&[digest.as_bytes().as_slice(), bytes].concat());
    };
    if let Some(lock) = lock {
        also(lock.as_bytes());
    }
    if let Some(image) = image {
        also(image.as_bytes());
    }
    let mut extended = source.extended();
    while let Some(source) = extended {
        also(source.text().as_bytes());
        extended = source.extended();
    }
    digest
}

/// The identity of a recipe, for the image of this name, with everything that it was given.
fn digest(
    source: &Source,
    image: &str,
    variables: &Variables,
    (overlays, overlay_digests): (&[Overlay], &[Digest]),
    volumes: &[Volume],
) -> Digest {
    let mut hasher = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    let mut fields = |variables: &Variables| {
        for (name, value) in variables.plain() {
            field(name.as_bytes());
            field(value.to_string().as_bytes());
        }
        field(b"");
        for (name, value) in variables.sensitive() {
            field(name.as_bytes());
            field(keyed_digest(value, image, name).as_bytes());
        }
    };
    fields(variables);
    for overlay in overlays {
        fields(&overlay.variables);
    }
    field(source.text().as_bytes());
    for (overlay, digest) in overlays.iter().zip(overlay_digests) {
        field(overlay.name.as_bytes());
        field(digest.as_bytes());
    }
    for volume in volumes {
        if let Content::Filesystem(filesystem) = &volume.content
            && let Some(sha256) = filesystem.files.as_ref().and_then(|files| files.sha256)
        {
            field(sha256.as_bytes());
        }
    }
    Digest::finish(hasher)
}
