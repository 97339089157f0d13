//! The numbers that files have while a volume is open.
//!
//! FAT has no inodes, and an entry moves when a file is renamed. So files are numbered when they
//! are first met, each as a name in a directory.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::volume::Place;
use imgasm_fs::{Error, NodeId, Result};

/// Far deeper than the longest path that Windows allows.
const MAX_DEPTH: usize = 1024;

/// The files that were met.
pub struct Nodes {
    /// Parent and name by number.
    known: BTreeMap<u64, (u64, String)>,
    numbers: BTreeMap<(u64, String), u64>,
    /// Which directory was first found at a place. A second one there is a fault that would let a
    /// walk of the tree go on forever.
    owners: RefCell<BTreeMap<Place, u64>>,
    next: u64,
}

impl Nodes {
    /// The root directory.
    pub const ROOT: NodeId = NodeId(1);

    /// The numbers of a volume of which only the root is known.
    pub fn new() -> Self {
        Self {
            known: BTreeMap::new(),
            numbers: BTreeMap::new(),
            owners: RefCell::new([(Place::Root, Self::ROOT.0)].into()),
            next: Self::ROOT.0 + 1,
        }
    }

    /// The number of a name.
    pub fn number(&mut self, directory: NodeId, name: &str) -> NodeId {
        let key = (directory.0, name.to_owned());
        if let Some(number) = self.numbers.get(&key) {
            return NodeId(*number);
        }
        let number = self.next;
        self.next += 1;
        self.known.insert(number, key.clone());
        self.numbers.insert(key, number);
        NodeId(number)
    }

    /// Directory and name of a node; `None` for the root.
    ///
    /// # Errors
    /// [`Error::WrongType`] for a number that no file has.
    pub fn get(&self, node: NodeId) -> Result<Option<(NodeId, String)>> {
        if node == Self::ROOT {
            return Ok(None);
        }
        let (parent, name) = self.known.get(&node.0).ok_or(Error::WrongType {
            node,
            expected: "a file of this volume",
        })?;
        Ok(Some((NodeId(*parent), name.clone())))
    }

    /// The nodes from below the root down to `node`, with their names.
    pub fn ancestry(&self, node: NodeId) -> Result<Vec<(NodeId, String)>> {
        let mut chain = Vec::new();
        let mut at = node;
        while let Some((parent, name)) = self.get(at)? {
            chain.push((at, name));
            at = parent;
            if chain.len() > MAX_DEPTH {
                return Err(Error::Unstorable {
                    what: "a path".to_owned(),
                    problem: format!("it is more than {MAX_DEPTH} directories deep"),
                });
            }
        }
        chain.reverse();
        Ok(chain)
    }

    /// Notes that a directory lies at `place`; `false` if another one does.
    pub fn may_own(&self, place: Place, directory: NodeId) -> bool {
        *self.owners.borrow_mut().entry(place).or_insert(directory.0) == directory.0
    }

    /// Notes that a name has become another; its number stays.
    pub fn rename(&mut self, from: NodeId, from_name: &str, to: NodeId, to_name: &str) {
        let number = self.number(from, from_name).0;
        self.numbers.remove(&(from.0, from_name.to_owned()));
        let key = (to.0, to_name.to_owned());
        self.known.insert(number, key.clone());
        self.numbers.insert(key, number);
    }

    /// Notes that a name is gone.
    pub fn remove(&mut self, directory: NodeId, name: &str) {
        if let Some(number) = self.numbers.remove(&(directory.0, name.to_owned())) {
            self.known.remove(&number);
            self.owners.get_mut().retain(|_, owner| *owner != number);
        }
    }
}
