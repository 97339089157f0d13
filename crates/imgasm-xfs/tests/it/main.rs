//! The engine against `xfs_repair` and the kernel.

mod acls;
mod check;
mod forms;
mod grow;
mod image;
mod log;
mod mkfs;
mod write;
