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
    /// `REGION:AMI`, of all regions in their order, with commas between.
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
    /// The AMI in each region; what stands above is the first one's.
    #[serde(default)]
    pub regions: BTreeMap<String, RegionData>,
}

/// An AMI in a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionData {
    /// Its id.
    pub ami_id: String,
    /// The snapshot of each device that has one.
    pub snapshots: BTreeMap<String, String>,
}

impl Artifact {
    /// One artifact for an AMI and its copies, the AMI's own first.
    pub fn join(all: Vec<Self>) -> Option<Self> {
        let mut all = all.into_iter();
        let mut joined = all.next()?;
        for other in all {
            joined.custom_data.regions.extend(other.custom_data.regions);
        }
        let regions = joined.custom_data.regions.iter();
        let ids: Vec<String> = regions
            .map(|(region, data)| format!("{region}:{}", data.ami_id))
            .collect();
        joined.artifact_id = ids.join(",");
        Some(joined)
    }

    /// The id of the AMI by region, as Terraform (`*.auto.tfvars.json`) and others read it:
    /// `{"ami": {REGION: AMI}}`.
    pub fn ids(&self) -> String {
        let regions = self.custom_data.regions.iter();
        let ids: BTreeMap<&str, &str> = regions
            .map(|(region, data)| (region.as_str(), data.ami_id.as_str()))
            .collect();
        let mut text = format!("{:#}", serde_json::json!({ "ami": ids }));
        text.push('\n');
        text
    }
}
