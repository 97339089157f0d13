//! Commands that change the rights and owners of files.

use super::super::{Run, Shell};
use super::options;
use crate::Accounts;
use crate::capabilities;
use imgasm_fs::FileType;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes, LastLink};

/// What a command wants of a file.
#[derive(Debug, Clone, Copy)]
enum Change<'c> {
    Mode(&'c str),
    Owners(Option<u32>, Option<u32>),
}

/// The work that a file is which is changed with its folder ([`Shell::spend`]).
const FILE_WORK: u64 = 1024;

impl Shell<'_, '_> {
    pub(super) fn attribute_command(&mut self, name: &str, arguments: &[String]) -> Run {
        let long = [
            ("recursive", 'R'),
            ("no-dereference", 'h'),
            ("silent", 'f'),
            ("quiet", 'f'),
            ("verbose", 'v'),
            ("changes", 'v'),
        ];
        let is_chmod = name == "chmod";
        // A mode such as `-x` looks like an option. Links are not followed on the way in any case.
        let flags = if is_chmod { "Rfvc" } else { "RhfvcP" };
        let options = options::parse(arguments, flags, "", &long).ok_or_else(|| self.unknown())?;
        let says = options.has('v') || options.has('c');
        if says && !self.nobody_listens() {
            return Err(self.unknown());
        }
        let Some((first, files)) = options.operands.split_first() else {
            return Ok(1);
        };
        if files.is_empty() {
            return Ok(1);
        }
        let change = match name {
            "chmod" => Change::Mode(first),
            "chgrp" => match self.owners(None, Some(first))? {
                Some((uid, gid)) => Change::Owners(uid, gid),
                None => return Ok(1),
            },
            _ => {
                let (user, group) = match first.split_once(':') {
                    Some((user, group)) => (user, Some(group)),
                    // An old form, unless a name has a dot in it.
                    None if first.contains('.') => return Err(self.unknown()),
                    None => (first.as_str(), None),
                };
                let user = Some(user).filter(|user| !user.is_empty());
                // `user:` means the group that the user logs in with.
                let own;
                let group = match group {
                    Some("") => match self.login_group(user)? {
                        Some(gid) => {
                            own = gid;
                            Some(own.as_str())
                        }
                        None => return Ok(1),
                    },
                    group => group,
                };
                match self.owners(user, group)? {
                    Some((uid, gid)) => Change::Owners(uid, gid),
                    None => return Ok(1),
                }
            }
        };
        let mut status = 0;
        for file in files {
            self.check_ordinary(file)?;
            let path = self.path(file)?;
            let last = if options.has('h') {
                LastLink::Keep
            } else {
                LastLink::Follow
            };
            let Some(found) = self.look(file, last)? else {
                status = 1;
                continue;
            };
            if options.has('R') && found.file_type == FileType::Directory {
                let is_link = self
                    .look(file.trim_end_matches('/'), LastLink::Keep)?
                    .is_some_and(|found| found.file_type == FileType::Symlink);
                if is_link {
                    // Links on the command line are followed or not, as the tools have changed.
                    return Err(self.unknown());
                }
                let walk = tree::walk(self.editor.fs(), &path)?;
                let entries = walk.collect::<tree::Result<Vec<_>>>()?;
                self.spend(FILE_WORK * entries.len() as u64)?;
                for entry in entries {
                    let is_link = entry.metadata.file_type == FileType::Symlink;
                    match change {
                        Change::Mode(_) if is_link => {}
                        change => self.change(&entry.path, LastLink::Keep, change)?,
                    }
                }
            } else {
                self.change(&path, last, change)?;
            }
        }
        Ok(status)
    }

    fn change(&mut self, path: &ImagePath, last: LastLink, change: Change<'_>) -> Run<()> {
        let Some(found) = self.look(&path.to_string(), last)? else {
            return Err(self.unknown());
        };
        let is_folder = found.file_type == FileType::Directory;
        let attributes = match change {
            Change::Mode(mode) => {
                let permissions = mode_of(mode, found.permissions, self.umask, is_folder);
                Attributes {
                    permissions: Some(permissions.ok_or_else(|| self.unknown())?),
                    ..Attributes::default()
                }
            }
            Change::Owners(uid, gid) => {
                let mut permissions = None;
                // Linux takes these away whoever changes the owner (chown(2)).
                if !is_folder && found.file_type != FileType::Symlink {
                    let mut left = found.permissions & !0o4000;
                    if left & 0o010 != 0 {
                        left &= !0o2000;
                    }
                    permissions = (left != found.permissions).then_some(left);
                }
                if found.file_type == FileType::Regular {
                    self.editor
                        .set_xattr(path, last, capabilities::XATTR, None)?;
                }
                Attributes {
                    permissions,
                    uid,
                    gid,
                }
            }
        };
        self.editor.set_attributes(path, last, attributes)?;
        Ok(())
    }

    /// `setcap` with capabilities in words, and `setcap -r`.
    pub(super) fn setcap(&mut self, arguments: &[String]) -> Run {
        let (value, file) = match arguments {
            [flag, file] if flag == "-r" => (None, file),
            [text, file] if !text.starts_with('-') => {
                let value = capabilities::attribute(text);
                (Some(value.ok_or_else(|| self.unknown())?), file)
            }
            _ => return Err(self.unknown()),
        };
        self.check_ordinary(file)?;
        let path = self.path(file)?;
        match self.metadata_kept(file)?.map(|found| found.file_type) {
            Some(FileType::Regular) => {}
            _ => return Ok(1),
        }
        let is_there = {
            let (node, real) = tree::resolve(self.editor.fs(), &path, LastLink::Keep)?;
            let xattrs = self.editor.fs().xattrs(node);
            let xattrs = xattrs.map_err(|source| tree::Error::FileSystem {
                action: "read",
                path: real,
                source,
            })?;
            xattrs.contains_key(capabilities::XATTR)
        };
        if value.is_none() && !is_there {
            return Ok(1);
        }
        self.editor
            .set_xattr(&path, LastLink::Keep, capabilities::XATTR, value.as_deref())?;
        Ok(0)
    }

    /// The number of the group that a user logs in with; `None` if there is no such user.
    fn login_group(&self, user: Option<&str>) -> Run<Option<String>> {
        let accounts = Accounts::read(self.editor.fs())?;
        let name = user.filter(|name| name.parse::<u32>().is_err());
        let name = name.ok_or_else(|| self.unknown())?;
        Ok(accounts.user(name).map(|user| user.gid.to_string()))
    }

    /// The numbers of a user and a group by names or numbers; `None` if one is not known.
    pub(super) fn owners(
        &self,
        user: Option<&str>,
        group: Option<&str>,
    ) -> Run<Option<(Option<u32>, Option<u32>)>> {
        let accounts = Accounts::read(self.editor.fs())?;
        let number = |text: &str| text.parse().ok();
        let uid = user.map(|name| {
            accounts
                .user(name)
                .map(|user| user.uid)
                .or_else(|| number(name))
        });
        let gid = group.map(|name| {
            accounts
                .group(name)
                .map(|group| group.gid)
                .or_else(|| number(name))
        });
        Ok(match (uid, gid) {
            (Some(None), _) | (_, Some(None)) => None,
            (uid, gid) => Some((uid.flatten(), gid.flatten())),
        })
    }
}

/// The permissions that a mode in words or numbers makes of others (POSIX.1-2017, "chmod");
/// `None` if it is none that is known here.
pub(super) fn mode_of(mode: &str, before: u16, umask: u16, is_folder: bool) -> Option<u16> {
    if mode.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) && !mode.is_empty() {
        let number = u16::from_str_radix(mode, 8)
            .ok()
            .filter(|number| *number <= 0o7777)?;
        // GNU's chmod leaves these of folders, unless the mode has five digits.
        let kept = if is_folder && mode.len() < 5 {
            before & 0o6000
        } else {
            0
        };
        return Some(number | kept);
    }
    let mut permissions = before;
    for clause in mode.split(',') {
        let at = clause.find(['+', '-', '='])?;
        let (who, mut rest) = clause.split_at(at);
        let mut classes = 0;
        for letter in who.chars() {
            classes |= match letter {
                'u' => 0o4700,
                'g' => 0o2070,
                'o' => 0o1007,
                'a' => 0o7777,
                _ => return None,
            };
        }
        let allowed = if who.is_empty() {
            0o7777 & !umask
        } else {
            classes
        };
        while let Some(operator) = rest.chars().next() {
            rest = &rest[1..];
            let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
            let (letters, after) = rest.split_at(end);
            rest = after;
            let mut bits = 0;
            for letter in letters.chars() {
                bits |= match letter {
                    'r' => 0o444,
                    'w' => 0o222,
                    'x' => 0o111,
                    'X' if is_folder || permissions & 0o111 != 0 => 0o111,
                    'X' => 0,
                    's' => 0o6000,
                    't' => 0o1000,
                    _ => return None,
                };
            }
            let bits = bits & allowed;
            match operator {
                '+' => permissions |= bits,
                '-' => permissions &= !bits,
                '=' => {
                    // Without a class, and for the bits of folders, the tools have their own ways.
                    if who.is_empty() || (is_folder && permissions & 0o6000 != 0) {
                        return None;
                    }
                    permissions = permissions & !classes | bits;
                }
                _ => return None,
            }
        }
    }
    Some(permissions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (mode, before, is_folder, wanted) in [
            ("755", 0o2644, false, Some(0o755)),
            ("755", 0o2644, true, Some(0o2755)),
            ("00755", 0o2644, true, Some(0o755)),
            ("u+x,go-rwx", 0o644, false, Some(0o700)),
            ("+x", 0o644, false, Some(0o755)),
            ("a+rX", 0o600, false, Some(0o644)),
            ("a+rX", 0o700, true, Some(0o755)),
            ("g+s,o+t", 0o755, true, Some(0o3755)),
            ("u=rw,g=r,o=", 0o777, false, Some(0o640)),
            ("u=g", 0o777, false, None),
            ("8", 0, false, None),
            ("rwx", 0, false, None),
        ] {
            assert_eq!(mode_of(mode, before, 0o022, is_folder), wanted, "{mode}");
        }
    }
}
