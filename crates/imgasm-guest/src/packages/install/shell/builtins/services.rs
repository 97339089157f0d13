//! What starts at boot.

use super::super::{Run, Shell, Stop};
use crate::services::sysv;
use crate::services::sysv::links::Wish as LinkWish;
use crate::services::{self, State, Wish};
use imgasm_fs::tree::Editor;

impl Shell<'_, '_> {
    pub(super) fn service_command(&mut self, name: &str, arguments: &[String]) -> Run {
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        match (name, words.as_slice()) {
            // Nothing runs in an image.
            ("service" | "initctl", _) => Ok(0),
            ("chkconfig", ["--add", service]) => {
                self.service(|editor| sysv::set(editor, service, LinkWish::Add))
            }
            ("chkconfig", ["--del", service]) => self.wish(&[service], Wish::Disabled, false),
            ("chkconfig", [service, "on"]) => self.wish(&[service], Wish::Enabled, false),
            ("chkconfig", [service, "off"]) => self.wish(&[service], Wish::Disabled, false),
            ("systemctl", words) => self.systemctl(words),
            ("systemd-update-helper", [verb, units @ ..]) => match *verb {
                "install-system-units" => self.wish(units, Wish::Preset, false),
                "remove-system-units" => self.wish(units, Wish::Disabled, false),
                "install-user-units" => self.wish(units, Wish::Preset, true),
                "remove-user-units" => self.wish(units, Wish::Disabled, true),
                "mark-restart-system-units"
                | "mark-restart-user-units"
                | "system-reload-restart"
                | "system-reload"
                | "system-restart"
                | "user-reload-restart"
                | "user-reload"
                | "user-restart"
                | "user-reexec"
                | "system-reexec"
                | "mark-reload-system-units"
                | "mark-reload-user-units" => Ok(0),
                _ => Err(self.unknown()),
            },
            _ => Err(self.unknown()),
        }
    }

    fn systemctl(&mut self, words: &[&str]) -> Run {
        let known = [
            "--no-reload",
            "--quiet",
            "-q",
            "--now",
            "--system",
            "--force",
            "-f",
            "--no-block",
            "--global",
            "--user",
            "--no-ask-password",
            "--no-warn",
            "--no-pager",
        ];
        let (options, words): (Vec<&str>, Vec<&str>) = words
            .iter()
            .copied()
            .partition(|word| word.starts_with('-'));
        if options.iter().any(|option| !known.contains(option)) {
            return Err(self.unknown());
        }
        let Some((verb, units)) = words.split_first() else {
            return Err(self.unknown());
        };
        let of_users = options.contains(&"--global");
        // Without `--global` it is about the manager of one user, which does not run.
        let of_user = options.contains(&"--user") && !of_users;
        let wish = match *verb {
            "preset" | "enable" | "disable" | "mask" | "unmask" | "is-enabled" | "is-active"
                if of_user =>
            {
                return Err(self.unknown());
            }
            "is-enabled" | "is-active" if of_users => return Err(self.unknown()),
            "preset" => Wish::Preset,
            "enable" => Wish::Enabled,
            "disable" => Wish::Disabled,
            "mask" => Wish::Masked,
            "unmask" => Wish::Unmasked,
            // Nothing runs in an image.
            "daemon-reload"
            | "daemon-reexec"
            | "start"
            | "stop"
            | "restart"
            | "try-restart"
            | "condrestart"
            | "reload"
            | "try-reload-or-restart"
            | "reload-or-try-restart"
            | "force-reload"
            | "reload-or-restart"
            | "kill"
            | "set-property"
            | "reset-failed" => return Ok(0),
            "is-active" => {
                if !options
                    .iter()
                    .any(|option| matches!(*option, "-q" | "--quiet"))
                {
                    self.say_line("inactive")?;
                }
                return Ok(3);
            }
            "is-enabled" => return self.is_enabled(units, &options),
            _ => return Err(self.unknown()),
        };
        self.wish(units, wish, of_users)
    }

    fn is_enabled(&mut self, units: &[&str], options: &[&str]) -> Run {
        let [unit] = units else {
            return Err(self.unknown());
        };
        let state = match services::state(self.editor.fs(), unit) {
            Ok(state) => state,
            Err(services::Error::Tree(error)) => return Err(error.into()),
            Err(_) => return Ok(1),
        };
        if !options
            .iter()
            .any(|option| matches!(*option, "-q" | "--quiet"))
        {
            self.say_line(&state.to_string())?;
        }
        let counts = [State::Enabled, State::Static, State::Indirect, State::Alias];
        Ok(u8::from(!counts.contains(&state)))
    }

    /// What is wanted for services, or for units of all users' managers.
    fn wish(&mut self, names: &[&str], wish: Wish, of_users: bool) -> Run {
        let names = names.iter().filter(|name| !name.starts_with('-'));
        if matches!(wish, Wish::Preset | Wish::Enabled) && !of_users {
            // Where one is missing, nothing is done for the others.
            for name in names.clone() {
                if let Err(error @ services::Error::Unknown { .. }) =
                    services::state(self.editor.fs(), name)
                {
                    self.note(&error.to_string());
                    return Ok(1);
                }
            }
        }
        let mut status = 0;
        for name in names {
            status |= self.service(|editor| {
                if of_users {
                    services::set_for_users(editor, name, wish)
                } else {
                    services::set(editor, name, wish)
                }
            })?;
        }
        Ok(status)
    }

    /// What is done about a service; one that is not there is only a failure of the command.
    fn service(&mut self, act: impl FnOnce(&mut Editor<'_>) -> services::Result<()>) -> Run {
        match act(self.editor) {
            Ok(()) => Ok(0),
            Err(services::Error::Tree(error)) => Err(Stop::from(error)),
            Err(error) => {
                self.note(&error.to_string());
                Ok(1)
            }
        }
    }
}
