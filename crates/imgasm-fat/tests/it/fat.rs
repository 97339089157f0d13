//! FAT volumes, judged by `fsck.vfat` and read back with mtools.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use imgasm_block::{BlockDevice, FileDevice, MemoryDevice};
use imgasm_fat::{Fat, FormatOptions};
use imgasm_fs::{
    Error, FileSystem, FileType, MetadataChange, NewNode, NodeId, NodeKind, Timestamp, WriteOptions,
};
use imgasm_testkit::images::{arg, device, sparse};
use imgasm_testkit::need;
use imgasm_testkit::tools::{output, run};

const MIB: u64 = 1 << 20;
const NOW: Timestamp = Timestamp {
    seconds: 1_522_540_801,
    nanoseconds: 0,
};
const OPTIONS: WriteOptions = WriteOptions {
    now: NOW,
    seed: [7; 16],
};
/// A length for each width: FAT12, FAT16, FAT32.
const LENGTHS: [u64; 3] = [2 * MIB, 40 * MIB, 520 * MIB];

fn new_node(kind: NodeKind<'_>) -> NewNode<'_> {
    let permissions = if kind == NodeKind::Directory {
        0o755
    } else {
        0o644
    };
    NewNode {
        kind,
        permissions,
        uid: 0,
        gid: 0,
    }
}

fn make(image: &Path, len: u64) {
    sparse(image, len);
    let mut options = FormatOptions::new(0x1bad_cafe);
    "EFI".clone_into(&mut options.label);
    imgasm_fat::format(&device(image), &options).expect("format");
}

fn assert_sound(image: &Path) {
    let outcome = output("fsck.vfat", ["-n", "-v", arg(image)]);
    let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert!(outcome.status.success(), "{text}");
    let faults = findings(image);
    assert!(faults.is_empty(), "{faults:?}");
}

fn findings(image: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    let report = &mut |finding: imgasm_fs::Finding| faults.push(format!("{finding:?}"));
    if let Err(error) = Fat::open(device(image)).and_then(|fat| fat.check(report)) {
        faults.push(error.to_string());
    }
    faults
}

/// Directories, and files with their contents, by path.
type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// What mtools finds in the image.
fn judged(image: &Path) -> Tree {
    fn walk(dir: &Path, prefix: &str, tree: &mut Tree) {
        for entry in std::fs::read_dir(dir).expect("list") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("UTF-8");
            let path = format!("{prefix}{name}");
            if entry.file_type().expect("a type").is_dir() {
                walk(&entry.path(), &format!("{path}/"), tree);
                tree.insert(path, None);
            } else {
                let content = std::fs::read(entry.path()).expect("read");
                tree.insert(path, Some(content));
            }
        }
    }
    let out = tempfile::tempdir().expect("a directory");
    let names = output("mdir", ["-b", "-i", arg(image), "::"]);
    if !names.stdout.is_empty() {
        let outcome = std::process::Command::new("mcopy")
            .args(["-s", "-n", "-Q", "-i", arg(image), "::*", arg(out.path())])
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("run mcopy");
        assert!(outcome.status.success(), "{outcome:?}");
    }
    let mut tree = Tree::new();
    walk(out.path(), "", &mut tree);
    tree
}

/// What our reader finds in the image.
fn ours(fs: &dyn FileSystem) -> Tree {
    fn walk(fs: &dyn FileSystem, node: NodeId, prefix: &str, tree: &mut Tree) {
        for entry in fs.read_dir(node).expect("list") {
            let path = format!("{prefix}{}", String::from_utf8(entry.name).expect("UTF-8"));
            let metadata = fs.metadata(entry.node).expect("metadata");
            assert_eq!(metadata.file_type, entry.file_type);
            if entry.file_type == FileType::Directory {
                walk(fs, entry.node, &format!("{path}/"), tree);
                tree.insert(path, None);
            } else {
                tree.insert(path, Some(content(fs, entry.node)));
            }
        }
    }
    let mut tree = Tree::new();
    walk(fs, fs.root(), "", &mut tree);
    tree
}

fn content(fs: &dyn FileSystem, node: NodeId) -> Vec<u8> {
    let size = fs.metadata(node).expect("metadata").size;
    let mut bytes = vec![0; usize::try_from(size).expect("small")];
    assert_eq!(fs.read_at(node, 0, &mut bytes).expect("read"), bytes.len());
    assert_eq!(fs.read_at(node, size, &mut [0; 8]).expect("read"), 0);
    bytes
}

fn add(fs: &mut dyn FileSystem, directory: NodeId, name: &str, content: &[u8]) -> NodeId {
    let node = fs
        .create(directory, name.as_bytes(), &new_node(NodeKind::Regular))
        .expect("create");
    let size = u64::try_from(content.len()).expect("small");
    fs.write_content(node, size, &mut &content[..])
        .expect("write");
    node
}

#[test]
fn a_new_volume_is_sound_for_each_width() {
    if !need::tools(&["fsck.vfat", "mdir", "blkid"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("fat.raw");
    for (len, bits) in LENGTHS.into_iter().zip(["12", "16", "32"]) {
        make(&image, len);
        assert_sound(&image);
        let blkid = run("blkid", ["--probe", "--output", "export", arg(&image)]);
        assert!(blkid.contains("LABEL=EFI\n"), "{blkid}");
        assert!(blkid.contains("UUID=1BAD-CAFE\n"), "{blkid}");
        assert!(blkid.contains("TYPE=vfat\n"), "{blkid}");
        let fat = Fat::open(device(&image)).expect("open");
        let info = fat.info().expect("info");
        assert_eq!(
            (info.label.as_slice(), info.uuid.as_str()),
            (&b"EFI"[..], "1BAD-CAFE")
        );
        assert!(info.parameters.contains(&("fat_bits", bits.to_owned())));
        assert!(ours(&fat).is_empty());
        // Nearly all of it is free, and a hole.
        assert!(info.free_bytes > len * 9 / 10);
        assert!(judged(&image).is_empty());
    }
}

#[test]
fn volumes_of_many_lengths_are_sound() {
    if !need::tools(&["fsck.vfat"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("fat.raw");
    for len in [
        64 << 10,
        100 << 10,
        MIB,
        4 * MIB,
        10 * MIB,
        16 * MIB - 512,
        16 * MIB,
        100 * MIB,
        300 * MIB,
        512 * MIB - 512,
        512 * MIB,
        4096 * MIB,
    ] {
        make(&image, len);
        assert_sound(&image);
        Fat::open_writable(device(&image), OPTIONS).expect("writable");
    }
}

#[test]
fn an_efi_tree_is_what_mtools_reads() {
    if !need::tools(&["fsck.vfat", "mcopy", "mdir"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("fat.raw");
    for len in LENGTHS {
        make(&image, len);
        let mut fs = Fat::open_writable(device(&image), OPTIONS).expect("open");
        let root = fs.root();
        let efi = fs
            .create(root, b"EFI", &new_node(NodeKind::Directory))
            .expect("mkdir");
        let boot = fs
            .create(efi, b"BOOT", &new_node(NodeKind::Directory))
            .expect("mkdir");
        let deep = fs.create(
            boot,
            "größe und mehr".as_bytes(),
            &new_node(NodeKind::Directory),
        );
        add(&mut fs, boot, "BOOTX64.EFI", &vec![0x4d; 70_000]);
        add(
            &mut fs,
            deep.expect("mkdir"),
            "A rather long name.with.dots",
            b"long",
        );
        add(&mut fs, efi, "empty", b"");
        assert_eq!(fs.lookup(efi, b"boot").expect("look up"), Some(boot));
        let lower = fs.lookup(boot, b"bootx64.efi").expect("look up");
        assert!(lower.is_some());
        assert_eq!(fs.metadata(efi).expect("metadata").links, 3);
        fs.flush().expect("flush");
        assert_sound(&image);
        let tree = ours(&fs);
        assert_eq!(tree.len(), 6);
        assert_eq!(tree, judged(&image));
        let extents = fs.extents(
            fs.lookup(boot, b"BOOTX64.EFI")
                .expect("look up")
                .expect("there"),
        );
        let first = extents.expect("extents")[0];
        let mut bytes = [0; 16];
        device(&image)
            .read_at(first.device_offset, &mut bytes)
            .expect("read");
        assert_eq!(bytes, [0x4d; 16]);
    }
}

#[test]
fn times_are_those_of_the_options_and_nothing_else_varies() {
    if !need::tools(&["mdir"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let images = [dir.path().join("a.raw"), dir.path().join("b.raw")];
    for image in &images {
        make(image, 40 * MIB);
        let mut fs = Fat::open_writable(device(image), OPTIONS).expect("open");
        let root = fs.root();
        let sub = fs
            .create(root, b"sub", &new_node(NodeKind::Directory))
            .expect("mkdir");
        let file = add(&mut fs, sub, "file.txt", b"content");
        fs.set_size(file, 3).expect("truncate");
        let times = fs.metadata(file).expect("metadata");
        // FAT counts seconds by twos.
        assert_eq!(times.modified.seconds, NOW.seconds - 1);
        let other = Timestamp {
            seconds: 1_000_000_000,
            nanoseconds: 0,
        };
        let change = MetadataChange {
            modified: Some(other),
            accessed: Some(other),
            permissions: Some(0o444),
            ..MetadataChange::default()
        };
        fs.set_metadata(file, &change).expect("set times");
        let times = fs.metadata(file).expect("metadata");
        assert_eq!((times.modified, times.permissions), (other, 0o444));
    }
    let [a, b] = images.map(|image| std::fs::read(image).expect("read"));
    assert!(a == b, "two runs differ");
    let image = dir.path().join("a.raw");
    let listing = run("mdir", ["-a", "-i", arg(&image), "::/sub"]);
    assert!(listing.contains("2001-09-09   1:46"), "{listing}");
    assert!(
        listing.contains(".            <DIR>     2018-04-01   0:00"),
        "{listing}"
    );
}

#[test]
fn what_fat_cannot_hold_is_refused_by_name() {
    let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(vec![0; 2 << 20]));
    imgasm_fat::format(&device, &FormatOptions::new(1)).expect("format");
    let mut fs = Fat::open_writable(device, OPTIONS).expect("open");
    let root = fs.root();
    let file = add(&mut fs, root, "file", b"content");
    let unstorable = |result: imgasm_fs::Result<()>, words: &str| match result {
        Err(error @ (Error::Unstorable { .. } | Error::BadName { .. })) => {
            assert!(error.to_string().contains(words), "{error}");
        }
        other => panic!("{other:?}"),
    };
    let mut create =
        |name: &str, new: NewNode<'_>| fs.create(root, name.as_bytes(), &new).map(drop);
    unstorable(
        create("link", new_node(NodeKind::Symlink(b"file"))),
        "symbolic link",
    );
    unstorable(create("fifo", new_node(NodeKind::Fifo)), "named pipe");
    let owned = NewNode {
        uid: 500,
        ..new_node(NodeKind::Regular)
    };
    unstorable(create("owned", owned), "owner 500");
    let secret = NewNode {
        permissions: 0o600,
        ..new_node(NodeKind::Regular)
    };
    unstorable(create("secret", secret), "mode 0600");
    for name in [
        "a:b",
        "a/b",
        "",
        ".",
        "..",
        "dot.",
        "space ",
        "a\nb",
        &"x".repeat(256),
    ] {
        unstorable(create(name, new_node(NodeKind::Regular)), "the name");
    }
    assert!(matches!(
        create("FILE", new_node(NodeKind::Directory)),
        Err(Error::AlreadyExists { .. })
    ));
    unstorable(fs.link(file, root, b"other"), "second name");
    unstorable(fs.set_xattr(file, b"user.x", Some(b"1")), "user.x");
    unstorable(fs.set_size(file, 1 << 32), "4 GiB");
    assert_eq!(content(&fs, file), b"content");
}

#[test]
fn a_full_volume_is_an_error_that_ends_the_writing() {
    if !need::tools(&["fsck.vfat", "mcopy", "mdir"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("fat.raw");
    for len in LENGTHS {
        make(&image, len);
        let mut fs = Fat::open_writable(device(&image), OPTIONS).expect("open");
        let root = fs.root();
        let file = add(&mut fs, root, "file", b"kept");
        let free = fs.info().expect("info").free_bytes;
        let all = std::io::repeat(0x55);
        let too_much = fs.write_content(file, free + 70_000, &mut { all });
        assert!(matches!(
            too_much,
            Err(Error::NoSpace {
                unit: "clusters",
                ..
            })
        ));
        assert!(matches!(fs.flush(), Err(Error::Spoilt { .. })));
        assert!(matches!(
            fs.create(root, b"more", &new_node(NodeKind::Regular)),
            Err(Error::Spoilt { .. })
        ));
        if len < 100 * MIB {
            make(&image, len);
            let mut fs = Fat::open_writable(device(&image), OPTIONS).expect("open");
            let free = fs.info().expect("info").free_bytes;
            let rest = fs
                .create(root, b"rest", &new_node(NodeKind::Regular))
                .expect("create");
            fs.write_content(rest, free, &mut std::io::repeat(0x55))
                .expect("fill");
            assert_eq!(fs.info().expect("info").free_bytes, 0);
            let more = fs.create(root, b"dir", &new_node(NodeKind::Directory));
            assert!(matches!(more, Err(Error::NoSpace { .. })));
            assert_eq!(ours(&fs), judged(&image));
        }
        assert_sound(&image);
    }
    // The root directory of FAT12 and FAT16 has a fixed number of entries.
    make(&image, 2 * MIB);
    let mut fs = Fat::open_writable(device(&image), OPTIONS).expect("open");
    let root = fs.root();
    let mut made = 0;
    let error = loop {
        let name = format!("entry number {made}");
        match fs.create(root, name.as_bytes(), &new_node(NodeKind::Regular)) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(
        error,
        Error::NoSpace {
            unit: "entries of the root directory",
            ..
        }
    ));
    assert!(made > 100);
    assert_eq!(ours(&fs).len(), made);
    assert_sound(&image);
}

/// Small, fast, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).expect("small")).expect("small")
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn name(&mut self) -> String {
        let stems = [
            "a",
            "BOOTX64",
            "grub",
            "A long name with spaces",
            "ümläut",
            "x.y.z",
            "+plus",
        ];
        let endings = ["", ".EFI", ".cfg", ".longer", ".c"];
        let number = self.below(40);
        format!("{}{number}{}", self.pick(&stems), self.pick(&endings))
    }
}

/// The model of the volume: paths in the spelling in which they were made.
struct Model {
    tree: Tree,
    random: Random,
}

impl Model {
    fn pick(&mut self, directory: bool) -> Option<String> {
        let paths = self.tree.iter().filter(|(_, c)| c.is_none() == directory);
        let paths: Vec<&String> = paths.map(|(path, _)| path).collect();
        (!paths.is_empty()).then(|| (*self.random.pick(&paths)).clone())
    }

    fn new_path(&mut self) -> Option<String> {
        let parent = if self.random.below(3) == 0 {
            None
        } else {
            self.pick(true)
        };
        let path = match parent {
            Some(parent) if parent.matches('/').count() < 5 => {
                format!("{parent}/{}", self.random.name())
            }
            _ => self.random.name(),
        };
        let upper = path.to_uppercase();
        (!self.tree.keys().any(|known| known.to_uppercase() == upper)).then_some(path)
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let fill = u8::try_from(1 + self.random.below(255)).expect("a byte");
        vec![fill; self.random.below(most)]
    }

    /// One step, on the model and on the volume alike.
    fn step(&mut self, fs: &mut dyn FileSystem) {
        // What is to fit the smallest volume stays small.
        let crowded = self.tree.len() > 50;
        match self.random.below(10) {
            _ if crowded && self.random.below(2) == 0 => self.remove(fs),
            0..=2 => {
                let Some(path) = self.new_path() else { return };
                let (parent, name) = split(&path);
                let parent = find(fs, parent);
                let bytes = self.bytes(20_000);
                add(fs, parent, name, &bytes);
                self.tree.insert(path, Some(bytes));
            }
            3 => {
                let Some(path) = self.new_path() else { return };
                let (parent, name) = split(&path);
                let parent = find(fs, parent);
                let new = new_node(NodeKind::Directory);
                fs.create(parent, name.as_bytes(), &new).expect("mkdir");
                self.tree.insert(path, None);
            }
            4 => {
                let Some(path) = self.pick(false) else { return };
                let bytes = self.bytes(50_000);
                let size = u64::try_from(bytes.len()).expect("small");
                let node = find(fs, &path);
                fs.write_content(node, size, &mut &bytes[..])
                    .expect("replace");
                self.tree.insert(path, Some(bytes));
            }
            5 => {
                let Some(path) = self.pick(false) else { return };
                let (at, bytes) = (self.random.below(30_000), self.bytes(9000));
                let node = find(fs, &path);
                let offset = u64::try_from(at).expect("small");
                fs.write_at(node, offset, &bytes).expect("write");
                let content = self
                    .tree
                    .get_mut(&path)
                    .and_then(Option::as_mut)
                    .expect("a file");
                let end = at + bytes.len();
                content.resize(content.len().max(end), 0);
                content[at..end].copy_from_slice(&bytes);
            }
            6 => {
                let Some(path) = self.pick(false) else { return };
                let size = self.random.below(30_000);
                let node = find(fs, &path);
                fs.set_size(node, u64::try_from(size).expect("small"))
                    .expect("set size");
                let content = self
                    .tree
                    .get_mut(&path)
                    .and_then(Option::as_mut)
                    .expect("a file");
                content.resize(size, 0);
            }
            7 => self.remove(fs),
            _ => self.rename(fs),
        }
    }

    fn remove(&mut self, fs: &mut dyn FileSystem) {
        let directory = self.random.below(4) == 0;
        let Some(path) = self.pick(directory) else {
            return;
        };
        let (parent, name) = split(&path);
        let parent = find(fs, parent);
        let result = fs.remove(parent, name.as_bytes());
        let below = format!("{path}/");
        if self.tree.keys().any(|other| other.starts_with(&below)) {
            assert!(matches!(result, Err(Error::NotEmpty(_))));
        } else {
            result.expect("remove");
            self.tree.remove(&path);
        }
    }

    fn rename(&mut self, fs: &mut dyn FileSystem) {
        let directory = self.random.below(2) == 0;
        let Some(old) = self.pick(directory) else {
            return;
        };
        let replaced = if self.random.below(4) == 0 {
            self.pick(directory)
        } else {
            None
        };
        let Some(new) = replaced.or_else(|| self.new_path()) else {
            return;
        };
        let node = find(fs, &old);
        let (from, from_name) = split(&old);
        let (to, to_name) = split(&new);
        let (from, to) = (find(fs, from), find(fs, to));
        let result = fs.rename(from, from_name.as_bytes(), to, to_name.as_bytes());
        let occupied = self
            .tree
            .keys()
            .any(|path| path.starts_with(&format!("{new}/")));
        if new.starts_with(&format!("{old}/")) {
            assert!(matches!(result, Err(Error::IntoItself(_))), "{result:?}");
        } else if new != old && occupied {
            assert!(
                matches!(result, Err(Error::NotEmpty(_))),
                "{old} {new} {result:?}"
            );
        } else {
            result.expect("rename");
            let below = format!("{old}/");
            let moved: Vec<String> = self
                .tree
                .keys()
                .filter(|path| **path == old || path.starts_with(&below))
                .cloned()
                .collect();
            for path in moved {
                let content = self.tree.remove(&path).expect("listed");
                self.tree
                    .insert(format!("{new}{}", &path[old.len()..]), content);
            }
            assert_eq!(find(fs, &new), node, "the node keeps its number");
        }
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn find(fs: &dyn FileSystem, path: &str) -> NodeId {
    path.split('/')
        .filter(|part| !part.is_empty())
        .fold(fs.root(), |node, part| {
            fs.lookup(node, part.as_bytes())
                .expect("look up")
                .expect("it is there")
        })
}

#[test]
fn random_changes_leave_what_mtools_reads_and_fsck_accepts() {
    if !need::tools(&["fsck.vfat", "mcopy", "mdir"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("fat.raw");
    let steps = std::env::var("IMGASM_FAT_STEPS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(150);
    let seed = std::env::var("IMGASM_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    for (len, seed) in LENGTHS.into_iter().zip(seed..) {
        make(&image, len);
        let mut fs = Fat::open_writable(device(&image), OPTIONS).expect("open");
        let mut model = Model {
            tree: Tree::new(),
            random: Random(0x9e37_79b9_7f4a_7c15 ^ seed),
        };
        for step in 0..steps {
            model.step(&mut fs);
            if step % 10 == 9 {
                assert_sound(&image);
            }
        }
        fs.flush().expect("flush");
        assert_sound(&image);
        assert!(model.tree == ours(&fs), "seed {seed}");
        assert!(model.tree == judged(&image), "seed {seed}");
        assert!(model.tree.len() > 20);
        let reopened = Fat::open(device(&image)).expect("open again");
        assert!(model.tree == ours(&reopened));
    }
}

#[test]
fn volumes_that_mkfs_makes_are_read_and_written() {
    if !need::tools(&["mkfs.vfat", "fsck.vfat", "mcopy", "mdir"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("fat.raw");
    // The last two are what Amazon's and Debian's images have.
    let volumes: [(u64, &[&str]); 6] = [
        (3 * MIB, &["-F12", "-f1"]),
        (40 * MIB, &["-F16", "-s2", "-r1024"]),
        (80 * MIB, &["-F32", "-s1"]),
        (64 * MIB, &["-S4096"]),
        (10 * MIB, &[]),
        (124 * MIB, &[]),
    ];
    for (len, options) in volumes {
        sparse(&image, len);
        let mut args = options.to_vec();
        args.push(arg(&image));
        run("mkfs.vfat", &args);
        let source = dir.path().join("a Source file.txt");
        std::fs::write(&source, [9; 5000]).expect("write");
        run("mmd", ["-i", arg(&image), "::/EFI", "::/EFI/amzn"]);
        for number in 0..60 {
            let target = format!("::/EFI/amzn/file {number}");
            run("mcopy", ["-i", arg(&image), arg(&source), &target]);
        }
        run("mdel", ["-i", arg(&image), "::/EFI/amzn/file 7"]);
        assert_sound(&image);
        let mut fs = Fat::open_writable(device(&image), OPTIONS).expect("open");
        assert_eq!(ours(&fs), judged(&image));
        let mut model = Model {
            tree: ours(&fs),
            random: Random(len),
        };
        for _ in 0..60 {
            model.step(&mut fs);
        }
        assert_sound(&image);
        assert!(model.tree == judged(&image), "{options:?}");
    }
}

/// Media byte 0xf0, of floppies: the first entry of the FAT is 0xff0 then, which is no mark of an end.
#[test]
fn floppies_are_read_and_written() {
    if !need::tools(&["fsck.vfat", "mkfs.vfat", "mformat", "mcopy"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("floppy.raw");
    let makers: [(u64, &str, &[&str]); 5] = [
        (1440, "mkfs.vfat", &["-D", "0"]),
        (1440, "mformat", &["-f", "1440", "-i"]),
        (720, "mformat", &["-f", "720", "-i"]),
        (2880, "mformat", &["-f", "2880", "-i"]),
        (40_000, "mkfs.vfat", &["-M", "0xf0", "-F", "16"]),
    ];
    for (kib, maker, options) in makers {
        sparse(&image, kib << 10);
        let mut args = options.to_vec();
        args.push(arg(&image));
        if maker == "mformat" {
            args.push("::");
        }
        run(maker, &args);
        assert_sound(&image);
        let mut fs = Fat::open_writable(device(&image), OPTIONS).expect("writable");
        let root = fs.root();
        add(&mut fs, root, "autoexec.bat", &vec![b'x'; 30_000]);
        let folder = fs.create(root, b"folder", &new_node(NodeKind::Directory));
        add(&mut fs, folder.expect("mkdir"), "a longer name", b"content");
        fs.flush().expect("flush");
        assert_eq!(judged(&image), ours(&fs), "{maker} {options:?}");
        assert_sound(&image);
    }
    // A FAT that contradicts the boot sector is odd, but no error.
    let mut boot = [0; 512];
    let volume = device(&image);
    volume.read_at(0, &mut boot).expect("read");
    let fat = u64::from(u16::from_le_bytes([boot[14], boot[15]])) * 512;
    for place in [fat, fat + fat_len(&boot)] {
        volume.write_at(place, &[0xf8]).expect("write");
    }
    let found = findings(&image);
    assert!(
        found.iter().all(|finding| finding.contains("media byte")),
        "{found:?}"
    );
    Fat::open_writable(device(&image), OPTIONS).expect("writable");
}

#[test]
fn a_small_fat32_is_read_but_not_written() {
    if !need::tools(&["mkfs.vfat"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("fat.raw");
    sparse(&image, 8 * MIB);
    run("mkfs.vfat", ["-F32", arg(&image)]);
    let fat = Fat::open(device(&image)).expect("open");
    assert!(ours(&fat).is_empty());
    let error = Fat::open_writable(device(&image), OPTIONS).expect_err("refused");
    assert!(error.to_string().contains("fewer than 65525"), "{error}");
}

#[test]
fn faults_that_fsck_finds_are_found_and_not_written_over() {
    if !need::tools(&["fsck.vfat"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("fat.raw");
    make(&image, 40 * MIB);
    let mut fs = Fat::open_writable(device(&image), OPTIONS).expect("open");
    let root = fs.root();
    let sub = fs
        .create(root, b"sub", &new_node(NodeKind::Directory))
        .expect("mkdir");
    let file = add(&mut fs, sub, "file", &vec![1; 40_000]);
    let extent = fs.extents(file).expect("extents")[0];
    let sound = std::fs::read(&image).expect("read");
    let fat_offset = 512;
    let cluster_size = u64::from(fs.info().expect("info").block_size);
    // The directory's cluster is the first, the file's the ones after.
    let entry = |cluster: u64| fat_offset + cluster * 2;
    let file_cluster = 3;
    let sub_offset = extent.device_offset - cluster_size;
    let faults: [(&str, u64, &[u8]); 9] = [
        ("a cycle", entry(file_cluster + 2), &[3, 0]),
        ("a cross link", entry(file_cluster + 2), &[2, 0]),
        ("a chain cut short", entry(file_cluster + 2), &[0xff, 0xff]),
        (
            "a free cluster in a chain",
            entry(file_cluster + 2),
            &[0, 0],
        ),
        ("a lost cluster", entry(200), &[0xff, 0xff]),
        ("a wrong size", sub_offset + 96 + 28, &[0xff, 0xff, 0xff]),
        ("no dot entry", sub_offset, b"x"),
        ("a wrong parent", sub_offset + 32 + 26, &[9]),
        (
            "a link out of range",
            entry(file_cluster + 1),
            &[0xe0, 0xff],
        ),
    ];
    for (name, offset, bytes) in faults {
        std::fs::write(&image, &sound).expect("restore");
        device(&image).write_at(offset, bytes).expect("damage");
        if offset < 100_000 {
            // In both copies of the FAT, so that it is this fault and no other.
            let copy = offset + fat_len(&sound);
            device(&image).write_at(copy, bytes).expect("damage");
        }
        let found = findings(&image);
        let judged = !output("fsck.vfat", ["-n", arg(&image)]).status.success();
        assert_eq!(!found.is_empty(), judged, "{name}: {found:?}");
        assert!(judged, "{name}");
        let error = Fat::open_writable(device(&image), OPTIONS).expect_err(name);
        assert!(
            matches!(error, Error::NotWritable { .. }),
            "{name}: {error}"
        );
    }
}

/// The label is in two places, and neither of them matters to files.
#[test]
fn labels_are_judged_as_fsck_does_and_do_not_stop_writing() {
    if !need::tools(&["fsck.vfat"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("fat.raw");
    make(&image, 40 * MIB);
    let sound = std::fs::read(&image).expect("read");
    let in_boot = 43;
    let in_root = 512 + 2 * fat_len(&sound);
    // fsck.fat 4.2 takes letters beyond ASCII for control characters; later releases do not.
    let labels: [&[u8; 11]; 8] = [
        b"NO NAME    ",
        b"EFI        ",
        b"efi        ",
        b" EFI       ",
        b"           ",
        b"E+I        ",
        b"E\"\\|       ",
        b"E\x1fI        ",
    ];
    let mut faulty = 0;
    for boot in labels {
        // The last one stands for none: a removed entry.
        for root in labels.map(Some).into_iter().chain([None]) {
            device(&image).write_at(in_boot, boot).expect("write");
            let root = root.map_or(&b"\xe5"[..], |label| &label[..]);
            device(&image)
                .write_at(
                    in_root,
                    &sound[usize::try_from(in_root).expect("small")..][..11],
                )
                .expect("write");
            device(&image).write_at(in_root, root).expect("write");
            let found = findings(&image);
            let judged = !output("fsck.vfat", ["-n", arg(&image)]).status.success();
            assert_eq!(!found.is_empty(), judged, "{boot:?} {root:?}: {found:?}");
            faulty += usize::from(judged);
            Fat::open_writable(device(&image), OPTIONS).expect("it can be written");
        }
    }
    assert!((50..72).contains(&faulty), "{faulty} of 72");
}

/// Bytes of a FAT, from the boot sector.
fn fat_len(image: &[u8]) -> u64 {
    u64::from(u16::from_le_bytes([image[22], image[23]])) * 512
}

/// Any bytes give a tree or an error, within bounds; never a panic, and never an endless walk.
#[test]
fn mutated_volumes_end_in_a_tree_or_an_error() {
    fn walk(fs: &dyn FileSystem, node: NodeId, left: &mut u32) -> imgasm_fs::Result<()> {
        for entry in fs.read_dir(node)? {
            *left = left.checked_sub(1).expect("the walk ends");
            fs.metadata(entry.node)?;
            if entry.file_type == FileType::Directory {
                walk(fs, entry.node, left)?;
            } else {
                let mut buf = vec![0; 1 << 16];
                fs.read_at(entry.node, 0, &mut buf)?;
                fs.extents(entry.node)?;
            }
        }
        Ok(())
    }
    let dir = tempfile::tempdir().expect("a directory");
    let rounds = std::env::var("IMGASM_FAT_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok());
    let rounds: u32 = rounds.unwrap_or(700);
    for len in [2 * MIB, 40 * MIB, 520 * MIB] {
        let image = dir.path().join("fat.raw");
        make(&image, len);
        let mut fs = Fat::open_writable(device(&image), OPTIONS).expect("open");
        let mut model = Model {
            tree: Tree::new(),
            random: Random(len),
        };
        for _ in 0..60 {
            model.step(&mut fs);
        }
        let used = fs.used_extents().expect("used");
        let metadata = used[0].end;
        // The head of the volume, which holds all that matters, followed by holes.
        let head = usize::try_from(metadata + MIB).expect("small");
        let mut sound = vec![0; head];
        device(&image).read_at(0, &mut sound).expect("read");
        let (mut random, mut opened) = (Random(len ^ 0xabcd), 0);
        let shared = Arc::new(FileDevice::open_writable(&image).expect("open"));
        for _ in 0..rounds {
            let mut undo = Vec::new();
            for _ in 0..=random.below(4) {
                let near = [512, 4096, head][random.below(3)];
                let areas = [
                    0,
                    0,
                    usize::try_from(metadata)
                        .expect("small")
                        .saturating_sub(near),
                ];
                let at = (areas[random.below(3)] + random.below(near)).min(head - 1);
                let byte = [0, 1, 2, 0x0f, 0x10, 0x7f, 0xe5, 0xff][random.below(8)];
                undo.push(at);
                shared
                    .write_at(u64::try_from(at).expect("small"), &[byte])
                    .expect("write");
            }
            let device: Arc<dyn BlockDevice> = Arc::clone(&shared) as Arc<dyn BlockDevice>;
            if let Ok(fat) = Fat::open(Arc::clone(&device)) {
                opened += 1;
                let _ = fat.info();
                let _ = fat.used_extents();
                let _ = walk(&fat, fat.root(), &mut 10_000);
            }
            if let Ok(mut fat) = Fat::open_writable(device, OPTIONS) {
                let root = fat.root();
                let _ = fat.create(root, b"a new directory", &new_node(NodeKind::Directory));
                if let Ok(node) = fat.create(root, b"new", &new_node(NodeKind::Regular)) {
                    let _ = fat.write_content(node, 9000, &mut std::io::repeat(1));
                }
                let _ = fat.remove(root, b"new");
                shared.write_at(0, &sound).expect("restore");
            } else {
                for at in undo {
                    let offset = u64::try_from(at).expect("small");
                    shared.write_at(offset, &sound[at..=at]).expect("restore");
                }
            }
        }
        assert!(opened > rounds / 4, "{opened} of {rounds}");
    }
}
