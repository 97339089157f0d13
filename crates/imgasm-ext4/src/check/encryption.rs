//! Encrypted files: each has the policy by which it is encrypted, and what lies in an encrypted
//! directory has the same policy. Kernel documentation, "Filesystem-level encryption (fscrypt)".

use std::collections::BTreeMap;

use super::Check;
use crate::format::inode::{Inode, flags};
use crate::format::numbers::InodeNumber;
use crate::format::xattr::{self, Attribute, INDEX_ENCRYPTION, Value};
use crate::problem::at_inode;
use crate::stage::Kind;
use imgasm_fs::error::{Location, Result};
use imgasm_fs::types::FileType;

/// The name of the policy's attribute behind its prefix.
const POLICY_NAME: &[u8] = b"c";
/// The shortest name that encryption makes: one block of the cipher.
const SHORTEST_NAME: usize = 16;

/// The policies of all encrypted inodes, each once.
#[derive(Default)]
pub(super) struct Policies {
    known: BTreeMap<Vec<u8>, u32>,
    by_inode: BTreeMap<InodeNumber, u32>,
}

impl Policies {
    fn add(&mut self, number: InodeNumber, policy: &[u8]) {
        let next = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        let id = *self.known.entry(policy.to_vec()).or_insert(next);
        self.by_inode.insert(number, id);
    }
}

/// The part of an attribute's value that says how a file is encrypted, without the file's own
/// nonce; `None` if it is neither of the two forms.
fn policy_of(context: &[u8]) -> Option<&[u8]> {
    match (context.first(), context.len()) {
        (Some(1), 28) => Some(&context[..12]),
        (Some(2), 40) => Some(&context[..24]),
        _ => None,
    }
}

impl Check<'_> {
    /// Looks at the policy of an encrypted inode.
    #[allow(
        clippy::unnecessary_wraps,
        reason = "called in a row with checks that read"
    )]
    pub(super) fn encryption(&mut self, number: InodeNumber, inode: &Inode) -> Result<()> {
        if !inode.has_flag(flags::ENCRYPT) {
            return Ok(());
        }
        let in_inode = xattr::decode_inode_area(inode.xattr_area()).unwrap_or_default();
        let mut found = context_in(&in_inode);
        if found.is_none()
            && let Some(block) = inode.xattr_block()
            && self.fs.check_file_blocks(number, block, 1).is_ok()
        {
            // What is wrong with the block itself has been reported already.
            let bytes = self.fs.stage.get(block, Kind::Xattrs);
            let in_block = bytes.map(|bytes| xattr::decode_block(&bytes));
            found = in_block
                .ok()
                .and_then(Result::ok)
                .as_deref()
                .and_then(context_in);
        }
        match found.as_deref().map(policy_of) {
            Some(Some(policy)) => self.policies.add(number, policy),
            Some(None) => self.note(at_inode(number), "its encryption policy has no known form"),
            None => self.note(at_inode(number), "it is encrypted, but has no policy"),
        }
        Ok(())
    }

    /// Looks at a name in an encrypted directory.
    pub(super) fn encrypted_entry(
        &mut self,
        directory: InodeNumber,
        place: &Location,
        name: &[u8],
        target: InodeNumber,
    ) {
        if name.len() < SHORTEST_NAME {
            self.note(
                place.clone(),
                format!(
                    "an encrypted name has {} bytes, at least 16 are expected",
                    name.len()
                ),
            );
        }
        let expected = self.policies.by_inode.get(&directory);
        let seen = self.policies.by_inode.get(&target);
        let file_type = self.nodes.get(target).and_then(|node| node.file_type);
        let can_be = matches!(
            file_type,
            Some(FileType::Regular | FileType::Directory | FileType::Symlink)
        );
        let problem = match (expected, seen) {
            (Some(_), None) if can_be => "is not encrypted",
            (Some(expected), Some(seen)) if expected != seen => "has another policy",
            _ => return,
        };
        self.note(
            place.clone(),
            format!("{target} lies in an encrypted directory and {problem}"),
        );
    }
}

fn context_in(attributes: &[Attribute]) -> Option<Vec<u8>> {
    let found = attributes
        .iter()
        .find(|attribute| attribute.index == INDEX_ENCRYPTION && attribute.name == POLICY_NAME);
    match &found?.value {
        Value::Here(value) => Some(value.clone()),
        Value::InInode { .. } => Some(Vec::new()),
    }
}
