//! What a recipe wants of an AMI, as it is written: read by `serde`, and checked as far as that goes
//! without knowing what was built.
//!
//! - [`ami`]: the AMI; [`volume`]: its volumes.
//! - [`text`]: the texts that AWS has rules for; [`tags`]: tags.

pub mod ami;
pub mod tags;
pub mod text;
pub mod volume;

pub use ami::{
    Ami, Architecture, BootMode, Group, ImdsSupport, Polling, Protection, RootDevice, TpmSupport,
};
pub use tags::Tags;
pub use text::{AccountId, AmiName, Arn, BucketName, ParameterName, Region, Time, Zone};
pub use volume::{DeviceName, VolumeSettings, VolumeSize, VolumeType, check_performance};
