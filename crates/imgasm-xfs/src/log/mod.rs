//! The log: whether it is empty, and its replay. (Kernel documentation of XFS, "Journaling Log".)
//!
//! The log is a ring of 512-byte blocks that holds records. Records hold operations, pieces of
//! transactions; a transaction holds items, each in one or more regions of bytes. An item says how
//! a buffer or an inode has changed, or that something was begun or ended.
//!
//! - [`ring`]: the ring's blocks, and where they begin and end.
//! - [`record`]: a record's header and bytes.
//! - [`transactions`]: from records to transactions.
//! - [`items`]: the kinds of items.
//! - [`buffers`], [`inodes`], [`chunks`]: applying items.
//! - [`intents`]: what was begun and has not ended.
//! - [`mod@replay`]: all of it in order.
//! - [`close`]: the record of a clean unmount, which makes a log empty.

mod buffers;
mod chunks;
mod close;
mod inodes;
pub(crate) mod intents;
mod items;
mod record;
mod replay;
mod ring;
mod transactions;

pub(crate) use close::empty;
pub(crate) use intents::Mapping;
pub(crate) use replay::replay;
pub(crate) use ring::{State, state};
