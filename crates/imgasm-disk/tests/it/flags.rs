//! What the flags of nodes forbid to root and hand down, and the limits of the VFS, beside the kernel.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use imgasm_block::{Delta, InPlace};
use imgasm_fs::path::ImagePath;
use imgasm_fs::posix::{self, Attributes};
use imgasm_fs::tree::{LastLink, Place, locate};
use imgasm_fs::{DeviceNumber, Error, FileSystem, NodeId, NodeKind, Result};
use imgasm_testkit::engine;
use imgasm_testkit::image::{Kind, set};
use imgasm_testkit::judge;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

/// Nodes with flags, and others beside them.
const SCENE: &str = "
for i in 1 2 3 4 5 6 7 8 9; do printf $i >plain$i; done
mkfifo pipe
printf content >fixed; printf content >growing
mkdir still log empty handing
printf 1 >still/there; printf 1 >log/there
chattr +dAS handing
chattr +i fixed still; chattr +a growing log empty";

/// The same with what only XFS has.
const SCENE_OF_XFS: &str = "
xfs_io -c 'extsize 64k' handing
mkdir project within
printf 1 >within/same; printf 1 >within/moved
xfs_io -c 'chproj 7' -c 'chattr +P' project
for i in within/same within/moved; do xfs_io -c 'chproj 7' $i; done";

/// Edits: what is done, to what, and with what. Each finds the scene as those before have left it.
const EDITS: &[&str] = &[
    "write fixed",
    "append fixed",
    "resize fixed 3",
    "chmod fixed",
    "chown fixed",
    "set fixed user.a",
    "link fixed plain-link",
    "rename fixed elsewhere",
    "remove fixed",
    "rename plain1 fixed",
    "write growing",
    "append growing",
    "resize growing 3",
    "resize growing 300",
    "chmod growing",
    "chown growing",
    "set growing user.a",
    "set growing trusted.a",
    "link growing growing-link",
    "rename growing elsewhere",
    "remove growing",
    "rename plain1 growing",
    "write still/there",
    "chmod still/there",
    "make still/new",
    "mkdir still/new",
    "fifo still/new",
    "symlink still/new",
    "link plain2 still/new",
    "rename plain2 still/new",
    "rename plain2 still/there",
    "rename still/there out",
    "remove still/there",
    "chmod still",
    "write log/there",
    "make log/new",
    "mkdir log/folder",
    "symlink log/symlink",
    "link plain3 log/link",
    "rename plain3 log/moved",
    "rename plain4 log/there",
    "rename log/there out",
    "remove log/there",
    "remove log/new",
    "remove empty",
    "rename empty out",
    "make handing/file",
    "mkdir handing/folder",
    "make handing/folder/file",
    "fifo handing/fifo",
    "symlink handing/symlink",
    "mknod device-0 511 262143",
    "mknod device-3 512 5",
    "mknod device-4 5 262144",
    "mknod device-1 4096 5",
    "mknod device-2 5 1048576",
    "long plain5 250",
    "long plain5 251",
    "set pipe user.a",
    "set pipe trusted.a",
    "set plain6 user.a",
    "large plain7 65537",
    "acl plain8 1000",
    "acl plain8 4294967295",
];

const EDITS_OF_XFS: &[&str] = &[
    "make project/new",
    "mkdir project/folder",
    "make project/folder/new",
    "link plain9 project/link",
    "rename plain9 project/moved",
    "rename handing project/moved",
    "link within/same project/link",
    "rename within/moved project/moved",
    "rename project/moved back",
    "link project/new again",
];

/// An access control list that names a user.
fn list(user: u32) -> Vec<u8> {
    let no_id = u32::MAX;
    let entries = [
        (1, 6, no_id),
        (2, 4, user),
        (4, 4, no_id),
        (16, 6, no_id),
        (32, 4, no_id),
    ];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(u16::to_le_bytes(tag));
        value.extend(u16::to_le_bytes(permissions));
        value.extend(u32::to_le_bytes(id));
    }
    value
}

/// The command that has the kernel do it.
fn for_kernel(edit: &str) -> String {
    let words: Vec<&str> = edit.split(' ').collect();
    let number = |word: usize| words[word].parse::<usize>().unwrap();
    match words[0] {
        "write" => format!("printf new >{}", words[1]),
        "append" => format!("printf new >>{}", words[1]),
        "resize" => format!("truncate -s {} {}", words[2], words[1]),
        "chmod" => format!("chmod 600 {}", words[1]),
        "chown" => format!("chown 5 {}", words[1]),
        "set" => format!("setfattr -n {} -v 1 {}", words[2], words[1]),
        "long" => format!(
            "setfattr -n user.{} -v 1 {}",
            "n".repeat(number(2)),
            words[1]
        ),
        "large" => format!(
            "perl -e 'exit !!syscall 188, $ARGV[0], \"user.v\", \"v\" x {0}, {0}, 0' {1}",
            words[2], words[1]
        ),
        "acl" => {
            let mut value = String::new();
            for byte in list(words[2].parse().unwrap()) {
                write!(value, "{byte:02x}").unwrap();
            }
            let set = "setfattr -n system.posix_acl_access";
            format!("{set} -v 0x{value} {}", words[1])
        }
        "link" => format!("ln {} {}", words[1], words[2]),
        // `mv` would copy.
        "rename" => format!(
            "perl -e 'exit !rename $ARGV[0], $ARGV[1]' {} {}",
            words[1], words[2]
        ),
        "remove" => format!("[ -d {0} ] && rmdir {0} || rm {0}", words[1]),
        "make" => format!("umask 022; : >{}", words[1]),
        "mkdir" => format!("umask 022; mkdir {}", words[1]),
        "fifo" => format!("umask 022; mkfifo {}", words[1]),
        "symlink" => format!("ln -s target {}", words[1]),
        "mknod" => format!("umask 022; mknod {} c {} {}", words[1], words[2], words[3]),
        other => panic!("{other}"),
    }
}

fn place(fs: &dyn FileSystem, path: &str) -> Place {
    let path = ImagePath::parse(format!("/{path}")).unwrap();
    locate(fs, &path, LastLink::Keep).unwrap()
}

fn by_engine(fs: &mut dyn FileSystem, edit: &str) -> Result<()> {
    let words: Vec<&str> = edit.split(' ').collect();
    let number = |word: usize| words[word].parse::<u32>().unwrap();
    let here = place(fs, words[1]);
    let node = here.node.unwrap_or(NodeId(0));
    let make = |fs: &mut dyn FileSystem, kind: NodeKind<'_>| {
        posix::create(fs, here.directory, here.name(), kind, Attributes::default()).map(drop)
    };
    let attributes = Attributes {
        permissions: (words[0] == "chmod").then_some(0o600),
        uid: (words[0] == "chown").then_some(5),
        gid: None,
    };
    match words[0] {
        "write" => posix::write_content(fs, node, 3, &mut &b"new"[..]),
        "append" => {
            let size = fs.metadata(node)?.size;
            posix::write_at(fs, node, size, b"new")
        }
        "resize" => posix::set_size(fs, node, number(2).into()),
        "chmod" | "chown" => posix::set_attributes(fs, node, attributes),
        "set" => posix::set_xattr(fs, node, words[2].as_bytes(), Some(b"1")).map(drop),
        "long" => {
            let name = format!("user.{}", "n".repeat(number(2) as usize));
            posix::set_xattr(fs, node, name.as_bytes(), Some(b"1")).map(drop)
        }
        "large" => {
            let value = vec![b'v'; number(2) as usize];
            posix::set_xattr(fs, node, b"user.v", Some(&value)).map(drop)
        }
        "acl" => {
            let (name, value) = (b"system.posix_acl_access", list(number(2)));
            posix::set_xattr(fs, node, name, Some(&value)).map(drop)
        }
        "link" => {
            let to = place(fs, words[2]);
            fs.link(node, to.directory, to.name())
        }
        "rename" => {
            let to = place(fs, words[2]);
            fs.rename(here.directory, here.name(), to.directory, to.name())
        }
        "remove" => fs.remove(here.directory, here.name()),
        "make" => make(fs, NodeKind::Regular),
        "mkdir" => make(fs, NodeKind::Directory),
        "fifo" => make(fs, NodeKind::Fifo),
        "symlink" => make(fs, NodeKind::Symlink(b"target")),
        "mknod" => make(
            fs,
            NodeKind::CharDevice(DeviceNumber {
                major: number(2),
                minor: number(3),
            }),
        ),
        other => panic!("{other}"),
    }
}

/// What the kernel shows of a mount: types, modes, owners, sizes, names, flags, attributes.
fn shown(mount: &Path, kind: Kind) -> String {
    let of_xfs = match kind {
        Kind::Xfs => {
            "find . -type f -o -type d | sort | xargs -n 1 xfs_io -r -c 'stat -v' \
             | grep -e path -e xflags -e projid -e extsize \
             | sed 's/= 0x[0-9a-f]*/=/; s/,* *has-xattr//'"
        }
        Kind::Ext => "",
    };
    let script = format!(
        "cd {} && find . ! -name lost+found -printf '%y %m %U %G %n %l %P\\n' | sort -k 7 \
         && find . -type f -printf '%s %P\\n' | sort -k 2 \
         && lsattr -aR . | sed 's/^..*-e-/-/' | sort -k 2; \
         getfattr -Rhd -m - . | sort; {of_xfs}",
        mount.display()
    );
    run("sh", ["-c", &script])
}

fn compare(kind: Kind, name: &str, scene: &str, edits: &[&str]) {
    if !need::mounts(kind.tools()) || !need::tools(&["chattr", "lsattr", "setfattr", "perl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    set(kind, name).unwrap().make(&ours);
    let mount = Mount::new(&ours, kind, Access::ReadWrite);
    let lay = format!("set -e; cd {}{scene}", mount.path().display());
    run("sh", ["-c", &lay]);
    mount.finish().unwrap();
    fs::copy(&ours, &theirs).unwrap();

    let mount = Mount::new(&theirs, kind, Access::ReadWrite);
    let allowed: Vec<bool> = edits
        .iter()
        .map(|edit| {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &for_kernel(edit)])
                .current_dir(mount.path());
            shell.output().unwrap().status.success()
        })
        .collect();
    mount.finish().unwrap();
    assert!(allowed.contains(&true) && allowed.contains(&false));

    let image = InPlace::open(&ours).unwrap();
    let delta = Arc::new(Delta::new(image.device().clone()));
    let mut filesystem = imgasm_disk::open_writable(delta.clone(), engine::OPTIONS).unwrap();
    let mut differing = Vec::new();
    for (edit, allowed) in edits.iter().zip(allowed) {
        let done = by_engine(&mut *filesystem, edit);
        assert!(
            !matches!(done, Err(Error::Spoilt { .. })),
            "before `{edit}`"
        );
        if done.is_ok() != allowed {
            differing.push(format!("{edit}: {done:?}"));
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
    filesystem.flush().unwrap();
    drop(filesystem);
    image.commit(&delta).unwrap();
    judge::check(&ours, kind).unwrap();

    let seen = [&ours, &theirs].map(|image| {
        let mount = Mount::new(image, kind, Access::ReadOnly);
        let seen = shown(mount.path(), kind).replace(mount.path().to_str().unwrap(), "");
        mount.finish().unwrap();
        seen
    });
    for (ours, theirs) in seen[0].lines().zip(seen[1].lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(seen[0].len(), seen[1].len());
}

#[test]
fn on_ext4() {
    compare(Kind::Ext, "debian12", SCENE, EDITS);
}

#[test]
fn on_xfs() {
    let scene = format!("{SCENE}{SCENE_OF_XFS}");
    let edits = [EDITS, EDITS_OF_XFS].concat();
    for name in ["al2023", "al2"] {
        compare(Kind::Xfs, name, &scene, &edits);
    }
}
