//! Which init system starts a root filesystem.

use super::{files, known_path};
use imgasm_fs::tree::{self, LastLink, Result};
use imgasm_fs::{FileSystem, FileType};

/// An init system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// systemd.
    Systemd,
    /// upstart, which runs jobs from `/etc/init` and the System V scripts of the runlevels.
    Upstart,
    /// System V init with the scripts of the runlevels.
    Sysv,
}

impl Init {
    /// Finds the init system, or `None` if there is no sign of one.
    ///
    /// systemd is recognised by the target of `/sbin/init`; otherwise the directories decide, so
    /// that a tree without programs has an init system, too.
    pub fn detect(fs: &dyn FileSystem) -> Result<Option<Self>> {
        let exists = |path| tree::exists(fs, &known_path(path));
        if init_is_systemd(fs)? {
            return Ok(Some(Self::Systemd));
        }
        let jobs = files::list(fs, &known_path("/etc/init"))?;
        if jobs.iter().any(|(name, _)| name.ends_with(b".conf")) {
            return Ok(Some(Self::Upstart));
        }
        for sign in [
            "/usr/lib/systemd/systemd",
            "/lib/systemd/systemd",
            "/etc/systemd/system",
        ] {
            if exists(sign)? {
                return Ok(Some(Self::Systemd));
            }
        }
        for sign in ["/etc/inittab", "/etc/init.d", "/etc/rc.d/init.d"] {
            if exists(sign)? {
                return Ok(Some(Self::Sysv));
            }
        }
        Ok(None)
    }

    /// Whether services are started by scripts in `/etc/rc?.d`.
    pub fn runs_sysv_scripts(self) -> bool {
        matches!(self, Self::Sysv | Self::Upstart)
    }

    /// The name, as `when` guards use it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Upstart => "upstart",
            Self::Sysv => "sysv",
        }
    }
}

/// Whether `/sbin/init` is a link to a program called `systemd`, which need not be there.
fn init_is_systemd(fs: &dyn FileSystem) -> Result<bool> {
    let path = known_path("/sbin/init");
    let Ok((node, _)) = tree::resolve(fs, &path, LastLink::Keep) else {
        return Ok(false);
    };
    let read = |source| tree::Error::FileSystem {
        action: "read",
        path: path.clone(),
        source,
    };
    if fs.metadata(node).map_err(read)?.file_type != FileType::Symlink {
        return Ok(false);
    }
    let target = fs.read_link(node).map_err(read)?;
    Ok(target.split(|&b| b == b'/').next_back() == Some(b"systemd"))
}
