//! A report in the forms that people and programs read.
//!
//! - [`text`]: one line per path, for a terminal.
//! - [`json`]: the stable schema for machines.
//! - [`html`]: a page to look at.
//! - [`markdown`]: for a comment on a pull request.
//! - [`fields`]: the properties of a path that differ, which every form shows; `xattr` writes
//!   attributes in the words of their tools, [`units`] sizes.

pub mod fields;
pub mod html;
pub mod json;
pub mod markdown;
pub mod text;
pub(crate) mod units;
mod xattr;
