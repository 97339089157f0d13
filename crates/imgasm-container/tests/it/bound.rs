//! The digests of a base hold for the bytes that are used, whoever writes the file meanwhile.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use imgasm_block::{BlockDevice, Digest};
use imgasm_container::{Base, Binding, Cache, Error};
use imgasm_testkit::disk::{bytes_of, sparse_disk};
use imgasm_testkit::need;
use imgasm_testkit::scratch;
use imgasm_testkit::tools::{filter, run};

const MIB: u64 = 1 << 20;

/// Writes a page of a file through a mapping that was dirty before, as a virtual machine may do:
/// that changes none of the file's times.
const THROUGH_A_MAPPING: &str = "
import mmap, os, sys, time
f = open(sys.argv[1], 'r+b'); m = mmap.mmap(f.fileno(), 0)
b = m[0]; m[0] = b
print('dirty', flush=True); sys.stdin.readline()
before = os.stat(sys.argv[1])
m[0:4] = b'EVIL'
after = os.stat(sys.argv[1])
assert (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)
print('written', flush=True); sys.stdin.readline()
";

struct Folder {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Folder {
    /// A disk `disk.raw` that begins with data, and one of the same length, `evil.raw`.
    fn new() -> Self {
        // In memory: a disk that writes pages back makes them clean, and their next change changes times.
        let dir = scratch::folder();
        for (name, seed) in [("disk.raw", 4), ("evil.raw", 5)] {
            sparse_disk(&dir.path().join(name), 8 * MIB, seed);
            let disk = fs::File::options().write(true).open(dir.path().join(name));
            disk.unwrap().write_all_at(name.as_bytes(), 0).unwrap();
        }
        let bytes = fs::read(dir.path().join("disk.raw")).unwrap();
        Self { dir, bytes }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn cache(&self) -> Cache {
        Cache::new(&self.path("cache"))
    }

    fn digest(&self, name: &str) -> Digest {
        run("sha256sum", [self.path(name)])[..64].parse().unwrap()
    }
}

/// Opens a base and, as soon as some of it has been read, does something else.
fn meanwhile(
    cache: &Cache,
    path: &Path,
    expected: Digest,
    something: impl Fn() + Sync,
) -> Result<Base, Error> {
    let is_done = AtomicBool::new(false);
    cache.base(path, Some(expected), &|_, _| {
        if !is_done.swap(true, Ordering::SeqCst) {
            something();
        }
    })
}

fn read(base: &Base) -> Result<Vec<u8>, imgasm_block::Error> {
    let mut bytes = vec![0; usize::try_from(base.device.len()).unwrap()];
    base.device.read_at(0, &mut bytes)?;
    Ok(bytes)
}

#[test]
fn another_file_under_the_name_is_not_used() {
    if !need::tools(&["qemu-img", "gzip"]) {
        return;
    }
    let folder = Folder::new();
    for name in ["disk", "evil"] {
        let raw = folder.path(&format!("{name}.raw"));
        filter("gzip", &["-c"], &raw, &folder.path(&format!("{name}.gz")));
        let qcow2 = folder.path(&format!("{name}.qcow2"));
        let arguments = [raw.to_str().unwrap(), qcow2.to_str().unwrap()];
        let convert = ["convert", "-O", "qcow2"].into_iter().chain(arguments);
        run("qemu-img", convert);
    }
    for form in ["raw", "gz", "qcow2"] {
        let name = format!("disk.{form}");
        let (path, evil) = (folder.path(&name), folder.path(&format!("evil.{form}")));
        let digest = folder.digest(&name);
        let aside = folder.path("aside");
        let swap = || {
            fs::rename(&path, &aside).unwrap();
            fs::rename(&evil, &path).unwrap();
        };
        let base = meanwhile(&folder.cache(), &path, digest, swap).unwrap();
        assert!(read(&base).unwrap() == folder.bytes, "{form}");
        fs::rename(&aside, &path).unwrap();
        // Nothing else is in the cache under the digest either.
        let again = folder
            .cache()
            .base(&path, Some(digest), &|_, _| {})
            .unwrap();
        assert!(read(&again).unwrap() == folder.bytes, "{form}");
    }
}

#[test]
fn a_container_that_is_written_after_it_was_hashed_is_refused() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let folder = Folder::new();
    let (raw, path) = (folder.path("disk.raw"), folder.path("disk.qcow2"));
    let arguments = [raw.to_str().unwrap(), path.to_str().unwrap()];
    run(
        "qemu-img",
        ["convert", "-O", "qcow2"].into_iter().chain(arguments),
    );
    let digest = folder.digest("disk.qcow2");
    let whole = fs::read(&path).unwrap();
    let at = whole
        .windows(8)
        .position(|window| window == b"disk.raw")
        .unwrap();
    // All of it has been read when the last byte is reported.
    let overwrite = |done: u64, total: u64| {
        if done == total {
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(b"EVIL", u64::try_from(at).unwrap())
                .unwrap();
        }
    };
    let error = folder
        .cache()
        .base(&path, Some(digest), &overwrite)
        .err()
        .unwrap();
    assert!(format!("{error:?}").contains("Changed"), "{error:?}");
    let kept = fs::read_dir(folder.path("cache")).unwrap().count();
    assert_eq!(kept, 1, "only the folder of paths");
}

#[test]
fn a_page_written_through_a_mapping_is_noticed() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    if !need::tools(&["python3"]) {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("disk.raw");
    let digest = folder.digest("disk.raw");
    let mut writer = Command::new("python3")
        .args(["-c", THROUGH_A_MAPPING, path.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = writer.stdin.take().unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "dirty");
    thread::sleep(Duration::from_millis(3100));
    for expected in [None, Some(digest)] {
        let base = folder.cache().base(&path, expected, &|_, _| {}).unwrap();
        assert_eq!(base.binding, Binding::Compared);
        assert!(read(&base).unwrap() == folder.bytes);
    }
    writeln!(to).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "written");
    let stale = folder
        .cache()
        .base(&path, Some(digest), &|_, _| {})
        .unwrap();
    let error = read(&stale).unwrap_err();
    assert!(
        matches!(error, imgasm_block::Error::Changed { offset: 0, .. }),
        "{error}"
    );
    // What was known about it is forgotten.
    let error = folder
        .cache()
        .base(&path, Some(digest), &|_, _| {})
        .err()
        .unwrap();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    writeln!(to).unwrap();
    assert!(writer.wait().unwrap().success());
}

#[test]
fn a_cache_that_is_not_trusted_is_compared() {
    let folder = Folder::new();
    let path = folder.path("disk.gz");
    filter("gzip", &["-c"], &folder.path("disk.raw"), &path);
    let digest = folder.digest("disk.gz");
    let cold = folder
        .cache()
        .base(&path, Some(digest), &|_, _| {})
        .unwrap();
    assert_eq!(cold.binding, Binding::Trusted);
    let unpacked = folder.path("cache").join(format!("{digest}.raw"));
    let mode = fs::metadata(&unpacked).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o400);
    fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::File::options().write(true).open(&unpacked).unwrap();
    file.write_all_at(b"EVIL", 0).unwrap();
    let careful = folder.cache().trusting(false);
    let base = careful.base(&path, Some(digest), &|_, _| {}).unwrap();
    assert_eq!(base.binding, Binding::Compared);
    assert!(matches!(
        read(&base),
        Err(imgasm_block::Error::Changed { offset: 0, .. })
    ));
    // It is unpacked again.
    let base = careful.base(&path, Some(digest), &|_, _| {}).unwrap();
    assert!(bytes_of(&*base.device) == folder.bytes);
}

#[test]
fn the_cache_is_ours_alone() {
    let folder = Folder::new();
    let (path, dir) = (folder.path("disk.raw"), folder.path("cache"));
    let mode = |mode: u32| fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
    let is_mode = || fs::metadata(&dir).unwrap().permissions().mode() & 0o777;
    let open = || folder.cache().base(&path, None, &|_, _| {}).map(|_| ());
    open().unwrap();
    assert_eq!(is_mode(), 0o700);
    // A folder of an older version becomes private.
    mode(0o775);
    open().unwrap();
    assert_eq!(is_mode(), 0o700);
    // A folder with other things in it keeps its mode, and is used if only we can write it.
    fs::remove_dir_all(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("other"), "").unwrap();
    mode(0o777);
    let error = open().unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("IMGASM_CACHE"), "{error}");
    mode(0o755);
    open().unwrap();
    assert_eq!(is_mode(), 0o755);
    if need::root() {
        std::os::unix::fs::chown(&dir, Some(12345), None).unwrap();
        assert!(matches!(open(), Err(Error::Foreign { .. })));
    }
}
