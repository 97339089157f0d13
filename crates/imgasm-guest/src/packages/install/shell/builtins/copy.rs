//! `cp` and `install`, with the options of GNU's coreutils.

use super::super::{Run, Shell};
use super::attributes::mode_of;
use super::options::Options;
use crate::files::link_target;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes, FileReader, LastLink};
use imgasm_fs::{FileType, Metadata};

/// The largest file that is copied, in bytes.
const MAX_COPY: u64 = 1 << 30;
/// The work that a file is beside its content ([`Shell::spend`]).
const FILE_WORK: u64 = 1024;
/// How deep folders are copied.
const MAX_DEPTH: usize = 64;

impl Shell<'_, '_> {
    pub(super) fn cp(&mut self, source: &str, to: &str, options: &Options) -> Run<bool> {
        let is_archive = options.has('a');
        let is_recursive = is_archive || options.has('r') || options.has('R');
        let keeps_links = is_recursive || options.has('d');
        let last = if keeps_links {
            LastLink::Keep
        } else {
            LastLink::Follow
        };
        let found = self.look(source, last)?;
        let Some(found) = found else {
            return Ok(false);
        };
        if !self.has_folder(to)? {
            return Ok(false);
        }
        if options.has('n') {
            if is_recursive {
                return Err(self.unknown());
            }
            if self.metadata_kept(to)?.is_some() {
                // Whether that is a failure has changed from one version of GNU's cp to another.
                return Err(self.unknown());
            }
        }
        let (from, path) = (self.path(source)?, self.path(to)?);
        if path.starts_with(&from) && found.file_type == FileType::Directory {
            return Ok(false);
        }
        let copy = Copy {
            is_recursive,
            keeps: is_archive || options.has('p'),
        };
        self.copy(&from, &path, &found, copy, 0)
    }

    fn copy(
        &mut self,
        from: &ImagePath,
        to: &ImagePath,
        found: &Metadata,
        copy: Copy,
        depth: usize,
    ) -> Run<bool> {
        if depth > MAX_DEPTH {
            return Err(self.unknown());
        }
        self.spend(found.size.saturating_add(FILE_WORK))?;
        let there = self.metadata_kept(&to.to_string())?;
        let kind_there = there.as_ref().map(|there| there.file_type);
        let kept = copy.keeps.then_some(found);
        match found.file_type {
            FileType::Directory if !copy.is_recursive => return Ok(false),
            FileType::Directory => {
                if kind_there.is_some_and(|kind| kind != FileType::Directory) {
                    return Ok(false);
                }
                if kind_there.is_none() {
                    self.inherited_group(to, true)?;
                }
                let attributes = Attributes {
                    permissions: kind_there
                        .is_none()
                        .then_some(found.permissions & 0o777 & !self.umask),
                    ..Attributes::default()
                };
                self.editor.mkdir_all(to, attributes)?;
                let mut is_whole = true;
                for (name, _) in crate::files::list(self.editor.fs(), from)? {
                    let (from, to) = (from.child(&name), to.child(&name));
                    let inner = self.metadata_kept(&from.to_string())?;
                    let inner = inner.ok_or_else(|| self.unknown())?;
                    is_whole &= self.copy(&from, &to, &inner, copy, depth + 1)?;
                }
                self.keep_attributes(from, to, kept)?;
                return Ok(is_whole);
            }
            FileType::Symlink => {
                if kind_there.is_some() {
                    return if kind_there == Some(FileType::Directory) {
                        Ok(false)
                    } else {
                        Err(self.unknown())
                    };
                }
                let target = link_target(self.editor.fs(), from)?.unwrap_or_default();
                self.make_link(to, &target)?;
                if let Some(kept) = kept {
                    let attributes = Attributes {
                        uid: Some(kept.uid),
                        gid: Some(kept.gid),
                        permissions: None,
                    };
                    self.editor.set_attributes(to, LastLink::Keep, attributes)?;
                }
                return Ok(true);
            }
            FileType::Regular => {}
            _ => return Err(self.unknown()),
        }
        match kind_there {
            None | Some(FileType::Regular) => {}
            Some(FileType::Directory) => return Ok(false),
            // A link is followed, unless it leads nowhere: then GNU's cp asks for more.
            Some(FileType::Symlink)
                if self
                    .metadata(&to.to_string())?
                    .is_some_and(|there| there.file_type == FileType::Regular) => {}
            Some(_) => return Err(self.unknown()),
        }
        let (node, from_real) = tree::resolve(self.editor.fs(), from, LastLink::Follow)?;
        let to_real = tree::locate(self.editor.fs(), to, LastLink::Follow)?;
        if to_real.node == Some(node) {
            return Ok(false);
        }
        let permissions = kind_there
            .is_none()
            .then_some(found.permissions & 0o777 & !self.umask);
        self.copy_content(&from_real, &to_real.path, found.size, permissions)?;
        self.keep_attributes(from, to, kept)?;
        Ok(true)
    }

    /// Makes a file hold what another holds.
    fn copy_content(
        &mut self,
        from: &ImagePath,
        to: &ImagePath,
        size: u64,
        permissions: Option<u16>,
    ) -> Run<()> {
        if size > MAX_COPY {
            return Err(self.unknown());
        }
        let (node, _) = tree::resolve(self.editor.fs(), from, LastLink::Follow)?;
        let mut spooled = tempfile::spooled_tempfile(super::super::io::MAX_BYTES);
        let mut reader = FileReader::new(self.editor.fs(), node);
        let copied = std::io::copy(&mut reader, &mut spooled);
        copied.map_err(|source| crate::packages::Error::Host {
            path: tempfile::env::temp_dir(),
            source,
        })?;
        let rewound = std::io::Seek::rewind(&mut spooled);
        rewound.map_err(|source| crate::packages::Error::Host {
            path: tempfile::env::temp_dir(),
            source,
        })?;
        let gid = match permissions {
            Some(_) => self.inherited_group(to, false)?,
            None => None,
        };
        let attributes = Attributes {
            permissions,
            gid,
            uid: None,
        };
        self.editor
            .write_from(to, LastLink::Follow, size, &mut spooled, attributes)?;
        Ok(())
    }

    /// What `cp -p` keeps: rights, owners and time; what has more attributes than these is not
    /// known.
    fn keep_attributes(
        &mut self,
        from: &ImagePath,
        to: &ImagePath,
        kept: Option<&Metadata>,
    ) -> Run<()> {
        let Some(kept) = kept else {
            return Ok(());
        };
        let (node, real) = tree::resolve(self.editor.fs(), from, LastLink::Follow)?;
        let xattrs = self.editor.fs().xattrs(node);
        let xattrs = xattrs.map_err(|source| tree::Error::FileSystem {
            action: "read",
            path: real,
            source,
        })?;
        if xattrs.keys().any(|name| name != crate::selinux::XATTR) {
            return Err(self.unknown());
        }
        let attributes = Attributes {
            permissions: Some(kept.permissions),
            uid: Some(kept.uid),
            gid: Some(kept.gid),
        };
        self.editor
            .set_attributes(to, LastLink::Follow, attributes)?;
        self.editor
            .set_modified(to, LastLink::Follow, kept.modified)?;
        Ok(())
    }

    pub(super) fn install(&mut self, options: &Options) -> Run {
        let mode = options.value('m').unwrap_or("755");
        let permissions = mode_of(mode, 0, 0, false).ok_or_else(|| self.unknown())?;
        let (uid, gid) = (
            options.value('o').map(str::to_owned),
            options.value('g').map(str::to_owned),
        );
        let Some((uid, gid)) = self.owners(uid.as_deref(), gid.as_deref())? else {
            return Ok(1);
        };
        let attributes = Attributes {
            permissions: Some(permissions),
            uid,
            gid,
        };
        if options.has('d') {
            for operand in &options.operands {
                if self.metadata(operand)?.is_none() && !self.make_folder(operand, None, true)? {
                    return Ok(1);
                }
                if !self.is_directory(operand)? {
                    return Ok(1);
                }
                let path = self.path(operand)?;
                self.editor
                    .set_attributes(&path, LastLink::Follow, attributes)?;
            }
            return Ok(u8::from(options.operands.is_empty()));
        }
        let [sources @ .., target] = options.operands.as_slice() else {
            return Ok(1);
        };
        let is_folder = self.is_directory(target)?;
        if sources.is_empty()
            || (sources.len() > 1 && !is_folder)
            || (is_folder && options.has('D'))
        {
            return Err(self.unknown());
        }
        for source in sources {
            let content = match source.as_str() {
                "/dev/null" => Vec::new(),
                source => match self.read_file(source)? {
                    Some(content) => content,
                    None => return Ok(1),
                },
            };
            let name = source.rsplit('/').next().unwrap_or_default();
            let to = if is_folder {
                format!("{target}/{name}")
            } else {
                target.clone()
            };
            if to.ends_with('/') {
                return Ok(1);
            }
            let path = self.path(&to)?;
            let folder = path
                .parent()
                .map(|folder| folder.to_string())
                .unwrap_or_default();
            if !self.is_directory(&folder)? {
                let is_made = options.has('D') && self.make_folder(&folder, None, true)?;
                if !is_made {
                    return Ok(1);
                }
            }
            match self.file_type_kept(&to)? {
                Some(FileType::Directory) => return Ok(1),
                // What was there is not written to: other names of it keep what they had.
                Some(_) => {
                    self.editor.remove_tree(&path)?;
                }
                None => {}
            }
            let found = self.metadata(source)?;
            let attributes = match gid {
                Some(_) => attributes,
                None => Attributes {
                    gid: self.inherited_group(&path, false)?,
                    ..attributes
                },
            };
            self.editor
                .write(&path, LastLink::Keep, &content, attributes)?;
            if let Some(found) = found.filter(|_| options.has('p')) {
                self.editor
                    .set_modified(&path, LastLink::Keep, found.modified)?;
            }
        }
        Ok(0)
    }
}

/// How `cp` copies.
#[derive(Debug, Clone, Copy)]
struct Copy {
    is_recursive: bool,
    /// Whether rights, owners and times are kept.
    keeps: bool,
}
