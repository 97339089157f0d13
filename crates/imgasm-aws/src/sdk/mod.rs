//! What is done at AWS.
//!
//! - [`connect`]: credentials, network, the clients; `transport`: TLS and proxies; `profile`: what a
//!   profile asks for and the SDK does not do; `kept`: credentials for as long as they are good.
//! - `plain`: services that are asked for one thing each; `rights`: whether a role and keys can be used.
//! - `send`: a request as data to a call of the SDK; `describe`: what AWS says there is.
//! - [`import`]: the whole of an import; `s3`, `task`, `ebs` with `journal` and `pace`: the ways for
//!   a disk to become a snapshot; `prove`: whether a snapshot is a disk; `wait`: until something is
//!   done.
//! - `made`: what a run has made, and `remove`: taking it away again when the run fails.
//! - `replace`: an AMI of the same name, which makes room and comes back if it must; `uses`: who names
//!   it.
//! - `interrupt`: when the user stops a run.
//! - [`gc`]: what other runs have left behind.
//! - [`pull`]: an AMI's root disk as a base, with `fetch`: a snapshot to a file.
//! - [`object`]: an object that is read as it comes.

pub mod connect;
mod describe;
mod ebs;
mod fetch;
pub mod gc;
pub mod import;
mod interrupt;
mod journal;
mod kept;
mod made;
pub mod object;
mod pace;
mod plain;
mod profile;
mod prove;
pub mod pull;
mod remove;
mod replace;
mod rights;
mod s3;
mod send;
mod task;
mod transport;
mod uses;
mod wait;

pub use connect::{Aws, Settings};
pub use wait::Patience;
