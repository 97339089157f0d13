//! Extended attributes. (Kernel documentation of XFS, "Extended Attributes".)
//!
//! - [`key`]: their names.
//! - [`shortform`]: attributes in the inode.
//! - [`leaf`]: blocks of attributes.
//! - [`remote`]: values in blocks of their own.
//! - [`acl`]: access control lists, whose form on the disk is not the kernel's.

pub(crate) mod acl;
pub(crate) mod key;
pub(crate) mod leaf;
pub(crate) mod remote;
pub(crate) mod shortform;
