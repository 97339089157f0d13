//! The step `unpack`, against what GNU tar unpacks.

use std::path::Path;

use crate::support::overlay::{apply, apply_twice, folder, image, load};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{read_file, walk};
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
fn an_archive_can_have_to_be_signed() {
    if !need::tools(&["tar", "gpg"]) {
        return;
    }
    let (folder, archive) = release("");
    let at = arg(folder.path());
    let script = format!(
        "cd {at} && mkdir -m 700 home && export GNUPGHOME={at}/home
         for name in friend stranger; do
           gpg -q --batch --passphrase '' --quick-generate-key $name ed25519 sign never
           gpg -q --armor --export $name >$name.keys
         done 2>/dev/null
         gpg -q --batch --local-user friend --armor --detach-sign -o a.asc out.tar"
    );
    run("sh", ["-ec", &script]);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let (signature, friend, stranger) = (read("a.asc"), read("friend.keys"), read("stranger.keys"));
    let unpack = |archive: &str, keys: &str, with: &str| {
        let step =
            format!("[[step]]\nunpack = {{ from = \"a.tar\", to = \"/opt/tool\", {with} }}\n");
        let files = [("a.tar", archive), ("a.asc", &signature), ("keys", keys)];
        let mut fs = image(&[("/opt/", "")]);
        apply_twice(&mut fs, &step, &files).map(|_| ())
    };
    let both = "signature = \"a.asc\", keyring = \"keys\"";
    unpack(&archive, &friend, both).unwrap();
    let other = archive.replace("read me", "not for");
    for (archive, keys, with, wanted) in [
        (&archive, &stranger, both, "is not signed by a key of"),
        (&other, &friend, both, "is not signed by a key of"),
        (
            &archive,
            &friend,
            "signature = \"a.asc\"",
            "need each other",
        ),
        (&archive, &friend, "keyring = \"keys\"", "need each other"),
    ] {
        let error = unpack(archive, keys, with).unwrap_err();
        assert!(error.contains(wanted), "{error}");
    }
}

/// The tree of [`release`], which stays in the folder, as a zip file.
fn zipped(folder: &Path, options: &str) -> std::path::PathBuf {
    let script = format!(
        "cd {} && rm -f tool-1.2/bin/alias && rm -f out.zip && zip -q -r {options} out.zip tool-1.2",
        arg(folder)
    );
    run("sh", ["-ec", &script]);
    folder.join("out.zip")
}

/// Unpacks a zip file into `/opt/tool`.
fn unpack_zip(zip: &Path, keys: &str) -> Result<MemoryFs, String> {
    let toml = format!("[[step]]\nunpack = {{ from = \"a.zip\", to = \"/opt/tool\", {keys} }}\n");
    let overlay = folder(&toml, &[]);
    std::fs::copy(zip, overlay.path().join("a.zip")).unwrap();
    let loaded = load(overlay.path(), &[])?;
    let mut fs = image(&[("/opt/", "")]);
    apply(&mut fs, &[&loaded])?;
    let before = fs.dump();
    let again = apply(&mut fs, &[&loaded])?;
    assert!(!again.has_changed() && fs.dump() == before, "{again:#?}");
    Ok(fs)
}

#[test]
fn a_zip_file_is_what_unzip_unpacks() {
    if !need::tools(&["tar", "find", "zip", "unzip"]) {
        return;
    }
    let (folder, _) = release("");
    for options in ["-y", "-y -0", "-y -9", "-y -D", "-y -fz"] {
        let zip = zipped(folder.path(), options);
        let fs = unpack_zip(&zip, "strip_components = 0").unwrap();
        let script = format!(
            "cd {} && rm -rf to && mkdir to && unzip -q -K out.zip -d to && chmod -R u-s,g-s to && cd to && \
             find . -mindepth 1 \\( -type l -printf '%P l %l\\n' \\) -o \\( -type d -printf '%P d %m\\n' \\) \
             -o -printf '%P f %m %s\\n'",
            arg(folder.path())
        );
        let expected = run("sh", ["-ec", &script]);
        let mut expected: Vec<_> = expected.lines().map(str::to_owned).collect();
        expected.sort();
        assert_eq!(in_image(&fs, "/opt/tool"), expected, "{options}");
        let readme = ImagePath::parse("/opt/tool/tool-1.2/share/doc/README").unwrap();
        assert_eq!(read_file(&fs, &readme, 100).unwrap(), b"read me\n");
        let fs = unpack_zip(&zip, "strip_components = 2, mode = \"0600\"").unwrap();
        assert!(
            in_image(&fs, "/opt/tool").contains(&"doc d 755".to_owned()),
            "{options}"
        );
    }
}

/// Zip files that Python writes as it is told, and what is said about them; and one that DOS made.
const WRITER: &str = "
import stat, struct, sys, zipfile
def write(name, members, patch=None):
    with zipfile.ZipFile(name, 'w', zipfile.ZIP_DEFLATED) as out:
        for member, content, mode, system in members:
            info = zipfile.ZipInfo(member)
            info.create_system = system
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, content)
    if patch:
        data = bytearray(open(name, 'rb').read())
        patch(data)
        open(name, 'wb').write(data)
def central(at, value, form):
    def patch(data):
        struct.pack_into(form, data, data.rindex(b'PK\\x01\\x02') + at, value)
    return patch
text = ('a', b'text' * 100, stat.S_IFREG | 0o644, 3)
write('dos.zip', [('a\\\\b', b'x', 0, 0), ('c/', b'', 0, 0)])
write('up.zip', [('../up', b'x', stat.S_IFREG, 3)])
write('device.zip', [('a', b'', stat.S_IFCHR | 0o600, 3)])
write('link.zip', [('a', b't' * 5000, stat.S_IFLNK, 3)])
write('encrypted.zip', [text], central(8, 1, '<H'))
write('method.zip', [text], central(10, 14, '<H'))
write('sum.zip', [text], central(16, 1, '<I'))
write('longer.zip', [text], central(24, 10, '<I'))
write('shorter.zip', [text], central(24, 10000, '<I'))
write('huge.zip', [text], central(24, 0xfffffff0, '<I'))
write('many.zip', [text], lambda data: struct.pack_into('<H', data, len(data) - 12, 60000))
";

#[test]
fn a_zip_file_that_is_wrong_is_refused() {
    if !need::tools(&["python3"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("write.py");
    std::fs::write(&script, WRITER).unwrap();
    run(
        "sh",
        [
            "-ec",
            &format!("cd {} && python3 write.py", arg(folder.path())),
        ],
    );
    let unpacked = |name: &str| unpack_zip(&folder.path().join(name), "strip_components = 0");
    let fs = unpacked("dos.zip").unwrap();
    assert_eq!(
        in_image(&fs, "/opt/tool"),
        ["a d 755", "a/b f 644 1", "c d 755"]
    );
    for (name, words) in [
        ("up.zip", "`..`"),
        ("device.zip", "neither a file nor a directory nor a link"),
        ("link.zip", "too long a target"),
        ("encrypted.zip", "a member is encrypted"),
        ("method.zip", "ompression method"),
        ("sum.zip", "hecksum"),
        ("longer.zip", "larger than its declared"),
        ("shorter.zip", "shorter than the archive says"),
        ("huge.zip", "shorter than the archive says"),
        ("many.zip", "a.zip"),
    ] {
        let error = unpacked(name).map(|_| ()).unwrap_err();
        assert!(error.contains(words), "{name}: {error}");
    }
    // Cut off anywhere, it is an error and no panic.
    let whole = std::fs::read(folder.path().join("dos.zip")).unwrap();
    for len in 4..whole.len() {
        let cut = folder.path().join("cut.zip");
        std::fs::write(&cut, &whole[..len]).unwrap();
        unpacked("cut.zip").map(|_| ()).unwrap_err();
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
