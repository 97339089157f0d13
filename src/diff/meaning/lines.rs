//! Files of one entry a line or a paragraph: users, groups, packages.

use super::{Facts, text};

/// The users of `passwd(5)`, without the password.
pub(super) fn users(passwd: &[u8]) -> Facts {
    let mut users = Facts::new();
    for line in passwd.split(|&byte| byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        if let [name, _password, uid, gid, _comment, home, shell] = *fields.as_slice() {
            let [uid, gid, home, shell] = [uid, gid, home, shell].map(text);
            // The first line of a name counts, as it does for the C library.
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
    for line in group.split(|&byte| byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
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

/// The installed packages of dpkg's status file (`deb-control` paragraphs, dpkg manual).
pub(super) fn packages(status: &[u8]) -> Facts {
    let mut packages = Facts::new();
    for paragraph in paragraphs(status) {
        let field = |name: &[u8]| {
            let mut lines = paragraph.split(|&byte| byte == b'\n');
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(b":"));
            value.map(|value| text(value.trim_ascii()))
        };
        let installed = field(b"Status").is_some_and(|status| status.ends_with(" installed"));
        if let (true, Some(name), Some(version)) = (installed, field(b"Package"), field(b"Version"))
        {
            let architecture = field(b"Architecture").unwrap_or_default();
            packages.insert(format!("package {name} {architecture}"), version);
        }
    }
    packages
}

/// What stands between empty lines.
fn paragraphs(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.windows(2).position(|pair| pair == b"\n\n");
        let (paragraph, after) = match end {
            Some(end) => (&rest[..end], &rest[end + 2..]),
            None => (rest, &[][..]),
        };
        rest = after;
        Some(paragraph)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let status = b"Package: bash\nStatus: install ok installed\nArchitecture: amd64\n\
            Version: 5.2-1\nDescription: shell\n Version: not this\n\nPackage: gone\n\
            Status: deinstall ok config-files\nVersion: 1\n\n";
        let expected = [("package bash amd64".to_owned(), "5.2-1".to_owned())];
        assert_eq!(packages(status), Facts::from(expected));
    }

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
