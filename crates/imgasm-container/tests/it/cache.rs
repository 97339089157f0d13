//! The cache of base images.

use imgasm_testkit::mount::Mounted;
use imgasm_testkit::need;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use imgasm_block::{ChunkMap, Digest, MemoryDevice};
use imgasm_container::{Base, Cache, Error};
use imgasm_testkit::disk::{bytes_of, sparse_disk};
use imgasm_testkit::tools::{filter, run};

const MIB: u64 = 1 << 20;

/// Opens a base and counts the bytes of it that were read in doing so.
fn base(cache: &Cache, path: &Path, expected: Option<Digest>) -> (Result<Base, Error>, u64) {
    let read = AtomicU64::new(0);
    let result = cache.base(path, expected, &|done, total| {
        assert!(done <= total);
        read.store(done, Ordering::Relaxed);
    });
    (result, read.into_inner())
}

fn sha256sum(path: &Path) -> Digest {
    run("sha256sum", [path])[..64].parse().unwrap()
}

/// A disk, compressed, and its bytes.
fn packed_in(dir: &Path) -> (PathBuf, Vec<u8>) {
    let raw = dir.join("disk.raw");
    sparse_disk(&raw, 8 * MIB + 100, 4);
    let path = dir.join("disk.raw.gz");
    filter("gzip", &["-c"], &raw, &path);
    (path, fs::read(&raw).unwrap())
}

fn check(base: &Base, bytes: &[u8]) {
    assert!(bytes_of(&*base.device) == bytes);
    let expected = ChunkMap::compute(&MemoryDevice::new(bytes.to_vec())).unwrap();
    assert_eq!(*base.chunk_map, expected);
}

/// Long enough for a file to count as at rest.
fn rest() {
    thread::sleep(Duration::from_millis(3100));
}

#[test]
fn a_base_is_unpacked_once_and_read_again_only_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(&dir.path().join("cache"));
    let (path, bytes) = packed_in(dir.path());
    let len = fs::metadata(&path).unwrap().len();
    let digest = sha256sum(&path);
    rest();

    let (cold, read) = base(&cache, &path, None);
    let cold = cold.unwrap();
    assert_eq!((read, cold.sha256), (len, Some(digest)));
    assert_eq!(cold.wrapping, ["gzip"]);
    check(&cold, &bytes);
    for expected in [None, Some(digest)] {
        let (warm, read) = base(&cache, &path, expected);
        let warm = warm.unwrap();
        assert_eq!(
            (read, warm.sha256, &warm.wrapping[..]),
            (0, Some(digest), &["gzip".into()][..])
        );
        check(&warm, &bytes);
    }

    // The same file elsewhere is hashed, but not unpacked again.
    let copy = dir.path().join("copy.gz");
    fs::copy(&path, &copy).unwrap();
    let raw = dir.path().join("cache").join(format!("{digest}.raw"));
    let unpacked = fs::metadata(&raw).unwrap().modified().unwrap();
    let (again, read) = base(&cache, &copy, Some(digest));
    assert_eq!((read, again.unwrap().sha256), (len, Some(digest)));
    assert_eq!(fs::metadata(&raw).unwrap().modified().unwrap(), unpacked);

    // A changed file is noticed although its length and time of change are as before.
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let other = dir.path().join("other.raw");
    sparse_disk(&other, 8 * MIB + 100, 5);
    filter("gzip", &["-c"], &other, &path);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let (changed, _) = base(&cache, &path, None);
    check(&changed.unwrap(), &fs::read(&other).unwrap());

    // What is damaged in the cache is made anew.
    fs::remove_file(&raw).unwrap();
    check(&base(&cache, &copy, None).0.unwrap(), &bytes);
}

#[test]
fn a_wrong_file_is_an_error_that_shows_both_digests() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(&dir.path().join("cache"));
    let (packed, _) = packed_in(dir.path());
    let raw = dir.path().join("disk.raw");
    let broken = dir.path().join("broken.gz");
    fs::write(&broken, b"\x1f\x8b\x08 this is no gzip file").unwrap();
    let wrong = Digest::of(b"wrong");
    rest();
    for path in [&packed, &raw, &broken] {
        // The second time, the digest is known.
        for _ in 0..2 {
            let error = base(&cache, path, Some(wrong)).0.err().expect("a mismatch");
            let text = error.to_string();
            assert!(text.contains(&wrong.to_string()), "{text}");
            assert!(text.contains(&sha256sum(path).to_string()), "{text}");
            let _ = base(&cache, path, None);
        }
    }
}

#[test]
fn a_raw_base_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(&dir.path().join("cache"));
    let path = dir.path().join("disk.raw");
    sparse_disk(&path, 8 * MIB, 6);
    let bytes = fs::read(&path).unwrap();
    let digest = sha256sum(&path);
    rest();
    let (cold, read) = base(&cache, &path, None);
    let cold = cold.unwrap();
    assert_eq!((read, cold.sha256), (0, None));
    check(&cold, &bytes);
    let (checked, read) = base(&cache, &path, Some(digest));
    assert_eq!((read, checked.unwrap().sha256), (8 * MIB, Some(digest)));
    for expected in [None, Some(digest)] {
        let (warm, read) = base(&cache, &path, expected);
        let warm = warm.unwrap();
        assert_eq!((read, warm.sha256), (0, Some(digest)));
        check(&warm, &bytes);
    }
    let kept = fs::read_dir(dir.path().join("cache")).unwrap().count();
    assert_eq!(kept, 1, "only the folder of paths");
}

#[test]
fn nothing_known_outlives_the_start_of_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(&dir.path().join("cache"));
    let path = dir.path().join("disk.raw");
    sparse_disk(&path, 8 * MIB, 7);
    let bytes = fs::read(&path).unwrap();
    let digest = sha256sum(&path);
    rest();
    base(&cache, &path, Some(digest)).0.unwrap();
    let this_start = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let another = "00000000-0000-4000-8000-000000000000";
    let mut changed = 0;
    for entry in fs::read_dir(dir.path().join("cache/paths")).unwrap() {
        let file = entry.unwrap().path();
        if file
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let known = fs::read_to_string(&file).unwrap();
            assert!(known.contains(this_start.trim_end()));
            fs::write(&file, known.replace(this_start.trim_end(), another)).unwrap();
            changed += 1;
        }
    }
    assert_eq!(changed, 1);
    let (after, read) = base(&cache, &path, Some(digest));
    assert_eq!(read, 8 * MIB);
    check(&after.unwrap(), &bytes);
}

#[test]
fn other_formats_become_raw() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(&dir.path().join("cache"));
    let raw = dir.path().join("disk.raw");
    sparse_disk(&raw, 8 * MIB, 6);
    let path = dir.path().join("disk.qcow2");
    run(
        "qemu-img",
        [
            "convert",
            "-c",
            "-O",
            "qcow2",
            raw.to_str().unwrap(),
            path.to_str().unwrap(),
        ],
    );
    for _ in 0..2 {
        let found = base(&cache, &path, Some(sha256sum(&path))).0.unwrap();
        assert_eq!(found.wrapping, ["qcow2"]);
        check(&found, &fs::read(&raw).unwrap());
    }
}

#[test]
fn several_builds_at_once_share_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(&dir.path().join("cache"));
    let (path, bytes) = packed_in(dir.path());
    rest();
    let unpacked = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let (found, read) = base(&cache, &path, None);
                check(&found.unwrap(), &bytes);
                unpacked.fetch_add(u64::from(read > 0), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(unpacked.into_inner(), 1);
}

#[test]
fn a_full_disk_leaves_nothing_in_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = packed_in(dir.path());
    let Some(mounted) = Mounted::tmpfs(dir.path(), MIB / 4) else {
        return;
    };
    let cache = Cache::new(mounted.path());
    let error = base(&cache, &path, None).0.err().expect("no room");
    assert!(
        error.to_string().starts_with("no room on the file system"),
        "{error}"
    );
    let names = fs::read_dir(mounted.path()).unwrap().count();
    assert_eq!(names, 1, "only the folder of paths");
}

#[test]
fn the_usual_folder() {
    let dir = |set: &[(&str, &str)]| {
        Cache::usual_dir(|name| {
            let found = set.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.into())
        })
    };
    let home = ("HOME", "/h");
    assert_eq!(dir(&[]), None);
    assert_eq!(dir(&[home]), Some("/h/.cache/imgasm".into()));
    assert_eq!(
        dir(&[home, ("XDG_CACHE_HOME", "/x")]),
        Some("/x/imgasm".into())
    );
    let all = [home, ("XDG_CACHE_HOME", "/x"), ("IMGASM_CACHE", "/i")];
    assert_eq!(dir(&all), Some("/i".into()));
    assert_eq!(
        dir(&[home, ("IMGASM_CACHE", "")]),
        Some("/h/.cache/imgasm".into())
    );
}
