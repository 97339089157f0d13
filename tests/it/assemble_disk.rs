//! A disk of any layout, from a root filesystem in a tar file: what GNU tar packed is what the kernel
//! shows.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Output;

use imgasm_testkit::images::arg;
use imgasm_testkit::mount::{Loop, Mounted};
use imgasm_testkit::need;
use imgasm_testkit::tools::run;
use tar::EntryType;

use crate::assemble::extract;
use crate::support::example;

const DISK: &str = r#"
name = "disk"
base = { rootfs = "root.tar.zst", size = "2 GiB" }

[[disk.partition]]
number = 127
type = "bios-boot"
size = "1 MiB"

[[disk.partition]]
number = 128
type = "efi"
size = "34 MiB"
filesystem = "vfat"
label = "EFI"
mount = "/boot/efi"

[[disk.partition]]
number = 2
filesystem = "swap"
size = "64 MiB"

[[disk.partition]]
number = 1
type = "root-x86-64"
filesystem = "xfs"
label = "root"
mount = "/"

[[disk.partition]]
number = 3
filesystem = "ext4"
label = "var"
mount = "/var"
options = "defaults,nodev"
size = "200 MiB"
"#;

fn imgasm(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = example::imgasm();
    command.args(arguments).current_dir(dir);
    command.env("IMGASM_CACHE", dir.join("cache"));
    command.output().unwrap()
}

fn sh(dir: &Path, script: &str) {
    run("sh", ["-ec", &format!("cd {}\n{script}", arg(dir))]);
}

/// A root with all that a tar file can hold.
fn make_root(root: &Path) {
    for folder in [
        "etc",
        "boot/efi/EFI/BOOT",
        "boot/grub/i386-pc",
        "dev",
        "usr/bin",
        "var/log",
        "var/empty",
        "root",
    ] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let write = |path: &str, content: &[u8]| fs::write(root.join(path), content).unwrap();
    write("etc/fstab", b"LABEL=root / xfs defaults 0 0\n");
    write("etc/passwd", b"root:x:0:0::/root:/bin/sh\n");
    write("boot/efi/EFI/BOOT/BOOTX64.EFI", b"MZ loader");
    write("var/log/lastlog", b"");
    write("usr/bin/tool", &b"#!/bin/sh\n".repeat(50_000));
    let name = "long".repeat(60);
    write(&format!("usr/bin/{name}"), b"a long name");
    symlink(format!("/usr/bin/{name}"), root.join("usr/bin/short")).unwrap();
    fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/alias")).unwrap();
    // GRUB's first stages, as large as they are and with recognisable bytes.
    write("boot/grub/i386-pc/boot.img", &[0xB0; 512]);
    write("boot/grub/i386-pc/core.img", &vec![0xC0; 40_000]);
    sh(
        root,
        "mknod dev/null c 1 3; mknod dev/loop0 b 7 0; mkfifo dev/initctl; ln -s bin usr/sbin
         chmod 666 dev/null; chmod 4755 usr/bin/tool; chmod 1777 var/empty; chmod 750 .
         chown 12:100000 usr/bin/tool; chown 4294967290:7 var/log; chown -h 5:6 usr/bin/short
         setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 usr/bin/tool
         setfattr -n user.note -v value var/log/lastlog
         setfattr -n user.a=%25 -v 1 etc/passwd
         setfattr -n security.selinux -v system_u:object_r:etc_t:s0 etc
         setfattr -n security.selinux -v system_u:object_r:boot_t:s0 boot/efi
         truncate -s 30M var/log/lastlog; printf end >>var/log/lastlog",
    );
}

const PACK: &str = "tar --xattrs --xattrs-include='*' --numeric-owner --sparse";

/// A tree as GNU tar sees it, except what a build changes.
fn packed(root: &Path) -> String {
    let pack = "tar --xattrs --xattrs-include=* --numeric-owner --sort=name --mtime=@0 \
                --pax-option=delete=atime,delete=ctime --exclude=./etc/fstab \
                --exclude=./boot/efi/* --exclude=./var/lost+found -c . | sha256sum";
    run("sh", ["-c", &format!("cd {} && {pack}", arg(root))])
}

#[test]
fn a_tar_file_becomes_a_disk_with_the_same_tree() {
    let tools = [
        "sgdisk",
        "e2fsck",
        "xfs_repair",
        "fsck.vfat",
        "mtype",
        "setfattr",
        "zstd",
        "swaplabel",
    ];
    if !need::mounts(&tools) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let root = dir.join("root");
    make_root(&root);
    sh(&root, &format!("{PACK} -c . | zstd -q >../root.tar.zst"));
    let sum = run("sha256sum", [arg(&dir.join("root.tar.zst"))]);
    let pinned = format!("sha256 = \"{}\", size", &sum[..64]);
    fs::write(
        dir.join("imgasm.toml"),
        DISK.replace("size = \"2 GiB\"", &format!("{pinned} = \"2 GiB\"")),
    )
    .unwrap();
    let build = |out: &str| {
        let output = imgasm(dir, &["build", "-o", out]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        fs::read(dir.join(out).join("manifest.json")).unwrap()
    };
    let manifest = build("out");
    assert_eq!(manifest, build("again"));
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["base"]["sha256"], &sum[..64]);

    let image = dir.join("out/disk.raw");
    let verdict = run("sgdisk", ["--verify", arg(&image)]);
    assert!(verdict.contains("No problems found"), "{verdict}");
    let table = run("sgdisk", ["--print", arg(&image)]);
    let numbers = table.lines().rev().take(5);
    let mut numbers: Vec<_> = numbers
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["1", "127", "128", "2", "3"]);
    let part = |number: u32| {
        let path = dir.join(format!("part{number}"));
        extract(&image, number, &path);
        path
    };
    let (xfs, swap, var, efi) = (part(1), part(2), part(3), part(128));
    run("xfs_repair", ["-n", arg(&xfs)]);
    run("e2fsck", ["-fn", arg(&var)]);
    run("fsck.vfat", ["-n", arg(&efi)]);
    assert!(run("swaplabel", [arg(&swap)]).contains("UUID"));
    let loader = run("mtype", ["-i", arg(&efi), "::EFI/BOOT/BOOTX64.EFI"]);
    assert_eq!(loader, "MZ loader");
    {
        let outer = Loop::attach(&xfs, &["--read-only"]);
        let mount = Mounted::new(outer.path(), &dir.join("mnt"), "ro,norecovery");
        let inner = Loop::attach(&var, &["--read-only"]);
        let _below = Mounted::new(inner.path(), &mount.path().join("var"), "ro");
        assert_eq!(packed(mount.path()), packed(&root));
        let fstab = fs::read_to_string(mount.path().join("etc/fstab")).unwrap();
        let lines: Vec<Vec<&str>> = fstab
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], ["LABEL=root", "/", "xfs", "defaults", "0", "0"]);
        assert_eq!(
            lines[1],
            ["LABEL=EFI", "/boot/efi", "vfat", "umask=0077", "0", "2"]
        );
        assert_eq!(lines[2][1..], ["none", "swap", "defaults", "0", "0"]);
        assert!(
            run("swaplabel", [arg(&swap)]).contains(lines[2][0].strip_prefix("UUID=").unwrap())
        );
        assert_eq!(
            lines[3],
            ["LABEL=var", "/var", "ext4", "defaults,nodev", "0", "2"]
        );
        assert_eq!(lines.len(), 4);
    }
    // GRUB's first stages, and where each finds the next.
    let disk = fs::read(&image).unwrap();
    assert_eq!(disk[..0x5c], [0xB0; 0x5c]);
    assert_eq!(disk[0x5c..0x64], 2048_u64.to_le_bytes());
    assert_eq!(disk[510..512], [0x55, 0xAA]);
    assert_eq!(disk[0x10_0000..0x10_01f4], [0xC0; 0x1f4]);
    assert_eq!(disk[0x10_01f4..0x10_01fc], 2049_u64.to_le_bytes());
}

#[test]
fn every_packing_and_the_usual_layout() {
    if !need::mounts(&["gzip", "xz", "bzip2", "zstd", "xfs_repair"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    fs::create_dir_all(dir.join("root/etc")).unwrap();
    fs::write(dir.join("root/etc/hostname"), "web\n").unwrap();
    fs::set_permissions(dir.join("root"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut digests = Vec::new();
    for (packer, format) in [
        ("cat", "gnu"),
        ("gzip", "ustar"),
        ("xz", "pax"),
        ("bzip2", "v7"),
        ("zstd", "posix"),
    ] {
        sh(
            &dir.join("root"),
            &format!("tar --owner=0 --group=0 --format={format} -c . | {packer} >../root.tar"),
        );
        let recipe =
            "name = 'x'\nbase = { rootfs = 'root.tar', filesystem = 'xfs', size = '512 MiB' }\n";
        fs::write(dir.join("imgasm.toml"), recipe).unwrap();
        let output = imgasm(dir, &["build", "--force"]);
        assert!(
            output.status.success(),
            "{packer}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        digests.push(run("sha256sum", [arg(&dir.join("out/x.raw"))]));
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "{digests:?}");
    let partition = dir.join("part");
    extract(&dir.join("out/x.raw"), 1, &partition);
    run("xfs_repair", ["-n", arg(&partition)]);
}

/// Builds a recipe that cannot be used: status 2, the words, and nothing written.
fn refuse(dir: &Path, recipe: &str, words: &str) {
    fs::write(dir.join("imgasm.toml"), format!("name = 'x'\n{recipe}")).unwrap();
    let output = imgasm(dir, &["build"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{recipe}: {said}");
    assert!(said.contains(words), "{recipe}: {said}");
    assert!(!dir.join("out").exists(), "{recipe}");
}

#[test]
fn layouts_that_cannot_be_made_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    fs::create_dir_all(dir.join("root")).unwrap();
    let base = "base = { rootfs = 'root' }\n";
    let root = "[[disk.partition]]\nfilesystem = 'ext4'\nmount = '/'\n";
    let next = "[[disk.partition]]\n";
    let digest = "0".repeat(64);
    for (recipe, words) in [
        (
            "base = { rootfs = 'root', filesystem = 'swap' }".to_owned(),
            "is `ext4` or `xfs`",
        ),
        (
            format!("base = {{ rootfs = 'root', filesystem = 'xfs' }}\n{root}"),
            "`[disk]` says which",
        ),
        (
            format!("base = {{ file = 'root' }}\n{root}"),
            "are for a `rootfs`",
        ),
        (format!("{base}[disk]\n"), "partition"),
        (
            format!("{base}{next}size = '1 MiB'\n"),
            "one partition must have `mount = \"/\"`",
        ),
        (
            "base = { rootfs = 'root', size = '8 MiB' }".to_owned(),
            "too small",
        ),
        (
            format!("base = {{ rootfs = 'root', sha256 = '{digest}' }}"),
            "this `rootfs` is a folder",
        ),
    ] {
        refuse(dir, &recipe, words);
    }
    for (more, words) in [
        (
            "[[disk.partition]]\nfilesystem = 'xfs'\nmount = '/'\nsize = '1 GiB'\n",
            "are both /",
        ),
        (
            "[[disk.partition]]\nfilesystem = 'xfs'\nmount = '/var'\n",
            "only one partition can do without",
        ),
        ("number = 129\n", "from 1 to 128"),
        (
            "number = 2\n[[disk.partition]]\nsize = '1 MiB'\n",
            "two partitions have the number 2",
        ),
        ("size = '1234567 B'\n", "no multiple of 1 MiB"),
        ("type = 'root'\n", "`bios-boot`"),
        ("label = 'more than sixteen bytes'\n", "is not a label"),
        ("label = 'more-than-sixteen-bytes'\n", "16 at most"),
        (
            "[[disk.partition]]\nsize = '1 MiB'\nmount = '/var'\n",
            "need a `filesystem`",
        ),
        (
            "[[disk.partition]]\nsize = '64 MiB'\nfilesystem = 'swap'\nmount = '/var'\n",
            "makes no sense",
        ),
        (
            "[[disk.partition]]\nsize = '1 MiB'\nfilesystem = 'xfs'\nmount = '/var'\n",
            "filesystem of partition 2",
        ),
    ] {
        refuse(dir, &format!("{base}{root}{more}"), words);
    }
}

/// Members of a tar file: type, name, and target of a link.
type Members<'a> = &'a [(EntryType, &'a [u8], &'a str)];

fn write_tar(path: &Path, members: Members<'_>) {
    let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
    for (kind, name, target) in members {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        if !target.is_empty() {
            header.set_link_name(target).unwrap();
        }
        header.set_cksum();
        builder.append(&header, &b""[..]).unwrap();
    }
    builder.into_inner().unwrap();
}

#[test]
fn archives_that_contradict_themselves_are_refused() {
    use EntryType::{Directory, Link, Regular, Symlink};

    let folder = tempfile::tempdir().unwrap();
    let (dir, archive) = (folder.path(), folder.path().join("root.tar"));
    let recipe = "base = { rootfs = 'root.tar' }\n";
    fs::write(&archive, "no archive").unwrap();
    refuse(dir, recipe, "no tar file");
    let cases: [(Members<'_>, &str); 6] = [
        (&[(Regular, b"../../etc/passwd", "")], ".."),
        (&[(Link, b"b", "a")], "does not come before it"),
        (
            &[(Regular, b"a", ""), (Regular, b"a/b", "")],
            "not a directory",
        ),
        (
            &[(Symlink, b"a", "/etc"), (Regular, b"a/passwd", "")],
            "not a directory",
        ),
        (
            &[(Directory, b"a/", ""), (Regular, b"a", "")],
            "was a directory before",
        ),
        (
            &[(Regular, b"a", ""), (Link, b"b", "a"), (Regular, b"a", "")],
            "comes again",
        ),
    ];
    for (members, words) in cases {
        write_tar(&archive, members);
        refuse(dir, recipe, words);
    }
    sh(
        dir,
        "head -c 100000 /dev/zero >big; tar -cf root.tar big; truncate -s 50000 root.tar",
    );
    refuse(dir, recipe, "root.tar");
    let digest = "0".repeat(64);
    let pinned = format!("base = {{ rootfs = 'root.tar', sha256 = '{digest}' }}");
    sh(dir, "tar -cf root.tar big");
    refuse(dir, &pinned, "but 0000");
    // Holes are not read, and there is an end to them.
    sh(
        dir,
        "truncate -s 15T big; tar --sparse -cf root.tar big; truncate -s 0 big",
    );
    refuse(dir, recipe, "more than");
    sh(dir, "truncate -s 12G big; tar --sparse -cf root.tar big");
    refuse(dir, recipe, "too small");
    // What goes into a volume is a folder, the digest of which is in the recipe's.
    fs::create_dir(dir.join("root")).unwrap();
    let volume = "[[volume]]\ndevice_name = '/dev/xvdb'\nvolume_size = 1\nfilesystem = 'ext4'\n\
                  label = 'x'\nfiles = 'root.tar'\n";
    refuse(
        dir,
        &format!("base = {{ rootfs = 'root' }}\n{volume}"),
        "root.tar",
    );
}
