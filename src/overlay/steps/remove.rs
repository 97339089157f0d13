//! `remove`: files and trees that a pattern matches.

use serde::{Deserialize, Deserializer, de};

use super::{Context, Error};
use imgasm_fs::tree::{self, glob};

/// Removes everything that a pattern matches; a tree is removed as a whole, a link is not followed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    path: Pattern,
    #[serde(default = "yes")]
    missing_ok: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone)]
struct Pattern(glob::Pattern);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        glob::Pattern::parse(&text)
            .map(Self)
            .map_err(de::Error::custom)
    }
}

impl Remove {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let matches = tree::glob(context.editor.fs(), &self.path.0)?;
        if matches.is_empty() && !self.missing_ok {
            return Err(Error::NoMatch {
                pattern: self.path.0.to_string(),
            });
        }
        for path in matches {
            context.editor.remove_tree(&path)?;
        }
        Ok(())
    }
}
