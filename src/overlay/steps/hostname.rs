//! `hostname`: the name that the machine gives itself.

use serde::{Deserialize, Deserializer, de};

use super::{Context, Error};
use imgasm_fs::tree;
use imgasm_guest::keyfile::shell;
use imgasm_guest::{Init, known_path};

/// The longest name that Linux stores (`gethostname(2)`), and the longest label in one.
const MAX_NAME: usize = 64;
const MAX_LABEL: usize = 63;

/// Sets the host's name: in `/etc/sysconfig/network` if Red Hat's scripts read it, else in
/// `/etc/hostname`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hostname {
    name: HostName,
}

/// A name as in RFC 1123, 2.1.
#[derive(Debug, Clone)]
struct HostName(String);

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let is_label = |label: &str| {
            (1..=MAX_LABEL).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() > MAX_NAME || !name.split('.').all(is_label) {
            return Err(de::Error::custom(format!(
                "{name:?} is not a host name: labels of letters, digits and `-` between dots, \
                 {MAX_NAME} bytes at most"
            )));
        }
        Ok(Self(name))
    }
}

impl Hostname {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let name = &self.name.0;
        let network = known_path("/etc/sysconfig/network");
        let has_scripts = context.facts.init.is_some_and(Init::runs_sysv_scripts);
        if !(has_scripts && tree::exists(context.editor.fs(), &network)?) {
            let content = format!("{name}\n");
            return context.rewrite(&known_path("/etc/hostname"), content.as_bytes());
        }
        let content = context.text_or_empty(&network)?;
        let content = shell::set(&content, "HOSTNAME", name, false);
        let content = content.map_err(|source| Error::Key {
            path: network.clone(),
            source,
        })?;
        context.rewrite_text(&network, &content)
    }
}
