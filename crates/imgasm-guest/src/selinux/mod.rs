//! `SELinux`: the label that the guest's policy gives a path.
//!
//! - [`spec`]: a line of `file_contexts`.
//! - [`contexts`]: all lines of a policy, and the look-up.
//! - `labeller`, with the [`Labeller`]: labels for what an edit has made.
//!
//! An image has a policy if `/etc/selinux/config` names one whose `file_contexts` is there. Whether
//! the policy is enforced does not matter here: it can be turned on later.

pub mod contexts;
mod labeller;
pub mod spec;

pub use contexts::{Contexts, ContextsError, Label};
pub use labeller::Labeller;

use super::files::read_optional;
use super::known_path;
use imgasm_fs::FileSystem;
use imgasm_fs::tree;

/// The extended attribute that holds a label. Its value is the context and a NUL byte.
pub const XATTR: &[u8] = b"security.selinux";

/// The policy that is used if the configuration names none: libselinux's own default.
const DEFAULT_POLICY: &str = "targeted";

/// Why an image's policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be read.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// The contexts are not as they should be.
    #[error(transparent)]
    Contexts(#[from] ContextsError),
    /// The policy's name cannot be the name of a folder.
    #[error("/etc/selinux/config names the policy {0:?}")]
    PolicyName(String),
}

/// The contexts of the image's policy, if it has one.
pub fn load(fs: &dyn FileSystem) -> Result<Option<Contexts>, Error> {
    let Some(config) = read_optional(fs, &known_path("/etc/selinux/config"))? else {
        return Ok(None);
    };
    let policy = policy_name(&String::from_utf8_lossy(&config));
    if policy.is_empty() || policy.starts_with('.') || policy.contains(['/', '\0']) {
        return Err(Error::PolicyName(policy));
    }
    let folder = known_path("/etc/selinux")
        .child(policy.as_bytes())
        .child(b"contexts")
        .child(b"files");
    let file = |suffix: &str| folder.child(format!("file_contexts{suffix}").as_bytes());
    let Some(base) = read_optional(fs, &file(""))? else {
        return Ok(None);
    };
    let mut contexts = Contexts::default();
    contexts.read(&file("").to_string(), &base)?;
    for suffix in [".homedirs", ".local"] {
        if let Some(text) = read_optional(fs, &file(suffix))? {
            contexts.read(&file(suffix).to_string(), &text)?;
        }
    }
    if let Some(text) = read_optional(fs, &file(".subs"))? {
        contexts.read_substitutions(&text);
    }
    if let Some(text) = read_optional(fs, &file(".subs_dist"))? {
        contexts.read_distribution_substitutions(&text);
    }
    Ok(Some(contexts))
}

/// The value of [`XATTR`] for a context.
pub fn xattr_value(context: &str) -> Vec<u8> {
    [context.as_bytes(), b"\0"].concat()
}

/// The last `SELINUXTYPE=` of the configuration.
fn policy_name(config: &str) -> String {
    config
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("SELINUXTYPE="))
        .next_back()
        .map_or(DEFAULT_POLICY, str::trim)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::policy_name;

    #[test]
    fn the_configuration_names_the_policy() {
        assert_eq!(
            policy_name("# SELINUXTYPE=x\nSELINUX=disabled\nSELINUXTYPE=mls \n"),
            "mls"
        );
        assert_eq!(policy_name("SELINUX=permissive\n"), "targeted");
    }
}
