//! `manifest.json`: what was built from what.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::Setting;
use crate::inspect::TableDescription;
use crate::origin::Origin;
use imgasm_aws::Artifact;
use imgasm_block::{BlockDevice, Digest, FileDevice, Output};

/// The name of the file.
pub const FILE_NAME: &str = "manifest.json";

/// The most bytes of a manifest: one with a line for each of a million paths.
pub const LIMIT_BYTES: u64 = 256 << 20;

/// Why bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// They are not the JSON of one.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It names a file that does not lie beside it.
    #[error("it names {file:?}, and a manifest is about files beside itself only")]
    Elsewhere {
        /// The file.
        file: String,
    },
}

/// The content of a file that may be a manifest; `None` if it does not begin as one does, or is longer
/// than any. What is no regular file, such as a pipe, is an error, not waited for.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = FileDevice::open(path)?;
    let part = |len: u64| {
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        file.read_at(0, &mut bytes).map_err(io::Error::other)?;
        Ok::<_, io::Error>(bytes)
    };
    if !(1..=LIMIT_BYTES).contains(&file.len()) || part(1)? != b"{" {
        return Ok(None);
    }
    part(file.len()).map(Some)
}

/// The record that `build` writes beside the image. It holds nothing about the host or the time of
/// the build, so that equal inputs give equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of imgasm that built the image.
    pub imgasm_version: String,
    /// The recipe's name for the image.
    pub name: String,
    /// The time given to everything that was made or changed, in seconds since 1970.
    pub source_date_epoch: i64,
    /// The base of the image.
    pub base: Base,
    /// The identity of the recipe: its bytes, its variables, and its overlays with theirs.
    pub recipe_sha256: Digest,
    /// The recipe's variables with their values, but for those that are sensitive.
    pub variables: BTreeMap<String, Setting>,
    /// The others, with the keyed digests of their values (`config::given::keyed_digest`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sensitive_variables: BTreeMap<String, Digest>,
    /// The overlays in the order in which they were applied.
    pub overlays: Vec<Overlay>,
    /// The packages that were to be installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
    /// The packages that were removed, but for those that others took the place of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed_packages: Vec<RemovedPackage>,
    /// The disk image.
    pub image: Image,
    /// The disks beside the root.
    pub volumes: Vec<Volume>,
    /// Every path that an overlay changed, in order.
    pub changes: Vec<Change>,
    /// The AMIs that the image became, one per region, in Packer's form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<Artifact>,
    /// The [`Artifact::packer_run_uuid`] of those that were made last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_uuid: Option<String>,
}

/// The base of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The name of the file, or of the folder with the root filesystem.
    pub name: String,
    /// SHA-256 of the file, if the recipe gives it or the file had to be unpacked; for a folder,
    /// its identity.
    pub sha256: Option<Digest>,
    /// SHA-256 over the SHA-256s of the non-zero 512 KiB chunks of the disk, in order.
    pub digest: Digest,
    /// Bytes of the disk.
    pub size: u64,
    /// Whether the recipe does not say which digest it must have: then another file of this name
    /// would have been taken, too. A folder in the project is as good as the recipe.
    #[serde(default, skip_serializing_if = "is_not")]
    pub unpinned: bool,
    /// How the bytes that were used were bound to the digests; absent if they were made for this
    /// build, and in old manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    /// The AMI that it was pulled from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Flags that are not set are left out.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_not(flag: &bool) -> bool {
    !flag
}

/// How the bytes of a base were bound to its digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// Each was compared with the digests as it was read.
    Compared,
    /// They came from the cache, which is the builder's alone, and were not compared again.
    TrustedCache,
}

/// An overlay that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Its name.
    pub name: String,
    /// The identity of its folder's content.
    pub sha256: Digest,
    /// Its variables with their values, but for those that are sensitive.
    pub variables: BTreeMap<String, Setting>,
    /// See [`Manifest::sensitive_variables`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sensitive_variables: BTreeMap<String, Digest>,
}

/// A package that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedPackage {
    /// Its name.
    pub name: String,
    /// `[epoch:]version-release`.
    pub version: String,
    /// The architecture that it is for.
    pub arch: Option<String>,
    /// What RPM would have done that was not done, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// A package that was to be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// `[epoch:]version-release`.
    pub version: String,
    /// The architecture that it is for.
    pub arch: Option<String>,
    /// SHA-256 of its file.
    pub sha256: Digest,
    /// Whether nobody had to have signed it: only its digest says which file it is.
    #[serde(default, skip_serializing_if = "is_not")]
    pub unsigned: bool,
    /// Whether the base had it before.
    pub was_present: bool,
    /// The parts of its installation that were not done: scripts and triggers that were skipped,
    /// caches that were not rebuilt.
    pub skipped: Vec<String>,
}

/// The disk image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its file, beside the manifest.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 over the SHA-256s of its non-zero 512 KiB chunks, in order.
    pub digest: Digest,
    /// Its partition table; `null` if one filesystem fills it.
    pub partition_table: Option<TableDescription>,
}

/// A disk beside the root: a mapping, and the image of its filesystem if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The device of the mapping.
    pub device_name: String,
    /// Size in GiB; `null` if the mapping is removed, or is as large as its snapshot.
    pub volume_size: Option<u64>,
    /// The kind of EBS volume.
    pub volume_type: String,
    /// Whether the volume is deleted with the instance.
    pub delete_on_termination: bool,
    /// The filesystem that was made.
    pub filesystem: Option<VolumeFilesystem>,
}

/// A filesystem that was made on a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeFilesystem {
    /// Its image, beside the manifest.
    pub file: String,
    /// Bytes of the image.
    pub size: u64,
    /// See [`Image::digest`].
    pub digest: Digest,
    /// Its kind.
    pub kind: String,
    /// Its label.
    pub label: String,
    /// The identity of the files that were put in, and of the file beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_sha256: Option<Digest>,
    /// Its UUID.
    pub uuid: String,
    /// Where the root filesystem mounts it.
    pub mount: Option<String>,
}

/// A path that an overlay changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The path; what is not UTF-8 is written `\xNN`.
    pub path: String,
    /// The overlay that changed it last.
    pub overlay: String,
    /// The number of the step that did, from 1; 0 is the overlay's `files/`.
    pub step: usize,
    /// The kind of the step.
    pub kind: String,
    /// What is there now; `null` if nothing is.
    pub r#type: Option<String>,
    /// SHA-256 of a regular file.
    pub sha256: Option<Digest>,
}

impl Manifest {
    /// Reads the file's content, which may come from anywhere.
    pub fn parse(json: &[u8]) -> Result<Self, ParseError> {
        let manifest: Self = serde_json::from_slice(json)?;
        let is_beside = |file: &str| Path::new(file).file_name() == Some(OsStr::new(file));
        if let Some(file) = manifest.files().find(|file| !is_beside(file)) {
            let file = file.to_owned();
            return Err(ParseError::Elsewhere { file });
        }
        Ok(manifest)
    }

    /// The names of the disks that it is about, the image first.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let made = self.volumes.iter().filter_map(|it| it.filesystem.as_ref());
        std::iter::once(self.image.file.as_str()).chain(made.map(|made| made.file.as_str()))
    }

    /// The file's content.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("plain values are always JSON");
        json.push('\n');
        json
    }

    /// The texts in it that a recipe chooses, each with the name of its place.
    pub fn chosen_texts(&self) -> impl Iterator<Item = (&'static str, String)> {
        let settings = self.overlays.iter().map(|overlay| &overlay.variables);
        let settings = settings.chain([&self.variables]).flatten();
        let settings = settings.map(|(_, value)| ("a variable", value.to_string()));
        let paths = self
            .changes
            .iter()
            .map(|change| ("a path", change.path.clone()));
        let volumes = self.volumes.iter().flat_map(|volume| {
            let made = volume.filesystem.iter();
            let made = made.flat_map(|made| [Some(made.label.clone()), made.mount.clone()]);
            let texts = made.flatten().chain([volume.device_name.clone()]);
            texts.map(|text| ("a volume", text))
        });
        let names = [
            ("the name of the image", self.name.clone()),
            ("the name of the base", self.base.name.clone()),
        ];
        let overlays = self.overlays.iter();
        let overlays = overlays.map(|overlay| ("the name of an overlay", overlay.name.clone()));
        let texts = settings
            .chain(paths)
            .chain(volumes)
            .chain(names)
            .chain(overlays);
        texts.collect::<Vec<_>>().into_iter()
    }

    /// The manifest with AMIs that the image has become. Those of other regions, and of other
    /// accounts, stay.
    #[must_use]
    pub fn with_artifacts(mut self, artifacts: Vec<Artifact>) -> Self {
        let is_again = |old: &Artifact| {
            let mut new = artifacts.iter();
            new.any(|new| new.artifact_id == old.artifact_id)
        };
        self.builds.retain(|old| !is_again(old));
        self.last_run_uuid = artifacts.last().map(|last| last.packer_run_uuid.clone());
        self.builds.extend(artifacts);
        self
    }

    /// Writes the manifest into a folder, as a whole or not at all.
    pub fn write(&self, dir: &Path) -> imgasm_block::Result<()> {
        Output::write(&dir.join(FILE_NAME), self.to_json().as_bytes())
    }
}
