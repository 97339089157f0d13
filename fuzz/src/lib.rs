//! Every parser of what comes from outside, as a function of bytes: an error is fine, a panic, a hang
//! or a need for much memory is a bug.
//!
//! The fuzz targets call these, and so does `tests/it/mutation_parsers.rs` with damaged files.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use imgasm::base::archive;
use imgasm::base::meta::Meta;
use imgasm::config::Source;
use imgasm::diff::{Policy, record};
use imgasm::lock::Lock;
use imgasm::manifest::Manifest;
use imgasm::origin::Origin;
use imgasm::overlay::{Applier, Overlay, OverlayFile};
use imgasm::recipe::{Options, Recipe};
use imgasm::verify::boot::{Machine, lint};
use imgasm_block::{BlockDevice, ChunkMap, Delta, Digest, Hole, InPlace, MemoryDevice};
use imgasm_container::Cache;
use imgasm_disk::Disk;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink};
use imgasm_fs::{FileType, Timestamp, WriteOptions};
use imgasm_guest::packages::database::Database;
use imgasm_guest::packages::header::{Header, Value};
use imgasm_guest::packages::install::{Scriptlets, Unwritable, Wishes, transact};
use imgasm_guest::packages::openpgp::Keyring;
use imgasm_guest::packages::rpm_file::RpmFile;
use imgasm_guest::packages::{payload, tags};
use imgasm_guest::trust::Certificate;
use imgasm_guest::{Accounts, Facts, packages, selinux};
use imgasm_repo::metadata;
use imgasm_repo::names::Names;
use imgasm_testkit::look::look_at_all;
use imgasm_testkit::memory_fs::MemoryFs;

/// A parser by the name of its fuzz target.
pub type Parser = (&'static str, fn(&[u8]));

/// All of them.
pub const PARSERS: [Parser; 32] = [
    ("apply", apply),
    ("archive", archive),
    ("berkeley", berkeley),
    ("certificates", certificates),
    ("chunk_map", chunk_map),
    ("comps", comps),
    ("container", container),
    ("disk", disk),
    ("dpkg", dpkg),
    ("file_contexts", file_contexts),
    ("filelists", filelists),
    ("filesystem", filesystem),
    ("guest", guest),
    ("keys", keys),
    ("lock", lock),
    ("manifest", manifest),
    ("meta", meta),
    ("mirrors", mirrors),
    ("modules", modules),
    ("ndb", ndb),
    ("ndb_indexes", ndb_indexes),
    ("origin", origin),
    ("overlay", overlay),
    ("policy", policy),
    ("primary", primary),
    ("recipe", recipe),
    ("repomd", repomd),
    ("rpm", rpm),
    ("script", script),
    ("sqlite", sqlite),
    ("undo", undo),
    ("updateinfo", updateinfo),
];

/// A file with these bytes, in a folder that goes with it.
struct OnHost(tempfile::TempDir, PathBuf);

impl OnHost {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("room for a folder");
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("room for a file");
        Self(folder, path)
    }

    /// One with the image that an input stands for.
    fn image(name: &str, input: &[u8]) -> Self {
        let Some((len, pieces)) = pieces(input) else {
            return Self::new(name, input);
        };
        let here = Self::new(name, b"");
        let file = fs::File::options().write(true).open(&here.1);
        let file = file.expect("it was written");
        file.set_len(len).expect("holes take no room");
        for (start, piece) in pieces {
            file.write_all_at(piece, start).expect("room for a file");
        }
        here
    }
}

/// A filesystem in memory with these bytes in each of the files.
fn guest_with(paths: &[&str], bytes: &[u8]) -> MemoryFs {
    let mut fs = MemoryFs::new();
    for path in paths {
        lay(&mut fs, path, bytes);
    }
    fs
}

fn lay(fs: &mut MemoryFs, path: &str, bytes: &[u8]) {
    let (mut editor, plain) = (Editor::new(fs), Attributes::default());
    let path = ImagePath::parse(path).expect("a path of ours");
    let above = path.parent().expect("a file is in a folder");
    editor.mkdir_all(&above, plain).expect("it is in memory");
    let written = editor.write(&path, LastLink::Follow, bytes, plain);
    written.expect("it is in memory");
}

/// What an input begins with that holds only those pieces of an image that are not zeros: a disk of many
/// MiB is a few KiB then, and most changes of it are of something that is read.
const PACKED: &[u8] = b"packed";
/// Bytes of a piece, which comes behind its number.
const PIECE: usize = 512;
/// Bytes of a number.
const NUMBER: usize = 4;
/// The length of the largest image.
const MAX_LEN: u64 = 1 << 30;

/// An image as an input that holds no zeros. Its length is a multiple of that of a piece.
pub fn packed(image: &[u8]) -> Vec<u8> {
    let mut input = PACKED.to_vec();
    let last = image.len() / PIECE - 1;
    for (number, piece) in image.chunks(PIECE).enumerate() {
        if number == last || piece.iter().any(|byte| *byte != 0) {
            let number = u32::try_from(number).expect("a small image");
            input.extend(number.to_le_bytes());
            input.extend(piece);
        }
    }
    input
}

/// The pieces of a packed image, each with the place where it begins, and its length.
fn pieces(input: &[u8]) -> Option<(u64, impl Iterator<Item = (u64, &[u8])>)> {
    let pieces = input.strip_prefix(PACKED)?.chunks_exact(NUMBER + PIECE);
    let pieces = pieces.filter_map(|piece| {
        let (number, piece) = piece.split_first_chunk::<NUMBER>()?;
        let start = u64::from(u32::from_le_bytes(*number)) * PIECE as u64;
        (start < MAX_LEN).then_some((start, piece))
    });
    let ends = pieces
        .clone()
        .map(|(start, piece)| start + piece.len() as u64);
    Some((ends.max().unwrap_or(0), pieces))
}

/// The image that an input stands for.
fn device(input: &[u8]) -> Arc<dyn BlockDevice> {
    let Some((len, pieces)) = pieces(input) else {
        return Arc::new(MemoryDevice::new(input.to_vec()));
    };
    let delta = Delta::new(Arc::new(Hole::new(len)));
    for (start, piece) in pieces {
        delta.write_at(start, piece).expect("it is in memory");
    }
    Arc::new(delta)
}

/// A tar or zip file that a step unpacks.
pub fn archive(bytes: &[u8]) {
    let file = OnHost::new("archive", bytes);
    let opened = fs::File::open(&file.1).expect("it was written");
    let _ = archive::read(&file.1, opened);
}

/// Certificates in PEM or DER.
pub fn certificates(bytes: &[u8]) {
    let _ = Certificate::all(bytes);
}

/// RPM's database in Berkeley DB.
pub fn berkeley(bytes: &[u8]) {
    let _ = packages::open_rpm(&guest_with(&["/var/lib/rpm/Packages"], bytes));
}

/// RPM's own database: read, and changed.
pub fn ndb(bytes: &[u8]) {
    let mut fs = guest_with(&["/var/lib/rpm/Packages.db"], bytes);
    let Ok(Some(database)) = Database::read(&fs) else {
        return;
    };
    let all: Vec<_> = database.records.iter().collect();
    let first: Vec<_> = all.iter().take(1).map(|record| &record.header).collect();
    if database
        .update(&mut Editor::new(&mut fs), &all, &first)
        .is_ok()
    {
        let left = Database::read(&fs).expect("it was written");
        assert_eq!(left.map(|left| left.records.len()), Some(first.len()));
    }
}

/// The indexes of RPM's own database, written anew.
pub fn ndb_indexes(bytes: &[u8]) {
    let mut fs = guest_with(&["/var/lib/rpm/Index.db"], bytes);
    let database = no_packages(&mut fs);
    let _ = database.update(&mut Editor::new(&mut fs), &[], &[]);
}

/// A database of packages that has none yet.
fn no_packages(fs: &mut MemoryFs) -> Database {
    let packages = [
        &b"RpmP\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0"[..],
        &[0; 12],
        &b"Slot\0\0\0\0\0\0\0\0\0\0\0\0".repeat(254),
    ];
    lay(fs, "/var/lib/rpm/Packages.db", &packages.concat());
    let database = Database::read(fs).expect("it is sound");
    database.expect("it is there")
}

/// RPM's database in SQLite.
pub fn sqlite(bytes: &[u8]) {
    let _ = packages::open_rpm(&guest_with(&["/var/lib/rpm/rpmdb.sqlite"], bytes));
}

/// dpkg's database.
pub fn dpkg(bytes: &[u8]) {
    let _ = packages::open_dpkg(&guest_with(&["/var/lib/dpkg/status"], bytes));
}

/// A package of RPM, with its payload.
pub fn rpm(bytes: &[u8]) {
    let file = OnHost::new("a.rpm", bytes);
    let Ok(rpm) = RpmFile::open(&file.1, Digest::of(bytes)) else {
        return;
    };
    let Ok(payload) = rpm.payload() else { return };
    let Ok(mut archive) = payload::unpack(&rpm.header, payload) else {
        return;
    };
    while let Ok(Some(entry)) = archive.next_entry() {
        let mut content = archive.content(entry.size.unwrap_or(4096));
        if std::io::copy(&mut content, &mut std::io::sink()).is_err() {
            break;
        }
    }
}

/// A script of a package, carried out when the package goes: for the interpreter that the first byte says.
pub fn script(bytes: &[u8]) {
    let Some((interpreter, script)) = bytes.split_first() else {
        return;
    };
    let program = [&b"/bin/sh"[..], b"/bin/bash", b"<lua>"][usize::from(*interpreter) % 3];
    let text = |text: &[u8]| Value::Text(text.to_vec());
    // One value, the name `a`.
    let name = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 3, 232, 0, 0, 0, 6];
    let name = [&name[..], &[0, 0, 0, 0, 0, 0, 0, 1], b"a\0"].concat();
    let header = Header::decode(name).expect("it is sound").with(&[
        (tags::VERSION, text(b"1")),
        (tags::RELEASE, text(b"1")),
        (tags::ARCH, text(b"noarch")),
        (tags::PRE_UN, text(script)),
        (tags::PRE_UN_PROG, text(program)),
    ]);
    let Ok(header) = header else { return };
    let mut fs = guest_with(
        &["/etc/passwd", "/etc/group", "/etc/a.conf", "/usr/bin/bash"],
        b"root:x:0:0:root:/root:/bin/sh\n",
    );
    let database = no_packages(&mut fs);
    let facts = Facts::detect(&fs).expect("it is in memory");
    let mut editor = Editor::new(&mut fs);
    let recorded = database.update(&mut editor, &[], &[&header]);
    recorded.expect("it is in memory");
    let wishes = Wishes {
        remove: &["a-1-1.noarch".to_owned()],
        scriptlets: Scriptlets::Skip,
        ..Wishes::default()
    };
    let _ = transact(
        &mut editor,
        &facts,
        OPTIONS.now,
        &[],
        &wishes,
        Unwritable::Refuse,
    );
}

/// Public keys, as they are or in ASCII armour.
pub fn keys(bytes: &[u8]) {
    let _ = Keyring::parse(bytes, &[]);
}

/// The chunk map beside an image.
pub fn chunk_map(bytes: &[u8]) {
    if let Ok(map) = ChunkMap::decode(bytes) {
        let _ = map.digest();
    }
}

/// The undo file beside an image.
pub fn undo(bytes: &[u8]) {
    let image = OnHost::new("a.raw", &vec![7; 1 << 16]);
    let path = image.0.path().join("a.raw.imgasm-undo");
    fs::write(path, bytes).expect("room for a file");
    let _ = InPlace::open(&image.1);
}

/// Where an image came from, in the file beside it.
pub fn origin(bytes: &[u8]) {
    let image = OnHost::new("a.raw", b"");
    fs::write(Origin::path_of(&image.1), bytes).expect("room for a file");
    let _ = Origin::of(&image.1, 0, Digest::of(b""));
}

/// What a build has recorded.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes) {
        let _ = record::compare(&manifest, &Manifest::clone(&manifest));
        let _ = manifest.to_json();
    }
}

/// A disk image in any container: what is in it is read at its beginning and at some places.
pub fn container(bytes: &[u8]) {
    let file = OnHost::image("a.image", bytes);
    let cache = Cache::new(&file.0.path().join("cache"));
    let Ok(image) = cache.open(&file.1, &|_, _| {}) else {
        return;
    };
    let mut buffer = [0; 4096];
    let mut at = 0;
    for _ in 0..64 {
        let Ok(Some(data)) = image.device.next_data(at) else {
            break;
        };
        let len = usize::try_from(data.end - data.start).map_or(4096, |len| len.min(4096));
        let _ = image.device.read_at(data.start, &mut buffer[..len]);
        at = data.end;
    }
}

/// A disk: its partition table, what is in the partitions, and growing the first.
pub fn disk(bytes: &[u8]) {
    let base = device(bytes);
    let len = base.len() + (1 << 20);
    let Ok(mut disk) = Disk::open(Arc::new(Delta::grown(base, len))) else {
        return;
    };
    let _ = disk.table();
    for place in disk.places() {
        let _ = disk.probe(place);
        let _ = disk.slice(place);
    }
    let _ = disk.root(None);
    let _ = disk.grow(Some(1));
    let _ = disk.table();
}

/// A filesystem, from the superblock to the whole tree.
pub fn filesystem(bytes: &[u8]) {
    if let Ok(fs) = imgasm_disk::open(device(bytes)) {
        look_at_all(&*fs);
    }
}

/// A filesystem to which the stock overlays are applied.
pub fn apply(bytes: &[u8]) {
    let base = device(bytes);
    let delta = Arc::new(Delta::new(base));
    let Ok(mut fs) = imgasm_disk::open_writable(delta.clone(), OPTIONS) else {
        return;
    };
    if let Ok(mut applier) = Applier::new(&mut *fs, OPTIONS.now) {
        for overlay in STOCK.iter() {
            let _ = applier.apply(overlay);
        }
    }
    if fs.flush().is_err() {
        return;
    }
    drop(fs);
    if let Ok(fs) = imgasm_disk::open(delta) {
        look_at_all(&*fs);
    }
}

const OPTIONS: WriteOptions = WriteOptions {
    now: Timestamp {
        seconds: 1_500_000_000,
        nanoseconds: 0,
    },
    seed: [7; 16],
};

/// The stock overlays that need no values for their variables.
static STOCK: LazyLock<Vec<Overlay>> = LazyLock::new(|| {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays");
    // A test's package is the folder above that of the fuzz targets.
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("overlays");
    let stock = if own.is_dir() { own } else { beside };
    let folders = fs::read_dir(stock).expect("the stock overlays are there");
    let mut folders: Vec<_> = folders.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let read = |folder: &PathBuf| {
        let overlay = OverlayFile::read("stock", folder).ok()?;
        overlay.resolve(|_| None).ok()
    };
    folders.iter().filter_map(read).collect()
});

/// The files of a system that `verify` and `inspect` read.
pub fn guest(bytes: &[u8]) {
    let fs = guest_with(
        &[
            "/etc/os-release",
            "/etc/passwd",
            "/etc/group",
            "/etc/fstab",
            "/etc/default/grub",
            "/boot/grub/grub.cfg",
            "/boot/grub2/grub.cfg",
            "/boot/loader/entries/a.conf",
            "/etc/cloud/cloud.cfg",
            "/etc/cloud/cloud.cfg.d/a.cfg",
            "/etc/systemd/system/a.service",
            "/etc/systemd/system/a.service.d/b.conf",
            "/etc/systemd/system/b.timer",
            "/usr/lib/systemd/systemd",
            "/usr/lib/systemd/system/c@.service",
            "/usr/lib/systemd/system-preset/a.preset",
            "/etc/init.d/a",
            "/lib/modules/1/modules.dep",
            "/lib/modules/1/modules.builtin",
            "/lib/modules/1/kernel/drivers/a.ko.xz",
            "/boot/vmlinuz-1",
            "/boot/config-1",
        ],
        bytes,
    );
    let _ = Accounts::read(&fs);
    let _ = Facts::detect(&fs);
    let machine = Machine {
        root: &fs,
        disk: None,
        filesystems: Vec::new(),
        boot_mode: None,
        requires_token: true,
    };
    let _ = lint(&machine);
}

/// SELinux's labels by path.
pub fn file_contexts(bytes: &[u8]) {
    let contexts = "/etc/selinux/targeted/contexts/files/file_contexts";
    let mut fs = guest_with(&[contexts], bytes);
    let text = b"SELINUX=enforcing\nSELINUXTYPE=targeted\n";
    lay(&mut fs, "/etc/selinux/config", text);
    let Ok(Some(contexts)) = selinux::load(&fs) else {
        return;
    };
    for path in ["/", "/etc/passwd", "/usr/lib64/a/b/c.so.1"] {
        let _ = contexts.lookup(path.as_bytes(), FileType::Regular);
    }
}

/// `repomd.xml`.
pub fn repomd(bytes: &[u8]) {
    let _ = metadata::repomd::read(bytes);
}

/// `primary.xml`.
pub fn primary(bytes: &[u8]) {
    let _ = metadata::primary::read(bytes, &mut Names::default(), 0);
}

/// `filelists.xml`.
pub fn filelists(bytes: &[u8]) {
    let wanted = ["/usr/bin/a".to_owned()].into();
    let _ = metadata::filelists::read(bytes, &wanted);
}

/// `comps.xml`.
pub fn comps(bytes: &[u8]) {
    let _ = metadata::comps::read(bytes);
}

/// `modules.yaml`, and what is hidden by it.
pub fn modules(bytes: &[u8]) {
    if let Ok(modules) = metadata::modules::Modules::read(bytes) {
        let system = imgasm_guest::dnf::Modules::default();
        let platform = ("platform".to_owned(), "p1".to_owned());
        let _ = imgasm_repo::modules::Filter::new(modules, &system, Some(platform), |_| true);
    }
}

/// `updateinfo.xml`, for a package that becomes newer.
pub fn updateinfo(bytes: &[u8]) {
    let change = metadata::updateinfo::Change {
        name: "a".to_owned(),
        arch: "x86_64".to_owned(),
        from: "1-1".to_owned(),
        to: "9-1".to_owned(),
    };
    let read = metadata::updateinfo::read(bytes, &[change], &|_, _, context| context != "x");
    for (advisory, _) in read.into_iter().flatten() {
        let _ = advisory.to_string();
    }
}

/// A list of mirrors, plain or as a metalink.
pub fn mirrors(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = metadata::mirrors::read_list(&text);
    let _ = metadata::mirrors::read_metalink(&text);
}

/// `imgasm.lock`.
pub fn lock(bytes: &[u8]) {
    if let Ok(Some(lock)) = Lock::read(&OnHost::new("imgasm.lock", bytes).1) {
        let _ = lock.to_toml();
    }
}

/// What `diff` is to leave out.
pub fn policy(bytes: &[u8]) {
    let source = Source::new("allow.toml", &String::from_utf8_lossy(bytes));
    if let Err(error) = Policy::from_source(&source) {
        let _ = error.to_string();
    }
}

/// The owners and modes beside a root filesystem.
pub fn meta(bytes: &[u8]) {
    if let Ok(meta) = Meta::parse(Path::new("root.meta.toml"), bytes) {
        let _ = meta.hard_links();
    }
}

/// A recipe.
pub fn recipe(bytes: &[u8]) {
    let source = Source::new("imgasm.toml", &String::from_utf8_lossy(bytes));
    let folder = tempfile::tempdir().expect("room for a folder");
    if let Err(error) = Recipe::from_source(source, folder.path(), &Options::default()) {
        let _ = error.to_string();
    }
}

/// An overlay.
pub fn overlay(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let folder = OnHost::new("overlay.toml", text.as_bytes());
    let read = OverlayFile::read("any", folder.0.path());
    if let Err(error) = read.and_then(|overlay| overlay.resolve(|_| None)) {
        let _ = error.to_string();
    }
}
