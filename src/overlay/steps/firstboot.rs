//! `firstboot`: a script that runs once.

use std::path::Path;

use serde::Deserialize;

use super::{Context, Error};
use crate::config::{self, Boundary, RelativePath, Source, template};
use crate::overlay::files;
use imgasm_guest::firstboot;

/// Installs a script that the guest's init runs at the first boot and then removes.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Keys")]
pub struct Firstboot {
    name: String,
    script: Script,
}

#[derive(Debug, Clone)]
enum Script {
    Content(String),
    /// A file of the overlay, and whether it is a template.
    File(RelativePath, bool),
}

/// The keys as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// The service will be called `firstboot-NAME`.
    name: String,
    /// The script.
    content: Option<String>,
    /// The script, as a file of the overlay.
    from: Option<RelativePath>,
    /// Whether that file is a template.
    #[serde(default)]
    template: bool,
}

impl TryFrom<Keys> for Firstboot {
    type Error = &'static str;

    fn try_from(keys: Keys) -> Result<Self, Self::Error> {
        let script = match (keys.content, keys.from, keys.template) {
            (Some(content), None, false) => Script::Content(content),
            (None, Some(from), template) => Script::File(from, template),
            (Some(_), None, true) => {
                return Err("`content` is a template already, and `template` is for `from`");
            }
            _ => return Err("a first-boot script has either `content` or `from`"),
        };
        Ok(Self {
            name: keys.name,
            script,
        })
    }
}

impl Firstboot {
    /// The script, if it is a file of the overlay.
    pub(super) fn host_file(&self) -> Option<&Path> {
        match &self.script {
            Script::File(from, _) => Some(from.as_path()),
            Script::Content(_) => None,
        }
    }

    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let script = match &self.script {
            Script::Content(content) => content.clone(),
            Script::File(from, is_template) => {
                let path = files::host_path(context.folder, from.as_path())?;
                let file = Boundary::of_folder(context.folder)?.open(&path)?;
                let source = Source::from_file(context.readings.reader(&path, file), &path)?;
                if *is_template {
                    let text = template::render_file(&source, context.variables);
                    text.map_err(config::Error::from)?
                } else {
                    source.text().to_owned()
                }
            }
        };
        Ok(firstboot::install(
            context.editor,
            &self.name,
            script.as_bytes(),
        )?)
    }
}
