//! The disks beside the root, with Packer's names for their keys.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use crate::base::{self, tree};
use crate::config::digest::Folders;
use crate::config::{self, Boundary, Diagnostic, ProjectPath, Source};
use crate::filesystem::FilesystemKind;
use crate::filesystem::xfs::XfsOptions;
use imgasm_aws::wish::{DeviceName, VolumeSettings, VolumeSize, VolumeType, check_performance};
use imgasm_block::Digest;
use imgasm_fs::text::chain;
use imgasm_guest::fstab::{Field, MountPoint};

/// A disk beside the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its device and its kind.
    pub settings: VolumeSettings,
    /// What it holds.
    pub content: Content,
}

/// What a volume holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing, and the base's mapping of the device is removed.
    None,
    /// Nothing: the volume is made when an instance starts.
    Empty {
        /// Its size.
        size: VolumeSize,
    },
    /// An existing snapshot.
    Snapshot {
        /// Its id.
        snapshot_id: String,
        /// The size of the volume, if it is larger than the snapshot.
        size: Option<VolumeSize>,
    },
    /// A filesystem that is made and imported as a snapshot.
    Filesystem(Filesystem),
}

/// A filesystem on a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    /// The size of the volume.
    pub size: VolumeSize,
    /// The kind of filesystem.
    pub kind: FilesystemKind,
    /// How it is made, if it is XFS.
    pub xfs: Box<XfsOptions>,
    /// Its label.
    pub label: Label,
    /// Where the root filesystem's fstab mounts it, if it does.
    pub mount: Option<MountPoint>,
    /// The mount options.
    pub options: Field,
    /// The files that are put in.
    pub files: Option<Files>,
}

/// A folder on the host whose content is put into a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Where it is.
    pub path: PathBuf,
    /// The identity of its content and of the file beside it, when the recipe was read; `None` if
    /// it did not exist.
    pub sha256: Option<Digest>,
    /// What the file beside it says.
    pub meta: Option<Vec<u8>>,
}

impl Files {
    fn read(path: PathBuf, folders: &Folders) -> config::Result<Self> {
        let unusable = |error: base::Error| config::Error::Unusable {
            path: tree::meta_path(&path),
            problem: format!("cannot be used: {}", chain(&error)),
        };
        let (mut sha256, mut meta) = (None, None);
        if path.is_dir() {
            meta = tree::meta_bytes(&path).map_err(unusable)?;
            let contents = folders.contents(&path)?;
            sha256 = Some(tree::identity(contents.digest, meta.as_deref()));
        }
        Ok(Self { path, sha256, meta })
    }
}

/// The label of a filesystem: text without white space or `/`, so that `LABEL=…` names it and a
/// file can be called after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(String);

impl Label {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_label_char = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '"' | '\'' | '\\');
        if text.is_empty() || !text.chars().all(is_label_char) {
            return Err(de::Error::custom(format!("{text:?} is not a label")));
        }
        Ok(Self(text))
    }
}

/// A `[[volume]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawVolume {
    device_name: DeviceName,
    volume_size: Option<VolumeSize>,
    volume_type: Option<VolumeType>,
    iops: Option<u32>,
    throughput: Option<u32>,
    encrypted: Option<bool>,
    kms_key_id: Option<String>,
    delete_on_termination: Option<bool>,
    snapshot_id: Option<String>,
    #[serde(default)]
    no_device: bool,
    filesystem: Option<FilesystemKind>,
    xfs: Option<XfsOptions>,
    label: Option<Label>,
    mount: Option<MountPoint>,
    options: Option<Field>,
    files: Option<ProjectPath>,
}

impl RawVolume {
    /// The volume, or what is wrong with it.
    fn check(self, place: (&Path, &Boundary), folders: &Folders) -> Result<Volume, String> {
        let volume_type = self.volume_type.unwrap_or(VolumeType::Gp3);
        check_performance(volume_type, self.iops, self.throughput)?;
        if self.kms_key_id.is_some() && self.encrypted != Some(true) {
            return Err("`kms_key_id` needs `encrypted = true`".to_owned());
        }
        let settings = VolumeSettings {
            device_name: self.device_name.clone(),
            delete_on_termination: self.delete_on_termination.unwrap_or(true),
            volume_type,
            iops: self.iops,
            throughput: self.throughput,
            encrypted: self.encrypted,
            kms_key_id: self.kms_key_id.clone(),
        };
        Ok(Volume {
            settings,
            content: self.content(place, folders)?,
        })
    }

    fn content(
        self,
        (folder, boundary): (&Path, &Boundary),
        folders: &Folders,
    ) -> Result<Content, String> {
        let needless = |given: bool, key: &str, why: &str| {
            if given {
                Err(format!("`{key}` {why}"))
            } else {
                Ok(())
            }
        };
        if self.no_device {
            let why = "makes no sense with `no_device`";
            needless(self.volume_size.is_some(), "volume_size", why)?;
            needless(self.snapshot_id.is_some(), "snapshot_id", why)?;
            needless(self.filesystem.is_some(), "filesystem", why)?;
        }
        let Some(kind) = self.filesystem else {
            let why = "needs a `filesystem`";
            needless(self.label.is_some(), "label", why)?;
            needless(self.mount.is_some(), "mount", why)?;
            needless(self.options.is_some(), "options", why)?;
            needless(self.files.is_some(), "files", why)?;
            needless(self.xfs.is_some(), "xfs", why)?;
            return match (self.no_device, self.snapshot_id, self.volume_size) {
                (true, ..) => Ok(Content::None),
                (false, Some(snapshot_id), size) => Ok(Content::Snapshot { snapshot_id, size }),
                (false, None, Some(size)) => Ok(Content::Empty { size }),
                (false, None, None) => Err("`volume_size` is missing".to_owned()),
            };
        };
        needless(
            self.snapshot_id.is_some(),
            "snapshot_id",
            "has a filesystem already",
        )?;
        let Some(label) = self.label else {
            return Err("a `filesystem` needs a `label`".to_owned());
        };
        if kind == FilesystemKind::Vfat {
            return Err("a volume's `filesystem` is `ext4`, `xfs` or `swap`".to_owned());
        }
        kind.check_label(label.as_str())?;
        let mut mount = self.mount;
        if kind == FilesystemKind::Swap {
            let why = "makes no sense with `filesystem = \"swap\"`";
            needless(mount.is_some(), "mount", why)?;
            needless(self.files.is_some(), "files", why)?;
            mount = MountPoint::new("none");
        }
        if mount.is_none() {
            needless(self.options.is_some(), "options", "needs a `mount`")?;
        }
        let files = self.files.map(|files| {
            let path = folder.join(files.as_path());
            boundary.check_tree(&path)?;
            Files::read(path, folders)
        });
        let files = files.transpose();
        let files = files.map_err(|error: config::Error| chain(&error))?;
        let default_options = || Field::new("defaults").expect("the word is a field");
        Ok(Content::Filesystem(Filesystem {
            size: self.volume_size.ok_or("`volume_size` is missing")?,
            kind,
            xfs: Box::new(kind.xfs(self.xfs)?),
            label,
            mount,
            options: self.options.unwrap_or_else(default_options),
            files,
        }))
    }
}

/// The volumes of a recipe, which must not get into each other's way.
pub(super) fn check_all(
    source: &Source,
    place: (&Path, &Boundary),
    folders: &Folders,
    raw: Vec<Spanned<RawVolume>>,
) -> Result<Vec<Volume>, Diagnostic> {
    let mut volumes: Vec<Volume> = Vec::with_capacity(raw.len());
    for raw in raw {
        let span = raw.span();
        let volume = raw.into_inner().check(place, folders);
        let volume = volume.map_err(|problem| source.error(span.clone(), problem))?;
        if let Some(problem) = volumes.iter().find_map(|other| clash(other, &volume)) {
            return Err(source.error(span, problem));
        }
        volumes.push(volume);
    }
    Ok(volumes)
}

/// What two volumes have in common but must not.
fn clash(one: &Volume, other: &Volume) -> Option<String> {
    if one.settings.device_name == other.settings.device_name {
        let name = one.settings.device_name.as_str();
        return Some(format!("{name} is the device of another volume already"));
    }
    let (Content::Filesystem(one), Content::Filesystem(other)) = (&one.content, &other.content)
    else {
        return None;
    };
    if one.label == other.label {
        let label = one.label.as_str();
        return Some(format!("`{label}` is the label of another volume already"));
    }
    let mount = one.mount.as_ref().filter(|_| one.mount == other.mount)?;
    Some(format!(
        "{} is mounted from another volume already",
        mount.as_str()
    ))
}
