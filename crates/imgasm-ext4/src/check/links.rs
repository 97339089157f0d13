//! Connectivity and link counts.

use std::collections::HashMap;

use super::Check;
use super::nodes::Node;
use crate::format::features::RoCompat;
use crate::format::numbers::InodeNumber;
use crate::problem::at_inode;
use imgasm_fs::error::Result;
use imgasm_fs::types::FileType;

/// The most links that a directory counts.
const MOST_LINKS: u32 = 65000;

impl Check<'_> {
    /// Compares what the names say about each inode with what the inode says.
    pub(super) fn links(&mut self) -> Result<()> {
        let mut reached = HashMap::from([(InodeNumber::ROOT, true)]);
        let mut number = InodeNumber(0);
        while let Some(next) = self.nodes.next(number) {
            number = next;
            let Some(node) = self.nodes.get(number).copied() else {
                continue;
            };
            if node.hidden {
                continue;
            }
            if node.file_type == Some(FileType::Directory) {
                self.parent(number, &node);
                self.reach(number, &mut reached);
            } else if node.names == 0 {
                let references = self.value_references.get(&number).copied();
                match references.filter(|_| node.is_value) {
                    Some(references) => self.value_holder(number, references)?,
                    None => self.note(at_inode(number), "no directory has a name for it"),
                }
            }
            self.link_count(number, &node);
        }
        if self.nodes.get(InodeNumber::ROOT).is_none() {
            self.note(at_inode(InodeNumber::ROOT), "there is no root directory");
        }
        Ok(())
    }

    /// Checks that `..` names the directory that has a name for this one.
    fn parent(&mut self, number: InodeNumber, node: &Node) {
        let expected = if number == InodeNumber::ROOT {
            Some(number)
        } else {
            node.named_in
        };
        let problem = match (expected, node.dot_dot) {
            (None, _) => "no directory has a name for it".to_owned(),
            (Some(expected), Some(seen)) if expected != seen => {
                format!("its \"..\" names {seen}, but {expected} has a name for it")
            }
            _ => return,
        };
        self.note(at_inode(number), problem);
    }

    /// Checks that a directory can be reached from the root. Those on the way up are remembered, so
    /// that none is met more than twice.
    fn reach(&mut self, number: InodeNumber, reached: &mut HashMap<InodeNumber, bool>) {
        let mut way = Vec::new();
        let mut at = number;
        let is_reached = loop {
            if let Some(&known) = reached.get(&at) {
                break known;
            }
            // A directory on the way counts as not reached until the opposite is known, so that a
            // circle ends.
            reached.insert(at, false);
            way.push(at);
            match self.nodes.get(at).and_then(|node| node.named_in) {
                Some(parent) => at = parent,
                // That it has no name is reported when it is checked itself.
                None => break false,
            }
        };
        if is_reached {
            for number in way {
                reached.insert(number, true);
            }
        } else if way.contains(&at) && self.nodes.get(at).is_some_and(|n| n.named_in.is_some()) {
            self.note(at_inode(at), "it lies in a cycle of directories");
        }
    }

    fn link_count(&mut self, number: InodeNumber, node: &Node) {
        let stated = u32::from(node.links);
        let is_directory = node.file_type == Some(FileType::Directory);
        let overflows = is_directory && node.names > MOST_LINKS;
        if overflows && !self.fs.has_ro(RoCompat::DIR_NLINK) {
            self.note(
                at_inode(number),
                format!("it has {} links without the feature dir_nlink", node.names),
            );
        }
        let counted = if overflows { 1 } else { node.names };
        // A directory that once had more links than can be counted says 1 from then on. Only a
        // directory with an index can have that many.
        let uncounted = stated == 1 && is_directory && node.is_indexed;
        // One that no directory names is reported as such.
        if stated != counted && node.names > 0 && !uncounted {
            self.note(
                at_inode(number),
                format!("it says {stated} links, {} are there", node.names),
            );
        }
    }
}
