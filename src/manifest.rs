//! `manifest.json`: what was built from what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::block::Digest;
use crate::inspect::TableDescription;

/// The record that `build` leaves beside the image. It holds nothing of the host or of the time of
/// the build, so that equal inputs give equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of imgasm that built the image.
    pub imgasm_version: String,
    /// The recipe's name for the image.
    pub name: String,
    /// The time given to everything that was made or changed, in seconds since 1970.
    pub source_date_epoch: i64,
    /// What the image was built upon.
    pub base: Base,
    /// SHA-256 of the recipe file.
    pub recipe_sha256: Digest,
    /// The recipe's variables with their values.
    pub variables: BTreeMap<String, String>,
    /// The overlays in the order in which they were applied.
    pub overlays: Vec<Overlay>,
    /// The disk image.
    pub image: Image,
    /// The data volumes that have an image of their own.
    pub volumes: Vec<Volume>,
    /// Every path that differs from the base, in order.
    pub changes: Vec<Change>,
}

/// What an image was built upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The file or the root filesystem folder, as the recipe names it.
    pub source: String,
    /// SHA-256 of the file as it was given, or of the folder's content.
    pub sha256: Digest,
    /// The digest of the disk it holds: SHA-256 over the SHA-256s of its non-zero 512 KiB chunks.
    pub digest: Digest,
    /// Bytes of that disk.
    pub size: u64,
}

/// An overlay that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Its name.
    pub name: String,
    /// SHA-256 over its files.
    pub sha256: Digest,
    /// Its variables with their values.
    pub variables: BTreeMap<String, String>,
}

/// The disk image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its file, beside the manifest.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 over the SHA-256s of its non-zero 512 KiB chunks, in order.
    pub digest: Digest,
    /// Its partition table; `null` where one filesystem fills it.
    pub partition_table: Option<TableDescription>,
}
