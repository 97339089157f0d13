//! Files beside an image that speak of it, such as its undo file, its origin, its manifest or the
//! journal of its upload.
//!
//! Whoever can put one there could steer what is made of the image. So it counts only if it is a
//! regular file of that name itself, not behind a link, and belongs to the image's owner, to root
//! or to the user who runs this.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::{Error, Result};

/// A file that was found beside an image.
#[derive(Debug)]
pub struct Sidecar {
    path: PathBuf,
    file: File,
    owner: u32,
    names: u64,
}

impl Sidecar {
    /// Opens a file; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it is a link or no regular file.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        Self::with(OpenOptions::new().read(true), path)
    }

    /// Opens a file to write on in it, or makes it. Nobody else may have made it, and it has no
    /// other name, under which it could be a file that is not meant.
    ///
    /// # Errors
    /// [`Error::Untrusted`] otherwise.
    pub fn open_own(path: &Path) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        let made = Self::with(&options, path)?.ok_or_else(|| {
            let gone = io::Error::from(io::ErrorKind::NotFound);
            Error::file(path, "make", gone)
        })?;
        let user = rustix::process::geteuid().as_raw();
        if made.owner != user {
            return Err(made.of_another(&format!("this runs as user {user}")));
        }
        made.only_name()
    }

    fn with(options: &OpenOptions, path: &Path) -> Result<Option<Self>> {
        let untrusted = |problem: &str| {
            Err(Error::Untrusted {
                path: path.to_owned(),
                problem: problem.to_owned(),
            })
        };
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut options = options.clone();
        let file = match options.custom_flags(flags.bits().cast_signed()).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if Errno::from_io_error(&e) == Some(Errno::LOOP) => {
                return untrusted("it is a symbolic link");
            }
            Err(e) => return Err(Error::file(path, "open", e)),
        };
        let found = file.metadata().map_err(|e| Error::file(path, "open", e))?;
        if !found.is_file() {
            return untrusted("it is not a regular file");
        }
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            owner: found.uid(),
            names: found.nlink(),
        }))
    }

    /// Makes sure that it may speak of an image of this owner (a user's number).
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it belongs to somebody else.
    pub fn may_speak_of_image_of(&self, owner: u32) -> Result<()> {
        let user = rustix::process::geteuid().as_raw();
        if [owner, user, 0].contains(&self.owner) {
            return Ok(());
        }
        Err(self.of_another(&format!("the image to user {owner}")))
    }

    /// Makes sure that the user who runs this, or root, has made it.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it belongs to somebody else.
    pub fn is_of_this_user(&self) -> Result<()> {
        let user = rustix::process::geteuid().as_raw();
        if [user, 0].contains(&self.owner) {
            return Ok(());
        }
        Err(self.of_another(&format!("this runs as user {user}")))
    }

    fn of_another(&self, whose: &str) -> Error {
        Error::Untrusted {
            path: self.path.clone(),
            problem: format!("it belongs to user {}, and {whose}", self.owner),
        }
    }

    /// The opened file, if it has no name but this one.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it has.
    pub fn only_name(self) -> Result<File> {
        if self.names == 1 {
            return Ok(self.file);
        }
        Err(Error::Untrusted {
            path: self.path,
            problem: "it has other names (hard links)".to_owned(),
        })
    }

    /// The opened file.
    pub fn into_file(self) -> File {
        self.file
    }

    /// The content of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it has more.
    pub fn read(&mut self, limit: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut input = (&mut self.file).take(limit.saturating_add(1));
        input
            .read_to_end(&mut content)
            .map_err(|e| Error::file(&self.path, "read", e))?;
        if crate::bytes::byte_len(&content) > limit {
            return Err(Error::Untrusted {
                path: self.path.clone(),
                problem: format!("it has more than {limit} bytes"),
            });
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_a_regular_file_of_that_name_counts() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert!(Sidecar::open(&at("none")).unwrap().is_none());
        fs::write(at("file"), "content").unwrap();
        let mut found = Sidecar::open(&at("file")).unwrap().unwrap();
        assert_eq!(found.read(7).unwrap(), b"content");
        let untrusted = |result: Result<()>, why: &str| match result {
            Err(Error::Untrusted { problem, .. }) => assert!(problem.contains(why), "{problem}"),
            other => panic!("{why}: {other:?}"),
        };
        let open = |name: &str| Sidecar::open(&at(name)).map(drop);
        let mut found = Sidecar::open(&at("file")).unwrap().unwrap();
        untrusted(found.read(6).map(drop), "more than 6 bytes");
        symlink("file", at("link")).unwrap();
        symlink("new", at("dangling")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RWXU).unwrap();
        for (name, why) in [
            ("link", "symbolic link"),
            ("dangling", "symbolic link"),
            ("folder", "not a regular file"),
            ("fifo", "not a regular file"),
        ] {
            untrusted(open(name), why);
            assert!(Sidecar::open_own(&at(name)).is_err(), "{name}");
        }
        assert!(!at("new").exists());
        fs::hard_link(at("file"), at("other")).unwrap();
        let found = Sidecar::open(&at("file")).unwrap().unwrap();
        untrusted(found.only_name().map(drop), "other names");
        untrusted(Sidecar::open_own(&at("file")).map(drop), "other names");
        assert_eq!(fs::read(at("other")).unwrap(), b"content");
    }

    #[test]
    fn it_belongs_to_the_images_owner_or_to_whom_all_belongs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "content").unwrap();
        let found = |owner| Sidecar {
            owner,
            ..Sidecar::open(&path).unwrap().unwrap()
        };
        let user = rustix::process::geteuid().as_raw();
        let (stranger, owner) = (user + 4711, user + 4712);
        for fine in [0, user, owner] {
            found(fine).may_speak_of_image_of(owner).unwrap();
        }
        let error = found(stranger).may_speak_of_image_of(owner).unwrap_err();
        let said = error.to_string();
        found(user).is_of_this_user().unwrap();
        assert!(found(owner).is_of_this_user().is_err());
        assert!(
            said.contains(&format!("user {stranger}")) && said.contains(&format!("user {owner}"))
        );
    }
}
