//! What the tests of the tool share.

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "aws")]
pub mod aws_server;
#[cfg(feature = "aws")]
pub mod aws_steps;
pub mod example;
pub mod overlay;
pub mod rpms;
#[cfg(feature = "aws")]
pub mod sparse;
