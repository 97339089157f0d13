//! The overlays that a recipe names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use super::load::outside;
use crate::config::decode::{self, Value};
use crate::config::{self, Boundary, Given, Setting, Source, Variables, template};
use crate::overlay::{Overlay, OverlayFile};

/// An entry of `overlays`: the path of a folder, alone or with values for its variables.
pub(super) struct RawOverlay {
    path: PathBuf,
    variables: BTreeMap<Spanned<String>, Setting>,
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
                })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<RawOverlay, A::Error> {
                let map = serde::de::value::MapAccessDeserializer::new(map);
                let Table { path, variables } = Table::deserialize(map)?;
                Ok(RawOverlay { path, variables })
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// For each entry of `overlays`, the names of the overlay's variables whose texts use a sensitive
/// variable of the recipe: they are sensitive themselves.
pub(super) fn revealing(table: &decode::Table<'_>, variables: &Variables) -> Vec<BTreeSet<String>> {
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

/// Reads the overlays. Of each, `revealing` names the variables that are sensitive, whatever they are
/// declared as.
pub(super) fn read(
    source: &Source,
    place: (&Path, &Boundary),
    raw: Vec<Spanned<RawOverlay>>,
    revealing: Vec<BTreeSet<String>>,
    variables: &Variables,
) -> config::Result<Vec<Overlay>> {
    // A list that a variable holds reveals none.
    let mut revealing = revealing.into_iter();
    let overlays = raw.into_iter().map(|raw| {
        let revealing = revealing.next().unwrap_or_default();
        overlay(source, place, raw, &revealing, variables)
    });
    overlays.collect()
}

/// Reads an overlay. Its variables get what its entry gives, or what the recipe's variables of the
/// same names hold, or their defaults.
fn overlay(
    source: &Source,
    (folder, boundary): (&Path, &Boundary),
    raw: Spanned<RawOverlay>,
    revealing: &BTreeSet<String>,
    variables: &Variables,
) -> config::Result<Overlay> {
    let span = raw.span();
    let RawOverlay {
        path,
        variables: settings,
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
