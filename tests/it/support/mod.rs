//! What the tests of the tool share.

pub mod aws;
pub mod aws_server;
pub mod aws_steps;
pub mod example;
pub mod overlay;
pub mod rpms;
pub mod sparse;
