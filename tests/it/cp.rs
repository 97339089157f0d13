//! `imgasm cp`, against what the kernel shows of the same image.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Output;

use imgasm_testkit::image::{Kind, sets};
use imgasm_testkit::images::arg;
use imgasm_testkit::judge;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

use crate::support::example::imgasm;

fn cp(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = imgasm();
    command.arg("cp").args(arguments).current_dir(folder);
    command.output().unwrap()
}

#[track_caller]
fn done(folder: &Path, arguments: &[&str]) {
    let output = cp(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// It ends with status 2 and these words.
#[track_caller]
fn refused(folder: &Path, arguments: &[&str], words: &str) {
    let output = cp(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(said.contains(words), "{arguments:?}: {said}");
}

/// Names, types, modes, sizes, link targets and contents of a tree.
fn listed(root: &Path) -> String {
    let script = format!(
        "cd {} && find . -printf '%p %y %m %l\\n' | LC_ALL=C sort && \
         find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum",
        arg(root)
    );
    run("sh", ["-c", &script])
}

const TREE: &str = "umask 022; mkdir -p tree/deep/locked && cd tree && printf x >plain && chmod 640 plain \
     && cp /bin/true run && chmod 755 run && ln -s ../nowhere link && ln plain deep/again \
     && truncate -s 30M holes && printf middle | dd of=holes bs=1M seek=20 conv=notrunc status=none \
     && printf y >deep/locked/file && chmod 555 deep/locked && touch empty";

#[test]
fn a_tree_is_the_same_inside_and_comes_out_the_same() {
    if !need::mounts(&["mke2fs", "mkfs.xfs"]) {
        return;
    }
    for set in sets(Kind::Ext).take(1).chain(sets(Kind::Xfs).take(1)) {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path();
        set.make(&dir.join("image"));
        run("sh", ["-ec", &format!("cd {}; {TREE}", arg(dir))]);
        done(dir, &["-r", "tree", "image:/one"]);
        done(dir, &["-r", "tree", "image:/one/deep"]);
        let before = fs::read(dir.join("image")).unwrap();
        done(dir, &["-r", "tree", "image:/one/deep"]);
        assert!(
            before == fs::read(dir.join("image")).unwrap(),
            "nothing new"
        );
        done(dir, &["-r", "image:/one/deep/tree", "out"]);
        done(dir, &["image:/one/run", "."]);

        let expected = listed(&dir.join("tree"));
        assert_eq!(listed(&dir.join("out")), expected, "{}", set.name);
        let out = |name: &str| fs::metadata(dir.join("out").join(name)).unwrap();
        assert!(out("holes").blocks() < 8192, "holes stay holes");
        assert_eq!(
            fs::metadata(dir.join("run")).unwrap().mode() & 0o7777,
            0o755
        );
        let mount = Mount::new(&dir.join("image"), set.kind, Access::ReadOnly);
        assert_eq!(listed(&mount.path().join("one/deep/tree")), expected);
        let owners = format!("find {}/one ! -uid 0 -o ! -gid 0", arg(mount.path()));
        assert_eq!(run("sh", ["-c", &owners]), "");
        mount.finish().unwrap();
        judge::check(&dir.join("image"), set.kind).unwrap_or_else(|said| panic!("{said}"));
    }
}

#[test]
fn what_is_there_stays_and_nothing_is_half_done() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let script = "mkdir -p root/etc root/dir && echo in >root/etc/a && chmod 4755 root/etc/a \
                  && truncate -s 8M image && mke2fs -q -t ext4 -d root image && echo here >there \
                  && mkdir folder && mkfifo folder/pipe && echo b >folder/b";
    run("sh", ["-ec", &format!("cd {}; {script}", arg(dir))]);
    let before = fs::read(dir.join("image")).unwrap();
    refused(dir, &["image:/etc/a", "there"], "--force");
    refused(dir, &["image:/etc", "new"], "-r");
    refused(
        dir,
        &["-r", "image:/etc", "root"],
        "a folder is not replaced",
    );
    refused(dir, &["-r", "--force", "image:/etc", "there"], "there");
    refused(dir, &["image:/etc/b", "new"], "/etc/b");
    refused(dir, &["there", "new"], "IMAGE:/PATH");
    refused(dir, &["image:/a", "image:/b"], "IMAGE:/PATH");
    refused(dir, &["there", "image:/no/there"], "/no");
    refused(dir, &["folder", "image:/etc"], "is a directory");
    refused(dir, &["-r", "folder", "image:/etc"], "folder/pipe");
    refused(dir, &["absent", "image:/etc"], "absent");
    assert_eq!(fs::read(dir.join("there")).unwrap(), b"here\n");
    assert!(before == fs::read(dir.join("image")).unwrap());
    run("gzip", ["-kn", arg(&dir.join("image"))]);
    refused(
        dir,
        &["there", "image.gz:/etc/b"],
        "is gzip, and only raw images are changed",
    );
    fs::remove_file(dir.join("image.gz")).unwrap();
    let names = run("ls", ["-A", arg(dir)]);
    assert_eq!(names, "folder\nimage\nroot\nthere\n");

    let umask = format!(
        "cd {}; umask 077; {} cp image:/etc/a new",
        arg(dir),
        imgasm().get_program().to_str().unwrap()
    );
    run("sh", ["-ec", &umask]);
    let mode = fs::metadata(dir.join("new")).unwrap().permissions().mode();
    assert_eq!(
        mode & 0o7777,
        0o700,
        "without set-ID bits, and as the umask says"
    );
    done(dir, &["--force", "image:/etc/a", "there"]);
    assert_eq!(fs::read(dir.join("there")).unwrap(), b"in\n");
}
