//! Redirections, and what is written to files.

use std::cell::RefCell;
use std::rc::Rc;

use super::ast::{Redirection, RedirectionKind};
use super::io::{Input, MAX_BYTES, Output};
use super::{Run, Shell};
use imgasm_fs::FileType;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes, LastLink};

/// Where a folder keeps the access control list that new files in it get.
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// The place of a descriptor above the usual three.
fn other_index(number: u32) -> Option<usize> {
    let at = usize::try_from(number).ok()?.checked_sub(3)?;
    (at < super::io::OTHERS).then_some(at)
}

impl Shell<'_, '_> {
    /// Sets the descriptors for a command; gives whether all could be opened.
    pub(super) fn redirect(&mut self, redirections: &[Redirection]) -> Run<bool> {
        for redirection in redirections {
            let target = self.text(&redirection.target)?;
            let is_done = match redirection.kind {
                RedirectionKind::Content => {
                    self.descriptors.input = Input::new(target.into_bytes());
                    redirection.descriptor == Some(0)
                }
                RedirectionKind::Read => match self.read_file(&target)? {
                    Some(content) if redirection.descriptor == Some(0) => {
                        self.descriptors.input = Input::new(content);
                        true
                    }
                    Some(_) => return Err(self.unknown()),
                    None => false,
                },
                RedirectionKind::Duplicate => {
                    let output = match target.as_str() {
                        "1" => self.descriptors.output.clone(),
                        "2" => self.descriptors.errors.clone(),
                        other => {
                            let number = other.parse().ok().and_then(other_index);
                            let output = number.and_then(|at| self.descriptors.others[at].clone());
                            output.ok_or_else(|| self.unknown())?
                        }
                    };
                    self.set_output(redirection.descriptor, output)?;
                    true
                }
                RedirectionKind::Write | RedirectionKind::Append => {
                    let is_append = redirection.kind == RedirectionKind::Append;
                    match self.open(&target, is_append)? {
                        Some(output) => {
                            self.set_output(redirection.descriptor, output)?;
                            true
                        }
                        None => false,
                    }
                }
            };
            if !is_done {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn set_output(&mut self, descriptor: Option<u32>, output: Output) -> Run<()> {
        match descriptor {
            Some(1) => self.descriptors.output = output,
            Some(2) => self.descriptors.errors = output,
            None => {
                self.descriptors.output = output.clone();
                self.descriptors.errors = output;
            }
            Some(number) => {
                let at = other_index(number).ok_or_else(|| self.unknown())?;
                self.descriptors.others[at] = Some(output);
            }
        }
        Ok(())
    }

    /// Opens a file for writing, as a shell does; `None` if that fails.
    pub(super) fn open(&mut self, target: &str, is_append: bool) -> Run<Option<Output>> {
        match target {
            "/dev/null" => return Ok(Some(Output::Nowhere)),
            "/dev/stdout" => return Ok(Some(self.descriptors.output.clone())),
            "/dev/stderr" => return Ok(Some(self.descriptors.errors.clone())),
            _ => {}
        }
        self.check_ordinary(target)?;
        let path = self.path(target)?;
        match self.metadata(target)?.map(|metadata| metadata.file_type) {
            Some(FileType::Regular) if is_append => {}
            Some(FileType::Regular) | None => {
                if target.ends_with('/') || !self.write_file(&path, &[], 0o666)? {
                    return Ok(None);
                }
            }
            Some(FileType::Directory) => return Ok(None),
            Some(_) => return Err(self.unknown()),
        }
        let place = (!is_append).then(|| Rc::new(RefCell::new(0)));
        Ok(Some(Output::File(path, place)))
    }

    /// Makes a file hold these bytes; gives whether its folder is there. A new file gets these
    /// permissions, less what the umask takes.
    pub(super) fn write_file(
        &mut self,
        path: &ImagePath,
        content: &[u8],
        permissions: u16,
    ) -> Run<bool> {
        let is_new = match tree::locate(self.editor.fs(), path, LastLink::Follow) {
            Ok(place) => place.node.is_none(),
            Err(tree::Error::NotFound { .. } | tree::Error::WrongType { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let attributes = Attributes {
            permissions: is_new.then_some(permissions & !self.umask),
            gid: if is_new {
                self.inherited_group(path, false)?
            } else {
                None
            },
            uid: None,
        };
        self.editor
            .write(path, LastLink::Follow, content, attributes)?;
        Ok(true)
    }

    /// The content of a regular file; `None` if there is none, or it is a folder.
    pub(super) fn read_file(&self, target: &str) -> Run<Option<Vec<u8>>> {
        if target == "/dev/null" {
            return Ok(Some(Vec::new()));
        }
        self.check_ordinary(target)?;
        let found = self.metadata(target)?;
        match found.as_ref().map(|found| found.file_type) {
            Some(FileType::Regular) => {
                self.spend(found.map_or(0, |found| found.size))?;
                let limit = MAX_BYTES as u64;
                Ok(Some(tree::read_file(
                    self.editor.fs(),
                    &self.path(target)?,
                    limit,
                )?))
            }
            None | Some(FileType::Directory) => Ok(None),
            Some(_) => Err(self.unknown()),
        }
    }

    /// The group that the folder of a new file gives it. Folders give more to folders, and one with
    /// a default access control list more to all: that is not known.
    pub(super) fn inherited_group(&self, path: &ImagePath, is_folder: bool) -> Run<Option<u32>> {
        let place = tree::locate(self.editor.fs(), path, LastLink::Follow)?;
        let Some(parent) = place.path.parent() else {
            return Ok(None);
        };
        let (node, path) = tree::resolve(self.editor.fs(), &parent, LastLink::Follow)?;
        let error = |source| tree::Error::FileSystem {
            action: "read",
            path: path.clone(),
            source,
        };
        let xattrs = self.editor.fs().xattrs(node).map_err(error)?;
        let folder = self.editor.fs().metadata(node).map_err(error)?;
        let shares_group = folder.permissions & 0o2000 != 0;
        if xattrs.contains_key(DEFAULT_ACL) || (shares_group && is_folder) {
            return Err(self.unknown());
        }
        Ok(shares_group.then_some(folder.gid))
    }

    /// Refuses files that a running kernel makes up.
    pub(super) fn check_ordinary(&self, target: &str) -> Run<()> {
        let folders = ["/dev", "/proc", "/sys"];
        let is_below = |folder: &str| {
            let rest = target.strip_prefix(folder);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if folders.into_iter().any(is_below) {
            return Err(self.unknown());
        }
        Ok(())
    }

    /// Writes to the standard output.
    pub(super) fn say(&mut self, bytes: &[u8]) -> Run<()> {
        match self.descriptors.output.clone() {
            Output::Nowhere => Ok(()),
            Output::Pipe(buffer) => {
                let mut buffer = buffer.borrow_mut();
                if buffer.len() + bytes.len() > MAX_BYTES {
                    return Err(self.unknown());
                }
                buffer.extend_from_slice(bytes);
                Ok(())
            }
            Output::File(path, place) => {
                let limit = MAX_BYTES as u64;
                let mut content = tree::read_file(self.editor.fs(), &path, limit)?;
                let start = match &place {
                    Some(place) => *place.borrow(),
                    None => content.len(),
                };
                let end = start + bytes.len();
                self.spend((content.len() + bytes.len()) as u64)?;
                if end > MAX_BYTES {
                    return Err(self.unknown());
                }
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[start..end].copy_from_slice(bytes);
                if let Some(place) = place {
                    *place.borrow_mut() = end;
                }
                self.write_file(&path, &content, 0o666)?;
                Ok(())
            }
        }
    }

    /// Writes a line to the standard output.
    pub(super) fn say_line(&mut self, line: &str) -> Run<()> {
        self.say(format!("{line}\n").as_bytes())
    }
}
