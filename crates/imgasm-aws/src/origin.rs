//! Where a base came from: the file that `pull` leaves beside the image, and that `build` and
//! `import` take up.
//!
//! It is bound to the image twice: by whom it belongs to (see [`imgasm_block::sidecar`]), and by the
//! digest of the disk that it is about.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use imgasm_block::Digest;
use imgasm_block::sidecar::Sidecar;

/// An AMI that a base was pulled from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its id.
    pub ami_id: String,
    /// Its name.
    pub name: String,
    /// The account that owns it; not in files of before 0.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    /// The account that pulled it, which the snapshot belongs to; not in files of before 0.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Its region.
    pub region: String,
    /// The snapshot whose blocks the base has, where the account can still read it: what an
    /// upload can build upon.
    pub snapshot_id: Option<String>,
    /// The digest of the disk, as [`imgasm_block::ChunkMap::digest`] gives it.
    pub digest: Digest,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// How it boots, where it says so.
    pub boot_mode: Option<String>,
    /// The device of its root volume.
    pub root_device_name: String,
    /// Its mappings, the root's among them, as EC2 describes them.
    pub block_device_mappings: Vec<Mapping>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A block device mapping of an AMI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// The device.
    pub device_name: String,
    /// The snapshot of its volume.
    pub snapshot_id: Option<String>,
    /// GiB.
    pub volume_size: Option<i32>,
    /// The kind of EBS volume.
    pub volume_type: Option<String>,
    /// Provisioned operations a second, of the kinds that have them.
    pub iops: Option<i32>,
    /// Provisioned MiB a second.
    pub throughput: Option<i32>,
    /// Whether the volume goes with the instance.
    pub delete_on_termination: Option<bool>,
    /// Whether its snapshot is encrypted.
    pub encrypted: Option<bool>,
    /// The instance store volume that it is.
    pub virtual_name: Option<String>,
}

/// The most bytes of an origin file. An AMI has at most 50 tags and some tens of mappings.
const LIMIT: u64 = 1 << 20;

/// Why an origin file does not count.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host failed, or the file is not to be trusted.
    #[error(transparent)]
    Block(#[from] imgasm_block::Error),
    /// It is not what `pull` writes.
    #[error("{} is not an origin file", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It is about another disk.
    #[error(
        "{} is about a disk with the digest {recorded}, and the image beside it has {digest}: pull \
         the AMI again, or remove the file if the AMI's mappings are not wanted",
        path.display()
    )]
    OtherDisk {
        /// The file.
        path: PathBuf,
        /// What it is about.
        recorded: Digest,
        /// The digest of the image's disk.
        digest: Digest,
    },
}

impl Origin {
    /// The name of the origin file of an image: `base.raw.origin.json` beside `base.raw`.
    pub fn path_of(image: &Path) -> PathBuf {
        let mut name = image.file_name().map_or_else(OsString::new, Into::into);
        name.push(".origin.json");
        image.with_file_name(name)
    }

    /// The origin of an image that belongs to the user `owner` and whose disk has this digest;
    /// `None` if it has no origin file.
    pub fn of(image: &Path, owner: u32, digest: Digest) -> Result<Option<Self>, Error> {
        let path = Self::path_of(image);
        let Some(mut file) = Sidecar::open(&path)? else {
            return Ok(None);
        };
        file.may_speak_of_image_of(owner)?;
        let json = file.read(LIMIT)?;
        match serde_json::from_slice::<Self>(&json) {
            Ok(origin) if origin.digest == digest => Ok(Some(origin)),
            Ok(origin) => Err(Error::OtherDisk {
                path,
                recorded: origin.digest,
                digest,
            }),
            Err(source) => Err(Error::Invalid { path, source }),
        }
    }

    /// The file's content.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("plain values are always JSON");
        json.push('\n');
        json
    }
}
