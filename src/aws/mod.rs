//! From a built image to an AMI, and from an AMI to a base.
//!
//! What is decided, without a network:
//! - [`built`]: what `build` has left.
//! - [`request`]: the requests that change something, as data.
//! - [`plan`]: from a recipe and what was built to those requests; [`mappings`]: the devices;
//!   [`blocks`]: what of a disk a snapshot gets.
//! - [`preview`], [`policy`]: a plan for people and machines, and what its caller must be allowed.
//! - [`tags`]: how imgasm knows its own.
//!
//! What is done:
//! - [`connect`]: credentials, network, the clients.
//! - [`send`]: a request as data to a call of the SDK.
//! - [`import`]: the whole of an import; `s3` and `parts`, `task`, `ebs` with `journal` and `pace`:
//!   the ways for a disk to become a snapshot; `wait`: until something is done.
//! - [`made`]: what a run has made, to be removed when it fails.
//! - [`report`]: what a run tells while it is under way.
//! - [`gc`]: what other runs have left behind.
//! - [`pull`]: an AMI's root disk as a base, with `fetch`: a snapshot to a file.
//! - [`error`]: why something failed, and what to do about it.

pub mod blocks;
pub mod built;
pub mod connect;
mod ebs;
pub mod error;
mod fetch;
pub mod gc;
pub mod import;
mod journal;
mod made;
mod mappings;
mod pace;
mod parts;
pub mod plan;
pub mod policy;
pub mod preview;
pub mod pull;
pub mod report;
pub mod request;
mod s3;
mod send;
pub mod tags;
mod task;
pub mod wait;

pub use connect::{Aws, Settings};
pub use error::{Error, Result};
pub use report::Report;
pub use wait::Patience;
