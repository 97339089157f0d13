//! The requests that change something, as plain data: what `--dry-run` shows is what is sent.
//!
//! Names and rules are those of the API references of EC2, EBS direct and Systems Manager; as JSON
//! each is what the AWS CLI takes with `--cli-input-json`. Those of EC2 and Systems Manager are here;
//! those that carry the disks are in:
//! - `data`: S3 and EBS direct.

mod data;

use serde::{Deserialize, Serialize};

pub use data::{
    CompleteMultipartUpload, CompleteSnapshot, CreateMultipartUpload, DeleteObject,
    PutSnapshotBlock, StartSnapshot, UploadPart,
};

/// A key and a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Tags for what a request makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagSpecification {
    /// `image`, `snapshot` or `import-snapshot-task`.
    pub resource_type: String,
    /// The tags.
    pub tags: Vec<Tag>,
}

/// EC2 `RegisterImage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct RegisterImage {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub architecture: String,
    pub virtualization_type: String,
    pub root_device_name: String,
    pub block_device_mappings: Vec<BlockDeviceMapping>,
    pub ena_support: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sriov_net_support: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm_support: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uefi_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imds_support: Option<String>,
    pub tag_specifications: Vec<TagSpecification>,
}

/// A disk of an AMI.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_copy_completion_duration_minutes: Option<u32>,
    pub tag_specifications: Vec<TagSpecification>,
}

/// EC2 `ModifyImageAttribute`: one attribute at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct ModifyImageAttribute {
    pub image_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_permission: Option<LaunchPermissions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<AttributeValue>,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct AttributeValue {
    pub value: String,
}

/// Who may launch an AMI from now on, and who may no more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct LaunchPermissions {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<LaunchPermission>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<LaunchPermission>,
}

/// EC2 `ModifySnapshotAttribute`, for who may make volumes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct ModifySnapshotAttribute {
    pub snapshot_id: String,
    pub create_volume_permission: CreateVolumePermissions,
}

/// Who may make volumes of a snapshot from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct CreateVolumePermissions {
    pub add: Vec<CreateVolumePermission>,
}

/// One who may make volumes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the API reference has them")]
pub enum CreateVolumePermission {
    Group(String),
    UserId(String),
}

/// EC2 `EnableFastSnapshotRestores`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct EnableFastSnapshotRestores {
    pub availability_zones: Vec<String>,
    pub source_snapshot_ids: Vec<String>,
}

/// EC2 `DisableImageDeprecation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct DisableImageDeprecation {
    pub image_id: String,
}

/// One who may launch an AMI.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the API reference has them")]
pub enum LaunchPermission {
    Group(String),
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

/// EC2 `CreateTags`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct CreateTags {
    pub resources: Vec<String>,
    pub tags: Vec<Tag>,
}

/// EC2 `DeregisterImage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct DeregisterImage {
    pub image_id: String,
}

/// EC2 `DeleteSnapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct DeleteSnapshot {
    pub snapshot_id: String,
}

/// A request with the operation that it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// The service, as botocore and the AWS CLI call it.
    pub service: &'static str,
    /// The operation.
    pub operation: &'static str,
    /// The region that it is sent to, if that is not the import's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// How many of it are sent, if that is known and not one: the parameters are the first one's.
    #[serde(skip_serializing_if = "is_one")]
    pub times: u64,
    /// What must be so for it to be sent, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<&'static str>,
    /// What is sent.
    pub parameters: Parameters,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_one(times: &u64) -> bool {
    *times == 1
}

/// The parameters of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each is the request of its name")]
pub enum Parameters {
    CreateMultipartUpload(CreateMultipartUpload),
    UploadPart(UploadPart),
    CompleteMultipartUpload(CompleteMultipartUpload),
    DeleteObject(DeleteObject),
    ImportSnapshot(ImportSnapshot),
    StartSnapshot(StartSnapshot),
    PutSnapshotBlock(PutSnapshotBlock),
    CompleteSnapshot(CompleteSnapshot),
    CreateTags(CreateTags),
    RegisterImage(RegisterImage),
    CopyImage(CopyImage),
    ModifyImageAttribute(ModifyImageAttribute),
    ModifySnapshotAttribute(ModifySnapshotAttribute),
    EnableFastSnapshotRestores(EnableFastSnapshotRestores),
    EnableImageDeprecation(EnableImageDeprecation),
    DisableImageDeprecation(DisableImageDeprecation),
    EnableImageDeregistrationProtection(EnableImageDeregistrationProtection),
    PutParameter(PutParameter),
    DeregisterImage(DeregisterImage),
    DeleteSnapshot(DeleteSnapshot),
}

impl Parameters {
    /// The service and the operation.
    pub fn operation(&self) -> (&'static str, &'static str) {
        match self {
            Self::CreateMultipartUpload(_) => ("s3", "CreateMultipartUpload"),
            Self::UploadPart(_) => ("s3", "UploadPart"),
            Self::CompleteMultipartUpload(_) => ("s3", "CompleteMultipartUpload"),
            Self::DeleteObject(_) => ("s3", "DeleteObject"),
            Self::ImportSnapshot(_) => ("ec2", "ImportSnapshot"),
            Self::StartSnapshot(_) => ("ebs", "StartSnapshot"),
            Self::PutSnapshotBlock(_) => ("ebs", "PutSnapshotBlock"),
            Self::CompleteSnapshot(_) => ("ebs", "CompleteSnapshot"),
            Self::CreateTags(_) => ("ec2", "CreateTags"),
            Self::RegisterImage(_) => ("ec2", "RegisterImage"),
            Self::CopyImage(_) => ("ec2", "CopyImage"),
            Self::ModifyImageAttribute(_) => ("ec2", "ModifyImageAttribute"),
            Self::ModifySnapshotAttribute(_) => ("ec2", "ModifySnapshotAttribute"),
            Self::EnableFastSnapshotRestores(_) => ("ec2", "EnableFastSnapshotRestores"),
            Self::EnableImageDeprecation(_) => ("ec2", "EnableImageDeprecation"),
            Self::DisableImageDeprecation(_) => ("ec2", "DisableImageDeprecation"),
            Self::EnableImageDeregistrationProtection(_) => {
                ("ec2", "EnableImageDeregistrationProtection")
            }
            Self::PutParameter(_) => ("ssm", "PutParameter"),
            Self::DeregisterImage(_) => ("ec2", "DeregisterImage"),
            Self::DeleteSnapshot(_) => ("ec2", "DeleteSnapshot"),
        }
    }

    /// The whole request, sent once; `region` if it goes to another one than the rest.
    pub fn request(self, region: Option<String>) -> Request {
        let (service, operation) = self.operation();
        Request {
            service,
            operation,
            region,
            times: 1,
            when: None,
            parameters: self,
        }
    }
}
