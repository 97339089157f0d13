//! The AMI that an image becomes, by the names that Packer has for its parts.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::tags::Tags;
use super::text::{AccountId, AmiName, Arn, BucketName, ParameterName, Region, Time, Zone};
use super::volume::{DeviceName, VolumeSize, VolumeType, check_performance};

/// The table `[ami]` of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the recipe")]
pub struct Ami {
    /// The name, which no other AMI of the account has in the region.
    pub ami_name: AmiName,
    /// What the AMI is for; the recipe's own description where it is not given.
    pub ami_description: Option<String>,
    /// The account that the credentials must be of.
    pub account: Option<AccountId>,
    /// The region, where neither the command line nor the environment names one.
    pub region: Option<Region>,
    /// What the image's own programs must be for.
    pub architecture: Option<Architecture>,
    /// How it boots; the base's mode, or EC2's default, where it is not given.
    pub boot_mode: Option<BootMode>,
    /// Enhanced networking with the Elastic Network Adapter.
    #[serde(default = "yes")]
    pub ena_support: bool,
    /// Enhanced networking with the Intel 82599 VF.
    #[serde(default)]
    pub sriov_support: bool,
    /// The version of the `NitroTPM`.
    pub tpm_support: Option<TpmSupport>,
    /// The UEFI variable store, in base64.
    pub uefi_data: Option<String>,
    /// Which instance metadata service instances have.
    #[serde(default)]
    pub imds_support: ImdsSupport,
    /// The disk that the image becomes.
    #[serde(default)]
    pub ami_root_device: RootDevice,
    /// Tags of the AMI.
    #[serde(default)]
    pub tags: Tags,
    /// Tags of the snapshots and of the tasks that make them.
    #[serde(default)]
    pub snapshot_tags: Tags,
    /// Accounts that may launch it.
    #[serde(default)]
    pub ami_users: BTreeSet<AccountId>,
    /// Groups that may launch it; there is one, everybody.
    #[serde(default)]
    pub ami_groups: BTreeSet<Group>,
    /// Organisations whose accounts may launch it.
    #[serde(default)]
    pub ami_org_arns: BTreeSet<Arn>,
    /// Organisational units whose accounts may launch it.
    #[serde(default)]
    pub ami_ou_arns: BTreeSet<Arn>,
    /// Accounts that may make volumes of its snapshots.
    #[serde(default)]
    pub snapshot_users: BTreeSet<AccountId>,
    /// Groups that may make volumes of its snapshots; there is one, everybody.
    #[serde(default)]
    pub snapshot_groups: BTreeSet<Group>,
    /// Availability zones in which volumes of its snapshots are fast from their first read on.
    #[serde(default)]
    pub fast_snapshot_restore: BTreeSet<Zone>,
    /// Regions that it is copied to.
    #[serde(default)]
    pub ami_regions: BTreeSet<Region>,
    /// The key that encrypts the copy in each region.
    #[serde(default)]
    pub region_kms_key_ids: BTreeMap<Region, String>,
    /// Minutes in which a copy's snapshots are to be complete, at a price; as soon as it can be
    /// where this is not given.
    pub snapshot_copy_duration_minutes: Option<u32>,
    /// Whether the AMI goes from the region that it is made in once its copies are there.
    #[serde(default)]
    pub skip_save_build_region: bool,
    /// The time after which it is deprecated.
    pub deprecate_at: Option<Time>,
    /// Whether it cannot be deregistered before that is allowed again.
    #[serde(default)]
    pub deregistration_protection: Protection,
    /// Whether an AMI that has the name already is deregistered.
    #[serde(default)]
    pub force_deregister: bool,
    /// Whether the snapshots of an AMI that is deregistered go with it.
    #[serde(default)]
    pub force_delete_snapshot: bool,
    /// The SSM parameter that the new id is written to.
    pub ssm_parameter: Option<ParameterName>,
    /// The bucket that images are uploaded to on the way to a snapshot.
    pub s3_bucket_name: Option<BucketName>,
    /// The account that the bucket must be of.
    pub s3_bucket_owner: Option<AccountId>,
    /// The key that objects are encrypted with; the bucket's default where this is not given.
    pub s3_kms_key_id: Option<String>,
    /// The role by which the import service reads the bucket.
    pub role_name: Option<String>,
    /// How long to wait for what takes time.
    #[serde(default)]
    pub aws_polling: Polling,
    /// Packer's, for Windows; see [`Self::check`].
    pub fast_launch: Option<Refused>,
    /// Packer's, which EC2 takes no more; see [`Self::check`].
    pub ami_product_codes: Option<Refused>,
}

fn yes() -> bool {
    true
}

impl Ami {
    /// What is contradictory in it, or what EC2 takes for no AMI that is made here.
    pub fn check(&self) -> Result<(), String> {
        if self.fast_launch.is_some() {
            return Err(
                "`fast_launch` is for Windows alone: EC2 refuses it for other AMIs; \
                        `fast_snapshot_restore` makes the first reads of volumes fast"
                    .to_owned(),
            );
        }
        if self.ami_product_codes.is_some() {
            return Err(
                "`ami_product_codes` is not supported by EC2 any more: AWS Marketplace \
                        gives an AMI its code when it is published there"
                    .to_owned(),
            );
        }
        if self.skip_save_build_region && self.ami_regions.is_empty() {
            return Err(
                "`skip_save_build_region` needs `ami_regions`: nothing would be left".to_owned(),
            );
        }
        if let Some(region) = self
            .region_kms_key_ids
            .keys()
            .find(|region| !self.ami_regions.contains(region))
        {
            return Err(format!(
                "`region_kms_key_ids` has a key for {region}, which `ami_regions` does not name"
            ));
        }
        if self.boot_mode == Some(BootMode::LegacyBios) {
            let clash = |given: bool, key| {
                given.then(|| format!("`{key}` needs a `boot_mode` with UEFI, not `legacy-bios`"))
            };
            let clash = clash(self.tpm_support.is_some(), "tpm_support")
                .or_else(|| clash(self.uefi_data.is_some(), "uefi_data"));
            if let Some(problem) = clash {
                return Err(problem);
            }
        }
        self.ami_root_device.check()
    }
}

/// A group of accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Everybody.
    All,
}

impl Group {
    /// The name, as EC2 has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
        }
    }
}

/// A key that is refused, whatever its value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl<'de> Deserialize<'de> for Refused {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// The root volume; what is not given is the base's, or EC2's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootDevice {
    /// The device of its mapping; `/dev/xvda` where neither the base nor this names it.
    pub device_name: Option<DeviceName>,
    /// The kind of EBS volume, `gp3` by default.
    pub volume_type: Option<VolumeType>,
    /// The size, at least that of the image.
    pub volume_size: Option<VolumeSize>,
    /// Provisioned operations a second.
    pub iops: Option<u32>,
    /// Provisioned MiB a second.
    pub throughput: Option<u32>,
    /// Whether it goes with the instance; it does where this is not given.
    pub delete_on_termination: Option<bool>,
    /// Whether its snapshot is encrypted; the account's default where this is not given.
    pub encrypted: Option<bool>,
    /// The key that it is encrypted with.
    pub kms_key_id: Option<String>,
}

impl RootDevice {
    fn check(&self) -> Result<(), String> {
        let volume_type = self.volume_type.unwrap_or(VolumeType::Gp3);
        check_performance(volume_type, self.iops, self.throughput)?;
        if self.kms_key_id.is_some() && self.encrypted != Some(true) {
            return Err("`kms_key_id` needs `encrypted = true`".to_owned());
        }
        Ok(())
    }
}

/// What an image's programs are for, of the processors that EC2 has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Architecture {
    /// 64-bit x86.
    #[serde(rename = "x86_64", alias = "amd64")]
    X86_64,
    /// 64-bit ARM.
    #[serde(rename = "arm64", alias = "aarch64")]
    Arm64,
}

impl Architecture {
    /// The name, as EC2 has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

/// How the machine's firmware starts an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMode {
    /// The BIOS way.
    LegacyBios,
    /// The UEFI way.
    Uefi,
    /// The UEFI way if the instance type has it, else the BIOS way.
    UefiPreferred,
}

impl BootMode {
    /// The name, as EC2 has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LegacyBios => "legacy-bios",
            Self::Uefi => "uefi",
            Self::UefiPreferred => "uefi-preferred",
        }
    }
}

/// The version of the `NitroTPM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TpmSupport {
    /// 2.0.
    #[serde(rename = "v2.0")]
    V2,
}

/// Which instance metadata service an AMI's instances have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum ImdsSupport {
    /// Version 2 alone.
    #[default]
    #[serde(rename = "v2.0")]
    V2,
    /// What the account or the launch says.
    #[serde(rename = "none")]
    Unset,
}

/// Whether an AMI is protected from being deregistered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protection {
    /// Whether it is.
    #[serde(default)]
    pub enabled: bool,
    /// Whether it stays so for 24 hours after that is turned off.
    #[serde(default)]
    pub with_cooldown: bool,
}

/// How long to wait for what takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Polling {
    /// Seconds between two questions, at most.
    pub delay_seconds: u32,
    /// How often to ask before giving up.
    pub max_attempts: u32,
}

/// Four hours: imports of large disks take that long on busy days.
impl Default for Polling {
    fn default() -> Self {
        Self {
            delay_seconds: 15,
            max_attempts: 960,
        }
    }
}
