//! The record of an AMI that was made, in the form that Packer's manifests have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::origin::Mapping;
use imgasm_block::Digest;

/// An AMI that the image became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The recipe's name for the image.
    pub name: String,
    /// `imgasm`.
    pub builder_type: String,
    /// When EC2 says that the AMI was made, in seconds since 1970.
    pub build_time: i64,
    /// Packer lists the files of an artifact here; an AMI has none.
    pub files: Option<Vec<String>>,
    /// `REGION:AMI`.
    pub artifact_id: String,
    /// An identity that follows from the image and the account, so that a repeat has the same.
    pub packer_run_uuid: String,
    /// What else there is to know of it.
    pub custom_data: ArtifactData,
}

/// What there is to know of an AMI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactData {
    /// The AMI's name.
    pub ami_name: String,
    /// The digest of the image that it was made from.
    pub image_digest: Digest,
    /// The snapshot of each device that has one.
    pub snapshots: BTreeMap<String, String>,
    /// The block device mappings, as EC2 describes them.
    pub block_device_mappings: Vec<Mapping>,
}
