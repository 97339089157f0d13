//! `ssh_key`: a key that may log in.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, de};

use super::append_line::add_line;
use super::{Context, Error};
use crate::config::values::Line;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, LastLink};
use imgasm_guest::Accounts;

/// Adds a public key to the `authorized_keys` of a user, with the owners and modes that sshd asks
/// for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshKey {
    user: String,
    key: PublicKey,
}

/// A line as in `*.pub` files: type, base64, comment.
#[derive(Debug, Clone)]
struct PublicKey(String);

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let line = Line::deserialize(deserializer)?;
        let line = line.as_str().trim();
        if is_key(line) {
            return Ok(Self(line.to_owned()));
        }
        let problem = "this is not a public key: a type, as ssh-ed25519, and the key in base64";
        Err(de::Error::custom(problem))
    }
}

/// Whether the key names the same type as the text before it (RFC 4253, 6.6: a key begins with its
/// type as a string).
fn is_key(line: &str) -> bool {
    let mut words = line.split(' ');
    let (Some(kind), Some(encoded)) = (words.next(), words.next()) else {
        return false;
    };
    let Ok(key) = BASE64_STANDARD.decode(encoded) else {
        return false;
    };
    let Some((length, rest)) = key.split_first_chunk::<4>() else {
        return false;
    };
    let named = usize::try_from(u32::from_be_bytes(*length)).ok();
    !kind.is_empty() && named == Some(kind.len()) && rest.starts_with(kind.as_bytes())
}

impl SshKey {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let accounts = Accounts::read(context.editor.fs())?;
        let user = accounts.user(&self.user).ok_or_else(|| Error::NoAccount {
            kind: "user",
            name: self.user.clone(),
        })?;
        let home = ImagePath::parse(&user.home).map_err(|e| Error::Unfit {
            path: ImagePath::root(),
            problem: format!("the home of `{}` cannot be used: {e}", self.user),
            hint: None,
        })?;
        let owned = |mode| Attributes {
            permissions: Some(mode),
            uid: Some(user.uid),
            gid: Some(user.gid),
        };
        let folder = home.child(b".ssh");
        context.editor.mkdir_all(&folder, owned(0o700))?;
        let path = folder.child(b"authorized_keys");
        let mut content = context.read_or_empty(&path)?;
        add_line(&mut content, self.key.0.as_bytes());
        let editor = &mut *context.editor;
        Ok(editor.write(&path, LastLink::Follow, &content, owned(0o600))?)
    }
}
