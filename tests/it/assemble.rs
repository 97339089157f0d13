//! A base disk assembled from the example's root filesystem, judged by e2fsck, sgdisk, fsck.vfat
//! and the kernel.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgasm::base::assemble::{AssembleOptions, Assembly};
use imgasm::base::{Error, Layout, Result, tree};
use imgasm::filesystem::FilesystemKind;
use imgasm::filesystem::xfs::XfsOptions;
use imgasm_disk::{Disk, Place};
use imgasm_fs::{FileSystem, Timestamp};
use imgasm_testkit::images::{arg, device, sparse};
use imgasm_testkit::mount::{Loop, Mounted};
use imgasm_testkit::need;
use imgasm_testkit::tools::run;
use sha2::{Digest, Sha256};

const MIB: u64 = 1 << 20;
const NOW: i64 = 1_522_540_800;

fn rootfs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rootfs")
}

/// The tree in a folder, with what the file beside it says.
fn read(root: &Path) -> Result<tree::Tree> {
    tree::read(root, tree::meta_bytes(root)?.as_deref(), &Arc::default())
}

fn options() -> AssembleOptions {
    AssembleOptions {
        now: Timestamp {
            seconds: NOW,
            nanoseconds: 0,
        },
        seed: *b"the example base",
    }
}

fn assembled(image: &Path, rootfs: &Path, len: u64) {
    sparse(image, len);
    assemble(image, rootfs).expect("assemble");
}

fn assemble(image: &Path, rootfs: &Path) -> Result<()> {
    let layout = Layout::amazon(FilesystemKind::Ext4, XfsOptions::default());
    let tree = read(rootfs)?;
    Assembly::new(tree, &layout)?.write(&device(image), &options())
}

fn required_size(rootfs: &Path) -> u64 {
    let layout = Layout::amazon(FilesystemKind::Ext4, XfsOptions::default());
    let tree = read(rootfs).expect("read");
    let assembly = Assembly::new(tree, &layout).expect("it is divided");
    assembly.required_size()
}

/// Copies the bytes of a partition to a file.
pub fn extract(image: &Path, number: u32, to: &Path) {
    let disk = Disk::open(device(image)).expect("open");
    let slice = disk.slice(Place::Partition(number)).expect("a slice");
    sparse(to, slice.len());
    let target = device(to);
    let mut at = 0;
    while let Some(data) = slice.next_data(at).expect("seek") {
        let mut bytes = vec![0; usize::try_from(data.end - data.start).expect("small")];
        slice.read_at(data.start, &mut bytes).expect("read");
        target.write_at(data.start, &bytes).expect("write");
        at = data.end;
    }
}

#[test]
fn the_disk_is_sound_and_shows_the_tree() {
    if !need::tools(&["sgdisk", "e2fsck", "fsck.vfat", "mdir", "getfattr"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("base.raw");
    assembled(&image, &rootfs(), 2048 * MIB);
    let verdict = run("sgdisk", ["--verify", arg(&image)]);
    assert!(verdict.contains("No problems found"), "{verdict}");
    let disk = Disk::open(device(&image)).expect("open");
    assert_eq!(disk.root(None).expect("found"), Place::Partition(1));
    let root_image = dir.path().join("root.raw");
    extract(&image, 1, &root_image);
    run("e2fsck", ["-fn", arg(&root_image)]);
    let efi = dir.path().join("efi.raw");
    extract(&image, 127, &efi);
    run("fsck.vfat", ["-n", arg(&efi)]);
    let listing = run("mdir", ["-b", "-/", "-i", arg(&efi), "::"]);
    assert!(listing.contains("README.TXT"), "{listing}");
    if !need::mounts(&[]) {
        return;
    }
    let attached = Loop::attach(&root_image, &["--read-only"]);
    let mount = Mounted::new(attached.path(), &dir.path().join("mnt"), "ro");
    let at = |path: &str| mount.path().join(path.trim_start_matches('/'));
    let stat = |path: &str| at(path).symlink_metadata().expect(path);
    for (path, mode, uid, gid) in [
        ("/", 0o040_555, 0, 0),
        ("/etc/shadow", 0o100_000, 0, 0),
        ("/etc/cloud/cloud.cfg", 0o100_644, 0, 0),
        ("/etc/rc.d/init.d/docker", 0o100_755, 0, 0),
        ("/home/ec2-user", 0o040_700, 500, 500),
        ("/home/ec2-user/.bashrc", 0o100_644, 500, 500),
        ("/tmp", 0o041_777, 0, 0),
        ("/usr/bin/sudo", 0o104_111, 0, 0),
        ("/var/log/wtmp", 0o100_664, 0, 22),
        ("/dev/null", 0o020_666, 0, 0),
    ] {
        let seen = stat(path);
        assert_eq!(
            (seen.mode(), seen.uid(), seen.gid()),
            (mode, uid, gid),
            "{path}"
        );
        assert_eq!(seen.mtime(), NOW, "{path}");
    }
    assert_eq!(stat("/dev/ttyS0").rdev(), 4 << 8 | 64);
    assert!(stat("/dev/initctl").file_type().is_fifo());
    assert_eq!(stat("/usr/share/zoneinfo/UTC").nlink(), 4);
    assert_eq!(
        stat("/usr/share/zoneinfo/US/Eastern").ino(),
        stat("/usr/share/zoneinfo/America/New_York").ino()
    );
    let capability = run(
        "getfattr",
        [
            "--only-values",
            "-e",
            "hex",
            "-n",
            "security.capability",
            arg(&at("/bin/ping")),
        ],
    );
    assert!(!capability.is_empty());
    // The tree on the host, byte for byte.
    let mut compared = 0;
    for (path, item) in read(&rootfs()).expect("read") {
        let relative = String::from_utf8(path.as_bytes().to_vec()).expect("UTF-8");
        let below_efi = relative.starts_with("/boot/efi/");
        assert_eq!(
            at(&relative).symlink_metadata().is_ok(),
            !below_efi,
            "{relative}"
        );
        match item.content {
            tree::Content::File { source, .. } if !below_efi => {
                let mut expected = Vec::new();
                let mut source = source.open().expect("open");
                source.read_to_end(&mut expected).expect("read");
                assert_eq!(
                    std::fs::read(at(&relative)).expect("read"),
                    expected,
                    "{relative}"
                );
                compared += 1;
            }
            tree::Content::Symlink(target) => {
                let seen = std::fs::read_link(at(&relative)).expect("read");
                assert_eq!(seen.as_os_str().as_encoded_bytes(), target);
                compared += 1;
            }
            _ => {}
        }
    }
    assert!(compared > 150, "{compared}");
}

#[test]
fn the_host_does_not_show_in_the_bytes() {
    let dir = tempfile::tempdir().expect("a directory");
    // The same tree, made in another order, with other modes, times and umask.
    let copy = dir.path().join("elsewhere");
    let mut files: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut left = vec![(rootfs(), copy.clone())];
    while let Some((from, to)) = left.pop() {
        std::fs::create_dir(&to).expect("mkdir");
        for entry in std::fs::read_dir(&from).expect("list") {
            let entry = entry.expect("an entry");
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type().expect("a type");
            if kind.is_dir() {
                left.push((source, target));
            } else {
                files.push((source, target));
            }
        }
    }
    files.sort_by(|a, b| b.cmp(a));
    for (source, target) in files {
        if source.is_symlink() {
            let link = std::fs::read_link(&source).expect("read");
            std::os::unix::fs::symlink(link, &target).expect("symlink");
        } else {
            let mode = source.metadata().expect("metadata").permissions().mode();
            std::fs::copy(&source, &target).expect("copy");
            let other = if mode & 0o100 == 0 { 0o600 } else { 0o711 };
            let permissions = PermissionsExt::from_mode(other);
            std::fs::set_permissions(&target, permissions).expect("chmod");
        }
    }
    std::fs::copy(tree::meta_path(&rootfs()), tree::meta_path(&copy)).expect("copy");
    let digests = [rootfs(), copy].map(|rootfs| {
        let image = dir.path().join("base.raw");
        assembled(&image, &rootfs, 256 * MIB);
        let mut file = std::fs::File::open(&image).expect("open");
        let mut hasher = Sha256::new();
        std::io::copy(&mut file, &mut HashWriter(&mut hasher)).expect("hash");
        std::fs::remove_file(&image).expect("remove");
        hasher.finalize()
    });
    assert_eq!(digests[0], digests[1]);
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.update(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_required_size_suffices_and_less_is_refused() {
    if !need::tools(&["sgdisk", "e2fsck"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    // Many small files need inodes, large ones need blocks.
    std::fs::create_dir_all(root.join("small")).expect("mkdir");
    for number in 0..3000 {
        std::fs::write(root.join(format!("small/{number}")), "x").expect("write");
    }
    let image = dir.path().join("base.raw");
    let mut sizes = Vec::new();
    for large in [0, 30 * MIB, 700 * MIB] {
        sparse(&root.join("large"), large);
        let required = required_size(&root);
        sparse(&image, required - MIB);
        let refused = assemble(&image, &root);
        assert!(matches!(refused, Err(Error::TooSmall { .. })));
        assembled(&image, &root, required);
        let partition = dir.path().join("partition.raw");
        extract(&image, 1, &partition);
        run("e2fsck", ["-fn", arg(&partition)]);
        sizes.push(required);
    }
    assert!(sizes[2] < 900 * MIB, "{sizes:?}");
}

#[test]
fn what_is_wrong_with_the_file_beside_the_tree_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("etc")).expect("mkdir");
    std::fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").expect("write");
    let refusal = |meta: &str| {
        std::fs::write(tree::meta_path(&root), meta).expect("write");
        read(&root).expect_err(meta).to_string()
    };
    let cases: BTreeMap<&str, &str> = [
        (
            "[[set]]\npaths = [\"/nothing\"]",
            "nothing in the tree matches \"/nothing\"",
        ),
        (
            "[[set]]\npaths = [\"/etc\"]\nowner = \"alice\"",
            "no user \"alice\"",
        ),
        (
            "[[set]]\npaths = [\"/etc\"]\nmode = \"0888\"",
            "\"0888\" is not octal",
        ),
        ("[[set]]\npath = \"/etc\"", "line 2"),
        ("[hard_links]\n\"/b\" = \"/a\"", "/a does not exist"),
        (
            "[hard_links]\n\"/b\" = \"/etc\"",
            "/etc cannot have a second name",
        ),
        (
            "[hard_links]\n\"/etc\" = \"/etc/passwd\"",
            "/etc is in the tree already",
        ),
        (
            "directories = [\"/etc/passwd/x\"]",
            "/etc/passwd is in the tree, but is not a directory",
        ),
        ("directories = [\"relative\"]", "relative"),
        (
            "[nodes]\n\"/dev/x\" = { type = \"char\", major = 1 }",
            "minor",
        ),
    ]
    .into();
    for (meta, words) in cases {
        let message = refusal(meta);
        assert!(message.contains(words), "{meta}: {message}");
        assert!(message.contains("root.meta.toml"), "{message}");
    }
}

/// The links of each service agree with the header of its script, as chkconfig would set them.
#[test]
fn the_examples_services_are_as_chkconfig_leaves_them() {
    let init_d = rootfs().join("etc/rc.d/init.d");
    let mut services = 0;
    for entry in std::fs::read_dir(init_d).expect("list") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("UTF-8");
        let script = std::fs::read_to_string(entry.path()).expect("read");
        let Some(line) = script
            .lines()
            .find_map(|line| line.strip_prefix("# chkconfig: "))
        else {
            assert_eq!(name, "functions");
            continue;
        };
        let fields: Vec<&str> = line.split_whitespace().collect();
        for level in 0..7 {
            let dir = rootfs().join(format!("etc/rc.d/rc{level}.d"));
            let on = fields[0].contains(&level.to_string());
            let wanted = if on {
                format!("S{}{name}", fields[1])
            } else {
                format!("K{}{name}", fields[2])
            };
            let links: Vec<String> = std::fs::read_dir(dir)
                .expect("list")
                .map(|entry| {
                    entry
                        .expect("an entry")
                        .file_name()
                        .into_string()
                        .expect("UTF-8")
                })
                .filter(|link| link[3..] == name)
                .collect();
            assert_eq!(links, [wanted], "runlevel {level}");
        }
        services += 1;
    }
    assert_eq!(services, 10);
}

#[test]
fn a_filled_filesystem_is_what_the_tree_says() {
    // Without root: through our own reader, which other tests compare with the kernel.
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("base.raw");
    assembled(&image, &rootfs(), 256 * MIB);
    let disk = Disk::open(device(&image)).expect("open");
    let fs: Box<dyn FileSystem> = disk.open_filesystem(Place::Partition(1)).expect("open");
    assert_eq!(fs.info().expect("info").label, b"/");
    let mut faults = Vec::new();
    fs.check(&mut |finding| faults.push(finding))
        .expect("check");
    assert!(faults.is_empty(), "{faults:?}");
    let etc = fs
        .lookup(fs.root(), b"etc")
        .expect("look up")
        .expect("there");
    let localtime = fs
        .lookup(etc, b"localtime")
        .expect("look up")
        .expect("there");
    assert_eq!(
        fs.read_link(localtime).expect("read"),
        b"/usr/share/zoneinfo/UTC"
    );
}
