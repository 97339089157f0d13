//! `xattr`: an extended attribute.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, de};

use super::{Context, Error};
use crate::config::values::Line;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::LastLink;

/// Sets an extended attribute of what a path leads to; without a value it is removed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xattr {
    path: ImagePath,
    name: Line,
    value: Option<String>,
    value_base64: Option<Base64>,
}

#[derive(Debug, Clone)]
struct Base64(Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(&text);
        bytes
            .map(Self)
            .map_err(|e| de::Error::custom(format!("this is not base64: {e}")))
    }
}

impl Xattr {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let value = match (&self.value, &self.value_base64) {
            (Some(_), Some(_)) => {
                return Err(Error::Unfit {
                    path: self.path.clone(),
                    problem: "`value` and `value_base64` are both given".to_owned(),
                    hint: None,
                });
            }
            (Some(text), None) => Some(text.as_bytes()),
            (None, Some(bytes)) => Some(bytes.0.as_slice()),
            (None, None) => None,
        };
        let name = self.name.as_str().as_bytes();
        let editor = &mut *context.editor;
        Ok(editor.set_xattr(&self.path, LastLink::Follow, name, value)?)
    }
}
