//! The engine against `xfs_repair` and the kernel.

mod check;
mod forms;
mod image;
mod log;
mod write;
