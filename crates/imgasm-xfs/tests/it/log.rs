//! XFS images that were not unmounted: what we recover against what the kernel recovers.
//!
//! The kernel works on a mounted image until it is told to stop at once, as in a crash. One copy of
//! what is left is then recovered by the kernel, another one by us.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use imgasm_block::FileDevice;
use imgasm_fs::{Error, FileSystem as _, NewNode, NodeKind};
use imgasm_testkit::command::{copy_sparse, output, run, text};
use imgasm_testkit::engine::{OPTIONS, image};
use imgasm_testkit::image::{Kind, set};
use imgasm_testkit::judge;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;
use imgasm_testkit::scratch;
use imgasm_testkit::tree::{Comparison, Tree};
use imgasm_xfs::Xfs;

/// Mounts an image; `crash` stops the filesystem, with what is logged in memory or without.
const MOUNT: &str = r#"
image=$1 seed=$2 pid=
m=$(mktemp -d)
mount -o loop,noatime "$image" "$m" || exit 1
finish() {
  exec 6>&- 7>&- 8>&- 9>&-
  [ -z "$pid" ] || { kill $pid; wait $pid; } 2>/dev/null
  for try in 1 2 3 4 5 6 7 8 9; do umount "$m" && break; sleep 0.3; done
  rmdir "$m"
}
trap finish EXIT
crash() { xfs_io -x -c "shutdown $1" "$m"; exit; }
share() { cp --reflink=auto "$@"; }
"#;

/// Work of every kind, some of it undone, and blocks used for one thing after another; in the end
/// files without a name are open.
const WORK: &str = r#"
mkdir "$m/many" "$m/kept"
for i in $(seq 400); do ln -s "target$i" "$m/many/a-rather-long-name-for-a-link-$i"; done
for i in $(seq 300); do echo $i >"$m/kept/$i"; done
for i in $(seq 4); do head -c 900000 /dev/urandom >"$m/big$i"; done
setfattr -n user.long -v "$(head -c 700 /dev/zero | tr '\0' x)" "$m/big1"
setfattr -n user.longer -v "$(head -c 30000 /dev/zero | tr '\0' y)" "$m/big1"
for i in $(seq 40); do setfattr -n user.$i -v "value $i" "$m/big3"; done
share "$m/big1" "$m/shared1"; share "$m/big1" "$m/shared2"
sync -f "$m"
rm -r "$m/many"; rm "$m/big2"
for i in $(seq 60); do head -c 250000 /dev/urandom >"$m/data$i"; done
sync -f "$m"
rm "$m"/data1?
for i in $(seq 60); do xfs_io -c "fpunch $((i * 12))k 4k" "$m/big4"; done
xfs_io -f -c "falloc 0 3m" -c "pwrite 1m 5000" "$m/ahead" >/dev/null
xfs_io -c "pwrite 100k 50k" "$m/shared1" >/dev/null; truncate -s 400000 "$m/shared2"
mknod "$m/device" c 5 77; mkfifo "$m/fifo"; ln "$m/big1" "$m/second"
ln -s "$(head -c 600 /dev/zero | tr '\0' z)" "$m/link"
sync -f "$m"
for i in $(seq 100 160); do rm "$m/kept/$i"; done
for i in $(seq 12); do mkdir -p "$m/dir$i/below"; echo $i >"$m/dir$i/file"; mv "$m/dir$i" "$m/kept/dir$i"; done
head -c 500000 /dev/urandom >"$m/unlinked"; setfattr -n user.x -v y "$m/unlinked"
share "$m/big1" "$m/unlinked2"; setfattr -n user.long -v "$(head -c 9000 /dev/zero | tr '\0' y)" "$m/unlinked2"
mkdir "$m/gone"; mkdir "$m/other"; cp -r "$m/kept" "$m/other/"
exec 7<>"$m/unlinked" 8<>"$m/unlinked2" 9<>"$m/other/kept/3"
(cd "$m/gone" && exec sleep 60) & pid=$!
while [ "$(readlink /proc/$pid/cwd)" != "$m/gone" ]; do sleep 0.05; done
rm "$m/unlinked" "$m/unlinked2" "$m/other/kept/3"; rmdir "$m/gone"
sync "$m/big1"
rm -r "$m/other"
"#;

struct Dirty {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Dirty {
    /// Makes an image and works on it until it crashes.
    fn new(name: &str, work: &str, seed: u64) -> Self {
        let folder = scratch::folder();
        let path = folder.path().join("image");
        set(Kind::Xfs, name)
            .expect("a set of this name")
            .make(&path);
        let done = output(
            Command::new("bash")
                .args(["-c", &format!("{MOUNT}{work}"), "bash"])
                .arg(&path)
                .arg(seed.to_string()),
        );
        assert!(done.status.success(), "{}", text(&done));
        let dirty = Self {
            _folder: folder,
            path,
        };
        let fs = Xfs::open(image(&dirty.path)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let info = fs.info().expect("readable");
        assert!(info.needs_recovery, "{name}: the log is empty");
        dirty
    }

    fn sibling(&self, name: &str) -> PathBuf {
        let sibling = self.path.with_file_name(name);
        copy_sparse(&self.path, &sibling);
        sibling
    }

    /// Compares our recovery with the kernel's, in memory and on a copy.
    fn compare(&self) -> Tree {
        let before = std::fs::read(&self.path).unwrap();
        let by_kernel = self.sibling("kernel");
        drop(Mount::new(&by_kernel, Kind::Xfs, Access::ReadWrite));
        let remarks = judge::xfs_remarks(&by_kernel).unwrap();
        assert!(
            remarks.iter().all(|remark| is_empty_leaf(remark)),
            "{remarks:#?}"
        );
        let expected = kernel_view(&by_kernel);

        let in_memory = Xfs::open(image(&self.path)).unwrap();
        let seen = Tree::of_engine(&in_memory).unwrap();
        seen.compare(&expected, &Comparison::SAME_IMAGE).unwrap();
        let mut found = Vec::new();
        in_memory.check(&mut |finding| found.push(finding)).unwrap();
        assert!(found.is_empty(), "{found:#?}");
        assert!(std::fs::read(&self.path).unwrap() == before);

        let by_us = self.sibling("ours");
        let device = Arc::new(FileDevice::open_writable(&by_us).unwrap());
        let mut on_disk = Xfs::open_writable(device, OPTIONS).unwrap();
        on_disk.flush().unwrap();
        assert!(!on_disk.info().unwrap().needs_recovery);
        drop(on_disk);
        assert_eq!(judge::xfs_remarks(&by_us).unwrap(), remarks);
        assert_eq!(inodes(&by_us), inodes(&by_kernel));
        kernel_view(&by_us)
            .compare(&expected, &Comparison::SAME_IMAGE)
            .unwrap();
        use_further(&by_us, &expected, &remarks);
        expected
    }
}

/// Whether `xfs_repair` remarks on an attribute leaf without attributes. The kernel moves attributes
/// to a block in a transaction before the one that adds a name, so a crash can come between the two;
/// its recovery leaves the block, and so do we.
fn is_empty_leaf(remark: &str) -> bool {
    remark.starts_with("would clear empty leaf attr block 0, ")
}

/// Both the engine and the kernel can work with what was recovered, and the log is usable again;
/// `xfs_repair` has the same remarks as before.
fn use_further(image: &Path, tree: &Tree, remarks: &[String]) {
    let device = Arc::new(FileDevice::open_writable(image).unwrap());
    let mut fs = Xfs::open_writable(device, OPTIONS).unwrap();
    let root = fs.root();
    let new = NewNode {
        kind: NodeKind::Regular,
        permissions: 0o600,
        uid: 1,
        gid: 2,
    };
    let node = fs.create(root, b"by us", &new).unwrap();
    let content = vec![7; 1_000_000];
    fs.write_content(node, 1_000_000, &mut &content[..])
        .unwrap();
    fs.flush().unwrap();
    drop(fs);
    assert_eq!(judge::xfs_remarks(image).unwrap(), remarks);
    let mount = Mount::new(image, Kind::Xfs, Access::ReadWrite);
    assert!(std::fs::read(mount.path().join("by us")).unwrap() == content);
    for n in 0..500 {
        let path = mount.path().join(format!("by the kernel {n}"));
        std::fs::write(path, n.to_string()).unwrap();
    }
    let now = Tree::of_mount(mount.path());
    assert_eq!(now.0.len(), tree.0.len() + 501);
    mount.finish().unwrap();
    assert_eq!(judge::xfs_remarks(image).unwrap(), remarks);
}

/// What the kernel shows of an image.
fn kernel_view(path: &Path) -> Tree {
    let mount = Mount::new(path, Kind::Xfs, Access::ReadOnly);
    let tree = Tree::of_mount(mount.path());
    mount.finish().unwrap();
    tree
}

/// The superblock's counts of inodes, and of free ones.
fn inodes(path: &Path) -> String {
    run(Command::new("xfs_db")
        .args(["-r", "-c", "sb 0", "-c", "p icount ifree"])
        .arg(path))
}

fn compare(set: &str, work: &str, how: &str) {
    if need::mounts(Kind::Xfs.tools()) {
        let tree = Dirty::new(set, &format!("{work}\ncrash {how}"), 1).compare();
        assert!(tree.0.len() > 250, "the work was not done");
    }
}

macro_rules! comparisons {
    ($($test:ident: $set:literal, $how:literal;)*) => {$(
        #[test]
        fn $test() {
            compare($set, WORK, $how);
        }
    )*};
}

comparisons! {
    al2: "al2", "-f";
    al2_in_its_tracks: "al2", "";
    al2023: "al2023", "-f";
    al2023_in_its_tracks: "al2023", "";
    rmapbt: "rmapbt", "-f";
    rmapbt_in_its_tracks: "rmapbt", "";
    nrext64: "nrext64", "-f";
    small_blocks: "1k-blocks", "-f";
    large_inodes: "inode1k", "-f";
    current_defaults: "defaults", "-f";
}

/// A log that has wrapped around: later records lie before earlier ones, and one may lie on both
/// sides of the end.
#[test]
fn a_log_that_wraps() {
    const ROUND: &str = r#"
mkdir "$m/kept"; for i in $(seq 300); do echo $i >"$m/kept/$i"; done
for i in $(seq 4000); do
  mkdir "$m/d$i"
  for j in $(seq 12); do ln -s "$j" "$m/d$i/$(head -c 100 /dev/zero | tr '\0' l)$j"; done
  [ $i -le 40 ] || rm -r "$m/d$((i - 40))"
  sync "$m/d$i"
  xfs_logprint -t "$image" 2>/dev/null |
    awk '/log tail:/ { exit !($3 > $5) }' && wraps=1 && break
done
[ "$wraps" = 1 ] || exit 1
crash -f
"#;
    if need::mounts(Kind::Xfs.tools()) {
        for name in ["al2", "al2023"] {
            Dirty::new(name, ROUND, 1).compare();
        }
    }
}

/// Many writers at once, stopped at any moment: changes that take several transactions are cut off
/// between them.
#[test]
fn stopped_at_any_moment() {
    const STORM: &str = r#"
RANDOM=$seed
head -c 3000000 /dev/urandom >"$m/source"
for i in $(seq 0 2 700); do xfs_io -c "fpunch $((i * 4))k 4k" "$m/source"; done
mkdir "$m/kept"; for i in $(seq 300); do echo $i >"$m/kept/$i"; done
sync -f "$m"
for w in 1 2 3; do
  ( i=0; while :; do
      i=$((i + 1)); f="$m/w$w-$((i % 5))"
      cp --reflink=auto "$m/source" "$f"; setfattr -n user.a -v "$(head -c 1200 /dev/zero | tr '\0' a)" "$f"
      xfs_io -c "pwrite -b 4k $((RANDOM % 500 * 4))k 64k" "$f" >/dev/null
      truncate -s $((RANDOM * 60)) "$f"; rm -f "$m/w$w-$(((i + 2) % 5))"
    done ) 2>/dev/null &
done
( while :; do sync "$m/source"; echo >>"$m/tick"; sync "$m/tick"; done ) 2>/dev/null &
sleep $((1 + RANDOM % 3)).$((RANDOM % 10))
xfs_io -x -c "shutdown" "$m"
kill $(jobs -p); wait 2>/dev/null
exit 0
"#;
    if !need::mounts(Kind::Xfs.tools()) {
        return;
    }
    let seeds = std::env::var("IMGASM_CRASHES").map_or(2, |n| n.parse().expect("a number"));
    for seed in 1..=seeds {
        for name in ["al2", "al2023", "rmapbt"] {
            println!("{name}, seed {seed}");
            Dirty::new(name, STORM, seed).compare();
        }
    }
}

#[test]
fn a_damaged_log_is_refused_and_nothing_is_written() {
    if !need::mounts(Kind::Xfs.tools()) {
        return;
    }
    let dirty = Dirty::new("defaults", &format!("{WORK}\ncrash -f"), 1);
    let said = run(Command::new("xfs_logprint").arg("-t").arg(&dirty.path));
    let number = |name: &str| -> u64 {
        let rest = said.split_once(name).expect("it is printed").1.trim_start();
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..digits].parse().expect("a number")
    };
    let tail = (number("daddr:") + number("log tail:")) * 512;
    // In the oldest record: behind its headers, and in its first.
    for offset in [tail + 512 * 30 + 9, tail + 15] {
        let damaged = dirty.sibling("damaged");
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&damaged)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
        let before = std::fs::read(&damaged).unwrap();
        let device = Arc::new(FileDevice::open_writable(&damaged).unwrap());
        for refusal in [
            Xfs::open(device.clone()).err(),
            Xfs::open_writable(device, OPTIONS).err(),
        ] {
            let refusal = refusal.expect("a refusal");
            assert!(matches!(refusal, Error::Corrupt { .. }), "{refusal}");
            assert!(refusal.to_string().contains("journal"), "{refusal}");
        }
        assert!(std::fs::read(&damaged).unwrap() == before);
    }
}
