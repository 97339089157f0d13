//! The accounts of an image, and what is done with them.

use super::defaults::{Defaults, Range, next_id, next_run};
use super::{Error, GroupSpec, Result, UserSpec};
use crate::colon_file::ColonFile;
use imgasm_fs::Timestamp;

/// Fields of passwd(5).
pub(super) mod passwd {
    pub const PASSWORD: usize = 1;
    pub const UID: usize = 2;
    pub const GID: usize = 3;
    pub const COMMENT: usize = 4;
    pub const HOME: usize = 5;
    pub const SHELL: usize = 6;
}
/// Fields of group(5).
pub(super) mod group {
    pub const PASSWORD: usize = 1;
    pub const GID: usize = 2;
    pub const MEMBERS: usize = 3;
}
/// Fields of shadow(5) and gshadow(5).
pub(super) mod shadow {
    pub const PASSWORD: usize = 1;
    pub const CHANGED: usize = 2;
    pub const ADMINISTRATORS: usize = 2;
    pub const GROUP_MEMBERS: usize = 3;
}

/// A password field that no password matches.
const LOCKED: &str = "!";

/// The accounts of an image. Files other than `passwd` and `group` may be missing, and are not made
/// then, unless it is read by [`Database::load_for_systemd`].
#[derive(Debug)]
pub struct Database {
    pub(super) passwd: ColonFile,
    pub(super) group: ColonFile,
    pub(super) shadow: Option<ColonFile>,
    pub(super) gshadow: Option<ColonFile>,
    pub(super) subuid: Option<ColonFile>,
    pub(super) subgid: Option<ColonFile>,
    /// What the image says about new accounts.
    pub defaults: Defaults,
}

/// The fields of a user that is to be added.
#[derive(Debug)]
pub(super) struct NewUser<'a> {
    pub name: &'a str,
    pub password: &'a str,
    pub uid: u32,
    pub gid: u32,
    pub comment: &'a str,
    pub home: &'a str,
    pub shell: &'a str,
    /// The least and most days between changes of the password, and when to warn.
    pub ageing: [String; 3],
    pub now: Timestamp,
    /// Whether a line that an earlier user of this name left in `shadow` stays, with another day.
    pub keeps_leftover: bool,
}

/// Where a user's home is to be and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeOwner {
    /// The path, as in `passwd`.
    pub home: Vec<u8>,
    /// The user.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
}

impl Database {
    /// Makes sure that a group is there; gives its number.
    pub fn ensure_group(&mut self, spec: &GroupSpec) -> Result<u32> {
        if let Some(found) = self.group.number(&spec.name, group::GID) {
            return match spec.gid {
                Some(wanted) if wanted != found => Err(Error::OtherNumber {
                    name: spec.name.clone(),
                    found,
                    wanted,
                }),
                _ => Ok(found),
            };
        }
        let gid = if let Some(gid) = spec.gid {
            gid
        } else {
            let kind = if spec.system {
                Range::System
            } else {
                Range::User
            };
            let used = self.group.numbers(group::GID);
            next_id(self.defaults.gids(kind), kind, &used)
                .ok_or_else(|| Error::NoNumber(spec.name.clone()))?
        };
        refuse_taken(&self.group, group::GID, &spec.name, gid)?;
        self.push_group(&spec.name, gid);
        Ok(gid)
    }

    /// Makes sure that a user is there; gives where the home is to be and whose it is.
    pub fn ensure_user(&mut self, spec: &UserSpec, now: Timestamp) -> Result<HomeOwner> {
        if self.passwd.row(&spec.name).is_some() {
            self.change_user(spec)?;
        } else {
            self.add_user(spec, now)?;
        }
        for name in &spec.groups {
            if self.group.row(name).is_none() {
                return Err(Error::UnknownGroup(name.clone()));
            }
            self.add_member(name, &spec.name);
        }
        let row = self.passwd.row(&spec.name).unwrap_or_default();
        Ok(HomeOwner {
            home: row.get(passwd::HOME).copied().unwrap_or_default().to_vec(),
            uid: self
                .passwd
                .number(&spec.name, passwd::UID)
                .unwrap_or_default(),
            gid: self
                .passwd
                .number(&spec.name, passwd::GID)
                .unwrap_or_default(),
        })
    }

    /// Changes what `spec` gives of a user that is there.
    pub(super) fn change_user(&mut self, spec: &UserSpec) -> Result<()> {
        let found = self
            .passwd
            .number(&spec.name, passwd::UID)
            .unwrap_or_default();
        if let Some(wanted) = spec.uid.filter(|wanted| *wanted != found) {
            return Err(Error::OtherNumber {
                name: spec.name.clone(),
                found,
                wanted,
            });
        }
        let gid = match &spec.group {
            Some(group) => Some(self.group_number(group)?.to_string()),
            None => None,
        };
        for (field, value) in [
            (passwd::GID, &gid),
            (passwd::COMMENT, &spec.comment),
            (passwd::HOME, &spec.home),
            (passwd::SHELL, &spec.shell),
        ] {
            if let Some(value) = value {
                self.passwd.set(&spec.name, field, value.as_bytes());
            }
        }
        if let Some(password) = &spec.password {
            match &mut self.shadow {
                Some(shadow) => shadow.set(&spec.name, shadow::PASSWORD, password.as_bytes()),
                None => self
                    .passwd
                    .set(&spec.name, passwd::PASSWORD, password.as_bytes()),
            };
        }
        Ok(())
    }

    /// Locks a user's password, so that none fits, or unlocks it.
    pub(super) fn set_locked(&mut self, name: &str, locked: bool) -> Result<()> {
        let (file, field) = match &mut self.shadow {
            Some(shadow) => (shadow, shadow::PASSWORD),
            None => (&mut self.passwd, passwd::PASSWORD),
        };
        let row = file.row(name).unwrap_or_default();
        let password = row.get(field).copied().unwrap_or_default().to_vec();
        let wanted = match (locked, password.strip_prefix(LOCKED.as_bytes())) {
            (true, None) => [LOCKED.as_bytes(), &password].concat(),
            (false, Some(b"")) => return Err(Error::NoPassword(name.to_owned())),
            (false, Some(unlocked)) => unlocked.to_vec(),
            (true, Some(_)) | (false, None) => return Ok(()),
        };
        file.set(name, field, &wanted);
        Ok(())
    }

    fn add_user(&mut self, spec: &UserSpec, now: Timestamp) -> Result<()> {
        let name = &spec.name;
        let kind = spec.range();
        let uid = match spec.uid {
            Some(uid) => uid,
            None => self.free_uid(spec)?,
        };
        refuse_taken(&self.passwd, passwd::UID, name, uid)?;
        let gid = match &spec.group {
            Some(group) => self.group_number(group)?,
            None if self.defaults.user_groups() => self.own_group(spec, uid)?,
            None => self.group_number(&self.defaults.common_group())?,
        };
        let home = match &spec.home {
            Some(home) => home.clone(),
            None => format!("{}/{name}", self.defaults.home_base()),
        };
        let ageing = match kind {
            Range::User => self.defaults.password_ageing(),
            Range::System => <[String; 3]>::default(),
        };
        let shell = spec.shell.clone();
        let shell = shell.unwrap_or_else(|| self.defaults.shell());
        self.push_user(&NewUser {
            name,
            password: spec.password.as_deref().unwrap_or(LOCKED),
            uid,
            gid,
            comment: spec.comment.as_deref().unwrap_or_default(),
            home: &home,
            shell: &shell,
            ageing,
            now,
            keeps_leftover: false,
        });
        if kind == Range::User {
            self.add_subordinates(name);
        }
        Ok(())
    }

    /// The next number that is free for a user and, if the user gets a group of the same number,
    /// also for a group.
    fn free_uid(&self, spec: &UserSpec) -> Result<u32> {
        let kind = spec.range();
        let used = self.passwd.numbers(passwd::UID);
        next_id(self.defaults.uids(kind), kind, &used)
            .ok_or_else(|| Error::NoNumber(spec.name.clone()))
    }

    /// The user's own group: with the user's number if that is free.
    fn own_group(&mut self, spec: &UserSpec, uid: u32) -> Result<u32> {
        if let Some(gid) = self.group.number(&spec.name, group::GID) {
            return Ok(gid);
        }
        let range = self.defaults.gids(spec.range());
        let used = self.group.numbers(group::GID);
        let gid = if !used.contains(&uid) && range.contains(&uid) {
            uid
        } else {
            next_id(range, spec.range(), &used).ok_or_else(|| Error::NoNumber(spec.name.clone()))?
        };
        // Without gshadow, useradd writes the password that no other fits into the group's own line.
        if self.gshadow.is_none() {
            self.group.push(&[&spec.name, LOCKED, &gid.to_string(), ""]);
        } else {
            self.push_group(&spec.name, gid);
        }
        Ok(gid)
    }

    /// The number of a group by its name or number, which must be there.
    pub(super) fn group_number(&self, group: &str) -> Result<u32> {
        let by_name = self.group.number(group, group::GID);
        let by_number = || {
            let number = group.parse().ok()?;
            self.group
                .numbers(group::GID)
                .contains(&number)
                .then_some(number)
        };
        by_name
            .or_else(by_number)
            .ok_or_else(|| Error::UnknownGroup(group.to_owned()))
    }

    fn push_group(&mut self, name: &str, gid: u32) {
        self.push_group_with(name, gid, LOCKED);
    }

    /// Adds the lines of a group; a line of an earlier one in `gshadow` gives way.
    pub(super) fn push_group_with(&mut self, name: &str, gid: u32, password: &str) {
        self.group.push(&[name, "x", &gid.to_string(), ""]);
        if let Some(gshadow) = &mut self.gshadow {
            gshadow.put(&[name, password, "", ""]);
        }
    }

    /// Adds the lines of a user; a line of an earlier one in `shadow` gives way.
    pub(super) fn push_user(&mut self, new: &NewUser<'_>) {
        let in_passwd = if self.shadow.is_some() {
            "x"
        } else {
            new.password
        };
        self.passwd.push(&[
            new.name,
            in_passwd,
            &new.uid.to_string(),
            &new.gid.to_string(),
            new.comment,
            new.home,
            new.shell,
        ]);
        if let Some(shadow) = &mut self.shadow {
            let [min, max, warning] = &new.ageing;
            let day = day(new.now);
            if new.keeps_leftover && shadow.row(new.name).is_some() {
                shadow.set(new.name, shadow::CHANGED, day.as_bytes());
            } else {
                shadow.put(&[new.name, new.password, &day, min, max, warning, "", "", ""]);
            }
        }
    }

    /// The number of a user.
    pub(super) fn uid(&self, name: &str) -> Option<u32> {
        self.passwd.number(name, passwd::UID)
    }

    /// The number of a group.
    pub(super) fn gid(&self, name: &str) -> Option<u32> {
        self.group.number(name, group::GID)
    }

    /// Whether no user has this number.
    pub(super) fn has_no_user(&self, uid: u32) -> bool {
        !self.passwd.numbers(passwd::UID).contains(&uid)
    }

    /// Whether no group has this number.
    pub(super) fn has_no_group(&self, gid: u32) -> bool {
        !self.group.numbers(group::GID).contains(&gid)
    }

    /// Whether no user but this one has the number.
    pub(super) fn has_no_user_but(&self, uid: u32, name: &str) -> bool {
        self.has_no_user(uid) || self.uid(name) == Some(uid)
    }

    /// Whether no group but this one has the number.
    pub(super) fn has_no_group_but(&self, gid: u32, name: &str) -> bool {
        self.has_no_group(gid) || self.gid(name) == Some(gid)
    }

    /// Makes a user a member of a group.
    pub(super) fn add_member(&mut self, group: &str, user: &str) {
        self.group.add_to_list(group, group::MEMBERS, user);
        if let Some(gshadow) = &mut self.gshadow {
            gshadow.add_to_list(group, shadow::GROUP_MEMBERS, user);
        }
    }

    /// Sorts the members of a group by name.
    pub(super) fn sort_members(&mut self, group: &str) {
        self.group.sort_list(group, group::MEMBERS);
        if let Some(gshadow) = &mut self.gshadow {
            gshadow.sort_list(group, shadow::GROUP_MEMBERS);
        }
    }

    /// Removes a user from a group; gives whether it was in it.
    pub(super) fn remove_member(&mut self, group: &str, user: &str) -> bool {
        let was_member = self.group.remove_from_list(group, group::MEMBERS, user);
        if let Some(gshadow) = &mut self.gshadow {
            gshadow.remove_from_list(group, shadow::GROUP_MEMBERS, user);
        }
        was_member
    }

    /// Gives a user numbers for the users and groups of containers, if the image assigns such
    /// numbers.
    fn add_subordinates(&mut self, name: &str) {
        for (file, key) in [(&mut self.subuid, "SUB_UID"), (&mut self.subgid, "SUB_GID")] {
            let Some(file) = file else { continue };
            let (range, count) = self.defaults.subordinate(key);
            let used: Vec<_> = file.numbers(1).into_iter().zip(file.numbers(2)).collect();
            if file.row(name).is_none()
                && count > 0
                && let Some(first) = next_run(&range, count, &used)
            {
                file.push(&[name, &first.to_string(), &count.to_string()]);
            }
        }
    }
}

fn refuse_taken(file: &ColonFile, field: usize, name: &str, id: u32) -> Result<()> {
    let number = id.to_string();
    match file
        .rows()
        .find(|row| row.get(field) == Some(&number.as_bytes()))
    {
        None => Ok(()),
        Some(row) => Err(Error::Taken {
            name: name.to_owned(),
            id,
            owner: String::from_utf8_lossy(row[0]).into_owned(),
        }),
    }
}

/// The day of a time, as counted in shadow(5). Day 0 would mean that the password must be changed
/// at once; an empty field means that its age does not matter.
pub(super) fn day(time: Timestamp) -> String {
    match time.seconds / 86_400 {
        day if day > 0 => day.to_string(),
        _ => String::new(),
    }
}
