//! The step `unpack`, against what GNU tar unpacks.

use std::path::Path;

use crate::support::overlay::{apply_twice, image};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::walk;
use imgasm_fs::{FileSystem, FileType};
use imgasm_testkit::images::arg;
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

/// Files, folders and links of a release, as a tar file; all of it is text.
fn release(options: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "cd {} && mkdir -p tool-1.2/bin tool-1.2/share/doc tool-1.2/empty
         echo '#!/bin/sh' >tool-1.2/bin/tool && chmod 4755 tool-1.2/bin/tool
         echo read me >tool-1.2/share/doc/README && chmod 640 tool-1.2/share/doc/README
         ln -s ../bin/tool tool-1.2/share/link && ln tool-1.2/bin/tool tool-1.2/bin/alias
         chmod 1770 tool-1.2/empty
         tar {options} --sort=name --owner=builder:1001 --group=builder:1001 -cf out.tar tool-1.2",
        arg(folder.path())
    );
    run("sh", ["-ec", &script]);
    let archive = std::fs::read(folder.path().join("out.tar")).unwrap();
    (folder, String::from_utf8(archive).expect("text and zeros"))
}

/// What lies below a folder of the image: name, type, mode, link.
fn in_image(fs: &MemoryFs, at: &str) -> Vec<String> {
    let at = ImagePath::parse(at).unwrap();
    let entries = walk(fs, &at).unwrap().map(Result::unwrap);
    let mut lines: Vec<_> = entries
        .filter(|entry| entry.path != at)
        .map(|entry| {
            let name = String::from_utf8_lossy(&entry.path.as_bytes()[at.as_bytes().len() + 1..])
                .into_owned();
            let metadata = &entry.metadata;
            assert_eq!((metadata.uid, metadata.gid), (0, 0), "{name}");
            match metadata.file_type {
                FileType::Symlink => {
                    let target = fs.read_link(entry.node).unwrap();
                    format!("{name} l {}", String::from_utf8_lossy(&target))
                }
                FileType::Directory => format!("{name} d {:o}", metadata.permissions),
                _ => format!("{name} f {:o} {}", metadata.permissions, metadata.size),
            }
        })
        .collect();
    lines.sort();
    lines
}

/// What GNU tar makes of it, without set-ID bits.
fn by_tar(folder: &Path, options: &str) -> Vec<String> {
    let script = format!(
        "cd {} && mkdir to && tar -xpf out.tar -C to {options} && chmod -R u-s,g-s to && cd to && \
         find . -mindepth 1 \\( -type l -printf '%P l %l\\n' \\) -o \\( -type d -printf '%P d %m\\n' \\) \
         -o -printf '%P f %m %s\\n'",
        arg(folder)
    );
    let mut lines: Vec<_> = run("sh", ["-ec", &script])
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn it_is_what_tar_unpacks() {
    if !need::tools(&["tar", "find"]) {
        return;
    }
    for format in ["--format=gnu", "--format=pax", "--format=ustar"] {
        for (strip, option) in [
            (0, "--strip-components=0"),
            (1, "--strip-components=1"),
            (2, "--strip-components=2"),
        ] {
            let (folder, archive) = release(format);
            let mut fs = image(&[("/opt/", "")]);
            let step = format!(
                "[[step]]\nunpack = {{ from = \"a.tar\", to = \"/opt/tool\", strip_components = {strip} }}\n"
            );
            apply_twice(&mut fs, &step, &[("a.tar", &archive)]).unwrap();
            assert_eq!(
                in_image(&fs, "/opt/tool"),
                by_tar(folder.path(), option),
                "{format} {strip}"
            );
        }
    }
}

#[test]
fn what_the_step_gives_counts() {
    let (_folder, archive) = release("");
    let mut fs = image(&[
        ("/opt/", ""),
        ("/etc/passwd", "web:x:5:6::/:/x\n"),
        ("/etc/group", "web:x:6:\n"),
    ]);
    let step = "[[step]]\nunpack = { from = \"a.tar\", to = \"/opt\", mode = \"0600\", owner = \"web\", group = 7 }\n";
    apply_twice(&mut fs, step, &[("a.tar", &archive)]).unwrap();
    let found = imgasm_fs::tree::resolve(
        &fs,
        &ImagePath::parse("/opt/tool-1.2/bin/alias").unwrap(),
        imgasm_fs::tree::LastLink::Keep,
    );
    let metadata = fs.metadata(found.unwrap().0).unwrap();
    assert_eq!(
        (
            metadata.permissions,
            metadata.uid,
            metadata.gid,
            metadata.links
        ),
        (0o600, 5, 7, 2)
    );
}

#[test]
fn what_cannot_be_unpacked_is_refused() {
    let (_folder, archive) = release("");
    let refused = |keys: &str, archive: &str, words: &str| {
        let mut fs = image(&[("/opt/", "")]);
        let step = format!("[[step]]\nunpack = {{ from = \"a.tar\", to = \"/opt\", {keys} }}\n");
        let error = apply_twice(&mut fs, &step, &[("a.tar", archive)]).unwrap_err();
        assert!(error.contains(words), "{keys}: {error}");
    };
    let digest = "0".repeat(64);
    refused(&format!("sha256 = \"{digest}\""), &archive, "but 0000");
    refused("strip_components = 9", &archive, "nothing is left");
    refused("strip_components = 0", "no archive", "no tar file");
    refused("strip_components = 0", &archive[..2000], "a.tar");
    refused(
        "strip_component = 1",
        &archive,
        "unknown key `strip_component`",
    );
}
