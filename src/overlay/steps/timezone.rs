//! `timezone`: the local time zone.

use serde::Deserialize;

use super::{Context, Error};
use crate::config::RelativePath;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree;
use imgasm_guest::keyfile::shell;
use imgasm_guest::{Init, known_path};

/// Where the zones are.
const ZONES: &str = "/usr/share/zoneinfo";

/// Sets the time zone: `/etc/localtime`, and beside it the file from which the guest's own tools
/// restore it: `/etc/sysconfig/clock` (Red Hat's scripts), `/etc/timezone` (Debian).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timezone {
    /// A path below `/usr/share/zoneinfo`.
    zone: RelativePath,
}

impl Timezone {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let zone = self.zone.as_path().to_string_lossy();
        let data = format!("{ZONES}/{zone}");
        let path = known_path(&data);
        if !tree::is_file(context.editor.fs(), &path)? {
            return Err(Error::Unfit {
                path,
                problem: "the image has no such time zone".to_owned(),
                hint: Some("zones are files below /usr/share/zoneinfo, as Europe/Berlin"),
            });
        }
        let local = known_path("/etc/localtime");
        context.editor.symlink(&local, data.as_bytes())?;

        let clock = known_path("/etc/sysconfig/clock");
        let has_scripts = context.facts.init.is_some_and(Init::runs_sysv_scripts)
            && tree::exists(context.editor.fs(), &known_path("/etc/sysconfig"))?;
        if has_scripts || tree::exists(context.editor.fs(), &clock)? {
            write_clock(context, &clock, &zone)?;
        }
        let name = known_path("/etc/timezone");
        if context.facts.is_like("debian") || tree::exists(context.editor.fs(), &name)? {
            context.rewrite(&name, format!("{zone}\n").as_bytes())?;
        }
        Ok(())
    }
}

/// Writes the zone, and that the hardware clock runs in UTC, as on EC2.
fn write_clock(context: &mut Context<'_, '_>, path: &ImagePath, zone: &str) -> Result<(), Error> {
    let content = context.text_or_empty(path)?;
    let content = shell::set(&content, "ZONE", zone, true)
        .and_then(|content| shell::set(&content, "UTC", "true", false))
        .map_err(|source| Error::Key {
            path: path.clone(),
            source,
        })?;
    context.rewrite_text(path, &content)
}
