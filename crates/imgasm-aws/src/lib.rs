//! From a built image to an AMI, and from an AMI to a base.
//!
//! What is decided, without a network:
//! - [`wish`]: what a recipe wants of an AMI; [`built`]: what there is to make it of, and
//!   [`origin`]: the AMI that its base came from.
//! - [`request`]: the requests that change something, as data.
//! - [`plan`]: from a wish and what was built to those requests; [`blocks`]: what of a disk a
//!   snapshot gets; [`parts`]: what an object is uploaded in.
//! - [`limits`]: what the services would refuse.
//! - [`proof`]: which blocks of a snapshot are read back; [`compare`]: whether what was made is what
//!   was asked for.
//! - [`preview`], [`policy`]: a plan for people and machines, and what its caller must be allowed;
//!   [`trust`]: whom a role trusts.
//! - [`tags`]: how imgasm knows its own.
//! - [`artifact`]: the record of an AMI that was made.
//! - [`report`]: what a run reports while it is under way.
//! - [`error`]: why something failed, and what to do about it; [`outlook`]: whether it passes.
//!
//! What is done, with the feature `sdk`:
//! - `sdk`: an import, a pull, and the clean-up after them.

pub mod artifact;
pub mod blocks;
pub mod built;
pub mod compare;
pub mod error;
pub mod limits;
pub mod origin;
pub mod outlook;
pub mod parts;
pub mod plan;
pub mod policy;
pub mod preview;
pub mod proof;
pub mod report;
pub mod request;
#[cfg(feature = "sdk")]
pub mod sdk;
pub mod tags;
pub mod trust;
pub mod wish;

pub use artifact::{Artifact, ArtifactData, RegionData};
pub use built::{Boot, Built, BuiltDisk, BuiltVolume, VolumeContent};
pub use error::{Error, Result};
pub use origin::{Mapping, Origin};
pub use report::Report;
