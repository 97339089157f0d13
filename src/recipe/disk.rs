//! `[disk]`: how a disk is divided that is assembled from a root filesystem.

use serde::{Deserialize, Deserializer, de};
use uuid::Uuid;

use crate::base::Layout;
use crate::base::layout::{Filesystem, Partition};
use crate::config::ByteSize;
use crate::filesystem::FilesystemKind;
use crate::filesystem::xfs::XfsOptions;
use imgasm_disk::partition::{BIOS_BOOT, EFI_SYSTEM, LINUX_DATA, LINUX_ROOTS, LINUX_SWAP};
use imgasm_fs::path::ImagePath;
use imgasm_guest::fstab::{Field, MountPoint};

/// The most characters of a partition's name (UEFI 2.10, 5.3.3).
const MAX_NAME: usize = 36;

/// `[disk]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDisk {
    partition: Vec<RawPartition>,
}

/// A `[[disk.partition]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPartition {
    number: Option<u32>,
    #[serde(rename = "type")]
    kind: Option<Kind>,
    name: Option<String>,
    size: Option<ByteSize>,
    filesystem: Option<FilesystemKind>,
    xfs: Option<XfsOptions>,
    label: Option<String>,
    mount: Option<MountPoint>,
    options: Option<Field>,
}

/// A partition's type, by a word or its GUID.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind(Uuid);

/// The words for types, and the names that partitions of these types get.
const KINDS: [(&str, Uuid, &str); 6] = [
    ("linux", LINUX_DATA, "Linux"),
    ("efi", EFI_SYSTEM, "EFI System Partition"),
    ("bios-boot", BIOS_BOOT, "BIOS Boot Partition"),
    ("swap", LINUX_SWAP, "Linux swap"),
    ("root-x86-64", LINUX_ROOTS[0].0, "Linux root (x86-64)"),
    ("root-arm64", LINUX_ROOTS[1].0, "Linux root (arm64)"),
];

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = KINDS.iter().find(|(word, ..)| *word == text);
        let guid = known.map(|(_, guid, _)| *guid);
        guid.or_else(|| text.parse().ok()).map(Self).ok_or_else(|| {
            let words: Vec<_> = KINDS.iter().map(|(word, ..)| format!("`{word}`")).collect();
            de::Error::custom(format!(
                "{text:?} is no type of a partition: {}, or a GUID",
                words.join(", ")
            ))
        })
    }
}

impl RawDisk {
    /// The layout, or what is wrong with it.
    pub(super) fn check(self) -> Result<Layout, String> {
        let numbered = (1..).zip(self.partition);
        let partitions = numbered.map(|(number, raw)| raw.check(number));
        Layout::new(partitions.collect::<Result<_, _>>()?)
    }
}

impl RawPartition {
    /// The partition that comes as the `place`th, or what is wrong with it.
    fn check(self, place: u32) -> Result<Partition, String> {
        let number = self.number.unwrap_or(place);
        let wrong = |problem: &str| format!("partition {number}: {problem}");
        let usual = match self.filesystem {
            Some(FilesystemKind::Swap) => LINUX_SWAP,
            _ => LINUX_DATA,
        };
        let kind = self.kind.map_or(usual, |kind| kind.0);
        let known = KINDS.iter().find(|(_, guid, _)| *guid == kind);
        let name = self.name.unwrap_or_else(|| {
            let usual = known.map(|(_, _, name)| *name);
            usual.unwrap_or_default().to_owned()
        });
        if name.encode_utf16().count() > MAX_NAME {
            return Err(wrong("its `name` has more than 36 characters"));
        }
        let filesystem = match self.filesystem {
            Some(kind) => Some(
                filesystem((kind, self.xfs), self.label, self.mount, self.options)
                    .map_err(|problem| wrong(&problem))?,
            ),
            None if self.label.is_some()
                || self.mount.is_some()
                || self.options.is_some()
                || self.xfs.is_some() =>
            {
                return Err(wrong(
                    "`label`, `mount`, `options` and `xfs` need a `filesystem`",
                ));
            }
            None => None,
        };
        Ok(Partition {
            number,
            kind,
            name,
            size: self.size.map(|size| size.0),
            filesystem,
        })
    }
}

fn filesystem(
    (kind, xfs): (FilesystemKind, Option<XfsOptions>),
    label: Option<String>,
    mount: Option<MountPoint>,
    options: Option<Field>,
) -> Result<Filesystem, String> {
    let label = label.unwrap_or_default();
    if !label.chars().all(|c| c.is_ascii_graphic() && c != '"') {
        return Err(format!("{label:?} is not a label"));
    }
    kind.check_label(&label)?;
    let is_swap = kind == FilesystemKind::Swap;
    if mount.is_some() && is_swap {
        return Err("`mount` makes no sense with `filesystem = \"swap\"`".to_owned());
    }
    if mount.is_none() && options.is_some() && !is_swap {
        return Err("`options` needs a `mount`".to_owned());
    }
    let mount = mount.map(|mount| {
        let path = ImagePath::parse(mount.as_str());
        path.map_err(|_| "`mount` is no absolute path".to_owned())
    });
    let usual = match kind {
        FilesystemKind::Vfat => "umask=0077",
        FilesystemKind::Ext4 | FilesystemKind::Xfs | FilesystemKind::Swap => "defaults",
    };
    Ok(Filesystem {
        kind,
        xfs: kind.xfs(xfs)?,
        label,
        mount: mount.transpose()?,
        options: options.or_else(|| Field::new(usual)),
    })
}
