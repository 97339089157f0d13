//! Users and groups, with the options of shadow-utils.

use super::super::{Run, Shell};
use super::options;
use crate::Accounts;
use crate::files::read_known;
use crate::users::{self, GroupSpec, UserSpec, convert, ensure_group, ensure_user, sysusers};

/// The statuses with which useradd(8) and groupadd(8) end.
mod status {
    pub const USAGE: u8 = 2;
    pub const BAD_ARGUMENT: u8 = 3;
    pub const NUMBER_TAKEN: u8 = 4;
    pub const NO_SUCH: u8 = 6;
    pub const IN_USE: u8 = 8;
    pub const NAME_TAKEN: u8 = 9;
}

impl Shell<'_, '_> {
    pub(super) fn account_command(&mut self, name: &str, arguments: &[String]) -> Run {
        match name {
            "getent" => self.getent(arguments),
            "id" => self.id(arguments),
            "useradd" => self.useradd(arguments),
            "groupadd" => self.groupadd(arguments),
            "usermod" => self.usermod(arguments),
            "gpasswd" => self.gpasswd(arguments),
            "userdel" | "groupdel" => self.account_removed(name == "userdel", arguments),
            "systemd-sysusers" => self.sysusers(arguments),
            "pwconv" | "grpconv" if arguments.is_empty() => {
                let is_done = match name {
                    "pwconv" => convert::users(self.editor, self.now)?,
                    _ => convert::groups(self.editor)?,
                };
                if is_done { Ok(0) } else { Err(self.unknown()) }
            }
            _ => Err(self.unknown()),
        }
    }

    fn accounts(&self) -> Run<Accounts> {
        Ok(Accounts::read(self.editor.fs())?)
    }

    fn getent(&mut self, arguments: &[String]) -> Run {
        let (file, keys) = match arguments {
            [database, keys @ ..] if database == "passwd" => ("/etc/passwd", keys),
            [database, keys @ ..] if database == "group" => ("/etc/group", keys),
            _ => return Err(self.unknown()),
        };
        if keys.iter().any(|key| key.starts_with('-')) {
            return Err(self.unknown());
        }
        let content = read_known(self.editor.fs(), file)?.unwrap_or_default();
        let content = String::from_utf8(content).map_err(|_| self.unknown())?;
        if keys.is_empty() {
            self.say(content.as_bytes())?;
            return Ok(0);
        }
        let mut status = 0;
        for key in keys {
            // A number is looked up as one.
            let field = if key.parse::<u32>().is_ok() { 2 } else { 0 };
            let mut lines = content.lines();
            match lines.find(|line| line.split(':').nth(field) == Some(key)) {
                Some(line) => self.say_line(line)?,
                None => status = 2,
            }
        }
        Ok(status)
    }

    fn id(&mut self, arguments: &[String]) -> Run {
        let options = options::parse(
            arguments,
            "ugnGr",
            "",
            &[("user", 'u'), ("group", 'g'), ("name", 'n')],
        );
        let options = options.filter(|options| options.operands.len() < 2);
        let options = options.ok_or_else(|| self.unknown())?;
        let accounts = self.accounts()?;
        let name = options.operands.first().map_or("root", String::as_str);
        let user = match accounts.user(name) {
            Some(user) => user.clone(),
            None if name.parse::<u32>().is_ok() => return Err(self.unknown()),
            None if options.operands.is_empty() => return Err(self.unknown()),
            None => return Ok(1),
        };
        let text = match (options.has('u'), options.has('g'), options.has('n')) {
            (true, false, false) => user.uid.to_string(),
            (false, true, false) => user.gid.to_string(),
            (true, false, true) => accounts.user_name(user.uid),
            (false, true, true) => accounts.group_name(user.gid),
            _ if matches!(self.descriptors.output, super::super::io::Output::Nowhere) => {
                return Ok(0);
            }
            _ => return Err(self.unknown()),
        };
        if options.has('G') || options.has('r') {
            return Err(self.unknown());
        }
        self.say_line(&text)?;
        Ok(0)
    }

    fn groupadd(&mut self, arguments: &[String]) -> Run {
        let long = [
            ("system", 'r'),
            ("force", 'f'),
            ("gid", 'g'),
            ("non-unique", 'o'),
        ];
        let options = options::parse(arguments, "rfo", "g", &long);
        let options = options.filter(|options| options.operands.len() == 1);
        let options = options.ok_or_else(|| self.unknown())?;
        let name = &options.operands[0];
        let accounts = self.accounts()?;
        if accounts.group(name).is_some() {
            return Ok(if options.has('f') {
                0
            } else {
                status::NAME_TAKEN
            });
        }
        let gid = match options.value('g') {
            None => None,
            Some(gid) => match gid.parse() {
                Ok(gid) => Some(gid),
                Err(_) => return Ok(status::BAD_ARGUMENT),
            },
        };
        let spec = GroupSpec {
            name: name.clone(),
            gid,
            system: options.has('r'),
        };
        match ensure_group(self.editor, &spec) {
            Err(users::Error::Taken { .. }) if options.has('f') || options.has('o') => {
                Err(self.unknown())
            }
            result => self.ended(result),
        }
    }

    /// The status with which a command of shadow-utils ends.
    #[allow(clippy::unused_self, reason = "called in a row with methods")]
    fn ended(&self, result: users::Result<()>) -> Run {
        match result {
            Ok(()) => Ok(0),
            Err(users::Error::Taken { .. }) => Ok(status::NUMBER_TAKEN),
            Err(users::Error::UnknownGroup(_)) => Ok(status::NO_SUCH),
            Err(users::Error::InvalidName(_) | users::Error::InvalidField { .. }) => {
                Ok(status::BAD_ARGUMENT)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn useradd(&mut self, arguments: &[String]) -> Run {
        let long = [
            ("system", 'r'),
            ("no-create-home", 'M'),
            ("create-home", 'm'),
            ("non-unique", 'o'),
            ("no-log-init", 'l'),
            ("user-group", 'U'),
            ("no-user-group", 'N'),
            ("uid", 'u'),
            ("gid", 'g'),
            ("groups", 'G'),
            ("home-dir", 'd'),
            ("home", 'd'),
            ("shell", 's'),
            ("comment", 'c'),
        ];
        let options = options::parse(arguments, "rMmolUNn", "ugGdsc", &long);
        let options = options.filter(|options| options.operands.len() == 1);
        let options = options.ok_or_else(|| self.unknown())?;
        let name = &options.operands[0];
        let has_own_group = !options.has('N') && !options.has('n');
        if !has_own_group && options.value('g').is_none() {
            return Err(self.unknown());
        }
        let accounts = self.accounts()?;
        if accounts.user(name).is_some() {
            return Ok(status::NAME_TAKEN);
        }
        if options.value('g').is_none() && accounts.group(name).is_some() {
            return Ok(status::NAME_TAKEN);
        }
        let uid = match options.value('u') {
            None => None,
            Some(uid) => match uid.parse() {
                Ok(uid) => Some(uid),
                Err(_) => return Ok(status::BAD_ARGUMENT),
            },
        };
        let text = |letter| options.value(letter).map(str::to_owned);
        let groups = options.value('G').unwrap_or_default().split(',');
        let groups: Vec<_> = groups
            .filter(|group| !group.is_empty())
            .map(str::to_owned)
            .collect();
        if groups.iter().any(|group| accounts.group(group).is_none()) {
            return Ok(status::NO_SUCH);
        }
        let spec = UserSpec {
            name: name.clone(),
            uid,
            group: text('g'),
            groups,
            home: text('d'),
            shell: text('s').filter(|shell| !shell.is_empty()),
            comment: text('c'),
            system: options.has('r'),
            create_home: match (options.has('M'), options.has('m')) {
                (true, _) => Some(false),
                (false, true) => Some(true),
                (false, false) => None,
            },
            ..UserSpec::default()
        };
        match ensure_user(self.editor, &spec, self.now) {
            Err(users::Error::Taken { .. }) if options.has('o') => Err(self.unknown()),
            result => self.ended(result),
        }
    }

    fn usermod(&mut self, arguments: &[String]) -> Run {
        let long = [
            ("append", 'a'),
            ("groups", 'G'),
            ("gid", 'g'),
            ("home", 'd'),
            ("shell", 's'),
            ("comment", 'c'),
        ];
        let options = options::parse(arguments, "a", "Ggdsc", &long);
        let options = options.filter(|options| options.operands.len() == 1);
        let options = options.ok_or_else(|| self.unknown())?;
        if options.has('a') != options.value('G').is_some() || options.values.is_empty() {
            return Err(self.unknown());
        }
        let name = &options.operands[0];
        let accounts = self.accounts()?;
        if accounts.user(name).is_none() {
            return Ok(status::NO_SUCH);
        }
        let text = |letter| options.value(letter).map(str::to_owned);
        let groups = options.value('G').unwrap_or_default().split(',');
        let groups: Vec<_> = groups
            .filter(|group| !group.is_empty())
            .map(str::to_owned)
            .collect();
        if groups.iter().any(|group| accounts.group(group).is_none()) {
            return Ok(status::NO_SUCH);
        }
        let spec = UserSpec {
            name: name.clone(),
            group: text('g'),
            groups,
            home: text('d'),
            shell: text('s'),
            comment: text('c'),
            create_home: Some(false),
            ..UserSpec::default()
        };
        let result = ensure_user(self.editor, &spec, self.now);
        self.ended(result)
    }

    /// `gpasswd -a USER GROUP` and `gpasswd -d USER GROUP`.
    fn gpasswd(&mut self, arguments: &[String]) -> Run {
        let long = [("add", 'a'), ("delete", 'd')];
        let options = options::parse(arguments, "", "ad", &long).ok_or_else(|| self.unknown())?;
        let ([(letter, user)], [group]) = (options.values.as_slice(), options.operands.as_slice())
        else {
            return Err(self.unknown());
        };
        let accounts = self.accounts()?;
        if accounts.group(group).is_none() {
            return Ok(1);
        }
        if accounts.user(user).is_none() {
            return Ok(if *letter == 'a' { 3 } else { 1 });
        }
        if *letter == 'a' {
            let spec = UserSpec {
                name: user.clone(),
                groups: vec![group.clone()],
                create_home: Some(false),
                ..UserSpec::default()
            };
            let result = ensure_user(self.editor, &spec, self.now);
            return self.ended(result);
        }
        let was_member = users::remove_from_group(self.editor, user, group)?;
        Ok(if was_member { 0 } else { 3 })
    }

    /// `userdel`, by which the home folder stays, and `groupdel`.
    fn account_removed(&mut self, is_user: bool, arguments: &[String]) -> Run {
        let (flags, long): (_, &[_]) = if is_user {
            ("", &[])
        } else {
            ("f", &[("force", 'f')])
        };
        let options = options::parse(arguments, flags, "", long);
        let options = options.ok_or_else(|| self.unknown())?;
        let [name] = options.operands.as_slice() else {
            return Ok(status::USAGE);
        };
        let was_there = if is_user {
            users::remove_user(self.editor, name)
        } else {
            users::remove_group(self.editor, name, options.has('f'))
        };
        match was_there {
            Ok(true) => Ok(0),
            Ok(false) => Ok(status::NO_SUCH),
            Err(users::Error::Primary(_)) => Ok(status::IN_USE),
            Err(error) => Err(error.into()),
        }
    }

    /// `systemd-sysusers` with the names of files, with lines, with lines from a pipe, or for all files
    /// in its folders.
    fn sysusers(&mut self, arguments: &[String]) -> Run {
        let mut text = String::new();
        let mut is_inline = false;
        for argument in arguments {
            match argument.as_str() {
                "--inline" => is_inline = true,
                option if option.starts_with("--replace=") => {}
                "-" => {
                    let input = self.descriptors.input.read_all();
                    text.push_str(&String::from_utf8(input).map_err(|_| self.unknown())?);
                }
                option if option.starts_with('-') => return Err(self.unknown()),
                line if is_inline => {
                    text.push_str(line);
                    text.push('\n');
                }
                file => {
                    let paths: Vec<_> = if file.starts_with('/') {
                        vec![file.to_owned()]
                    } else {
                        let folders = sysusers::FOLDERS.iter();
                        folders.map(|folder| format!("{folder}/{file}")).collect()
                    };
                    let mut content = None;
                    for path in paths {
                        content = match content {
                            None => self.read_file(&path)?,
                            found => found,
                        };
                    }
                    let Some(content) = content else {
                        return Ok(1);
                    };
                    text.push_str(&String::from_utf8(content).map_err(|_| self.unknown())?);
                    text.push('\n');
                }
            }
        }
        if arguments.is_empty() {
            text = sysusers::configuration(self.editor.fs())?;
        }
        if !sysusers::has_known_types(&text) {
            return Err(self.unknown());
        }
        match sysusers::apply(self.editor, &text, self.now) {
            Ok(()) => Ok(0),
            Err(users::Error::Sysusers { .. }) => Err(self.unknown()),
            Err(error) => Err(error.into()),
        }
    }
}
