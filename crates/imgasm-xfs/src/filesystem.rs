//! XFS as a [`FileSystem`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

use imgasm_fs::{
    DirEntry, FileExtent, FileSystem, FileSystemInfo, FileType, Finding, Location, Metadata,
    MetadataChange, NewNode, NodeFlags, NodeId, Rename, Result,
};

use crate::ag::read_free_space;
use crate::format::device_number::decode_device;
use crate::format::inode::{Time, flags};
use crate::inode::Fork;
use crate::problem::{FS, corrupt};
use crate::xfs::Xfs;
use crate::{attr, check, content, log, symlink, write};

/// A UUID as it is written.
fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0xf] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text
}

impl FileSystem for Xfs {
    fn info(&self) -> Result<FileSystemInfo> {
        let raw = &self.superblock.raw;
        let geometry = &self.volume.geometry;
        let label = raw
            .sb_fname
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        Ok(FileSystemInfo {
            kind: FS,
            label: label.to_vec(),
            uuid: uuid_text(&raw.sb_uuid),
            features: self.superblock.features.names(),
            block_size: geometry.block_size,
            total_bytes: geometry.total_blocks * u64::from(geometry.block_size),
            free_bytes: self.free_blocks()? * u64::from(geometry.block_size),
            inodes: Some((raw.sb_icount.get(), raw.sb_ifree.get())),
            needs_recovery: self.log == log::State::Dirty,
            parameters: vec![
                ("isize", geometry.inode_size.to_string()),
                ("agcount", geometry.groups.to_string()),
                ("agsize", geometry.group_blocks.to_string()),
                ("sectsz", geometry.sector_size.to_string()),
                ("naming bsize", geometry.directory_block_size.to_string()),
                ("sunit", raw.sb_unit.to_string()),
                ("swidth", raw.sb_width.to_string()),
                ("imaxpct", raw.sb_imax_pct.to_string()),
                ("log blocks", raw.sb_logblocks.to_string()),
                ("log sectsz", raw.sb_logsectsize.to_string()),
                ("log sunit", raw.sb_logsunit.to_string()),
            ],
        })
    }

    fn check_writable(&self) -> Result<()> {
        self.check_writer()
    }

    fn root(&self) -> NodeId {
        NodeId(self.superblock.raw.sb_rootino.get())
    }

    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let directory = self.directory(directory)?;
        Ok(directory.get(name).map(|entry| entry.inode.into()))
    }

    fn parent(&self, directory: NodeId) -> Result<NodeId> {
        Ok(self.directory(directory)?.parent.into())
    }

    fn metadata(&self, node: NodeId) -> Result<Metadata> {
        let inode = self.inode(node)?;
        let core = &inode.core;
        let device = match (&inode.data, inode.file_type) {
            (Fork::Device(raw), FileType::CharDevice | FileType::BlockDevice) => {
                Some(decode_device(*raw))
            }
            _ => None,
        };
        Ok(Metadata {
            file_type: inode.file_type,
            permissions: core.di_mode.get() & 0o7777,
            uid: core.di_uid.get(),
            gid: core.di_gid.get(),
            size: core.di_size.get(),
            links: core.link_count(),
            device,
            accessed: core.time(Time::Accessed),
            modified: core.time(Time::Modified),
            changed: core.time(Time::Changed),
            created: (core.di_version >= 3).then(|| core.time(Time::Created)),
        })
    }

    fn flags(&self, node: NodeId) -> Result<NodeFlags> {
        let core = &self.inode(node)?.core;
        let has = |flag| core.di_flags.get() & flag != 0;
        Ok(NodeFlags {
            immutable: has(flags::IMMUTABLE),
            append_only: has(flags::APPEND_ONLY),
            project: core.project(),
            inherits_project: has(flags::INHERIT_PROJECT),
        })
    }

    fn read_dir(&self, directory: NodeId) -> Result<Vec<DirEntry>> {
        self.directory(directory)?
            .entries()
            .map(|entry| {
                Ok(DirEntry {
                    name: entry.name.clone(),
                    node: entry.inode.into(),
                    file_type: self.entry_type(entry)?,
                })
            })
            .collect()
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        content::read_at(&self.volume, &*self.inode(node)?, offset, buf)
    }

    fn extents(&self, node: NodeId) -> Result<Vec<FileExtent>> {
        content::extents(&self.volume, &*self.inode(node)?)
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        symlink::read(&self.volume, &*self.inode(node)?)
    }

    fn xattrs(&self, node: NodeId) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let staged = self
            .changed(node)?
            .and_then(|staged| staged.attributes.as_ref());
        let shown = match staged {
            Some(attributes) => attr::shown(attributes),
            None => attr::shown(&attr::load::load(&self.volume, &*self.inode(node)?)?),
        };
        shown.map_err(|problem| corrupt(Location::Inode(node.0), problem))
    }

    fn used_extents(&self) -> Result<Vec<Range<u64>>> {
        let geometry = &self.volume.geometry;
        let mut used: Vec<Range<u64>> = Vec::new();
        let mut from = 0;
        for group in geometry.group_numbers() {
            let known = self
                .writer
                .as_ref()
                .and_then(|writer| writer.free_runs(group));
            let runs = match known {
                Some(runs) => runs,
                None => read_free_space(&self.volume, group)?.runs,
            };
            for run in runs {
                let free = geometry.byte_offset(group, run.start);
                if from < free {
                    used.push(from..free);
                }
                from = free + u64::from(run.len) * u64::from(geometry.block_size);
            }
        }
        let end = geometry.total_blocks * u64::from(geometry.block_size);
        if from < end {
            used.push(from..end);
        }
        Ok(used)
    }

    fn check(&self, report: &mut dyn FnMut(Finding)) -> Result<()> {
        check::run(&self.volume, &self.superblock, report)
    }

    fn write_content(&mut self, node: NodeId, size: u64, content: &mut dyn Read) -> Result<()> {
        self.change(|writer, volume| writer.write_content(volume, node.into(), size, content))
    }

    fn write_at(&mut self, node: NodeId, offset: u64, data: &[u8]) -> Result<()> {
        self.change(|writer, volume| writer.write_at(volume, node.into(), offset, data))
    }

    fn set_size(&mut self, node: NodeId, size: u64) -> Result<()> {
        self.change(|writer, volume| writer.set_size(volume, node.into(), size))
    }

    fn check_storable(&self, _name: &[u8], new: Option<&NewNode<'_>>) -> Result<()> {
        new.map_or(Ok(()), |new| write::check_kind(&new.kind))
    }

    fn insert_node(&mut self, directory: NodeId, name: &[u8], new: &NewNode<'_>) -> Result<NodeId> {
        self.change(|writer, volume| writer.create(volume, directory.into(), name, new))
            .map(NodeId::from)
    }

    fn insert_name(&mut self, node: NodeId, directory: NodeId, name: &[u8]) -> Result<()> {
        self.change(|writer, volume| writer.link(volume, node.into(), directory.into(), name))
    }

    fn move_name(&mut self, rename: &Rename<'_>) -> Result<()> {
        self.change(|writer, volume| writer.move_name(volume, rename))
    }

    fn remove_name(&mut self, directory: NodeId, name: &[u8], node: NodeId) -> Result<()> {
        self.change(|writer, volume| writer.remove(volume, directory.into(), name, node.into()))
    }

    fn store_metadata(&mut self, node: NodeId, change: &MetadataChange) -> Result<()> {
        self.change(|writer, volume| writer.set_metadata(volume, node.into(), change))
    }

    fn store_xattr(&mut self, node: NodeId, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.change(|writer, volume| writer.set_xattr(volume, node.into(), name, value))
    }

    fn grow(&mut self, len: u64) -> Result<u64> {
        self.grow_to(len)
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(writer) = &mut self.writer {
            writer.check_usable()?;
            writer.watch(|writer| writer.flush(&self.volume, &mut self.superblock))?;
            self.cache = RefCell::default();
        }
        Ok(())
    }
}
