//! What every step works with.

use std::path::Path;
use std::sync::Arc;

use crate::config::readings::Readings;
use crate::config::{self, Account, Mode, Variables};
use imgasm_fs::Timestamp;
use imgasm_fs::path::ImagePath;
use imgasm_fs::text::{editable, edited};
use imgasm_fs::tree::{self, Attributes, Editor, LastLink};
use imgasm_guest::keyfile;
use imgasm_guest::{Accounts, Facts, firstboot, packages, selinux, services, trust, users};

/// What a step works with.
pub struct Context<'c, 'fs> {
    /// Where it makes its changes.
    pub editor: &'c mut Editor<'fs>,
    /// Which system it is.
    pub facts: &'c Facts,
    /// The overlay's folder on the host.
    pub folder: &'c Path,
    /// Where it is noted what is read there.
    pub readings: &'c Arc<Readings>,
    /// The overlay's variables.
    pub variables: &'c Variables,
    /// The time that counts as now.
    pub now: Timestamp,
    /// The packages that steps have installed so far.
    pub packages: &'c mut Vec<packages::Outcome>,
}

/// Why a step could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation on a path failed.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// A file of the overlay cannot be used.
    #[error(transparent)]
    Overlay(#[from] config::Error),
    /// The key of a configuration file could not be set.
    #[error("{path}: {source}")]
    Key {
        /// The configuration file.
        path: ImagePath,
        /// Why.
        source: keyfile::Error,
    },
    /// A service could not be turned on or off.
    #[error(transparent)]
    Service(#[from] services::Error),
    /// A user or group could not be made.
    #[error(transparent)]
    Users(#[from] users::Error),
    /// A certificate authority could not be added.
    #[error(transparent)]
    Trust(#[from] trust::Error),
    /// A first-boot script could not be installed.
    #[error(transparent)]
    Firstboot(#[from] firstboot::Error),
    /// Packages could not be installed.
    #[error(transparent)]
    Packages(#[from] packages::Error),
    /// An archive could not be unpacked.
    #[error(transparent)]
    Archive(Box<crate::base::Error>),
    /// What was made could not be labelled.
    #[error(transparent)]
    Selinux(#[from] selinux::Error),
    /// The image's own files do not know the user or group.
    #[error("the image has no {kind} `{name}`")]
    NoAccount {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A pattern had to match something.
    #[error("nothing in the image matches {pattern}")]
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// What is at the path does not fit the step.
    #[error("{path}: {problem}")]
    Unfit {
        /// The path.
        path: ImagePath,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        hint: Option<&'static str>,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Tree(tree::Error::NotFound { path, missing }) if path != missing => {
                Some("a `mkdir` step before this one makes a directory")
            }
            Self::Service(services::Error::Unknown { .. }) => Some(
                "services are units, init scripts and upstart jobs; `missing_ok = true` skips one \
                 that is missing",
            ),
            Self::Users(users::Error::UnknownUser(_)) => {
                Some("a `user` step before this one makes a user")
            }
            Self::Users(users::Error::UnknownGroup(_)) => {
                Some("a `group` step before this one makes a group")
            }
            Self::NoAccount { kind: "user", .. } => Some("users are looked up in /etc/passwd"),
            Self::NoAccount { .. } => Some("groups are looked up in /etc/group"),
            Self::NoMatch { .. } => Some("this is an error only because of `missing_ok = false`"),
            Self::Packages(error) => error.hint(),
            Self::Trust(error) => error.hint(),
            Self::Unfit { hint, .. } => *hint,
            _ => None,
        }
    }
}

impl Context<'_, '_> {
    /// The largest file that a step changes, in bytes.
    pub(super) const EDIT_LIMIT: usize = 64 << 20;

    /// The attributes that the keys `mode`, `owner` and `group` of a step ask for.
    pub fn attributes(
        &self,
        mode: Option<Mode>,
        owner: Option<&Account>,
        group: Option<&Account>,
    ) -> Result<Attributes, Error> {
        Ok(Attributes {
            permissions: mode.map(|mode| mode.0),
            uid: owner.map(|owner| self.uid(owner)).transpose()?,
            gid: group.map(|group| self.gid(group)).transpose()?,
        })
    }

    fn uid(&self, owner: &Account) -> Result<u32, Error> {
        let name = match owner {
            Account::Number(uid) => return Ok(*uid),
            Account::Name(name) => name,
        };
        // Earlier steps may have changed the files: they are read each time.
        let accounts = Accounts::read(self.editor.fs())?;
        let user = accounts.user(name).map(|user| user.uid);
        user.ok_or_else(|| Error::NoAccount {
            kind: "user",
            name: name.clone(),
        })
    }

    fn gid(&self, group: &Account) -> Result<u32, Error> {
        let name = match group {
            Account::Number(gid) => return Ok(*gid),
            Account::Name(name) => name,
        };
        let accounts = Accounts::read(self.editor.fs())?;
        let group = accounts.group(name).map(|group| group.gid);
        group.ok_or_else(|| Error::NoAccount {
            kind: "group",
            name: name.clone(),
        })
    }

    /// The content of a file that a step changes.
    pub fn read(&self, path: &ImagePath) -> Result<Vec<u8>, Error> {
        Ok(tree::read_file(
            self.editor.fs(),
            path,
            Self::EDIT_LIMIT as u64,
        )?)
    }

    /// Like [`Context::read`]; empty if the file is missing.
    pub fn read_or_empty(&self, path: &ImagePath) -> Result<Vec<u8>, Error> {
        let place = tree::locate(self.editor.fs(), path, LastLink::Follow)?;
        match place.node {
            Some(_) => self.read(path),
            None => Ok(Vec::new()),
        }
    }

    /// The text of a file, to be edited and given to [`Context::rewrite_text`]: bytes that are not UTF-8
    /// stay. Empty if the file is missing.
    pub fn text_or_empty(&self, path: &ImagePath) -> Result<String, Error> {
        Ok(editable(&self.read_or_empty(path)?))
    }

    /// As [`Context::rewrite`], with a text that was read.
    pub fn rewrite_text(&mut self, path: &ImagePath, text: &str) -> Result<(), Error> {
        self.rewrite(path, &edited(text))
    }

    /// Gives a file other content; a new one belongs to root and is 0644.
    pub fn rewrite(&mut self, path: &ImagePath, content: &[u8]) -> Result<(), Error> {
        let attributes = Attributes::default();
        let written = self
            .editor
            .write(path, LastLink::Follow, content, attributes);
        Ok(written?)
    }

    /// `path` and, if it is `recursive`, everything below it.
    pub fn paths(&self, path: &ImagePath, recursive: bool) -> Result<Vec<ImagePath>, Error> {
        let (_, real) = tree::resolve(self.editor.fs(), path, LastLink::Follow)?;
        if !recursive {
            return Ok(vec![real]);
        }
        let walk = tree::walk(self.editor.fs(), &real)?;
        Ok(walk
            .map(|entry| entry.map(|entry| entry.path))
            .collect::<tree::Result<_>>()?)
    }
}
