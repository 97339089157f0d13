//! The provenance in an envelope that is signed: what OpenSSL says about it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use imgasm_testkit::command::{output, run};
use imgasm_testkit::need;
use serde_json::Value;

use crate::support::example::{assert_success, imgasm};

fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("rootfs/etc")).unwrap();
    fs::write(dir.path().join("rootfs/etc/os-release"), "ID=amzn\n").unwrap();
    let recipe = "name = 'x'\nbase = { rootfs = 'rootfs', size = '64 MiB' }\n";
    fs::write(dir.path().join("imgasm.toml"), recipe).unwrap();
    dir
}

fn build(folder: &Path, args: &[&str]) -> Output {
    imgasm()
        .args(["build", "--force"])
        .args(args)
        .current_dir(folder)
        .env("IMGASM_CACHE", folder.join("cache"))
        .output()
        .unwrap()
}

fn signed(folder: &Path, key: &str, name: &str) -> Value {
    assert_success(&build(folder, &["--provenance", name, "--sign", key]));
    let json = fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(json.lines().count(), 1);
    serde_json::from_str(&json).unwrap()
}

fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

fn openssl(folder: &Path, args: &[&str]) {
    run(Command::new("openssl").args(args).current_dir(folder));
}

#[test]
fn others_accept_the_signature() {
    if !need::tools(&["openssl"]) {
        return;
    }
    let dir = project();
    let folder = dir.path();
    let ec = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    openssl(
        folder,
        &["genpkey", "-algorithm", "ed25519", "-out", "ed25519.pem"],
    );
    openssl(
        folder,
        &[&["genpkey"], &ec[..], &["-out", "p256.pem"]].concat(),
    );
    let curve = ["ecparam", "-name", "prime256v1", "-genkey"];
    openssl(folder, &[&curve[..], &["-out", "sec1.pem"]].concat());
    assert_success(&build(folder, &["--provenance", "plain.json"]));
    let plain = fs::read(folder.join("plain.json")).unwrap();
    for key in ["ed25519.pem", "p256.pem", "sec1.pem"] {
        let envelope = signed(folder, key, "envelope.json");
        assert_eq!(
            signed(folder, key, "again.json"),
            envelope,
            "the same bytes"
        );
        assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
        let payload = decoded(&envelope["payload"]);
        assert_eq!(payload, plain);
        let head = format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len());
        let message = [head.as_bytes(), &payload].concat();
        fs::write(folder.join("message"), &message).unwrap();
        let signature = &envelope["signatures"][0];
        fs::write(folder.join("signature"), decoded(&signature["sig"])).unwrap();
        let public = ["pkey", "-in", key, "-pubout", "-out"];
        openssl(folder, &[&public[..], &["public.pem"]].concat());
        openssl(
            folder,
            &[&public[..], &["public.der", "-outform", "DER"]].concat(),
        );
        let digest = run(Command::new("sha256sum").arg(folder.join("public.der")));
        assert!(
            digest.starts_with(signature["keyid"].as_str().unwrap()),
            "{digest}"
        );
        let raw: &[&str] = if key.starts_with("ed25519") {
            &[]
        } else {
            &["-digest", "sha256"]
        };
        let verify = [
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            "public.pem",
            "-rawin",
            "-in",
            "message",
            "-sigfile",
            "signature",
        ];
        let verify = [&verify[..], raw].concat();
        openssl(folder, &verify);
        // And they would notice a change.
        let mut changed = message;
        *changed.last_mut().unwrap() ^= 1;
        fs::write(folder.join("message"), changed).unwrap();
        let refused = output(Command::new("openssl").args(verify).current_dir(folder));
        assert!(!refused.status.success());
    }
}

#[test]
fn what_cannot_sign_is_refused_before_anything_is_written() {
    if !need::tools(&["openssl"]) {
        return;
    }
    let dir = project();
    let folder = dir.path();
    let password = [
        "genpkey",
        "-algorithm",
        "ed25519",
        "-aes256",
        "-pass",
        "pass:x",
    ];
    openssl(
        folder,
        &[&password[..], &["-out", "encrypted.pem"]].concat(),
    );
    openssl(folder, &["genpkey", "-algorithm", "RSA", "-out", "rsa.pem"]);
    fs::write(folder.join("text"), "no key").unwrap();
    for (key, expected) in [
        ("encrypted.pem", "is encrypted"),
        ("rsa.pem", "no private key of Ed25519 or P-256"),
        ("text", "no private key of Ed25519 or P-256"),
        ("absent", "cannot read the key absent"),
    ] {
        let output = build(folder, &["--provenance", "p.json", "--sign", key]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{key}: {said}");
        assert!(said.contains(expected), "{key}: {said}");
        assert!(!folder.join("out").exists() && !folder.join("p.json").exists());
    }
    let output = build(folder, &["--sign", "text"]);
    assert_eq!(output.status.code(), Some(2), "a signature of nothing");
}
