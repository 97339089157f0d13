//! The file beside a root filesystem's tree, with what a checkout of the tree cannot store.
//!
//! For `rootfs/` it is `rootfs.meta.toml`:
//!
//! ```toml
//! directories = ["/proc", "/var/lib/rpm"]          # there even where nothing lies in them
//! [hard_links]
//! "/usr/share/zoneinfo/UTC" = "/usr/share/zoneinfo/Etc/UTC"
//! [nodes]
//! "/dev/null" = { type = "char", major = 1, minor = 3 }
//! [[set]]                                          # later ones win
//! paths = ["/etc/shadow", "/home/*/.ssh/**"]
//! mode = "0600"
//! owner = "root"                                   # a name or a number, as in /etc/passwd
//! group = "root"
//! xattrs = { "security.capability" = "01000002…" } # values in hexadecimal
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use globset::{GlobBuilder, GlobSet};
use serde::Deserialize;

use super::{Error, Result};
use imgasm_fs::path::ImagePath;
use imgasm_fs::{DeviceNumber, FileType};

/// What the file says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// Directories that exist even if they are empty.
    #[serde(default)]
    directories: Vec<String>,
    /// Further names of files: the new name, and an existing one.
    #[serde(default)]
    hard_links: BTreeMap<String, String>,
    /// Device nodes and named pipes.
    #[serde(default)]
    nodes: BTreeMap<String, Node>,
    /// Modes, owners, groups and attributes by patterns.
    #[serde(default)]
    set: Vec<RawSet>,
}

/// A device node or named pipe, as it is written.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Node {
    Char { major: u32, minor: u32 },
    Block { major: u32, minor: u32 },
    Fifo,
}

/// Settings for the paths that match, as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSet {
    paths: Vec<String>,
    mode: Option<String>,
    owner: Option<String>,
    group: Option<String>,
    #[serde(default)]
    xattrs: BTreeMap<String, String>,
}

/// Settings for the paths that match.
#[derive(Debug)]
pub struct Set {
    /// The patterns as they are written, and compiled.
    pub patterns: Vec<(String, GlobSet)>,
    /// The low twelve bits of the mode.
    pub mode: Option<u16>,
    /// Owner, a name or a number.
    pub owner: Option<String>,
    /// Group, a name or a number.
    pub group: Option<String>,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A node that a checkout cannot hold: its type, and its number if it is a device.
pub type Special = (FileType, Option<DeviceNumber>);

impl Meta {
    /// What the file at `path` with these bytes says.
    ///
    /// # Errors
    /// [`Error::Meta`] with the place and the text.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let wrong = |problem| Error::Meta {
            path: path.to_owned(),
            problem,
        };
        let text = std::str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
        toml::from_str(text).map_err(|error| wrong(error.to_string()))
    }

    /// The directories that exist even if they are empty.
    pub fn directories(&self) -> Result<Vec<ImagePath>, String> {
        self.directories
            .iter()
            .map(|path| image_path(path))
            .collect()
    }

    /// The further names of files, each with an existing name.
    pub fn hard_links(&self) -> Result<Vec<(ImagePath, ImagePath)>, String> {
        let links = self.hard_links.iter();
        links
            .map(|(new, old)| Ok((image_path(new)?, image_path(old)?)))
            .collect()
    }

    /// Device nodes and named pipes.
    pub fn nodes(&self) -> Result<Vec<(ImagePath, Special)>, String> {
        let nodes = self.nodes.iter();
        nodes
            .map(|(path, node)| {
                let special = match *node {
                    Node::Char { major, minor } => {
                        (FileType::CharDevice, Some(DeviceNumber { major, minor }))
                    }
                    Node::Block { major, minor } => {
                        (FileType::BlockDevice, Some(DeviceNumber { major, minor }))
                    }
                    Node::Fifo => (FileType::Fifo, None),
                };
                Ok((image_path(path)?, special))
            })
            .collect()
    }

    /// The settings, in the order in which they apply.
    pub fn sets(&self) -> Result<Vec<Set>, String> {
        self.set.iter().map(RawSet::compile).collect()
    }
}

impl RawSet {
    fn compile(&self) -> Result<Set, String> {
        let pattern = |text: &String| {
            // A pattern begins with a slash, as paths do; `*` does not match one.
            let glob = GlobBuilder::new(text).literal_separator(true).build();
            let compiled = glob.and_then(|glob| GlobSet::new([glob]));
            Ok((text.clone(), compiled.map_err(|error| error.to_string())?))
        };
        let xattr = |(name, value): (&String, &String)| match hex::decode(value) {
            Ok(value) => Ok((name.clone().into_bytes(), value)),
            Err(_) => Err(format!("attribute {name}: {value:?} is not hexadecimal")),
        };
        Ok(Set {
            patterns: self
                .paths
                .iter()
                .map(pattern)
                .collect::<Result<_, String>>()?,
            mode: self.mode.as_deref().map(mode).transpose()?,
            owner: self.owner.clone(),
            group: self.group.clone(),
            xattrs: self
                .xattrs
                .iter()
                .map(xattr)
                .collect::<Result<_, String>>()?,
        })
    }
}

fn image_path(path: &str) -> Result<ImagePath, String> {
    ImagePath::parse(path).map_err(|error| error.to_string())
}

/// A mode, written in octal.
fn mode(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| format!("mode {text:?} is not octal from 0000 to 7777"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_and_have_twelve_bits() {
        assert_eq!(mode("0644"), Ok(0o644));
        assert_eq!(mode("7777"), Ok(0o7777));
        for wrong in ["", "8", "10000", "-1", "rw", "0o644"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_keys_are_errors() {
        for text in [
            "directory = []",
            "[[set]]\npath = \"/\"",
            "[nodes]\n\"/x\" = { type = \"socket\" }",
        ] {
            assert!(toml::from_str::<Meta>(text).is_err(), "{text}");
        }
    }
}
