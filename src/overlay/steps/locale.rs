//! `locale`: the language of the system.

use serde::Deserialize;

use super::{Context, Error};
use imgasm_fs::tree::{self, Attributes};
use imgasm_guest::keyfile::shell;
use imgasm_guest::{Init, known_path};

/// Sets `LANG` where the image's own tools keep it: `/etc/locale.conf` (systemd), `/etc/default/locale`
/// (Debian), `/etc/sysconfig/i18n` (Red Hat's scripts).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locale {
    /// `en_US.UTF-8`.
    lang: String,
}

/// Locales that every C library has by itself.
const BUILT_IN: [&str; 2] = ["C", "POSIX"];

impl Locale {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        if !self.is_there(context)? {
            return Err(Error::Unfit {
                path: known_path("/usr/lib/locale"),
                problem: format!("the image has no locale {:?}", self.lang),
                hint: Some("its package makes it, as glibc-langpack-en or locales-all do"),
            });
        }
        let fs = context.editor.fs();
        let has = |path: &str| tree::exists(fs, &known_path(path));
        let path = if has("/etc/sysconfig/i18n")? && context.facts.init != Some(Init::Systemd) {
            "/etc/sysconfig/i18n"
        } else if context.facts.is_like("debian") && !has("/etc/locale.conf")? {
            context
                .editor
                .mkdir_all(&known_path("/etc/default"), Attributes::default())?;
            "/etc/default/locale"
        } else {
            "/etc/locale.conf"
        };
        let path = known_path(path);
        let content = context.text_or_empty(&path)?;
        let content = shell::set(&content, "LANG", &self.lang, false);
        let content = content.map_err(|source| Error::Key {
            path: path.clone(),
            source,
        })?;
        context.rewrite_text(&path, &content)
    }

    /// Whether the image has it: by itself, as a folder, or maybe in the archive that holds many.
    fn is_there(&self, context: &Context<'_, '_>) -> Result<bool, Error> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_.@-".contains(c);
        if self.lang.is_empty() || !self.lang.chars().all(is_name) || self.lang.starts_with('.') {
            return Ok(false);
        }
        if BUILT_IN.contains(&self.lang.as_str()) {
            return Ok(true);
        }
        let fs = context.editor.fs();
        let (language, charset) = self.lang.split_once('.').unwrap_or((&self.lang, ""));
        // As the C library writes it: lower case, without what separates.
        let usual: String = charset
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let usual = usual.to_ascii_lowercase();
        let archive = known_path("/usr/lib/locale/locale-archive");
        for name in [self.lang.clone(), format!("{language}.{usual}")] {
            if tree::exists(fs, &known_path(&format!("/usr/lib/locale/{name}")))? {
                return Ok(true);
            }
        }
        Ok(tree::exists(fs, &archive)?)
    }
}
