//! What the step `ca_certificate` takes for certificates, and what it refuses.

use std::fs;
use std::path::Path;

use crate::overlay_trust::certificate;
use crate::support::overlay::{apply_twice, folder as folder_of, image, load, text};
use imgasm::overlay::Applier;
use imgasm_fs::Timestamp;
use imgasm_guest::trust::Certificate;
use imgasm_testkit::images::arg;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

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
