//! The users and groups that a system knows: `passwd(5)`, `group(5)`.

use crate::colon_file::{ColonFile, number};
use crate::files::read_known;
use imgasm_fs::FileSystem;
use imgasm_fs::tree::Result;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: Vec<u8>,
    /// Number.
    pub uid: u32,
    /// Number of the primary group.
    pub gid: u32,
    /// Home directory, as in the file.
    pub home: Vec<u8>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: Vec<u8>,
    /// Number.
    pub gid: u32,
}

/// What `/etc/passwd` and `/etc/group` say; both may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

impl Accounts {
    /// Reads both files.
    pub fn read(fs: &dyn FileSystem) -> Result<Self> {
        let passwd = read_known(fs, "/etc/passwd")?.unwrap_or_default();
        let group = read_known(fs, "/etc/group")?.unwrap_or_default();
        Ok(Self::parse(&passwd, &group))
    }

    /// Takes the accounts from the files' content; lines that are not accounts are skipped.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self {
            users: rows(passwd, user),
            groups: rows(group, self::group),
        }
    }

    /// The user of this name. The first line with it is used, as in the C library.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name.as_bytes())
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        let mut groups = self.groups.iter();
        groups.find(|group| group.name == name.as_bytes())
    }

    /// The name of a user, or its number if no name is known.
    pub fn user_name(&self, uid: u32) -> String {
        let user = self.users.iter().find(|user| user.uid == uid);
        user.map_or_else(
            || uid.to_string(),
            |user| String::from_utf8_lossy(&user.name).into_owned(),
        )
    }

    /// The name of a group, or its number if no name is known.
    pub fn group_name(&self, gid: u32) -> String {
        let group = self.groups.iter().find(|group| group.gid == gid);
        group.map_or_else(
            || gid.to_string(),
            |group| String::from_utf8_lossy(&group.name).into_owned(),
        )
    }
}

fn rows<T>(content: &[u8], row: impl Fn(&[&[u8]]) -> Option<T>) -> Vec<T> {
    let file = ColonFile::parse(content);
    file.rows().filter_map(|fields| row(&fields)).collect()
}

fn user(fields: &[&[u8]]) -> Option<User> {
    let [name, _password, uid, gid, _comment, home, ..] = *fields else {
        return None;
    };
    Some(User {
        name: name.to_vec(),
        uid: number(uid)?,
        gid: number(gid)?,
        home: home.to_vec(),
    })
}

fn group(fields: &[&[u8]]) -> Option<Group> {
    let [name, _password, gid, ..] = *fields else {
        return None;
    };
    Some(Group {
        name: name.to_vec(),
        gid: number(gid)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers() {
        let accounts = Accounts::parse(
            b"root:x:0:0:root:/root:/bin/bash\nec2-user:x:500:501:EC2 Default User:/home/ec2-user:/bin/bash\n",
            b"root:x:0:\nec2-user:x:501:a,b\n",
        );
        let user = accounts.user("ec2-user").unwrap();
        assert_eq!(
            (user.uid, user.gid, &*user.home),
            (500, 501, &b"/home/ec2-user"[..])
        );
        assert_eq!(accounts.group("ec2-user").unwrap().gid, 501);
        assert_eq!(accounts.user("nobody"), None);
        assert_eq!(accounts.group(""), None);
    }

    #[test]
    fn anything_can_be_parsed() {
        let accounts = Accounts::parse(
            b"+::::::\nx:x:-1:0::/:\ny:x:99999999999:0::/:\n\xff:x:1:1::\xff:\n\nshort:x:1",
            b":::\nx:y\n",
        );
        assert_eq!(accounts.users.len(), 1);
        assert!(accounts.groups.is_empty());
    }
}
