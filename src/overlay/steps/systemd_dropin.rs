//! `systemd_dropin`: settings of a unit beside those of its package.

use serde::Deserialize;

use super::{Context, Error};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::Attributes;
use imgasm_guest::services;
use imgasm_guest::{Init, known_path};

/// Puts a file into `/etc/systemd/system/UNIT.d`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemdDropin {
    /// The unit with its suffix: `docker.service`.
    unit: String,
    /// The name of the file, without `.conf`.
    #[serde(default = "usual_name")]
    name: String,
    content: String,
    /// Whether a unit that the image does not have is passed over.
    #[serde(default)]
    missing_ok: bool,
}

fn usual_name() -> String {
    "50-imgasm".to_owned()
}

impl SystemdDropin {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let folder = format!("/etc/systemd/system/{}.d", self.unit);
        let unfit = |problem: &str, hint| Error::Unfit {
            path: ImagePath::parse(&folder).unwrap_or_else(|_| known_path("/etc/systemd/system")),
            problem: problem.to_owned(),
            hint,
        };
        let is_name = |name: &str| !name.is_empty() && !name.contains(['/', '\0']);
        let is_unit = is_name(&self.unit) && self.unit.contains('.');
        if !is_unit || !is_name(&self.name) {
            return Err(unfit(
                "`unit` is a unit with its suffix, and `name` that of a file",
                None,
            ));
        }
        if context.facts.init != Some(Init::Systemd) {
            return Err(unfit("the image is not started by systemd", None));
        }
        let has_section = self
            .content
            .lines()
            .any(|line| line.trim().starts_with('['));
        if !has_section {
            let hint = Some("begin it with a line as `[Service]`");
            return Err(unfit(
                "the content has no section, and would mean nothing",
                hint,
            ));
        }
        match services::state(context.editor.fs(), &self.unit) {
            Err(services::Error::Unknown { .. }) if self.missing_ok => return Ok(()),
            state => state.map(|_| ())?,
        }
        let folder = known_path(&folder);
        context.editor.mkdir_all(&folder, Attributes::default())?;
        let path = folder.child(format!("{}.conf", self.name).as_bytes());
        context.rewrite(&path, self.content.as_bytes())
    }
}
