//! The requests that carry the disks: those of S3 and of EBS direct.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Tag;

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

/// EBS direct `PutSnapshotBlock`: the first of those of a disk, without its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct PutSnapshotBlock {
    pub snapshot_id: String,
    pub block_index: u64,
    pub data_length: u64,
    /// Base64.
    pub checksum: String,
    pub checksum_algorithm: &'static str,
}

/// EBS direct `CompleteSnapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct CompleteSnapshot {
    pub snapshot_id: String,
    pub changed_blocks_count: u64,
    /// Base64.
    pub checksum: String,
    pub checksum_algorithm: &'static str,
    pub checksum_aggregation_method: &'static str,
}

/// S3 `CreateMultipartUpload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct CreateMultipartUpload {
    pub bucket: String,
    pub key: String,
    pub checksum_algorithm: &'static str,
    pub checksum_type: &'static str,
    pub metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_side_encryption: Option<&'static str>,
    #[serde(rename = "SSEKMSKeyId", skip_serializing_if = "Option::is_none")]
    pub sse_kms_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_bucket_owner: Option<String>,
}

/// S3 `UploadPart`: the first of those of a disk, without its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct UploadPart {
    pub bucket: String,
    pub key: String,
    pub upload_id: String,
    pub part_number: u32,
    pub checksum_algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_bucket_owner: Option<String>,
}

/// S3 `CompleteMultipartUpload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct CompleteMultipartUpload {
    pub bucket: String,
    pub key: String,
    pub upload_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_bucket_owner: Option<String>,
}

/// S3 `DeleteObject`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the API reference has them")]
pub struct DeleteObject {
    pub bucket: String,
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_bucket_owner: Option<String>,
}
