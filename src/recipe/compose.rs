//! Recipes that extend others, and the images of one recipe.
//!
//! There is one rule for both: what is added is laid over what is there. Tables are merged key by
//! key, lists are joined, what was there first, and of other values the new one counts. `base` is
//! one value, whatever it is written as; and a variable that gets a plain value keeps the rest of its
//! declaration.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeString, DeValue};

use super::load::outside;
use crate::config::decode::{self, Table, Value};
use crate::config::place::is_url;
use crate::config::{self, Boundary, Diagnostic, Source};

/// The most recipes that extend one another.
const MOST: usize = 16;

/// The key of the recipe that is extended.
const EXTENDS: &str = "extends";
/// The key of the images.
const IMAGE: &str = "image";
/// The most images of a recipe, each of which is read by itself.
const MOST_IMAGES: usize = 250;
/// The key, in an image, of the overlays that it leaves out.
const WITHOUT: &str = "without_overlays";

/// The keys with paths of the host, each of a text or a list of texts. A list on the way stands for
/// each of its members.
const PATHS: [&[&str]; 13] = [
    &["overlays"],
    &["overlays", "path"],
    &["base", "file"],
    &["base", "rootfs"],
    &["package", "path"],
    &["package", "keyring"],
    &["package", "signature"],
    &["repository", "baseurl"],
    &["repository", "gpgkey"],
    &["repository", "metalink"],
    &["repository", "mirrorlist"],
    &["volume", "files"],
    &[WITHOUT],
];

/// Reads the recipes that a recipe in `folder` extends.
pub(super) fn with_extended(
    source: Source,
    folder: &Path,
    boundary: &Boundary,
) -> config::Result<Source> {
    let mut seen = BTreeSet::new();
    extended(source, folder, boundary, &mut seen)
}

fn extended(
    source: Source,
    folder: &Path,
    boundary: &Boundary,
    seen: &mut BTreeSet<PathBuf>,
) -> config::Result<Source> {
    let own = source.clone();
    let table = decode::parse(&own)?;
    let Some(value) = table.get(EXTENDS) else {
        return Ok(source);
    };
    let path = folder.join(extends(&own, value)?);
    let error = |problem: String| own.error(value.span(), problem);
    let file = boundary.open(&path).map_err(|problem| match problem {
        config::Error::Io { path, source } => {
            config::Error::from(error(format!("cannot read {}: {source}", path.display())))
        }
        other => outside(&own, value.span(), other, None),
    })?;
    let place = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    if !seen.insert(place) {
        return Err(error("this recipe extends itself".to_owned()).into());
    }
    if seen.len() >= MOST {
        let problem = format!("more than {MOST} recipes extend one another");
        return Err(error(problem).into());
    }
    let base = Source::from_file(file, &path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let base = extended(base, folder, boundary, seen)?;
    Ok(source.extending(base))
}

/// The path that the value of `extends` is.
fn extends(source: &Source, value: &Value<'_>) -> Result<PathBuf, Diagnostic> {
    match value.get_ref() {
        DeValue::String(text) if !text.is_empty() => Ok(PathBuf::from(text.as_ref())),
        _ => Err(source.error(value.span(), "`extends` is the path of a recipe")),
    }
}

/// The names of a recipe's images.
pub(super) fn images(source: &Source) -> Result<Vec<String>, Diagnostic> {
    let mut table = merged(source)?;
    let entries = entries(source, &mut table)?.into_iter();
    Ok(entries.map(|(name, _)| name.into_inner()).collect())
}

/// What the recipe says of the image that is wanted, and that image's name; of a recipe without images,
/// what it says.
///
/// # Errors
/// If it has several, and none of them is wanted.
pub(super) fn composed<'s>(
    source: &'s Source,
    wanted: Option<&str>,
) -> Result<(Table<'s>, Option<String>), Diagnostic> {
    let mut table = merged(source)?;
    let mut entries = entries(source, &mut table)?;
    let names = || -> Vec<&str> {
        entries
            .iter()
            .map(|(name, _)| name.get_ref().as_str())
            .collect()
    };
    let found = match (wanted, entries.first()) {
        (None, None) => return Ok((table, None)),
        (None, Some((first, _))) => {
            let error = source.error(first.span(), "the recipe is about several images");
            return Err(error.with_hint(format!("choose one with --image: {}", names().join(", "))));
        }
        (Some(wanted), _) => names()
            .iter()
            .position(|name| *name == wanted)
            .ok_or_else(|| {
                let error = source.error(0..0, format!("the recipe has no image `{wanted}`"));
                error.with_hint(decode::alternatives("image", "images", wanted, &names()))
            })?,
    };
    let (name, mut entry) = entries.swap_remove(found);
    let without = entry.remove(WITHOUT);
    lay_over(&mut table, entry, &[]);
    if let Some(without) = without {
        leave_out(source, &mut table, &without)?;
    }
    let span = name.span();
    let name = name.into_inner();
    let value = DeValue::String(DeString::Owned(name.clone()));
    insert(&mut table, "name", Value::new(span, value));
    Ok((table, Some(name)))
}

/// Takes the entries of `image` out of a recipe.
fn entries<'s>(
    source: &Source,
    table: &mut Table<'s>,
) -> Result<Vec<(Spanned<String>, Table<'s>)>, Diagnostic> {
    let Some(value) = table.remove(IMAGE) else {
        return Ok(Vec::new());
    };
    let span = value.span();
    let DeValue::Array(values) = value.into_inner() else {
        return Err(source.error(span, "images are tables `[[image]]`"));
    };
    if values.len() > MOST_IMAGES {
        let problem = format!("a recipe has at most {MOST_IMAGES} images");
        return Err(source.error(span, problem));
    }
    let mut entries: Vec<(Spanned<String>, Table<'s>)> = Vec::new();
    for value in values {
        let span = value.span();
        let DeValue::Table(mut entry) = value.into_inner() else {
            return Err(source.error(span, "an image is a table"));
        };
        let name = entry.remove("name").map(|name| (name.span(), name));
        let name = match name {
            None => return Err(source.error(span, "an image needs a `name`")),
            Some((span, name)) => match name.into_inner() {
                DeValue::String(name) => Spanned::new(span, name.into_owned()),
                _ => return Err(source.error(span, "a name is text")),
            },
        };
        if entries
            .iter()
            .any(|(other, _)| other.get_ref() == name.get_ref())
        {
            let problem = format!("`{}` is the name of another image already", name.get_ref());
            return Err(source.error(name.span(), problem));
        }
        entries.push((name, entry));
    }
    Ok(entries)
}

/// A recipe, laid over the ones that it extends.
pub(super) fn merged(source: &Source) -> Result<Table<'_>, Diagnostic> {
    let mut own = decode::parse(source)?;
    let Some(extended) = source.extended() else {
        return Ok(own);
    };
    let folder = match own.remove(EXTENDS) {
        Some(value) => extends(source, &value)?,
        None => PathBuf::new(),
    };
    let mut table = moved(merged(extended)?, source.extended_at());
    if let Some(folder) = folder
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        move_paths(&mut table, folder);
    }
    lay_over(&mut table, own, &[]);
    Ok(table)
}

/// Lays `above` over `below`, where both are the value of the keys `way`.
fn lay_over<'s>(below: &mut Table<'s>, above: Table<'s>, way: &[&str]) {
    for (key, value) in above {
        let name = key.get_ref().to_string();
        let way = [way, &[name.as_str()]].concat();
        let Some(there) = below.get_mut(name.as_str()) else {
            below.insert(key, value);
            continue;
        };
        let span = value.span();
        if way == ["expect"] {
            // One that only holds `[[expect.live]]` is a table.
            into_list(there);
        }
        match (there.get_mut(), value.into_inner()) {
            (DeValue::Array(there), value @ DeValue::Table(_)) if way == ["expect"] => {
                there.push(Value::new(span, value));
            }
            (DeValue::Table(there), DeValue::Table(value)) if way != ["base"] => {
                lay_over(there, value, &way);
            }
            (DeValue::Table(declaration), value)
                if matches!(way[..], ["variables", _]) && !matches!(value, DeValue::Table(_)) =>
            {
                insert(declaration, "default", Value::new(span, value));
            }
            (DeValue::Array(there), DeValue::Array(value)) if way.first() != Some(&"variables") => {
                for member in value {
                    there.push(member);
                }
            }
            (_, value) => *there = Value::new(span, value),
        }
    }
}

fn into_list(value: &mut Value<'_>) {
    if value.get_ref().is_table() {
        let span = value.span();
        let member = std::mem::replace(value.get_mut(), DeValue::Boolean(false));
        let list = std::iter::once(Value::new(span, member)).collect();
        *value.get_mut() = DeValue::Array(list);
    }
}

fn insert<'s>(table: &mut Table<'s>, key: &'static str, value: Value<'s>) {
    table.remove(key);
    let key = Spanned::new(value.span(), DeString::Borrowed(key));
    table.insert(key, value);
}

/// Takes the overlays that an image does without out of a recipe.
fn leave_out(
    source: &Source,
    table: &mut Table<'_>,
    without: &Value<'_>,
) -> Result<(), Diagnostic> {
    let DeValue::Array(unwanted) = without.get_ref() else {
        return Err(source.error(without.span(), format!("`{WITHOUT}` is a list of overlays")));
    };
    let path = |value: &Value<'_>| {
        let path = match value.get_ref() {
            DeValue::Table(table) => table.get("path")?.get_ref(),
            path => path,
        };
        let DeValue::String(text) = path else {
            return None;
        };
        let parts = Path::new(text.as_ref()).components();
        Some(parts.filter(|part| *part != Component::CurDir).collect())
    };
    for value in unwanted {
        let wanted: Option<PathBuf> = path(value);
        let Some(DeValue::Array(overlays)) = table.get_mut("overlays").map(Spanned::get_mut) else {
            return Err(source.error(value.span(), "the recipe has no overlays"));
        };
        let before = overlays.len();
        *overlays = std::mem::replace(overlays, DeArray::new())
            .into_iter()
            .filter(|overlay| wanted.is_none() || path(overlay) != wanted)
            .collect();
        if overlays.len() == before {
            return Err(source.error(value.span(), "this is none of the recipe's overlays"));
        }
    }
    Ok(())
}

/// The same table, `by` bytes further on.
fn moved(table: Table<'_>, by: usize) -> Table<'_> {
    let shift = |span: Range<usize>| span.start + by..span.end + by;
    let entries = table.into_iter().map(|(key, value)| {
        let key = Spanned::new(shift(key.span()), key.into_inner());
        (key, moved_value(value, by))
    });
    entries.collect()
}

fn moved_value(value: Value<'_>, by: usize) -> Value<'_> {
    let span = value.span();
    let span = span.start + by..span.end + by;
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved(table, by)),
        DeValue::Array(values) => DeValue::Array(
            values
                .into_iter()
                .map(|value| moved_value(value, by))
                .collect(),
        ),
        value => value,
    };
    Value::new(span, value)
}

/// Makes the paths in a recipe in `folder` relative to the folder that `folder` is relative to.
fn move_paths(table: &mut Table<'_>, folder: &Path) {
    for way in PATHS {
        move_path(table, way, folder);
    }
    if let Some(DeValue::Array(images)) = table.get_mut(IMAGE).map(Spanned::get_mut) {
        for image in images.iter_mut() {
            if let DeValue::Table(image) = image.get_mut() {
                move_paths(image, folder);
            }
        }
    }
}

/// A path or the URL of one, relative to the folder that `folder` is relative to. A path from the root
/// stays, as joining does it, and so does the URL of a server.
fn moved_text(text: &str, is_place: bool, folder: &Path) -> Option<String> {
    let scheme = if is_place { "file:" } else { "" };
    let path = text.strip_prefix(scheme).filter(|_| !is_url(text))?;
    Some(format!("{scheme}{}", folder.join(path).display()))
}

fn move_path(table: &mut Table<'_>, way: &[&str], folder: &Path) {
    if let [key, rest @ ..] = way
        && let Some(value) = table.get_mut(*key)
    {
        let is_place = matches!(*key, "baseurl" | "metalink" | "mirrorlist");
        move_in(value.get_mut(), rest, is_place, folder);
    }
}

fn move_in(value: &mut DeValue<'_>, way: &[&str], is_place: bool, folder: &Path) {
    match value {
        DeValue::String(text) if way.is_empty() => {
            if let Some(moved) = moved_text(text, is_place, folder) {
                *text = DeString::Owned(moved);
            }
        }
        DeValue::Array(values) => {
            for value in values.iter_mut() {
                move_in(value.get_mut(), way, is_place, folder);
            }
        }
        DeValue::Table(table) if !way.is_empty() => move_path(table, way, folder),
        _ => {}
    }
}
