//! `set`: one key of a configuration file.

use serde::Deserialize;

use super::{Context, Error};
use imgasm_fs::path::ImagePath;
use imgasm_guest::keyfile::{self, Format, Key, Value};

/// Gives a key of a configuration file a value: replaced where it stands, else appended. All other
/// bytes of the file stay. A missing file is made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    path: ImagePath,
    key: Key,
    value: Value,
    format: Option<Format>,
}

impl Set {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let format = self.format.or_else(|| Format::of_path(&self.path));
        let format = format.ok_or_else(|| Error::Unfit {
            path: self.path.clone(),
            problem: "the format does not follow from the name".to_owned(),
            hint: Some("add `format`: yaml, ini, shell, space, json or toml"),
        })?;
        let content = context.read_or_empty(&self.path)?;
        let content = keyfile::set(format, &content, &self.key, &self.value);
        let content = content.map_err(|source| Error::Key {
            path: self.path.clone(),
            source,
        })?;
        context.rewrite(&self.path, &content)
    }
}
