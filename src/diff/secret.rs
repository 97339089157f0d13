//! Lines that a comparison does not show: password hashes, private keys, tokens.
//!
//! A comparison is read by more people than the images, and ends up in logs and comments. So lines are
//! hidden in files that are known to hold secrets, and in any other file if one of the lines looks
//! like one. The fact that a file differs, and its digests, are shown all the same.

use std::sync::LazyLock;

use regex::Regex;

use imgasm_fs::path::ImagePath;

/// Files that hold secrets, by their whole paths.
const FILES: [&str; 13] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/security/opasswd",
    "/etc/krb5.keytab",
    "/etc/ppp/chap-secrets",
    "/etc/ppp/pap-secrets",
    "/etc/ipsec.secrets",
    "/etc/sssd/sssd.conf",
    "/etc/ecs/ecs.config",
    "/etc/kubernetes/admin.conf",
    "/etc/rndc.key",
];

/// Folders of files that hold secrets.
const FOLDERS: [&str; 3] = [
    "/etc/NetworkManager/system-connections/",
    "/etc/wireguard/",
    "/etc/ssl/private/",
];

/// The ends of the paths of files that hold secrets, wherever they lie.
const ENDS: [&str; 14] = [
    "/.aws/credentials",
    "/.docker/config.json",
    "/.dockercfg",
    "/.git-credentials",
    "/.kube/config",
    "/.netrc",
    "/.npmrc",
    "/.pgpass",
    "/.pypirc",
    "/.vault-token",
    "/.htpasswd",
    "/.my.cnf",
    "/wpa_supplicant.conf",
    "/.config/gh/hosts.yml",
];

/// What a line with a secret looks like: the head of a private key (RFC 7468, and PuTTY's), a hash as
/// `crypt(5)` makes it, the tokens of services by the prefixes that they document, and a value of a
/// setting whose name says what it is.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"-----BEGIN [A-Z ]*PRIVATE KEY|PuTTY-User-Key-File",
        r"|\$(?:1|2[abxy]?|5|6|7|y|gy|sha1|argon2id?|scrypt)\$[./0-9A-Za-z$,=+]{8}",
        r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        r"|\b(?:ghp|gho|ghu|ghs|ghr|glpat|github_pat)[_-][0-9A-Za-z_-]{16}",
        r"|\bxox[abeprs]-[0-9A-Za-z-]{10}|\bsk_live_[0-9A-Za-z]{16}|\bAIza[0-9A-Za-z_-]{35}",
        r"|\beyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,}\.",
        r#"|(?i:secret|password|passphrase|token|api_?key|auth_?data|private_?key)"#,
        r#"[0-9A-Za-z_.-]*["']?\s*[:=]\s*["'{\[(]*[^\s"'#;]{6}"#,
        // `passwd:` is a line of nsswitch.conf.
        r#"|(?i:passwd)["']?\s*=\s*["']?[^\s"'#;]{6}"#,
    ))
    .expect("the pattern is a constant of this program")
});

/// Whether the lines of a file with this text are to be hidden.
pub(super) fn is_secret(path: &ImagePath, text: &str) -> bool {
    let path = path.as_bytes();
    FILES.iter().any(|file| path == file.as_bytes())
        || FOLDERS
            .iter()
            .any(|folder| path.starts_with(folder.as_bytes()))
        || ENDS.iter().any(|end| path.ends_with(end.as_bytes()))
        || is_host_key(path)
        || LINE.is_match(text)
}

/// Whether the hunks hold one of these texts.
pub(super) fn holds(hunks: &str, secrets: &[String]) -> bool {
    secrets.iter().any(|secret| hunks.contains(secret))
}

/// Keys of the SSH daemon and of users have names of this form, whatever they hold.
fn is_host_key(path: &[u8]) -> bool {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let is_key = name.starts_with(b"ssh_host_") && name.ends_with(b"_key");
    let of_user = [&b"id_rsa"[..], b"id_dsa", b"id_ecdsa", b"id_ed25519"];
    is_key || of_user.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(path: &str, hunks: &str) -> bool {
        is_secret(&ImagePath::parse(path).unwrap(), hunks)
    }

    #[test]
    fn secrets_are_known_by_their_place_or_their_looks() {
        for path in [
            "/etc/shadow",
            "/etc/gshadow-",
            "/root/.aws/credentials",
            "/home/x/.docker/config.json",
            "/etc/ssh/ssh_host_ed25519_key",
            "/home/x/.ssh/id_rsa",
            "/etc/NetworkManager/system-connections/wifi",
        ] {
            assert!(hidden(path, "+x\n"), "{path}");
        }
        for line in [
            "+-----BEGIN OPENSSH PRIVATE KEY-----",
            " root:$6$saltsalt$hashhash:19000::",
            "-u:$2y$10$abcdefghijklmnopqrstuv",
            "+aws_access_key_id = AKIAIOSFODNN7EXAMPLE",
            "+aws_secret_access_key=wJalrXUtnFEMI",
            "+ECS_ENGINE_AUTH_DATA={\"https://index\":{}}",
            "+  \"password\": \"hunter22\"",
            "+GITHUB_TOKEN=ghp_0123456789abcdefghij",
        ] {
            assert!(hidden("/etc/some.conf", line), "{line}");
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        for line in [
            "+PermitRootLogin no",
            "+PasswordAuthentication no",
            "-PATH=/usr/bin:$HOME/bin",
            "+root:x:0:0:root:/root:/bin/bash",
            "+-----BEGIN CERTIFICATE-----",
            "+# the password is elsewhere",
            "+tokens = 7",
            "+passwd: compat systemd",
        ] {
            assert!(!hidden("/etc/ssh/sshd_config", line), "{line}");
        }
        assert!(!hidden(
            "/etc/ssh/ssh_host_ed25519_key.pub",
            "+ssh-ed25519 AAAA"
        ));
    }
}
