//! Files of one entry per line: users and groups.

use super::{Facts, text};
use imgasm_guest::colon_file::ColonFile;

/// The users of `passwd(5)`, without the password.
pub(super) fn users(passwd: &[u8]) -> Facts {
    let mut users = Facts::new();
    for fields in ColonFile::parse(passwd).rows() {
        if let [name, _password, uid, gid, _comment, home, shell] = *fields.as_slice() {
            let [uid, gid, home, shell] = [uid, gid, home, shell].map(text);
            // The first line with a name is used, as in the C library.
            users
                .entry(format!("user {}", text(name)))
                .or_insert_with(|| format!("uid {uid}, gid {gid}, home {home}, shell {shell}"));
        }
    }
    users
}

/// The groups of `group(5)`, without the password.
pub(super) fn groups(group: &[u8]) -> Facts {
    let mut groups = Facts::new();
    for fields in ColonFile::parse(group).rows() {
        if let [name, _password, gid, members] = *fields.as_slice() {
            let (gid, members) = (text(gid), text(members));
            let members = if members.is_empty() {
                "no members".to_owned()
            } else {
                format!("members {members}")
            };
            groups
                .entry(format!("group {}", text(name)))
                .or_insert_with(|| format!("gid {gid}, {members}"));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_without_their_passwords() {
        let users = users(b"a:secret:1:2:c:/home/a:/bin/sh\na:x:9:9:::\nbroken:line\n");
        let expected = [(
            "user a".to_owned(),
            "uid 1, gid 2, home /home/a, shell /bin/sh".to_owned(),
        )];
        assert_eq!(users, Facts::from(expected));
    }
}
