//! What there is to make an AMI of, as plain values: whoever has built it fills them in.

use std::sync::Arc;

use crate::origin::Origin;
use crate::wish::{Architecture, VolumeSettings, VolumeSize};
use imgasm_block::{BlockDevice, ChunkMap, Digest};

/// A built image with its volumes.
pub struct Built {
    /// The recipe's name for the image.
    pub name: String,
    /// What it is for, if the recipe says so.
    pub description: Option<String>,
    /// The identity of the recipe.
    pub recipe: Digest,
    /// The digest of the base.
    pub base: Digest,
    /// The AMI that the base came from.
    pub origin: Option<Origin>,
    /// What the image's programs are for.
    pub architecture: Architecture,
    /// How it can start, if that can be seen.
    pub boot: Option<Boot>,
    /// The root disk.
    pub root: BuiltDisk,
    /// The volumes beside the root, in the recipe's order.
    pub volumes: Vec<BuiltVolume>,
}

/// How an image can start, as its disk and its kernels say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// Whether boot code for the BIOS is installed.
    pub by_bios: bool,
    /// Whether a loader for UEFI is installed.
    pub by_uefi: bool,
    /// The kernels that have no driver for the Elastic Network Adapter.
    pub without_ena: Vec<String>,
    /// Those that have none for NVMe, by which the Nitro system has its disks.
    pub without_nvme: Vec<String>,
    /// Those that have none for the `NitroTPM`.
    pub without_tpm: Vec<String>,
    /// What asks the metadata service for user data and keys without the token of its version 2.
    pub without_token: Vec<String>,
}

/// A disk that was built.
#[derive(Clone)]
pub struct BuiltDisk {
    /// The name of its file.
    pub file: String,
    /// Its bytes.
    pub device: Arc<dyn BlockDevice>,
    /// Its chunks.
    pub chunk_map: Arc<ChunkMap>,
}

impl BuiltDisk {
    /// The digest of its content.
    pub fn digest(&self) -> Digest {
        self.chunk_map.digest()
    }

    /// Its size in whole GiB, as EBS has it.
    pub fn gib(&self) -> u64 {
        self.device.len().div_ceil(1 << 30)
    }
}

/// A volume beside the root.
#[derive(Clone)]
pub struct BuiltVolume {
    /// Its device and its kind.
    pub settings: VolumeSettings,
    /// What it holds.
    pub content: VolumeContent,
}

/// What a volume holds.
#[derive(Clone)]
pub enum VolumeContent {
    /// The base's mapping of the device is taken away.
    None,
    /// Nothing: the volume is made when an instance starts.
    Empty {
        /// Its size.
        size: VolumeSize,
    },
    /// A snapshot that is there already.
    Snapshot {
        /// Its id.
        snapshot_id: String,
        /// The size of the volume, if it is larger than the snapshot.
        size: Option<VolumeSize>,
    },
    /// A disk that was built.
    Disk {
        /// The size of the volume.
        size: VolumeSize,
        /// The disk.
        disk: BuiltDisk,
    },
}
