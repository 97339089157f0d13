//! A path inside an image.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An absolute path inside an image, in bytes.
///
/// It is held in one form: a leading `/`, no trailing one, and between them names that are neither
/// empty nor `.` nor `..`. There is no `..` because what it means depends on the symbolic links on
/// the way, which a path by itself does not know.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImagePath(Vec<u8>);

/// Why bytes are not a path inside an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("{path:?} is not an absolute path inside the image")]
    NotAbsolute {
        /// What was given.
        path: String,
    },
    /// It begins with `/` where a path below a folder was wanted.
    #[error("{path:?} is not a relative path")]
    NotRelative {
        /// What was given.
        path: String,
    },
    /// It has a `..`, which could lead out of where it is meant to stay.
    #[error("{path:?} contains `..`")]
    Parent {
        /// What was given.
        path: String,
    },
    /// It has a NUL byte, which no name can hold.
    #[error("{path:?} contains a NUL byte")]
    Nul {
        /// What was given.
        path: String,
    },
    /// It is longer than a path that a process can name.
    #[error(
        "a path of {len} bytes is longer than the {} that a process can name",
        ImagePath::LONGEST
    )]
    TooLong {
        /// Its bytes.
        len: usize,
    },
}

impl ImagePath {
    /// The most bytes of a path that is given, and that a walk leads to: Linux's `PATH_MAX` without the
    /// zero at the end. As deep as a hostile tree may be, each of its paths takes no more room.
    pub const LONGEST: usize = 4095;

    /// The root of the image, `/`.
    pub fn root() -> Self {
        Self(vec![b'/'])
    }

    /// An absolute path. Repeated slashes, `.` and a trailing slash are dropped.
    ///
    /// # Errors
    /// [`PathError::NotAbsolute`], [`PathError::Parent`], [`PathError::Nul`], [`PathError::TooLong`].
    pub fn parse(path: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let path = path.as_ref();
        let Some(relative) = path.strip_prefix(b"/") else {
            return Err(PathError::NotAbsolute { path: lossy(path) });
        };
        let mut parsed = Self::root();
        parsed.extend(relative, path)?;
        parsed.checked()
    }

    /// This path with a relative one below it, of any number of names.
    ///
    /// # Errors
    /// [`PathError::NotRelative`], [`PathError::Parent`], [`PathError::Nul`], [`PathError::TooLong`].
    pub fn join(&self, relative: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let relative = relative.as_ref();
        if relative.starts_with(b"/") {
            let path = lossy(relative);
            return Err(PathError::NotRelative { path });
        }
        let mut joined = self.clone();
        joined.extend(relative, relative)?;
        joined.checked()
    }

    fn checked(self) -> Result<Self, PathError> {
        match self.0.len() {
            len if len > Self::LONGEST => Err(PathError::TooLong { len }),
            _ => Ok(self),
        }
    }

    /// This path with one name below it, which must be one that a directory can hold.
    #[must_use]
    pub fn child(&self, name: &[u8]) -> Self {
        let mut child = self.clone();
        child.push(name);
        child
    }

    /// The path of the directory that this path lies in; the root lies in none.
    pub fn parent(&self) -> Option<Self> {
        let mut parent = self.clone();
        parent.pop().then_some(parent)
    }

    /// The last name; the root has none.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.names().last()
    }

    /// The names from the root downwards.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|name| !name.is_empty())
    }

    /// Whether this path is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        match self.0.strip_prefix(ancestor.0.as_slice()) {
            Some(rest) => ancestor.is_root() || rest.is_empty() || rest.starts_with(b"/"),
            None => false,
        }
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The path's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path in the host's type, for crates that match or print paths; never to be opened.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Appends one name.
    pub(super) fn push(&mut self, name: &[u8]) {
        if !self.is_root() {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(name);
    }

    /// Takes the last name off; the root stays and gives `false`.
    pub(super) fn pop(&mut self) -> bool {
        if self.is_root() {
            return false;
        }
        let slash = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        self.0.truncate(slash.max(1));
        true
    }

    fn extend(&mut self, relative: &[u8], given: &[u8]) -> Result<(), PathError> {
        if given.contains(&0) {
            return Err(PathError::Nul { path: lossy(given) });
        }
        for name in relative.split(|&b| b == b'/') {
            match name {
                b"" | b"." => {}
                b".." => return Err(PathError::Parent { path: lossy(given) }),
                name => self.push(name),
            }
        }
        Ok(())
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Bytes that are not UTF-8 are written as `\xNN`.
impl fmt::Display for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            let mut invalid = chunk.invalid().iter();
            invalid.try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl std::str::FromStr for ImagePath {
    type Err = PathError;
    fn from_str(path: &str) -> Result<Self, PathError> {
        Self::parse(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::parse(text).expect("a path of the test")
    }

    #[test]
    fn one_form() {
        assert_eq!(path("//etc/./fstab/").as_bytes(), b"/etc/fstab");
        assert!(path("/.").is_root());
        assert_eq!(path("/").names().count(), 0);
        assert_eq!(path("/").parent(), None);
        assert_eq!(path("/a").parent(), Some(ImagePath::root()));
        assert_eq!(path("/a/b").parent(), Some(path("/a")));
        assert_eq!(path("/a/b").file_name(), Some(&b"b"[..]));
        assert_eq!(path("/").child(b"x"), path("/x"));
        assert_eq!(path("/a").join("b//c/"), Ok(path("/a/b/c")));
    }

    #[test]
    fn refused() {
        for bad in ["", "etc", "../etc", "/..", "/a/../b", "/a\0"] {
            assert!(ImagePath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(path("/a").join("/b").is_err());
        assert!(path("/a").join("../b").is_err());
        assert!(ImagePath::parse(b"/\xff").is_ok());
    }

    #[test]
    fn ancestors() {
        assert!(path("/a/b").starts_with(&path("/a")));
        assert!(path("/a").starts_with(&path("/a")));
        assert!(path("/a").starts_with(&ImagePath::root()));
        assert!(!path("/ab").starts_with(&path("/a")));
        assert!(!path("/").starts_with(&path("/a")));
    }
}
