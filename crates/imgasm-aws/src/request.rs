//! The requests that change something, as plain data: what `--dry-run` shows is what is sent.
//!
//! Names and rules are those of the API references of EC2, EBS direct and Systems Manager; as JSON
//! each is what the AWS CLI takes with `--cli-input-json`.

use serde::Serialize;

/// A key and a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Tags for what a request makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagSpecification {
    /// `image`, `snapshot` or `import-snapshot-task`.
    pub resource_type: &'static str,
    /// The tags.
    pub tags: Vec<Tag>,
}

/// EC2 `RegisterImage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct RegisterImage {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub architecture: &'static str,
    pub virtualization_type: &'static str,
    pub root_device_name: String,
    pub block_device_mappings: Vec<BlockDeviceMapping>,
    pub ena_support: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sriov_net_support: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm_support: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uefi_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imds_support: Option<&'static str>,
    pub tag_specifications: Vec<TagSpecification>,
}

/// A disk of an AMI.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct BlockDeviceMapping {
    pub device_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ebs: Option<EbsBlockDevice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_device: Option<String>,
}

/// The EBS volume of a mapping. With a snapshot, encryption is the snapshot's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct EbsBlockDevice {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_size: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<i32>,
    pub delete_on_termination: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
}

/// EC2 `ImportSnapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct ImportSnapshot {
    pub description: String,
    pub disk_container: DiskContainer,
    pub role_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    pub tag_specifications: Vec<TagSpecification>,
}

/// The object that a snapshot is imported from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct DiskContainer {
    pub description: String,
    pub format: &'static str,
    pub user_bucket: UserBucket,
}

/// Where the object is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct UserBucket {
    #[serde(rename = "S3Bucket")]
    pub bucket: String,
    #[serde(rename = "S3Key")]
    pub key: String,
}

/// EBS direct `StartSnapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct StartSnapshot {
    /// GiB.
    pub volume_size: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_snapshot_id: Option<String>,
    pub description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_arn: Option<String>,
    /// Minutes without a block after which the snapshot is given up.
    pub timeout: i32,
    pub tags: Vec<Tag>,
}

/// EC2 `CopyImage`, sent to the region that the copy is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct CopyImage {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub source_image_id: String,
    pub source_region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    pub client_token: String,
    pub tag_specifications: Vec<TagSpecification>,
}

/// EC2 `ModifyImageAttribute`, for launch permissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct ModifyImageAttribute {
    pub image_id: String,
    pub launch_permission: LaunchPermissions,
}

/// Who may launch an AMI from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct LaunchPermissions {
    pub add: Vec<LaunchPermission>,
}

/// One who may launch an AMI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the API reference has them")]
pub enum LaunchPermission {
    UserId(String),
    OrganizationArn(String),
    OrganizationalUnitArn(String),
}

/// EC2 `EnableImageDeprecation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct EnableImageDeprecation {
    pub image_id: String,
    /// Seconds since 1970.
    #[serde(serialize_with = "as_time")]
    pub deprecate_at: i64,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn as_time<S: serde::Serializer>(seconds: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    match jiff::Timestamp::from_second(*seconds) {
        Ok(time) => serializer.collect_str(&time),
        Err(_) => serializer.serialize_i64(*seconds),
    }
}

/// EC2 `EnableImageDeregistrationProtection`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct EnableImageDeregistrationProtection {
    pub image_id: String,
    pub with_cooldown: bool,
}

/// Systems Manager `PutParameter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct PutParameter {
    pub name: String,
    pub value: String,
    pub r#type: &'static str,
    pub data_type: &'static str,
    pub overwrite: bool,
}

/// A request with the operation that it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// The service, as botocore and the AWS CLI call it.
    pub service: &'static str,
    /// The operation.
    pub operation: &'static str,
    /// The region that it is sent to, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What is sent.
    pub parameters: Parameters,
}

/// The parameters of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each is the request of its name")]
pub enum Parameters {
    ImportSnapshot(ImportSnapshot),
    StartSnapshot(StartSnapshot),
    RegisterImage(RegisterImage),
    CopyImage(CopyImage),
    ModifyImageAttribute(ModifyImageAttribute),
    EnableImageDeprecation(EnableImageDeprecation),
    EnableImageDeregistrationProtection(EnableImageDeregistrationProtection),
    PutParameter(PutParameter),
}

impl Parameters {
    /// The whole request; `region` where it goes to another one than the rest.
    pub fn request(self, region: Option<String>) -> Request {
        let (service, operation) = match self {
            Self::ImportSnapshot(_) => ("ec2", "ImportSnapshot"),
            Self::StartSnapshot(_) => ("ebs", "StartSnapshot"),
            Self::RegisterImage(_) => ("ec2", "RegisterImage"),
            Self::CopyImage(_) => ("ec2", "CopyImage"),
            Self::ModifyImageAttribute(_) => ("ec2", "ModifyImageAttribute"),
            Self::EnableImageDeprecation(_) => ("ec2", "EnableImageDeprecation"),
            Self::EnableImageDeregistrationProtection(_) => {
                ("ec2", "EnableImageDeregistrationProtection")
            }
            Self::PutParameter(_) => ("ssm", "PutParameter"),
        };
        Request {
            service,
            operation,
            region,
            parameters: self,
        }
    }
}
