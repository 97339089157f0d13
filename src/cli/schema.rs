//! `imgasm schema recipe|overlay`

use serde_json::Value;

use super::Outcome;
use super::failure::Failure;
use super::output::Output;
use crate::{overlay, recipe, schema};

/// A kind of file that people write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// imgasm.toml
    Recipe,
    /// overlay.toml
    Overlay,
}

/// Print the JSON Schema of recipes or of overlays, for editors.
///
/// An editor takes it from a first line `#:schema PATH`, as `imgasm init` writes it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Of what.
    #[arg(value_enum, default_value_t = Kind::Recipe)]
    kind: Kind,
}

impl Kind {
    /// The schema of files of this kind.
    pub(super) fn schema(self) -> Value {
        match self {
            Self::Recipe => schema::document("imgasm.toml", &recipe::schema::schema()),
            Self::Overlay => schema::document("overlay.toml", &overlay::schema::schema()),
        }
    }
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Failure> {
    output.json(&args.kind.schema())?;
    Ok(Outcome::Done)
}
