//! Extended attributes of files: in the inode if they fit, else in a block, which several inodes
//! may share; and the access control lists among them.

use std::collections::BTreeMap;

use zerocopy::little_endian::U32;

use super::format::acl;
use super::format::features::{Compat, Incompat};
use super::format::inode::{Inode, TimeField, flags};
use super::format::numbers::{BlockNumber, InodeNumber, to_u64, to_usize};
use super::format::xattr::{self, Attribute, INDEX_ACL_ACCESS, INDEX_ACL_DEFAULT, Value};
use super::stage::Kind;
use crate::problem::{at_inode, corrupt, incompatible};
use crate::volume::Ext4;
use imgasm_fs::acl::Acl;
use imgasm_fs::error::{Error, Location, Result};

/// The longest value that the kernel's interface accepts, in bytes.
const LONGEST_VALUE: u32 = 1 << 16;

/// The attributes of an inode, by where they lie.
struct Attributes {
    in_inode: Vec<Attribute>,
    in_block: Vec<Attribute>,
}

impl Ext4 {
    /// All attributes of an inode, by full name.
    pub(super) fn all_xattrs(
        &self,
        number: InodeNumber,
        inode: &Inode,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let Attributes { in_inode, in_block } = self.attributes(number, inode)?;
        let mut all = BTreeMap::new();
        for attribute in in_inode.into_iter().chain(in_block) {
            if let Some(name) = attribute.full_name() {
                let value = self.value_of(number, &attribute)?;
                all.entry(name).or_insert(value);
            }
        }
        Ok(all)
    }

    fn attributes(&self, number: InodeNumber, inode: &Inode) -> Result<Attributes> {
        let in_inode =
            xattr::decode_inode_area(inode.xattr_area()).map_err(|p| p.at(at_inode(number)))?;
        let in_block = match inode.xattr_block() {
            None => Vec::new(),
            Some(block) => {
                self.check_file_blocks(number, block, 1)?;
                let bytes = self.stage.get(block, Kind::Xattrs)?;
                xattr::decode_block(&bytes).map_err(|p| p.at(Location::Block(block.0)))?
            }
        };
        Ok(Attributes { in_inode, in_block })
    }

    /// A value as `getxattr` gives it.
    fn value_of(&self, number: InodeNumber, attribute: &Attribute) -> Result<Vec<u8>> {
        let value = match &attribute.value {
            Value::Here(bytes) => bytes.clone(),
            Value::InInode { inode, len } => self.value_in_inode(*inode, *len)?,
        };
        match attribute.index {
            INDEX_ACL_ACCESS | INDEX_ACL_DEFAULT => acl::decode_disk(&value)
                .map(|acl| acl.encode())
                .map_err(|p| p.at(at_inode(number))),
            _ => Ok(value),
        }
    }

    /// A value that is the content of an inode of its own (`ea_inode`).
    fn value_in_inode(&self, number: InodeNumber, len: u32) -> Result<Vec<u8>> {
        let inode = self.read_inode(number)?;
        if !inode.has_flag(flags::EA_INODE) || inode.size() != u64::from(len) || len > LONGEST_VALUE
        {
            return Err(corrupt(
                at_inode(number),
                format!(
                    "it has {} bytes and should hold an attribute's value of {len}",
                    inode.size()
                ),
            ));
        }
        let mut value = vec![0; to_usize(len)];
        self.read_content(number, &inode, 0, &mut value)?;
        Ok(value)
    }

    /// Sets or removes an attribute.
    pub(super) fn change_xattr(
        &mut self,
        number: InodeNumber,
        name: &[u8],
        value: Option<&[u8]>,
    ) -> Result<()> {
        let mut inode = self.read_inode(number)?;
        let (index, rest) = xattr::split_name(name)
            .ok_or_else(|| unstorable(name, "its prefix is not one that ext4 stores"))?;
        let value = match (index, value) {
            (INDEX_ACL_ACCESS | INDEX_ACL_DEFAULT, Some(value)) => {
                let acl = Acl::decode(value).map_err(|problem| problem.of(name))?;
                Some(acl::encode_disk(&acl))
            }
            (_, value) => value.map(<[u8]>::to_vec),
        };
        // Setting the value that is there already does not change times either.
        if self.stored_value(number, &inode, index, rest)? == value.clone().map(Value::Here) {
            return Ok(());
        }
        self.store_value(number, &mut inode, index, rest, value)?;
        self.touch(&mut inode, &[TimeField::Changed])?;
        self.write_inode(number, &mut inode)
    }

    /// The value of one attribute as it is on the disk.
    fn stored_value(
        &self,
        number: InodeNumber,
        inode: &Inode,
        index: u8,
        name: &[u8],
    ) -> Result<Option<Value>> {
        let Attributes { in_inode, in_block } = self.attributes(number, inode)?;
        let mut all = in_inode.into_iter().chain(in_block);
        let found = all.find(|attribute| attribute.index == index && attribute.name == name);
        Ok(found.map(|attribute| attribute.value))
    }

    /// Puts a value where the kernel would put it: into the inode if it fits there, else into the
    /// block.
    fn store_value(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
        index: u8,
        name: &[u8],
        value: Option<Vec<u8>>,
    ) -> Result<()> {
        let Attributes {
            mut in_inode,
            mut in_block,
        } = self.attributes(number, inode)?;
        self.refuse_values_elsewhere(number, inode)?;
        let is_it = |attribute: &Attribute| attribute.index == index && attribute.name == name;
        let in_inode_at = in_inode.iter().position(is_it);
        let was_in_block = in_block.iter().any(is_it);
        if value.is_none() && in_inode_at.is_none() && !was_in_block {
            return Ok(());
        }
        in_block.retain(|attribute| !is_it(attribute));
        if let Some(value) = value {
            let attribute = Attribute {
                index,
                name: name.to_vec(),
                value: Value::Here(value),
                hash: 0,
            };
            let mut with_it = in_inode.clone();
            match in_inode_at {
                Some(at) => with_it[at] = attribute.clone(),
                None => with_it.push(attribute.clone()),
            }
            if xattr::encode_inode_area(inode.xattr_area_mut(), &with_it) {
                return self.store_block(number, inode, in_block, was_in_block);
            }
            in_block.push(with_hash(attribute));
        }
        in_inode.retain(|attribute| !is_it(attribute));
        if in_inode_at.is_some() && !xattr::encode_inode_area(inode.xattr_area_mut(), &in_inode) {
            return Err(corrupt(
                at_inode(number),
                "the attributes in the inode overlap one another",
            ));
        }
        self.store_block(number, inode, in_block, true)
    }

    /// Stores the attributes that belong in an inode's block: in the block that it has, unless
    /// other inodes share it, or in a new one; without such attributes it has no block.
    fn store_block(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
        mut attributes: Vec<Attribute>,
        changed: bool,
    ) -> Result<()> {
        self.note_attributes_in_superblock();
        if !changed {
            return Ok(());
        }
        let mut bytes = vec![0; self.geometry.block_size.len()];
        if attributes.is_empty() {
            self.release_xattr_block(number, inode)?;
            return Ok(());
        }
        if !xattr::encode_block(&mut bytes, &mut attributes) {
            return Err(Error::NoSpace {
                unit: "bytes for extended attributes",
                needed: to_u64(xattr::needed_len(&attributes)),
                free: self.geometry.block_size.bytes64() - to_u64(xattr::BLOCK_HEADER_LEN),
            });
        }
        if let Some(block) = inode.xattr_block() {
            if self.references(block)? == 1 {
                *self.stage.change(block, Kind::Xattrs)? = bytes;
                return Ok(());
            }
            self.release_xattr_block(number, inode)?;
        }
        let goal = self.goal_of(number);
        let block = self.allocate_block(goal, super::content::block_limit(inode))?;
        *self.stage.create(block, Kind::Xattrs) = bytes;
        inode.set_xattr_block(Some(block));
        self.add_blocks(number, inode, 1)
    }

    fn references(&self, block: BlockNumber) -> Result<u32> {
        let bytes = self.stage.get(block, Kind::Xattrs)?;
        let header =
            xattr::decode_block_header(&bytes).map_err(|p| p.at(Location::Block(block.0)))?;
        Ok(header.references)
    }

    /// Refuses to change or drop attributes whose values lie in inodes of their own: these count
    /// their references.
    pub(super) fn refuse_values_elsewhere(&self, number: InodeNumber, inode: &Inode) -> Result<()> {
        let incompat = self.geometry.features().incompat;
        if !incompat.contains(Incompat::EA_INODE) {
            return Ok(());
        }
        let Attributes { in_inode, in_block } = self.attributes(number, inode)?;
        let mut all = in_inode.iter().chain(&in_block);
        if all.any(|attribute| matches!(attribute.value, Value::InInode { .. })) {
            return Err(incompatible(format!(
                "changing the attributes of {number}, some of which have inodes of their own \
                 (ea_inode),"
            )));
        }
        Ok(())
    }

    /// Detaches an inode's block of attributes: the block is freed with its last reference.
    pub(super) fn release_xattr_block(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
    ) -> Result<()> {
        let Some(block) = inode.xattr_block() else {
            return Ok(());
        };
        self.check_file_blocks(number, block, 1)?;
        match self.references(block)? {
            1 => self.free_blocks(block, 1)?,
            several => {
                let bytes = self.stage.change(block, Kind::Xattrs)?;
                xattr::set_references(bytes, several - 1);
            }
        }
        inode.set_xattr_block(None);
        self.add_blocks(number, inode, -1)
    }

    /// Turns on the feature that says that there are attributes at all.
    fn note_attributes_in_superblock(&mut self) {
        if !self.superblock.features().compat.contains(Compat::EXT_ATTR) {
            let bits = self.superblock.s_feature_compat.get();
            self.superblock.s_feature_compat = U32::new(bits | Compat::EXT_ATTR.bits());
        }
    }
}

fn with_hash(mut attribute: Attribute) -> Attribute {
    if let Value::Here(value) = &attribute.value {
        attribute.hash = xattr::entry_hash(&attribute.name, value);
    }
    attribute
}

fn unstorable(name: &[u8], problem: &str) -> Error {
    Error::Unstorable {
        what: format!("the extended attribute {:?}", String::from_utf8_lossy(name)),
        problem: problem.to_owned(),
    }
}
