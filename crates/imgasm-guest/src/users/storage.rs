//! The files that hold accounts: `/etc/passwd`, `shadow`, `group`, `gshadow`, `subuid`, `subgid`.

use super::database::Database;
use super::defaults::Defaults;
use super::{Error, Result, known_path};
use crate::colon_file::ColonFile;
use crate::files::read_known;
use imgasm_fs::FileSystem;
use imgasm_fs::tree::{Attributes, Editor, LastLink};

const PASSWD: &str = "/etc/passwd";
const SHADOW: &str = "/etc/shadow";
const GROUP: &str = "/etc/group";
const GSHADOW: &str = "/etc/gshadow";
const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";

impl Database {
    /// Reads the accounts of an image.
    pub fn load(fs: &dyn FileSystem) -> Result<Self> {
        let read = |path| -> Result<Option<ColonFile>> {
            Ok(read_known(fs, path)?.map(|bytes| ColonFile::parse(&bytes)))
        };
        Ok(Self {
            passwd: read(PASSWD)?.ok_or(Error::NoDatabase(PASSWD))?,
            group: read(GROUP)?.ok_or(Error::NoDatabase(GROUP))?,
            shadow: read(SHADOW)?,
            gshadow: read(GSHADOW)?,
            subuid: read(SUBUID)?,
            subgid: read(SUBGID)?,
            defaults: defaults(fs)?,
        })
    }

    /// Reads the accounts of an image as `systemd-sysusers` does: a file that is missing is one without
    /// lines, which is made if it gets some.
    pub(super) fn load_for_systemd(fs: &dyn FileSystem) -> Result<Self> {
        let read = |path| -> Result<ColonFile> {
            let content = read_known(fs, path)?.unwrap_or_default();
            Ok(ColonFile::parse(&content))
        };
        Ok(Self {
            passwd: read(PASSWD)?,
            group: read(GROUP)?,
            shadow: Some(read(SHADOW)?),
            gshadow: Some(read(GSHADOW)?),
            subuid: None,
            subgid: None,
            defaults: defaults(fs)?,
        })
    }

    /// Writes the accounts back; files that did not change stay as they are.
    pub fn save(&self, editor: &mut Editor<'_>) -> Result<()> {
        for (path, file) in [
            (PASSWD, Some(&self.passwd)),
            (SHADOW, self.shadow.as_ref()),
            (GROUP, Some(&self.group)),
            (GSHADOW, self.gshadow.as_ref()),
            (SUBUID, self.subuid.as_ref()),
            (SUBGID, self.subgid.as_ref()),
        ] {
            let Some(file) = file else { continue };
            let content = file.to_bytes();
            let old = read_known(editor.fs(), path)?;
            let is_secret = [SHADOW, GSHADOW].contains(&path);
            let attributes = match &old {
                None if content.is_empty() => continue,
                None if is_secret => Attributes::of_root(0),
                _ => Attributes::default(),
            };
            if old.is_none_or(|old| ColonFile::parse(&old) != *file) {
                editor.write(&known_path(path), LastLink::Follow, &content, attributes)?;
            }
        }
        Ok(())
    }
}

/// What an image says about new accounts.
fn defaults(fs: &dyn FileSystem) -> Result<Defaults> {
    let login_defs = read_known(fs, "/etc/login.defs")?.unwrap_or_default();
    let useradd = read_known(fs, "/etc/default/useradd")?.unwrap_or_default();
    Ok(Defaults::parse(&login_defs, &useradd))
}
