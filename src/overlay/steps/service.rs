//! `service`: what starts at boot.

use serde::Deserialize;

use super::{Context, Error};
use imgasm_guest::services::{self, Wish};

/// Turns a service on or off in the way of the guest's init: a systemd unit, an init script or an
/// upstart job.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Keys")]
pub struct Service {
    name: String,
    wish: Wish,
    missing_ok: bool,
}

/// The keys as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// The unit, with or without its suffix, the init script, or the job.
    name: String,
    /// Whether it starts at boot.
    enabled: Option<bool>,
    /// Whether it is prevented from being started at all.
    masked: Option<bool>,
    /// Whether it is to be as the distribution wants it.
    preset: Option<bool>,
    /// Whether a service that the image does not have is skipped.
    #[serde(default)]
    missing_ok: bool,
}

impl TryFrom<Keys> for Service {
    type Error = &'static str;

    fn try_from(keys: Keys) -> Result<Self, Self::Error> {
        let wish = match (keys.enabled, keys.masked, keys.preset) {
            (Some(true), None, None) => Wish::Enabled,
            (Some(false), None, None) => Wish::Disabled,
            (None, Some(true), None) => Wish::Masked,
            (None, Some(false), None) => Wish::Unmasked,
            (None, None, Some(true)) => Wish::Preset,
            _ => return Err("a service has one of `enabled`, `masked` and `preset = true`"),
        };
        Ok(Self {
            name: keys.name,
            wish,
            missing_ok: keys.missing_ok,
        })
    }
}

impl Service {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        match services::set(context.editor, &self.name, self.wish) {
            Err(services::Error::Unknown { .. }) if self.missing_ok => Ok(()),
            result => Ok(result?),
        }
    }
}
