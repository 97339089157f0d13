//! Features that concern single files: other files can be changed beside those.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use imgasm_block::FileDevice;
use imgasm_ext4::Ext4;
use imgasm_fs::{Error, FileSystem, FileType, MetadataChange, NewNode, NodeKind};
use imgasm_testkit::command::{run, succeeded};
use imgasm_testkit::image::Kind;
use imgasm_testkit::judge;

use super::image::{Image, create, lookup, pattern};

const MIB: u64 = 1 << 20;

fn debugfs(image: &Path, request: &str) -> String {
    let output = succeeded(
        Command::new("debugfs")
            .args(["-w", "-R", request])
            .arg(image),
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Quotas are right after each flush: `e2fsck -fn` counts them, too, and would say so.
#[test]
fn quotas_are_counted_anew() {
    let types = "quotatype=usrquota:grpquota:prjquota";
    let args = [
        "-t",
        "ext4",
        "-O",
        "quota,project",
        "-E",
        types,
        "-I",
        "256",
    ];
    let Some(image) = Image::new(64 * MIB, &args) else {
        return;
    };
    let owner = |uid, gid| MetadataChange {
        uid: Some(uid),
        gid: Some(gid),
        ..MetadataChange::default()
    };
    image.edit(|fs| {
        let root = fs.root();
        for n in 0..60_u32 {
            let node = create(fs, root, &format!("file-{n}"), NodeKind::Regular);
            let content = pattern(usize::try_from(n).expect("small") * 700, 3);
            let len = u64::try_from(content.len()).expect("small");
            fs.write_content(node, len, &mut content.as_slice())
                .expect("room");
            let (uid, gid) = (
                n * 7 % 23 * 100_003,
                if n % 3 == 0 { u32::MAX - 1 } else { n },
            );
            fs.set_metadata(node, &owner(uid, gid)).expect("any owner");
        }
        create(fs, root, "folder", NodeKind::Directory);
        create(fs, root, "link", NodeKind::Symlink(b"file-1"));
        create(fs, root, "pipe", NodeKind::Fifo);
    });
    image.edit(|fs| {
        let root = fs.root();
        for n in 0..50 {
            fs.remove(root, format!("file-{n}").as_bytes())
                .expect("it is there");
        }
        let node = lookup(fs, "file-55");
        fs.set_size(node, 100_000_000).expect("a hole");
        fs.write_at(node, 50_000_000, &[1; 5000]).expect("room");
        fs.set_metadata(node, &owner(12, 13)).expect("any owner");
    });
    image.edit(|fs| {
        let root = fs.root();
        let node = create(fs, root, "one more", NodeKind::Regular);
        fs.set_metadata(node, &owner(4_000_000_000, 0))
            .expect("any owner");
    });
}

/// The flags and the project of an inode, as debugfs shows them.
fn flags_and_project(image: &Path, path: &str) -> (String, String) {
    let text = debugfs(image, &format!("stat {path}"));
    let value = |key: &str| {
        let rest = text
            .split(key)
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        rest.unwrap_or_else(|| panic!("{key}: {text}")).to_owned()
    };
    (value("Flags: "), value("Project:"))
}

const KINDS: [(&str, NodeKind<'_>); 3] = [
    ("directory", NodeKind::Directory),
    ("file", NodeKind::Regular),
    ("link", NodeKind::Symlink(b"x")),
];

/// PROJINHERIT, NOATIME, NODUMP, DIRSYNC beside EXTENTS.
const PASSED_ON: &str = "set_inode_field /passes-on flags 0x200900c0";

#[test]
fn new_files_have_the_flags_that_the_kernel_gives_them() {
    let Some(image) = Image::new(32 * MIB, &["-t", "ext4", "-O", "^metadata_csum"]) else {
        return;
    };
    image.kernel(|root| std::fs::create_dir(root.join("passes-on")).expect("room"));
    debugfs(&image.path, PASSED_ON);
    image.kernel(|root| {
        let folder = root.join("passes-on");
        std::fs::create_dir(folder.join("kernel-directory")).expect("room");
        std::fs::write(folder.join("kernel-file"), b"").expect("room");
        symlink("x", folder.join("kernel-link")).expect("room");
    });
    image.edit(|fs| {
        let folder = lookup(fs, "passes-on");
        for (name, kind) in KINDS {
            create(fs, folder, &format!("engine-{name}"), kind);
        }
    });
    for (name, _) in KINDS {
        let [ours, theirs] = ["engine", "kernel"]
            .map(|who| flags_and_project(&image.path, &format!("/passes-on/{who}-{name}")));
        assert_eq!(ours, theirs, "{name}");
    }
}

/// A kernel that mounts this feature is not always there; what it does is in `__ext4_new_inode`.
#[test]
fn new_files_belong_to_the_project_of_their_directory() {
    let args = ["-t", "ext4", "-O", "project,^metadata_csum", "-I", "256"];
    let Some(image) = Image::new(32 * MIB, &args) else {
        return;
    };
    image.edit(|fs| {
        let root = fs.root();
        create(fs, root, "passes-on", NodeKind::Directory);
    });
    debugfs(&image.path, PASSED_ON);
    debugfs(&image.path, "set_inode_field /passes-on projid 77");
    image.edit(|fs| {
        let folder = lookup(fs, "passes-on");
        for (name, kind) in KINDS {
            create(fs, folder, name, kind);
        }
    });
    for (name, _) in KINDS {
        let (_, project) = flags_and_project(&image.path, &format!("/passes-on/{name}"));
        assert_eq!(project, "77", "{name}");
    }
}

#[test]
fn content_in_the_inode_moves_to_blocks_when_it_changes() {
    for block_size in ["1024", "4096"] {
        let args = [
            "-t",
            "ext4",
            "-O",
            "inline_data",
            "-b",
            block_size,
            "-I",
            "256",
        ];
        let Some(image) = Image::new(32 * MIB, &args) else {
            return;
        };
        image.kernel(|root| {
            for n in 0..12_usize {
                std::fs::write(root.join(format!("file-{n}")), pattern(n * 13, 1)).expect("room");
                let folder = root.join(format!("folder-{n}"));
                std::fs::create_dir(&folder).expect("room");
                for m in 0..n {
                    std::fs::write(folder.join(format!("in-{m}")), b"inside").expect("room");
                }
            }
            symlink("x".repeat(100), root.join("long-link")).expect("room");
            symlink("short", root.join("short-link")).expect("room");
        });
        image.compare();
        image.edit(|fs| {
            let root = fs.root();
            let name = |n: usize| format!("file-{n}");
            fs.write_content(lookup(fs, &name(1)), 3, &mut &b"new"[..])
                .expect("room");
            fs.write_at(lookup(fs, &name(5)), 10, b"in between")
                .expect("room");
            fs.write_at(lookup(fs, &name(6)), 5000, b"behind")
                .expect("room");
            fs.set_size(lookup(fs, &name(7)), 20).expect("shorter");
            fs.set_size(lookup(fs, &name(8)), 20_000).expect("longer");
            fs.set_xattr(lookup(fs, &name(9)), b"user.one", Some(&[7; 60]))
                .expect("room");
            fs.set_xattr(lookup(fs, &name(10)), b"user.two", Some(&[8; 600]))
                .expect("room");
            fs.remove(root, b"file-11").expect("it is there");
            fs.remove(root, b"file-2").expect("it is there");
            fs.remove(root, b"long-link").expect("it is there");
            fs.remove(root, b"short-link").expect("it is there");

            let folder = lookup(fs, "folder-4");
            create(
                fs,
                folder,
                "a rather long name that is new",
                NodeKind::Directory,
            );
            let folder = lookup(fs, "folder-5");
            fs.remove(folder, b"in-3").expect("it is there");
            let (from, to) = (lookup(fs, "folder-6"), lookup(fs, "folder-7"));
            fs.rename(from, b"in-1", to, b"moved").expect("room");
            fs.rename(root, b"folder-8", to, b"folder").expect("room");
            fs.remove(root, b"folder-0").expect("it is empty");
            let parent = fs.parent(lookup(fs, "folder-9")).expect("readable");
            assert_eq!(parent, root);
        });
        let tree = image.compare();
        assert!(tree.0.contains_key(&b"/folder-7/moved"[..]));
        image.kernel(|root| {
            assert_eq!(std::fs::read(root.join("file-1")).expect("there"), b"new");
            let five = std::fs::read(root.join("file-5")).expect("there");
            assert_eq!(&five[10..20], b"in between");
            assert_eq!(
                std::fs::read(root.join("file-7")).expect("there"),
                pattern(20, 1)
            );
            std::fs::remove_dir_all(root.join("folder-7")).expect("it goes");
        });
        judge::check(&image.path, Kind::Ext).unwrap_or_else(|e| panic!("{e}"));
    }
}

/// What the kernel has encrypted is listed as by a kernel without the key, and left alone.
#[test]
fn encrypted_directories_are_listed_and_stay() {
    let Some(image) = Image::new(32 * MIB, &["-t", "ext4", "-O", "encrypt", "-b", "4096"]) else {
        return;
    };
    image.kernel(|root| std::fs::create_dir(root.join("plain")).expect("room"));
    let mount = tempfile::tempdir().expect("a folder");
    run(Command::new("mount")
        .args(["-o", "loop,test_dummy_encryption"])
        .arg(&image.path)
        .arg(mount.path()));
    let made = || -> std::io::Result<()> {
        let secret = mount.path().join("secret");
        std::fs::create_dir(&secret)?;
        for n in 0..5 {
            std::fs::write(secret.join(format!("file-{n}")), pattern(3000, n))?;
        }
        std::fs::write(secret.join("long".repeat(60)), b"x")?;
        symlink("target", secret.join("link"))?;
        let large = secret.join("large");
        std::fs::create_dir(&large)?;
        for n in 0..300 {
            std::fs::write(large.join(format!("a file of some length {n}")), b"")?;
        }
        Ok(())
    };
    let made = made();
    run(Command::new("umount").arg(mount.path()));
    made.expect("the kernel encrypts");

    let kernel = image.kernel(|root| listing(root, ""));
    let device = Arc::new(FileDevice::open(&image.path).expect("there"));
    let fs = Ext4::open(device).expect("readable");
    let mut ours = Vec::new();
    list(&fs, fs.root(), "", &mut ours);
    ours.sort();
    assert_eq!(ours, kernel);

    let secret = |fs: &Ext4| {
        let all = fs.read_dir(fs.root()).expect("readable");
        let found = all.iter().find(|entry| {
            entry.file_type == FileType::Directory
                && !matches!(&entry.name[..], b"plain" | b"lost+found")
        });
        found.expect("it is there").node
    };
    let refused = [
        image.error(|fs| {
            let node = secret(fs);
            fs.create(
                node,
                b"new",
                &NewNode {
                    kind: NodeKind::Regular,
                    permissions: 0o644,
                    uid: 0,
                    gid: 0,
                },
            )
        }),
        image.error(|fs| {
            let entries = fs.read_dir(secret(fs)).expect("readable");
            fs.remove(secret(fs), &entries[0].name).map(|()| fs.root())
        }),
        image.error(|fs| {
            let entries = fs.read_dir(secret(fs)).expect("readable");
            let file = entries
                .iter()
                .find(|entry| entry.file_type == FileType::Regular);
            let node = file.expect("there are files").node;
            fs.write_at(node, 0, b"x").map(|()| node)
        }),
    ];
    for error in refused {
        assert!(error.to_string().contains("(encrypt)"), "{error}");
    }
    image.edit(|fs| {
        let root = fs.root();
        let plain = lookup(fs, "plain");
        let node = create(fs, plain, "file", NodeKind::Regular);
        fs.write_content(node, 5, &mut &b"hello"[..]).expect("room");
        let node = secret(fs);
        let change = MetadataChange {
            permissions: Some(0o700),
            ..MetadataChange::default()
        };
        fs.set_metadata(node, &change).expect("no name is changed");
        create(fs, root, "beside", NodeKind::Directory);
    });
    assert_eq!(
        image.kernel(|root| listing(root, "")).len(),
        kernel.len() + 2
    );
}

/// Path, type, size and target of everything.
fn listing(root: &Path, prefix: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(root).expect("readable") {
        let entry = entry.expect("an entry");
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        let metadata = entry.metadata().expect("stat");
        let target = std::fs::read_link(entry.path()).ok();
        let target = target.map(|target| target.to_string_lossy().into_owned());
        let size = if metadata.is_dir() {
            0
        } else {
            metadata.size()
        };
        let target = target.unwrap_or_default();
        lines.push(format!("{path} {} {size} {target}", metadata.ino()));
        if metadata.is_dir() {
            lines.extend(listing(&entry.path(), &path));
        }
    }
    lines.sort();
    lines
}

/// The same by the engine.
fn list(fs: &Ext4, directory: imgasm_fs::NodeId, prefix: &str, lines: &mut Vec<String>) {
    for entry in fs.read_dir(directory).expect("readable") {
        let path = format!("{prefix}/{}", String::from_utf8_lossy(&entry.name));
        let metadata = fs.metadata(entry.node).expect("stat");
        let is_directory = metadata.file_type == FileType::Directory;
        let size = if is_directory { 0 } else { metadata.size };
        let target = match metadata.file_type {
            FileType::Symlink => fs.read_link(entry.node).expect("readable"),
            _ => Vec::new(),
        };
        let target = String::from_utf8_lossy(&target).into_owned();
        lines.push(format!("{path} {} {size} {target}", entry.node.0));
        let looked_up = fs.lookup(directory, &entry.name).expect("readable");
        assert_eq!(looked_up, Some(entry.node), "{path}");
        if is_directory {
            list(fs, entry.node, &path, lines);
        }
    }
}

/// Attributes in inodes of their own are read; files without them can be changed.
#[test]
fn values_in_inodes_of_their_own_stay() {
    let Some(image) = Image::new(32 * MIB, &["-t", "ext4", "-O", "ea_inode"]) else {
        return;
    };
    image.kernel(|root| {
        let path = root.join("large-value");
        std::fs::write(&path, b"content").expect("room");
        let value = vec![b'v'; 20_000];
        rustix::fs::setxattr(&path, "user.large", &value, rustix::fs::XattrFlags::empty())
            .expect("the kernel can");
        std::fs::write(root.join("other"), b"content").expect("room");
    });
    image.compare();
    let removed = image.error(|fs| fs.remove(fs.root(), b"large-value").map(|()| fs.root()));
    assert!(removed.to_string().contains("ea_inode"), "{removed}");
    let changed = image.error(|fs| {
        let node = lookup(fs, "large-value");
        fs.set_xattr(node, b"user.small", Some(b"1")).map(|()| node)
    });
    assert!(changed.to_string().contains("ea_inode"), "{changed}");
    image.edit(|fs| {
        let node = lookup(fs, "large-value");
        fs.write_content(node, 3, &mut &b"new"[..]).expect("room");
        let other = lookup(fs, "other");
        fs.set_xattr(other, b"user.small", Some(b"1"))
            .expect("room");
        fs.remove(fs.root(), b"other").expect("it is there");
    });
    image.compare();
}

/// With clusters, changes that allocate or free blocks are refused, and nothing else.
#[test]
fn clusters_are_left_alone() {
    let args = ["-t", "ext4", "-O", "bigalloc", "-C", "16384", "-b", "1024"];
    let Some(image) = Image::new(64 * MIB, &args) else {
        return;
    };
    image.kernel(|root| {
        std::fs::write(root.join("file"), pattern(50_000, 1)).expect("room");
        std::fs::create_dir(root.join("folder")).expect("room");
    });
    image.compare();
    let refused = image.error(|fs| {
        let node = lookup(fs, "file");
        fs.write_content(node, 3, &mut &b"new"[..]).map(|()| node)
    });
    let Error::Incompatible { what, .. } = &refused else {
        panic!("{refused}");
    };
    assert!(what.contains("bigalloc"), "{refused}");
    image.edit(|fs| {
        let node = lookup(fs, "file");
        fs.write_at(node, 100, b"in place")
            .expect("no block is taken");
        let folder = lookup(fs, "folder");
        create(fs, folder, "empty", NodeKind::Regular);
        create(fs, folder, "link", NodeKind::Symlink(b"empty"));
    });
    image.compare();
    image.kernel(|root| {
        let mode = root
            .join("file")
            .metadata()
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o644);
    });
}
