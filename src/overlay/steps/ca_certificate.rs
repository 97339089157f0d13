//! `ca_certificate`: a certificate authority that programs trust.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Context, Error};
use crate::config::{self, Boundary, RelativePath};
use crate::overlay::files;
use imgasm_guest::trust::{self, Certificate};

/// Adds authorities, and leaves the image as its own tool does: `update-ca-trust` or
/// `update-ca-certificates`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Keys")]
pub struct CaCertificate {
    name: String,
    certificates: Origin,
}

#[derive(Debug, Clone)]
enum Origin {
    Content(String),
    /// A file of the overlay.
    File(RelativePath),
}

/// The keys as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// A file of the overlay.
    from: Option<RelativePath>,
    /// The certificates themselves.
    content: Option<String>,
    /// What the files in the image are called.
    name: Option<String>,
}

/// The largest file of certificates, in bytes.
const LIMIT: u64 = 4 << 20;

impl TryFrom<Keys> for CaCertificate {
    type Error = &'static str;

    fn try_from(keys: Keys) -> Result<Self, Self::Error> {
        let (certificates, stem) = match (keys.from, keys.content) {
            (Some(from), None) => {
                let stem = from.as_path().file_stem();
                let stem = stem.map(|stem| stem.to_string_lossy().into_owned());
                (Origin::File(from), stem)
            }
            (None, Some(content)) => (Origin::Content(content), None),
            _ => return Err("certificates have either `from` or `content`"),
        };
        let name = keys.name.or(stem);
        let name = name.ok_or("certificates in `content` need a `name` for their file")?;
        let is_kept = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(is_kept) {
            return Err("the `name` has letters, digits, `-`, `_` and `.` only");
        }
        Ok(Self { name, certificates })
    }
}

impl CaCertificate {
    /// The certificates, if they are a file of the overlay.
    pub(super) fn host_file(&self) -> Option<&Path> {
        match &self.certificates {
            Origin::File(from) => Some(from.as_path()),
            Origin::Content(_) => None,
        }
    }

    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let (path, content) = match &self.certificates {
            Origin::Content(content) => (PathBuf::from("content"), content.clone().into_bytes()),
            Origin::File(from) => {
                let path = files::host_path(context.folder, from.as_path())?;
                let file = Boundary::of_folder(context.folder)?.open(&path)?;
                let mut content = Vec::new();
                let file = context.readings.reader(&path, file);
                let read = file.take(LIMIT).read_to_end(&mut content);
                read.map_err(|source| config::Error::Io {
                    path: path.clone(),
                    source,
                })?;
                (path, content)
            }
        };
        let certificates = Certificate::all(&content);
        let certificates =
            certificates.map_err(|problem| config::Error::Unusable { path, problem })?;
        let (editor, facts) = (&mut *context.editor, context.facts);
        Ok(trust::add(
            editor,
            facts,
            &self.name,
            &certificates,
            context.now,
        )?)
    }
}
