//! `imgasm tar` and `imgasm find`, against GNU tar and find on a mount of the same image.

use std::fs::{self, File};
use std::path::Path;

use imgasm_testkit::image::{Kind, Set, sets};
use imgasm_testkit::images::arg;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

use crate::support::example::imgasm;

/// A tree as GNU tar sees it. XFS shows access control lists twice.
fn packed(root: &Path) -> String {
    let pack = "tar --xattrs --xattrs-include=* --xattrs-exclude=trusted.SGI_ACL_* \
                --numeric-owner --sort=name --format=pax \
                --pax-option=delete=atime,delete=ctime,delete=mtime --mtime=@0 -c . | sha256sum";
    run("sh", ["-c", &format!("cd {} && {pack}", arg(root))])
}

fn imgasm_to(file: &Path, arguments: &[&str]) {
    let status = imgasm()
        .args(arguments)
        .stdout(File::create(file).unwrap())
        .status()
        .unwrap();
    assert!(status.success(), "{arguments:?}");
}

#[test]
fn what_it_packs_is_what_the_kernel_shows() {
    if !need::mounts(&["tar", "setfattr", "setfacl", "mke2fs", "mkfs.xfs"]) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let sets = sets(Kind::Ext).take(1).chain(sets(Kind::Xfs).take(1));
    for set in sets.chain(sets_with_small_blocks()) {
        let image = dir.join("image");
        set.make(&image);
        let mount = Mount::new(&image, set.kind, Access::ReadWrite);
        let more = format!(
            "cd {} && mkdir -p ours/deep && cd ours && printf x >deep/{} && ln deep/{} again && mkfifo pipe && mknod null c 1 3 \
             && truncate -s 40M holes && printf middle | dd of=holes bs=1M seek=20 conv=notrunc status=none \
             && truncate -s 9M hole && chown 4000000000:3000000 hole && ln -s {} link \
             && setfattr -n user.a -v 0x00ff0a3d hole && printf 1 >odd && setfattr -n user.a=%25 -v 1 odd && touch -d '1960-01-01' old && setfacl -m u:1000:rw old \
             && setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 again \
             && mkdir -p plain/next && cp /bin/true plain/next/run && chmod 4711 plain/next/run \
             && ln -s run plain/next/name && chown 4000000000 plain/next/name -h",
            arg(mount.path()),
            "n".repeat(200),
            "n".repeat(200),
            "t".repeat(300)
        );
        run("sh", ["-ec", &more]);
        mount.finish().unwrap();

        let archive = dir.join("image.tar");
        imgasm_to(&archive, &["tar", arg(&image)]);
        let again = dir.join("again.tar");
        imgasm_to(&again, &["tar", arg(&image), "/"]);
        assert_eq!(fs::read(&archive).unwrap(), fs::read(&again).unwrap());
        assert!(
            fs::metadata(&archive).unwrap().len() < 40 << 20,
            "holes are not stored"
        );
        let unpacked = dir.join("unpacked");
        fs::create_dir(&unpacked).unwrap();
        run(
            "tar",
            [
                "--xattrs",
                "--xattrs-include=*",
                "--numeric-owner",
                "-xpf",
                arg(&archive),
                "-C",
                arg(&unpacked),
            ],
        );
        let found = |ours: &[&str]| {
            let output = imgasm()
                .args(["find", arg(&image), "/ours/plain"])
                .args(ours)
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let mut lines: Vec<_> = text
                .lines()
                .filter(|line| *line != "/ours/plain")
                .map(str::to_owned)
                .collect();
            lines.sort_unstable();
            lines
        };
        let asked: [(&[&str], &str); 4] = [
            (&["--type", "symlink"], "-type l"),
            (&["--name", "n*"], "-name 'n*'"),
            (&["--mode", "4111", "--type", "file"], "-perm -4111 -type f"),
            (&["--owner", "4000000000"], "-uid 4000000000"),
        ];
        // XFS writes its log even on a read-only mount, so imgasm goes first.
        let answers = asked.map(|(ours, theirs)| (found(ours), theirs));
        let mount = Mount::new(&image, set.kind, Access::ReadOnly);
        assert_eq!(packed(&unpacked), packed(mount.path()), "{}", set.name);
        let listed = |root: &Path, options: &str| {
            let script = format!(
                "cd {} && find ./ours/plain -mindepth 1 {options} | cut -c 2- | LC_ALL=C sort",
                arg(root)
            );
            run("sh", ["-c", &script])
        };
        for (ours, theirs) in answers {
            assert!(!ours.is_empty());
            assert_eq!(
                ours,
                listed(mount.path(), theirs).lines().collect::<Vec<_>>()
            );
        }
        mount.finish().unwrap();
        fs::remove_dir_all(&unpacked).unwrap();
    }
}

fn sets_with_small_blocks() -> impl Iterator<Item = &'static Set> {
    sets(Kind::Ext).filter(|set| set.name == "1k-al1")
}

#[test]
fn an_archive_of_an_image_makes_that_image_again() {
    if !need::tools(&["tar"]) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    run(
        "sh",
        [
            "-ec",
            &format!(
                "cd {} && mkdir -p root/etc root/usr/bin && echo a >root/etc/a && tar -cf a.tar -C root .",
                arg(dir)
            ),
        ],
    );
    let recipe = "name = 'x'\nbase = { rootfs = 'a.tar', size = '64 MiB' }\n";
    fs::write(dir.join("imgasm.toml"), recipe).unwrap();
    let build = || {
        let output = imgasm()
            .args(["build", "--force"])
            .current_dir(dir)
            .env("IMGASM_CACHE", dir.join("cache"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::read(dir.join("out/x.raw")).unwrap()
    };
    let first = build();
    imgasm_to(&dir.join("b.tar"), &["tar", arg(&dir.join("out/x.raw"))]);
    // Without the directory that every fresh ext4 has.
    run(
        "sh",
        [
            "-ec",
            &format!(
                "cd {} && tar --delete -f b.tar ./lost+found/ && mv b.tar a.tar",
                arg(dir)
            ),
        ],
    );
    assert!(first == build());
}

#[test]
fn names_begin_where_the_archive_does() {
    if !need::tools(&["tar", "mke2fs"]) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    run(
        "sh",
        [
            "-ec",
            &format!(
                "cd {} && mkdir -p root/a/b && echo c >root/a/b/c && truncate -s 8M image \
                 && mke2fs -q -t ext4 -d root image",
                arg(dir)
            ),
        ],
    );
    for (path, names) in [
        ("/a", "./\n./b/\n./b/c\n"),
        ("/a/b/c", "./c\n"),
        ("/", "./\n./a/\n./a/b/\n./a/b/c\n./lost+found/\n"),
    ] {
        let archive = dir.join("out.tar");
        imgasm_to(&archive, &["tar", arg(&dir.join("image")), path]);
        assert_eq!(run("tar", ["-tf", arg(&archive)]), names, "{path}");
    }
}

#[test]
fn what_is_not_found_is_status_1_and_what_cannot_be_asked_is_2() {
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("image");
    imgasm_testkit::images::sparse(&image, 8 << 20);
    if !need::tools(&["mke2fs"]) {
        return;
    }
    run("mke2fs", ["-q", "-t", "ext4", arg(&image)]);
    let status = |arguments: &[&str]| {
        let mut command = imgasm();
        command
            .args(["find", arg(&image)])
            .args(arguments)
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(status(&["--name", "lost*"]), Some(0));
    assert_eq!(status(&["--name", "nothing"]), Some(1));
    for wrong in [
        &["--name", "a/b"][..],
        &["--type", "door"],
        &["--mode", "9"],
        &["--owner", "nobody"],
        &["/none"],
    ] {
        assert_eq!(status(wrong), Some(2), "{wrong:?}");
    }
}
