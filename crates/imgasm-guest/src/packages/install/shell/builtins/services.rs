//! What starts at boot.

use super::super::{Run, Shell, Stop};
use crate::services::systemd::several::{self, Outcome};
use crate::services::systemd::units::Scope;
use crate::services::sysv;
use crate::services::sysv::links::Wish as LinkWish;
use crate::services::{self, State, Wish};

impl Shell<'_, '_> {
    pub(super) fn service_command(&mut self, name: &str, arguments: &[String]) -> Run {
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        match (name, words.as_slice()) {
            // Nothing runs in an image.
            ("service" | "initctl", _) => Ok(0),
            ("chkconfig", ["--add", service]) => {
                let added = sysv::set(self.editor, service, LinkWish::Add);
                self.outcome(added.map(|()| Outcome::default()))
            }
            ("chkconfig", ["--del", service]) => {
                self.wish(&[service], Wish::Disabled, Scope::System)
            }
            ("chkconfig", [service, "on"]) => self.one(service, Wish::Enabled),
            ("chkconfig", [service, "off"]) => self.one(service, Wish::Disabled),
            ("systemctl", words) => self.systemctl(words),
            ("systemd-update-helper", [verb, units @ ..]) => match *verb {
                "install-system-units" => self.wish(units, Wish::Preset, Scope::System),
                "remove-system-units" => self.wish(units, Wish::Disabled, Scope::System),
                "install-user-units" => self.wish(units, Wish::Preset, Scope::Users),
                "remove-user-units" => self.wish(units, Wish::Disabled, Scope::Users),
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
        let scope = if of_users {
            Scope::Users
        } else {
            Scope::System
        };
        let wish = match *verb {
            "preset" | "preset-all" | "enable" | "disable" | "mask" | "unmask" | "is-enabled"
            | "is-active"
                if of_user =>
            {
                return Err(self.unknown());
            }
            "is-enabled" | "is-active" if of_users => return Err(self.unknown()),
            "preset-all" if units.is_empty() => {
                let outcome = several::preset_all(self.editor, scope);
                return self.outcome(outcome);
            }
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
        self.wish(units, wish, scope)
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

    /// What is wanted for one service.
    fn one(&mut self, service: &str, wish: Wish) -> Run {
        let done = services::set(self.editor, service, wish);
        self.outcome(done.map(|()| Outcome::default()))
    }

    /// What is wanted for services, or for units of all users' managers.
    fn wish(&mut self, names: &[&str], wish: Wish, scope: Scope) -> Run {
        let names: Vec<_> = names
            .iter()
            .copied()
            .filter(|name| !name.starts_with('-'))
            .collect();
        let outcome = services::set_several(self.editor, &names, wish, scope);
        self.outcome(outcome)
    }

    /// Says what came of a command; that a service is not there is only a failure of the command.
    fn outcome(&mut self, outcome: services::Result<Outcome>) -> Run {
        let outcome = match outcome {
            Err(services::Error::Tree(error)) => return Err(Stop::from(error)),
            Err(error) => Outcome {
                is_failure: true,
                notes: vec![error],
            },
            Ok(outcome) => outcome,
        };
        for note in &outcome.notes {
            self.note(&note.to_string());
        }
        Ok(u8::from(outcome.is_failure))
    }
}
