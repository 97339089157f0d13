//! The step `ca_certificate`, against the tools of Debian and of p11-kit.

use std::fs;
use std::path::Path;

use crate::support::overlay::{apply_twice, image, text};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink, read_file, walk};
use imgasm_fs::{FileSystem, FileType};
use imgasm_testkit::images::arg;
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

/// Authorities of kinds that occur, by name, each in PEM.
fn authorities(folder: &Path) -> Vec<(&'static str, String)> {
    let kinds = [
        (
            "plain",
            "/C=DE/O=Example  Corp/CN=Example Root CA",
            "keyUsage=critical,keyCertSign,cRLSign",
        ),
        (
            "server",
            "/CN=Täst (TLS), only",
            "extendedKeyUsage=serverAuth",
        ),
        ("mail", "/O=Org/OU=Mail", "extendedKeyUsage=emailProtection"),
        (
            "any",
            "/O=Only an  Organisation",
            "extendedKeyUsage=anyExtendedKeyUsage",
        ),
        ("nameless", "/C=DE", "subjectKeyIdentifier=hash"),
    ];
    kinds
        .into_iter()
        .map(|(name, subject, extension)| {
            let authority = "basicConstraints=critical,CA:TRUE";
            (name, certificate(folder, subject, &[authority, extension]))
        })
        .collect()
}

/// A new certificate in PEM that signs itself.
pub fn certificate(folder: &Path, subject: &str, extensions: &[&str]) -> String {
    let file = folder.join("made.pem");
    let mut args = vec![
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ];
    args.extend([
        "-nodes",
        "-keyout",
        "/dev/null",
        "-days",
        "3650",
        "-utf8",
        "-subj",
        subject,
    ]);
    for extension in extensions {
        args.extend(["-addext", extension]);
    }
    args.extend(["-out", arg(&file)]);
    run("openssl", args);
    fs::read_to_string(&file).unwrap()
}

/// What lies below a folder of the host: content, or `-> target`.
fn on_host(top: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("/{}", path.strip_prefix(top).unwrap().display());
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                found.push((name, format!("-> {}", target.display()).into_bytes()));
            } else {
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The same of the image.
fn in_image(image: &MemoryFs) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in walk(image, &ImagePath::root()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.path.to_string();
        match entry.metadata.file_type {
            FileType::Directory => {}
            FileType::Symlink => {
                let target = image.read_link(entry.node).unwrap();
                found.push((name, [b"-> ", target.as_slice()].concat()));
            }
            _ => found.push((name, read_file(image, &entry.path, 1 << 24).unwrap())),
        }
    }
    found.sort();
    found
}

/// An image with what lies in a folder of the host, and these other files.
fn image_of(top: &Path, more: &[(&str, &str)]) -> MemoryFs {
    let mut image = image(more);
    let mut editor = Editor::new(&mut image);
    for (name, content) in on_host(top) {
        let path = ImagePath::parse(name).unwrap();
        let plain = Attributes::default();
        editor.mkdir_all(&path.parent().unwrap(), plain).unwrap();
        match content.strip_prefix(b"-> ") {
            Some(target) => editor.symlink(&path, target).unwrap(),
            None => editor
                .write(&path, LastLink::Keep, &content, plain)
                .unwrap(),
        }
    }
    image
}

/// Those of the files whose name begins like this.
fn below<'f>(files: &'f [(String, Vec<u8>)], top: &str) -> Vec<&'f (String, Vec<u8>)> {
    files
        .iter()
        .filter(|(name, _)| name.starts_with(top))
        .collect()
}

const DEBIAN: &[(&str, &str)] = &[("/etc/os-release", "ID=debian\n")];

/// Runs Debian's tool on a tree of the host. What it links to is named as in the tree.
fn update_ca_certificates(root: &Path) {
    let script = format!(
        "cd {0} && update-ca-certificates --certsconf $PWD/etc/ca-certificates.conf \
         --certsdir $PWD/usr/share/ca-certificates --localcertsdir $PWD/usr/local/share/ca-certificates \
         --etccertsdir $PWD/etc/ssl/certs --hooksdir $PWD/etc/ca-certificates/update.d
         find etc/ssl/certs -type l | while read link; do
           target=$(readlink \"$link\"); ln -sfn \"${{target#$PWD}}\" \"$link\"; done",
        arg(root)
    );
    run("sh", ["-ec", &script]);
}

#[test]
fn debian_is_left_as_its_tool_leaves_it() {
    if !need::tools(&["update-ca-certificates", "openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let authorities = authorities(folder.path());
    let root = folder.path().join("root");
    for path in [
        "etc/ssl/certs",
        "etc/ca-certificates/update.d",
        "usr/share/ca-certificates/x",
    ] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    fs::create_dir_all(root.join("usr/local/share/ca-certificates/sub")).unwrap();
    // Two of the distribution, one of which is turned off, and one of the administrator.
    let file = |path: &str, content: &str| fs::write(root.join(path), content).unwrap();
    file(
        "usr/share/ca-certificates/x/A (1), b.crt",
        authorities[0].1.trim_end(),
    );
    file("usr/share/ca-certificates/x/off.crt", &authorities[1].1);
    file(
        "usr/local/share/ca-certificates/sub/own.crt",
        &authorities[2].1,
    );
    file(
        "etc/ca-certificates.conf",
        "# comment\n\nx/A (1), b.crt\n!x/off.crt\nx/gone.crt\n",
    );
    update_ca_certificates(&root);

    for (name, pem) in &authorities[3..] {
        // Of one that is there already the tool makes no second link by its hash.
        let with_twin = format!("{pem}any text\n{}", authorities[0].1);
        for content in [pem, &with_twin] {
            let mut image = image_of(&root, DEBIAN);
            let step = "[[step]]\nca_certificate = { from = \"ours.pem\" }\n";
            apply_twice(&mut image, step, &[("ours.pem", content)]).unwrap();

            let expected = folder.path().join("expected");
            let _ = fs::remove_dir_all(&expected);
            run("cp", ["-a", arg(&root), arg(&expected)]);
            let own = expected.join("usr/local/share/ca-certificates");
            if content == pem {
                fs::write(own.join("ours.crt"), pem).unwrap();
            } else {
                fs::write(own.join("ours-1.crt"), pem).unwrap();
                fs::write(own.join("ours-2.crt"), &authorities[0].1).unwrap();
            }
            // The links must lead somewhere while the tool runs.
            run(
                "sh",
                [
                    "-ec",
                    &format!(
                        "cd {} && find etc/ssl/certs -type l | while read l; do \
                t=$(readlink \"$l\"); case $t in /*) ln -sfn \"$PWD$t\" \"$l\";; esac; done",
                        arg(&expected)
                    ),
                ],
            );
            update_ca_certificates(&expected);
            let (found, expected) = (in_image(&image), on_host(&expected));
            for top in ["/etc/ssl", "/usr/local"] {
                let names = |of: &[(String, Vec<u8>)]| {
                    let of = below(of, top).into_iter();
                    of.map(|(name, content)| format!("{name} {}", content.len()))
                        .collect::<Vec<_>>()
                };
                assert_eq!(names(&found), names(&expected), "{name}");
                assert!(below(&found, top) == below(&expected, top), "{name}: {top}");
            }
            // OpenSSL finds it in the folder.
            let tree = folder.path().join("found");
            let _ = fs::remove_dir_all(&tree);
            fs::create_dir_all(&tree).unwrap();
            for (name, content) in below(&found, "/etc/ssl/certs/") {
                let name = tree.join(name.rsplit('/').next().unwrap());
                match content.strip_prefix(b"-> ") {
                    Some(target) if target.starts_with(b"/") => {
                        let target = String::from_utf8(target.to_vec()).unwrap();
                        fs::write(&name, text(&image, &target)).unwrap();
                    }
                    Some(target) => {
                        let target = String::from_utf8(target.to_vec()).unwrap();
                        std::os::unix::fs::symlink(target, &name).unwrap();
                    }
                    None => fs::write(&name, content).unwrap(),
                }
            }
            let leaf = folder.path().join("ours.pem");
            fs::write(&leaf, pem).unwrap();
            run(
                "openssl",
                [
                    "verify",
                    "-no-CAfile",
                    "-no-CAstore",
                    "-CApath",
                    arg(&tree),
                    arg(&leaf),
                ],
            );
        }
    }
}

/// The formats, files and purposes of `update-ca-trust`.
const EXTRACT: &str = "
extract() { trust extract --overwrite \"$@\"; }
extract --format=openssl-bundle --filter=certificates --comment $1/openssl/ca-bundle.trust.crt
extract --format=pem-bundle --filter=ca-anchors --comment --purpose server-auth $1/pem/tls-ca-bundle.pem
extract --format=pem-bundle --filter=ca-anchors --comment --purpose email $1/pem/email-ca-bundle.pem
extract --format=pem-bundle --filter=ca-anchors --comment --purpose code-signing $1/pem/objsign-ca-bundle.pem
extract --format=java-cacerts --filter=ca-anchors --purpose server-auth $1/java/cacerts
extract --format=edk2-cacerts --filter=ca-anchors --purpose server-auth $1/edk2/cacerts.bin
extract --format=pem-directory-hash --filter=ca-anchors --purpose server-auth $1/pem/directory-hash
";

/// What p11-kit extracts of anchors and of a distribution's certificates. As it reads a user's
/// configuration for everybody but root, it runs as nobody.
fn update_ca_trust(folder: &Path, root: &Path) {
    let home = folder.join("home");
    let modules = home.join(".config/pkcs11/modules");
    fs::create_dir_all(&modules).unwrap();
    fs::write(
        home.join(".config/pkcs11/pkcs11.conf"),
        "user-config: only\n",
    )
    .unwrap();
    let module = format!(
        "module: p11-kit-trust.so\ntrust-policy: yes\nx-init-reserved: paths='{0}/etc/pki/ca-trust/source:{0}/usr/share/pki'\n",
        root.display()
    );
    fs::write(modules.join("ours.module"), module).unwrap();
    let script = format!(
        "rm -rf {0}/etc/pki/ca-trust/extracted; cd {0}/etc/pki/ca-trust
         mkdir -p extracted/openssl extracted/pem extracted/java extracted/edk2; chmod -R a+rwX {1}
         exec setpriv --reuid 65534 --regid 65534 --clear-groups env HOME={2} sh -ec '{EXTRACT}' sh $PWD/extracted",
        arg(root), arg(folder), arg(&home)
    );
    run("sh", ["-ec", &script]);
}

/// The entries of a keystore of Java without the times at which they were made, and without the
/// number that one of two of the same name has.
fn without_times(store: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &store[12..store.len() - 20];
    let mut entries = Vec::new();
    let short = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    while !rest.is_empty() {
        let alias = 4 + 2 + short(&rest[4..]);
        let kind = alias + 8 + 2 + short(&rest[alias + 8..]);
        let len = u32::from_be_bytes(rest[kind..kind + 4].try_into().unwrap());
        let end = kind + 4 + usize::try_from(len).unwrap();
        let name = String::from_utf8_lossy(&rest[6..alias]);
        let name = name.trim_end_matches("-1").as_bytes();
        entries.push([name, &rest[alias + 8..end]].concat());
        rest = &rest[end..];
    }
    entries
}

#[test]
fn red_hat_is_left_as_its_tool_leaves_it() {
    if !need::tools(&["trust", "openssl", "setpriv"]) || !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = authorities(folder.path());
    let root = folder.path().join("root");
    for path in [
        "etc/pki/ca-trust/source/anchors",
        "usr/share/pki/anchors",
        "etc/pki/tls/certs",
    ] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    let distribution = made.iter().map(|(_, pem)| pem.as_str()).collect::<String>();
    fs::write(root.join("usr/share/pki/anchors/all.pem"), distribution).unwrap();
    let bundle = root.join("etc/pki/tls/certs/ca-bundle.crt");
    std::os::unix::fs::symlink("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", bundle)
        .unwrap();
    update_ca_trust(folder.path(), &root);
    let extracted = "/etc/pki/ca-trust/extracted";

    // Others of the same names, so that every name is taken already.
    for (name, pem) in authorities(folder.path()) {
        let mut image = image_of(&root, &[("/etc/pki/ca-trust/source/anchors/", "")]);
        let step = format!("[[step]]\nca_certificate = {{ from = \"{name}.pem\" }}\n");
        apply_twice(&mut image, &step, &[(&format!("{name}.pem"), &pem)]).unwrap();

        let expected = folder.path().join("expected");
        let _ = fs::remove_dir_all(&expected);
        run("cp", ["-a", arg(&root), arg(&expected)]);
        let anchor = format!("etc/pki/ca-trust/source/anchors/{name}.pem");
        fs::write(expected.join(&anchor), &pem).unwrap();
        update_ca_trust(folder.path(), &expected);
        assert_eq!(text(&image, &format!("/{anchor}")), pem);
        let (found, expected) = (in_image(&image), on_host(&expected));
        let pairs = below(&found, extracted)
            .into_iter()
            .zip(below(&expected, extracted));
        let mut seen = 0;
        for ((path, found), (other, expected)) in pairs {
            seen += 1;
            if path.contains("directory-hash") {
                continue;
            }
            assert_eq!(path, other);
            if path.ends_with("java/cacerts") {
                assert_eq!(without_times(found), without_times(expected), "{name}");
            } else {
                let (found, expected) = (
                    String::from_utf8_lossy(found),
                    String::from_utf8_lossy(expected),
                );
                assert_eq!(found, expected, "{name}: {path}");
            }
        }
        assert!(seen > 6, "{seen}");
        // Which of two of the same name gets the number is p11-kit's order.
        let hashed = format!("{extracted}/pem/directory-hash/");
        let names = |of: &[(String, Vec<u8>)]| {
            let of = below(of, &hashed).into_iter();
            of.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&found), names(&expected), "{name}");
        let contents = |of: &[(String, Vec<u8>)]| {
            let of = below(of, &hashed).into_iter();
            let mut all: Vec<_> = of.map(|(_, content)| content.clone()).collect();
            all.sort();
            all
        };
        assert_eq!(contents(&found), contents(&expected), "{name}");
    }
}
