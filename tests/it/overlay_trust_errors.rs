//! What the step `ca_certificate` takes for certificates, and what it refuses.

use std::fs;
use std::path::Path;

use crate::overlay_trust::certificate;
use crate::support::overlay::{apply_twice, folder as folder_of, image, load, text};
use imgasm::overlay::Applier;
use imgasm_fs::Timestamp;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink, read_file};
use imgasm_guest::trust::Certificate;
use imgasm_testkit::damage::damaged;
use imgasm_testkit::images::arg;
use imgasm_testkit::need;
use imgasm_testkit::rng::Rng;
use imgasm_testkit::tools::run;
use sha1::{Digest as _, Sha1};

const AUTHORITY: &str = "basicConstraints=critical,CA:TRUE";
/// What makes an image one of Red Hat's.
const ANCHORS: (&str, &str) = ("/etc/pki/ca-trust/source/anchors/", "");

/// The certificates of the browsers, as Debian ships them: all of them are read.
#[test]
fn what_is_in_use_is_read() {
    let bundle = Path::new("/etc/ssl/certs/ca-certificates.crt");
    if !need::tools(&["update-ca-certificates"]) {
        return;
    }
    let bundle = fs::read(bundle).unwrap();
    let count = String::from_utf8_lossy(&bundle).matches("BEGIN").count();
    assert_eq!(Certificate::all(&bundle).unwrap().len(), count);
}

#[test]
fn a_certificate_without_effect_is_an_error() {
    if !need::tools(&["openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let good = certificate(folder.path(), "/CN=Good", &[AUTHORITY]);
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let anchors = ANCHORS;
    let plain = [anchors];
    let own_bundle = [anchors, ("/etc/pki/tls/certs/ca-bundle.crt", "all\n")];
    let blocked = [
        anchors,
        ("/etc/pki/ca-trust/source/blocklist/x.pem", good.as_str()),
    ];
    let store = [
        anchors,
        (
            "/etc/pki/ca-trust/extracted/java/cacerts",
            "no keystore, but longer than its digest",
        ),
    ];
    let hook = [
        ("/etc/os-release", "ID=ubuntu\nID_LIKE=debian\n"),
        ("/etc/ca-certificates.conf", "\n"),
        ("/etc/ca-certificates/update.d/mono", "#!/bin/sh\n"),
    ];
    let alpine = [
        ("/etc/os-release", "ID=alpine\n"),
        ("/etc/ca-certificates.conf", "\n"),
    ];
    let leaf = certificate(
        folder.path(),
        "/CN=Leaf",
        &["basicConstraints=critical,CA:FALSE"],
    );
    let signs_not = certificate(
        folder.path(),
        "/CN=No",
        &[AUTHORITY, "keyUsage=critical,digitalSignature"],
    );
    for (files, content, words) in [
        (&plain[..], leaf.as_str(), "is not that of an authority"),
        (&plain[..], signs_not.as_str(), "key usage"),
        (&plain[..], "no certificate", "holds no certificate"),
        (
            &plain[..],
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
            "ends within certificate 1",
        ),
        (
            &plain[..],
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
            "certificate 1",
        ),
        (
            &plain[..],
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
            "is no certificate",
        ),
        (
            &plain[..],
            "-----BEGIN CERTIFICATE REQUEST-----\n",
            "is no certificate",
        ),
        (&plain[..], &format!("{good}{key}"), "private key"),
        (&own_bundle[..], &good, "anchors have no effect"),
        (&blocked[..], &good, "distrusts \"CN=Good\""),
        (&store[..], &good, "is no keystore of Java"),
        (&hook[..], &good, "is run by update-ca-certificates"),
        (&alpine[..], &good, "has neither /etc/pki"),
        (&[][..], &good, "has neither /etc/pki"),
    ] {
        let mut image = image(files);
        let step = "[[step]]\nca_certificate = { from = \"ours.pem\" }\n";
        let error = apply_twice(&mut image, step, &[("ours.pem", content)]).unwrap_err();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn keys_that_do_not_go_together_are_an_error() {
    let plain = [ANCHORS];
    for (keys, words) in [
        (
            "from = \"a\", content = \"b\"",
            "either `from` or `content`",
        ),
        ("content = \"b\"", "need a `name`"),
        ("content = \"b\", name = \"../x\"", "letters, digits"),
        ("from = \".pem\"", "letters, digits"),
    ] {
        let mut image = image(&plain);
        let step = format!("[[step]]\nca_certificate = {{ {keys} }}\n");
        let error = apply_twice(&mut image, &step, &[("a", "")]).unwrap_err();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn an_expired_certificate_is_an_error() {
    if !need::tools(&["openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let good = certificate(folder.path(), "/CN=Good", &[AUTHORITY]);
    let plain = [ANCHORS];
    // At a time when it has expired.
    let overlay = folder_of(
        "[[step]]\nca_certificate = { from = \"ours.pem\" }\n",
        &[("ours.pem", &good)],
    );
    let overlay = load(overlay.path(), &[]).unwrap();
    let mut expired = image(&plain);
    let later = Timestamp {
        seconds: 4_000_000_000,
        nanoseconds: 0,
    };
    let error = Applier::new(&mut expired, later).unwrap().apply(&overlay);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("has expired: it was valid until 20"),
        "{error}"
    );
}

#[test]
fn der_and_content_are_as_good_as_a_file_in_pem() {
    if !need::tools(&["openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let good = certificate(folder.path(), "/CN=Good", &[AUTHORITY]);
    let plain = [ANCHORS];
    let file = folder.path().join("made.pem");
    fs::write(&file, &good).unwrap();
    let der = folder.path().join("made.der");
    run(
        "openssl",
        [
            "x509",
            "-in",
            arg(&file),
            "-outform",
            "DER",
            "-out",
            arg(&der),
        ],
    );
    let der = Certificate::all(&fs::read(der).unwrap());
    assert_eq!(der, Certificate::all(good.as_bytes()));
    let mut image = image(&plain);
    let step = format!("[[step]]\nca_certificate = {{ content = '''\n{good}''', name = \"x\" }}\n");
    apply_twice(&mut image, &step, &[]).unwrap();
    assert_eq!(text(&image, "/etc/pki/ca-trust/source/anchors/x.pem"), good);
}

/// A damaged keystore is an error or is read, and nothing else.
#[test]
fn a_damaged_keystore_is_no_panic() {
    if !need::tools(&["openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let good = certificate(folder.path(), "/C=DE/CN=Good", &[AUTHORITY]);
    let file = folder.path().join("made.pem");
    fs::write(&file, &good).unwrap();
    let der = folder.path().join("made.der");
    let args = [
        "x509",
        "-in",
        arg(&file),
        "-outform",
        "DER",
        "-out",
        arg(&der),
    ];
    run("openssl", args);
    let der = fs::read(der).unwrap();
    let store = store(&[("good", &der), ("other", b"any bytes")]);
    let overlay = folder_of(
        "[[step]]\nca_certificate = { from = \"ours.pem\" }\n",
        &[("ours.pem", &good)],
    );
    let overlay = load(overlay.path(), &[]).unwrap();
    let keystore = ImagePath::parse("/etc/pki/ca-trust/extracted/java/cacerts").unwrap();
    let applied = |store: &[u8]| {
        let mut image = image(&[ANCHORS, ("/etc/pki/ca-trust/extracted/java/", "")]);
        let mut editor = Editor::new(&mut image);
        let plain = Attributes::default();
        editor
            .write(&keystore, LastLink::Keep, store, plain)
            .unwrap();
        let applied = Applier::new(&mut image, Timestamp::default())
            .unwrap()
            .apply(&overlay);
        applied.map(|()| read_file(&image, &keystore, 1 << 20).unwrap())
    };
    assert_eq!(
        applied(&store).unwrap(),
        store,
        "it has the certificate already"
    );
    let mut rng = Rng::new(1);
    for _ in 0..500 {
        let body = damaged(&mut rng, store[..store.len() - 20].to_vec());
        let _ = applied(&sealed(body));
    }
}

/// A keystore of Java with these entries.
fn store(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let count = u32::try_from(entries.len()).unwrap().to_be_bytes();
    let mut body = [&[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2], &count[..]].concat();
    for (alias, certificate) in entries {
        let short = |text: &[u8]| {
            let len = u16::try_from(text.len()).unwrap().to_be_bytes();
            [&len[..], text].concat()
        };
        body.extend([&[0, 0, 0, 2], &short(alias.as_bytes())[..], &[0; 8]].concat());
        body.extend(short(b"X.509"));
        body.extend(u32::try_from(certificate.len()).unwrap().to_be_bytes());
        body.extend(*certificate);
    }
    sealed(body)
}

/// A keystore with the digest of its body behind it.
fn sealed(body: Vec<u8>) -> Vec<u8> {
    let password: Vec<u8> = "changeit".bytes().flat_map(|byte| [0, byte]).collect();
    let digest = Sha1::new()
        .chain_update(password)
        .chain_update("Mighty Aphrodite")
        .chain_update(&body)
        .finalize();
    [body, digest.to_vec()].concat()
}
