//! The commands that scripts may use.
//!
//! - [`own`]: those that change the shell itself.
//! - [`text`]: those that write and read text; [`search`] finds it, [`sed`] edits it.
//! - [`files`]: those that change files, [`copy`] those that copy them, [`attributes`] their rights
//!   and owners.
//! - [`accounts`]: users and groups.
//! - [`services`]: what starts at boot.
//! - [`options`]: options of commands.

mod accounts;
mod attributes;
mod copy;
mod files;
mod options;
mod own;
mod search;
mod sed;
mod services;
mod text;

use super::{Run, Shell};
use crate::loader;

/// The folders in which the programs are that are known here.
const FOLDERS: [&str; 6] = [
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib/systemd",
    "/lib/systemd",
];

/// The work that a command on accounts or services is at least ([`Shell::spend`]): it reads all of
/// them.
const DEAR_WORK: u64 = 1 << 18;
/// The same of one that may compile expressions.
const TEXT_WORK: u64 = 1 << 14;

/// The same of one that reads all libraries.
const LOADER_WORK: u64 = 1 << 22;

/// Commands whose assignments stay behind in some shells.
pub(super) fn is_special(program: &str) -> bool {
    let special = [
        ":", ".", "break", "continue", "eval", "exec", "exit", "export", "readonly", "return",
        "set", "shift", "trap", "unset",
    ];
    special.contains(&program)
}

impl Shell<'_, '_> {
    /// A command by its name or path.
    pub(super) fn builtin(&mut self, program: &str, arguments: &[String]) -> Run {
        let name = match program.rsplit_once('/') {
            None => program,
            Some((folder, name)) if FOLDERS.contains(&folder) => name,
            Some(_) => return Err(self.unknown()),
        };
        match name {
            ":" | "true" => Ok(0),
            "false" => Ok(1),
            "[" => match arguments.split_last() {
                Some((last, arguments)) if last == "]" => self.test(arguments),
                _ => Ok(2),
            },
            "test" => self.test(arguments),
            "." | "source" | "break" | "cd" | "command" | "continue" | "exit" | "export"
            | "hash" | "local" | "pwd" | "read" | "readonly" | "return" | "set" | "shift"
            | "type" | "umask" | "unset" | "which" => self.own(name, arguments),
            "echo" | "printf" | "cat" | "grep" | "fgrep" | "egrep" | "cut" | "head" | "tail"
            | "tr" | "wc" | "awk" | "gawk" | "basename" | "dirname" | "readlink" => {
                self.spend(TEXT_WORK)?;
                self.text_command(name, arguments)
            }
            "sed" => {
                self.spend(TEXT_WORK)?;
                self.sed(arguments)
            }
            "mkdir" | "touch" | "rm" | "rmdir" | "ln" | "mv" | "cp" | "install" | "unlink" => {
                self.file_command(name, arguments)
            }
            "chmod" | "chown" | "chgrp" => self.attribute_command(name, arguments),
            "getent" | "id" | "useradd" | "groupadd" | "usermod" | "gpasswd" | "userdel"
            | "groupdel" | "systemd-sysusers" | "adduser" | "addgroup" => {
                self.spend(DEAR_WORK)?;
                self.account_command(name, arguments)
            }
            "systemctl" | "chkconfig" | "service" | "systemd-update-helper" | "initctl" => {
                self.spend(DEAR_WORK)?;
                self.service_command(name, arguments)
            }
            "ldconfig" if arguments.is_empty() || arguments == ["-X"] => {
                self.spend(LOADER_WORK)?;
                self.ldconfig(arguments.is_empty())
            }
            _ => self.left_to_the_system(name),
        }
    }

    fn ldconfig(&mut self, makes_links: bool) -> Run {
        match loader::update(self.editor, makes_links) {
            Ok(()) => {}
            Err(loader::Error::Tree(error)) => return Err(error.into()),
            Err(loader::Error::Unknown(problem)) => {
                self.note(&format!(
                    "the cache of the dynamic loader is as it was: {problem}"
                ));
            }
        }
        Ok(0)
    }

    /// Commands whose work is left to the running system, and those that have none in an image.
    fn left_to_the_system(&mut self, name: &str) -> Run {
        let note = match name {
            // Nothing runs in an image; devices and temporary files are made when it boots.
            "udevadm" | "systemd-tmpfiles" | "systemd-sysctl" | "systemd-binfmt" | "sleep"
            | "sync" | "killall" | "pkill" | "fixfiles" => {
                return Ok(0);
            }
            // Labels are given to all that was changed, once the files are laid.
            "restorecon" => return Ok(0),
            "fc-cache" => "fc-cache: programs read the fonts themselves until it is run",
            "update-desktop-database"
            | "update-mime-database"
            | "gtk-update-icon-cache"
            | "glib-compile-schemas" => "caches of the desktop are as they were",
            "gdk-pixbuf-query-loaders-64" | "gio-querymodules-64" | "gio-querymodules" => {
                "lists of modules of the desktop are as they were"
            }
            "systemd-hwdb" => "systemd-hwdb: the database of hardware is as it was",
            "journalctl" => "journalctl: the catalog of messages is as it was",
            "mandb" => "mandb: the index of manual pages is as it was",
            "install-info" => "install-info: the directory of Info pages is as it was",
            _ => return Err(self.unknown()),
        };
        self.note(note);
        Ok(0)
    }
}
