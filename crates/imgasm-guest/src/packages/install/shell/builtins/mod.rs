//! The commands that scripts may use.
//!
//! - [`own`]: those that change the shell itself.
//! - [`text`]: those that write and read text; [`search`] finds it, [`sed`] edits it, [`filters`] put it
//!   in order.
//! - [`listing`]: what files there are.
//! - [`files`]: those that change files, [`copy`] those that copy them, [`attributes`] their rights
//!   and owners.
//! - [`accounts`]: users and groups.
//! - [`services`]: what starts at boot.
//! - [`alternatives`]: links that stand for one of several files.
//! - [`options`]: options of commands.

mod accounts;
mod alternatives;
mod attributes;
mod copy;
mod files;
mod filters;
mod listing;
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

/// The umask that scripts are given.
const USUAL_UMASK: u16 = 0o022;
/// The status with which a command ends that is not there.
const NOT_FOUND: u8 = 127;
/// Commands that shells carry in themselves and that are not known here.
const OTHER_COMMANDS: [&str; 37] = [
    "alias",
    "bg",
    "bind",
    "builtin",
    "caller",
    "chdir",
    "compgen",
    "complete",
    "compopt",
    "declare",
    "dirs",
    "disown",
    "echo",
    "enable",
    "fc",
    "fg",
    "getopts",
    "help",
    "history",
    "jobs",
    "kill",
    "let",
    "logout",
    "mapfile",
    "popd",
    "pushd",
    "readarray",
    "shopt",
    "suspend",
    "times",
    "typeset",
    "ulimit",
    "unalias",
    "wait",
    "time",
    "select",
    "coproc",
];

/// Commands whose assignments stay behind in some shells.
pub(super) fn is_special(program: &str) -> bool {
    let special = [
        ":", ".", "break", "continue", "eval", "exec", "exit", "export", "readonly", "return",
        "set", "shift", "trap", "unset",
    ];
    special.contains(&program)
}

/// Whether a command that ended like this has said nothing on the standard error.
pub(super) fn is_silent(program: &str, status: u8) -> bool {
    let name = program.rsplit('/').next().unwrap_or_default();
    let never = [
        "[", "test", ":", "true", "false", "getent", "expr", "read", "return", "basename",
    ];
    let if_one = ["grep", "egrep", "fgrep", "cmp", "command", "hash"];
    let if_done = [
        "echo", "printf", "cat", "cut", "head", "tail", "tr", "wc", "awk", "dirname", "readlink",
        "sed", "sort", "uniq", "tee", "seq", "ls", "stat", "find", "mkdir", "touch", "rm", "rmdir",
        "ln", "mv", "cp", "install", "unlink", "chmod", "chown", "chgrp", "id", "set", "shift",
        "export", "local", "unset", "cd", "pwd", "umask", "eval", "exec", ".", "source", "trap",
        "mktemp", "xargs", "env",
    ];
    let may_fail = never.contains(&name) || if_one.contains(&name);
    (may_fail && status < 2) || (if_done.contains(&name) && status == 0)
}

/// Commands of the shell itself, which no other program can run.
const ONLY_OWN: [&str; 19] = [
    ".", ":", "break", "cd", "command", "continue", "eval", "exec", "exit", "export", "local",
    "read", "readonly", "return", "set", "shift", "source", "trap", "unset",
];

impl Shell<'_, '_> {
    /// A program that another one runs.
    pub(super) fn program(&mut self, program: &str, arguments: &[String]) -> Run {
        if ONLY_OWN.contains(&program) || self.functions.contains_key(program) {
            return Err(self.unknown());
        }
        self.builtin(program, arguments)
    }

    /// A command by its name or path.
    pub(super) fn builtin(&mut self, program: &str, arguments: &[String]) -> Run {
        let name = match program.rsplit_once('/') {
            None => program,
            Some((folder, name)) if FOLDERS.contains(&folder) => name,
            Some(_) => return self.missing(program),
        };
        // The folders that these make follow the umask in ways of their own.
        let makes_folders = matches!(
            name,
            "systemctl" | "chkconfig" | "systemd-update-helper" | "useradd" | "systemd-sysusers"
        );
        if makes_folders && self.umask != USUAL_UMASK {
            return Err(self.unknown());
        }
        match name {
            ":" | "true" => Ok(0),
            "false" => Ok(1),
            "[" => match arguments.split_last() {
                Some((last, arguments)) if last == "]" => self.test(arguments),
                _ => Ok(2),
            },
            "test" => self.test(arguments),
            "." | "source" | "break" | "cd" | "command" | "continue" | "eval" | "exec" | "exit"
            | "export" | "hash" | "local" | "pwd" | "read" | "readonly" | "return" | "set"
            | "shift" | "trap" | "type" | "umask" | "unset" | "which" => self.own(name, arguments),
            "echo" | "printf" | "cat" | "grep" | "fgrep" | "egrep" | "cut" | "head" | "tail"
            | "tr" | "wc" | "awk" | "gawk" | "basename" | "dirname" | "readlink" => {
                self.spend(TEXT_WORK)?;
                self.text_command(name, arguments)
            }
            "sort" | "uniq" | "tee" | "seq" | "expr" | "cmp" => {
                self.filter_command(name, arguments)
            }
            "ls" => self.ls(arguments),
            "stat" => self.stat(arguments),
            "find" => self.find(arguments),
            "xargs" => self.xargs(arguments),
            "mktemp" => self.mktemp(arguments),
            "env" => self.env(arguments),
            "setcap" => self.setcap(arguments),
            "sed" => {
                self.spend(TEXT_WORK)?;
                self.sed(arguments)
            }
            "mkdir" | "touch" | "rm" | "rmdir" | "ln" | "mv" | "cp" | "install" | "unlink" => {
                self.file_command(name, arguments)
            }
            "chmod" | "chown" | "chgrp" => self.attribute_command(name, arguments),
            "getent" | "id" | "useradd" | "groupadd" | "usermod" | "gpasswd" | "userdel"
            | "groupdel" | "systemd-sysusers" | "adduser" | "addgroup" | "pwconv" | "grpconv" => {
                self.spend(DEAR_WORK)?;
                self.account_command(name, arguments)
            }
            "systemctl" | "chkconfig" | "service" | "systemd-update-helper" | "initctl" => {
                self.spend(DEAR_WORK)?;
                self.service_command(name, arguments)
            }
            "alternatives" | "update-alternatives" => {
                self.spend(DEAR_WORK)?;
                self.alternatives(arguments)
            }
            "ldconfig" if arguments.is_empty() || arguments == ["-X"] => {
                self.spend(LOADER_WORK)?;
                self.ldconfig(arguments.is_empty())
            }
            _ => self.left_to_the_system(program, name, arguments),
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
    fn left_to_the_system(&mut self, program: &str, name: &str, arguments: &[String]) -> Run {
        let note = match name {
            // Nothing runs in an image; devices and temporary files are made when it boots.
            "udevadm" | "systemd-tmpfiles" | "systemd-sysctl" | "systemd-binfmt" | "sleep"
            | "sync" | "killall" | "pkill" | "fixfiles" => {
                return Ok(0);
            }
            // They only change the running kernel, or speak to what runs.
            "modprobe" | "rmmod" | "insmod" | "load_policy" | "setenforce" | "sysctl"
            | "dbus-send" | "busctl"
                if self.nobody_listens() =>
            {
                return Ok(0);
            }
            "firewall-cmd" if arguments.iter().any(|word| word == "--reload") => return Ok(0),
            "selinuxenabled" => return Ok(u8::from(self.selinux_mode()? == "Disabled")),
            "getenforce" => {
                let mode = self.selinux_mode()?;
                self.say_line(mode)?;
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
            _ => return self.missing(program),
        };
        self.note(note);
        Ok(0)
    }

    /// The mode of SELinux in the system when it has booted, in the words of `getenforce`.
    fn selinux_mode(&self) -> Run<&'static str> {
        let config = self.read_file("/etc/selinux/config")?.unwrap_or_default();
        let config = String::from_utf8_lossy(&config);
        let mut mode = config
            .lines()
            .filter_map(|line| line.strip_prefix("SELINUX="));
        Ok(match mode.next_back().map(str::trim) {
            Some("enforcing") => "Enforcing",
            Some("permissive") => "Permissive",
            _ => "Disabled",
        })
    }

    /// A command that is not known here. Where a script asks whether it succeeds, and no shell would
    /// find it, it does not; a script that counts on it stops.
    fn missing(&self, program: &str) -> Run {
        let is_own = OTHER_COMMANDS.contains(&program) || program.is_empty();
        if is_own || self.conditions == 0 || self.candidates(program)?.iter().any(Option::is_some) {
            return Err(self.unknown());
        }
        Ok(NOT_FOUND)
    }
}
