//! Keys and signatures that `GnuPG` makes, and which of them are accepted.

use std::fs;
use std::path::Path;
use std::process::Command;

use imgasm_guest::packages::digests::Algorithm;
use imgasm_guest::packages::openpgp::{Error, Keyring};
use imgasm_testkit::command::run;
use imgasm_testkit::need;
use tempfile::TempDir;

const DATA: &[u8] = b"what was signed";

/// A home of `GnuPG`, at any time.
struct Gpg {
    home: TempDir,
}

impl Gpg {
    fn new() -> Option<Self> {
        if !need::tools(&["gpg", "gpgconf"]) {
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("data"), DATA).unwrap();
        Some(Self { home })
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs `gpg` on this day of 2020, with these lines as answers.
    fn run(&self, day: u32, args: &[&str], answers: &str) -> String {
        let answers_file = self.path("answers");
        fs::write(&answers_file, answers).unwrap();
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.home.path());
        command.args([
            "--batch",
            "--yes",
            "--no-tty",
            "--quiet",
            "--pinentry-mode",
            "loopback",
        ]);
        command.args(["--passphrase", "", "--command-file", &answers_file]);
        command.arg(format!("--faked-system-time=202001{day:02}T000000!"));
        run(command.args(args))
    }

    /// Makes a key; gives its fingerprint.
    fn key(&self, name: &str, algorithm: &str) -> String {
        self.run(
            1,
            &[
                "--quick-generate-key",
                name,
                algorithm,
                "cert,sign",
                "never",
            ],
            "",
        );
        self.fingerprints(name).remove(0)
    }

    /// Adds a subkey that may sign; gives its fingerprint.
    fn subkey(&self, name: &str, algorithm: &str, expires: &str) -> String {
        let primary = self.fingerprints(name).remove(0);
        self.run(
            1,
            &["--quick-add-key", &primary, algorithm, "sign", expires],
            "",
        );
        self.fingerprints(name).remove(1)
    }

    fn fingerprints(&self, name: &str) -> Vec<String> {
        let listing = self.run(1, &["--with-colons", "--list-keys", name], "");
        let lines = listing.lines().filter(|line| line.starts_with("fpr:"));
        lines
            .map(|line| line.split(':').nth(9).unwrap().to_owned())
            .collect()
    }

    fn sign(&self, day: u32, by: &str, more: &[&str]) -> Vec<u8> {
        let (output, data, by) = (self.path("signature"), self.path("data"), format!("{by}!"));
        let mut args = vec!["--local-user", &by, "--output", &output];
        args.extend(more);
        args.extend(["--detach-sign", &data]);
        self.run(day, &args, "");
        fs::read(output).unwrap()
    }

    fn export(&self, name: &str) -> Vec<u8> {
        let output = self.path("export");
        self.run(1, &["--output", &output, "--export", name], "");
        fs::read(output).unwrap()
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let mut command = Command::new("gpgconf");
        command.arg("--homedir").arg(self.home.path());
        let _ = command.args(["--kill", "gpg-agent"]).status();
    }
}

fn verify(keys: &[u8], signature: &[u8], data: &[u8], weak: &[Algorithm]) -> Result<(), Error> {
    let keyring = Keyring::parse(keys, weak)?;
    keyring.verify(signature, &mut &*data).unwrap()
}

fn problem(keys: &[u8], signature: &[u8]) -> String {
    match verify(keys, signature, DATA, &[]) {
        Err(Error::Refused { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

/// The packets of an export, whose headers are in the old form.
fn packets(bytes: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (header, len) = match rest[0] & 3 {
            0 => (2, usize::from(rest[1])),
            _ => (3, usize::from(u16::from_be_bytes([rest[1], rest[2]]))),
        };
        let (packet, after) = rest.split_at(header + len);
        packets.push(packet);
        rest = after;
    }
    packets
}

#[test]
fn every_algorithm_signs() {
    let Some(gpg) = Gpg::new() else { return };
    for algorithm in ["rsa2048", "dsa2048", "ed25519"] {
        let key = gpg.key(algorithm, algorithm);
        let keys = gpg.export(algorithm);
        for digest in ["SHA224", "SHA256", "SHA384", "SHA512"] {
            // The others need a digest as long as their numbers.
            if digest == "SHA224" && algorithm != "rsa2048" {
                continue;
            }
            let signature = gpg.sign(2, &key, &["--digest-algo", digest]);
            assert_eq!(
                verify(&keys, &signature, DATA, &[]),
                Ok(()),
                "{algorithm} {digest}"
            );
            let changed = verify(&keys, &signature, b"something else", &[]);
            assert_eq!(changed, Err(Error::Wrong), "{algorithm} {digest}");
        }
        let signature = gpg.sign(2, &key, &[]);
        assert!(verify(&keys, &signature, DATA, &[]).is_ok());
        let stranger = gpg.key(&format!("stranger-{algorithm}"), algorithm);
        let of_stranger = gpg.sign(2, &stranger, &[]);
        let unknown = verify(&keys, &of_stranger, DATA, &[]);
        assert!(matches!(unknown, Err(Error::UnknownKey(_))), "{unknown:?}");
    }
    let armoured = gpg.run(1, &["--armor", "--export", "ed25519", "rsa2048"], "");
    let begin = armoured.find("-----BEGIN").unwrap();
    let end = armoured.rfind("-----\n").unwrap() + 6;
    let by_rsa = gpg.sign(2, &gpg.fingerprints("rsa2048")[0], &[]);
    assert_eq!(
        verify(&armoured.as_bytes()[begin..end], &by_rsa, DATA, &[]),
        Ok(())
    );
}

#[test]
fn broken_digests_count_only_by_name() {
    let Some(gpg) = Gpg::new() else { return };
    let key = gpg.key("old", "rsa2048");
    let keys = gpg.export("old");
    let signature = gpg.sign(2, &key, &["--digest-algo", "SHA1"]);
    let refused = verify(&keys, &signature, DATA, &[]).unwrap_err();
    assert!(refused.to_string().contains("rests on SHA-1"), "{refused}");
    assert_eq!(verify(&keys, &signature, DATA, &[Algorithm::SHA1]), Ok(()));
    assert!(verify(&keys, &signature, DATA, &[Algorithm::MD5]).is_err());

    // A key with such a self-signature.
    let weak = ["--cert-digest-algo", "SHA1", "--quick-generate-key"];
    gpg.run(
        1,
        &[&weak[..], &["older", "rsa2048", "cert,sign", "never"]].concat(),
        "",
    );
    let signature = gpg.sign(2, &gpg.fingerprints("older")[0], &[]);
    let keys = gpg.export("older");
    assert!(problem(&keys, &signature).contains("rests on SHA-1"));
    assert_eq!(verify(&keys, &signature, DATA, &[Algorithm::SHA1]), Ok(()));
}

#[test]
fn subkeys_count_while_they_are_bound() {
    let Some(gpg) = Gpg::new() else { return };
    let primary = gpg.key("alice", "rsa2048");
    let subkey = gpg.subkey("alice", "rsa2048", "10d");
    let sound = gpg.export("alice");
    let signature = gpg.sign(5, &subkey, &[]);
    let by_primary = gpg.sign(5, &primary, &[]);
    assert_eq!(verify(&sound, &signature, DATA, &[]), Ok(()));

    // Another's subkey, as an attacker would claim it.
    gpg.key("mallory", "rsa2048");
    let of_mallory = gpg.export("mallory");
    let stolen = [of_mallory, packets(&sound)[3..].concat()].concat();
    assert_eq!(
        problem(&stolen, &signature),
        "is not bound to its primary key"
    );
    // A binding that is missing altogether, and a subkey without its primary's name.
    let unbound = packets(&sound)[..4].concat();
    assert_eq!(
        problem(&unbound, &signature),
        "is not bound to its primary key"
    );
    let nameless = [packets(&sound)[0], packets(&sound)[3], packets(&sound)[4]].concat();
    assert!(problem(&nameless, &signature).contains("has no sound signature of its own"));

    gpg.run(2, &["--quick-set-expire", &primary, "2d", &subkey], "");
    let expired = gpg.export("alice");
    assert_eq!(
        problem(&expired, &signature),
        "was expired when the signature was made"
    );
    assert_eq!(verify(&expired, &by_primary, DATA, &[]), Ok(()));
    let edit = ["--edit-key", &primary];
    gpg.run(3, &edit, "key 1\nrevkey\ny\n0\n\ny\nsave\n");
    let revoked = gpg.export("alice");
    assert_eq!(problem(&revoked, &signature), "is revoked");
    assert_eq!(verify(&revoked, &by_primary, DATA, &[]), Ok(()));
}

#[test]
fn keys_count_until_they_expire_or_are_revoked() {
    let Some(gpg) = Gpg::new() else { return };
    let primary = gpg.key("bob", "ed25519");
    let subkey = gpg.subkey("bob", "ed25519", "never");
    let signatures = [gpg.sign(5, &primary, &[]), gpg.sign(5, &subkey, &[])];
    let early = gpg.sign(
        2,
        &primary,
        &["--ignore-time-conflict", "--ignore-valid-from"],
    );
    for signature in signatures.iter().chain([&early]) {
        assert_eq!(verify(&gpg.export("bob"), signature, DATA, &[]), Ok(()));
    }
    let sound = gpg.export("bob");
    gpg.run(2, &["--quick-set-expire", &primary, "2d"], "");
    let expired = gpg.export("bob");
    for signature in &signatures {
        assert_eq!(
            problem(&expired, signature),
            "was expired when the signature was made"
        );
    }
    assert_eq!(verify(&expired, &early, DATA, &[]), Ok(()));

    let revocation = gpg.path(&format!("openpgp-revocs.d/{primary}.rev"));
    let text = fs::read_to_string(&revocation)
        .unwrap()
        .replace(":-----", "-----");
    fs::write(&revocation, text).unwrap();
    gpg.run(3, &["--import", &revocation], "");
    let revoked = gpg.export("bob");
    assert_eq!(problem(&revoked, &early), "is revoked");
    assert_eq!(
        problem(&revoked, &signatures[1]),
        "belongs to a key that is revoked"
    );
    // An older copy beside it makes nothing of that undone, in one file or in two.
    for (one, other) in [(&sound, &revoked), (&revoked, &sound)] {
        assert_eq!(problem(&[&one[..], other].concat(), &early), "is revoked");
        let mut keyring = Keyring::parse(one, &[]).unwrap();
        keyring.add(Keyring::parse(other, &[]).unwrap()).unwrap();
        let verified = keyring.verify(&early, &mut &*DATA).unwrap();
        assert!(
            matches!(verified, Err(Error::Refused { .. })),
            "{verified:?}"
        );
    }
    let expires = "was expired when the signature was made";
    for both in [[&sound[..], &expired], [&expired, &sound]] {
        assert_eq!(problem(&both.concat(), &signatures[0]), expires);
    }
}

#[test]
fn damage_is_an_error_and_nothing_worse() {
    let Some(gpg) = Gpg::new() else { return };
    let key = gpg.key("carol", "rsa2048");
    gpg.subkey("carol", "ed25519", "never");
    let keys = gpg.export("carol");
    let signature = gpg.sign(2, &key, &[]);
    for at in 0..signature.len() {
        for bit in [0, 7] {
            let mut changed = signature.clone();
            changed[at] ^= 1 << bit;
            let _ = verify(&keys, &changed, DATA, &[]);
        }
        assert!(verify(&keys, &signature[..at], DATA, &[]).is_err(), "{at}");
    }
    for at in (0..keys.len()).step_by(3) {
        let mut changed = keys.clone();
        changed[at] ^= 0x41;
        let _ = verify(&changed, &signature, DATA, &[]);
        let _ = verify(&keys[..at], &signature, DATA, &[]);
    }
    assert!(Keyring::parse(Path::new("/").to_str().unwrap().as_bytes(), &[]).is_err());
}
