//! Images that were not unmounted: what we recover against what the kernel recovers.
//!
//! The kernel works on a mounted image, and a copy of the image is taken while it does. One copy is
//! then recovered by the kernel, another one by us.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use imgasm_block::{Delta, FileDevice};
use imgasm_ext4::Ext4;
use imgasm_fs::{Error, FileSystem as _};
use imgasm_testkit::command::{copy_sparse, output, run, text};
use imgasm_testkit::engine::{OPTIONS, image};
use imgasm_testkit::image::Kind;
use imgasm_testkit::judge;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;
use imgasm_testkit::scratch;
use imgasm_testkit::tree::{Comparison, Times, Tree};

/// Mounts an image and says how to commit: by synchronising one file, which writes the journal and
/// that file's data but leaves all else where it was. Synchronising the whole filesystem would
/// leave nothing to recover, and neither would synchronising files whose data is journaled.
const MOUNT: &str = r#"
set -e
image=$1 copy=$2 options=$3 pid=
m=$(mktemp -d)
mount -o "loop,noinit_itable,noatime,user_xattr$options" "$image" "$m"
finish() {
  exec 7>&- 8>&- 9>&-
  [ -z "$pid" ] || { kill $pid; wait $pid || :; }
  umount "$m"; rmdir "$m"
}
trap finish EXIT
commit() { echo . >>"$m/tick"; sync "$m/tick" "$@"; }
"#;

/// Work that journals metadata over and over, deletes some of it and uses its blocks for data, and
/// leaves files without a name but open. The image is copied at the end of it.
const WORK: &str = r#"
mkdir "$m/many"
for i in $(seq 300); do ln -s "target$i" "$m/many/a-rather-long-name-for-a-link-$i"; done
for i in $(seq 4); do head -c 90000 /dev/urandom >"$m/big$i"; done
setfattr -n user.long -v "$(head -c 700 /dev/zero | tr '\0' x)" "$m/big1"
commit "$m"/big?
rm -r "$m/many"; rm "$m/big2"; commit
for i in $(seq 120); do
  head -c 250000 /dev/urandom >"$m/data$i" 2>/dev/null || break
done
rm "$m/data$i"
commit "$m"/data*
rm "$m"/data1?; commit
for i in $(seq 12); do mkdir "$m/dir$i"; echo $i >"$m/dir$i/file"; commit "$m/dir$i/file"; done
head -c 500000 /dev/urandom >"$m/unlinked"; setfattr -n user.x -v y "$m/unlinked"
head -c 100 /dev/urandom >"$m/unlinked2"
ln -s "$(head -c 300 /dev/zero | tr '\0' y)" "$m/link"
mkdir "$m/gone"
cp "$m/big1" "$m/other"
exec 7<>"$m/unlinked" 8<>"$m/unlinked2" 9<>"$m/other"
(cd "$m/gone" && exec sleep 60) & pid=$!
commit "$m/unlinked" "$m/unlinked2" "$m/other"
rm "$m/unlinked" "$m/unlinked2" "$m/other"
while [ "$(readlink /proc/$pid/cwd)" != "$m/gone" ]; do sleep 0.05; done
rmdir "$m/gone"
for i in $(seq 20); do printf '\300\073\071\230 looks like a journal block %d' $i >"$m/escape$i"; done
commit
cp --sparse=always "$image" "$copy"
"#;

struct Dirty {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Dirty {
    fn sibling(&self, name: &str) -> PathBuf {
        let sibling = self.path.with_file_name(name);
        copy_sparse(&self.path, &sibling);
        sibling
    }
}

/// Makes an image, works on it, and gives a copy from the middle of the work.
fn dirty(mkfs: &[&str], mount_options: &str, work: &str) -> Dirty {
    let folder = scratch::folder();
    let (clean, path) = (folder.path().join("mounted"), folder.path().join("dirty"));
    let file = std::fs::File::create(&clean).unwrap();
    file.set_len(32 << 20).unwrap();
    run(Command::new("mke2fs")
        .args(["-q", "-F"])
        .args(mkfs)
        .arg(&clean));
    let done = output(
        Command::new("bash")
            .args(["-c", &format!("{MOUNT}{work}"), "bash"])
            .args([&clean, &path])
            .arg(mount_options),
    );
    assert!(done.status.success() && path.exists(), "{}", text(&done));
    Dirty {
        _folder: folder,
        path,
    }
}

fn feature(path: &Path, name: &str) -> bool {
    let header = output(Command::new("dumpe2fs").arg("-h").arg(path));
    let header = text(&header);
    let features = header
        .lines()
        .find(|line| line.starts_with("Filesystem features"));
    features.expect("features are listed").contains(name)
}

/// What the kernel shows of an image.
fn kernel_view(path: &Path, access: Access) -> Tree {
    let mount = Mount::new(path, Kind::Ext, access);
    let tree = Tree::of_mount(mount.path());
    drop(mount);
    tree
}

/// Compares our recovery with the kernel's, in memory and on a copy.
fn compare(mkfs: &[&str], mount_options: &str) {
    if !need::mounts(Kind::Ext.tools()) {
        return;
    }
    let dirty = dirty(mkfs, mount_options, WORK);
    assert!(feature(&dirty.path, "needs_recovery"), "the copy is clean");
    let before = std::fs::read(&dirty.path).unwrap();

    let by_kernel = dirty.sibling("kernel");
    drop(Mount::new(&by_kernel, Kind::Ext, Access::ReadWrite));
    let expected = kernel_view(&by_kernel, Access::ReadOnly);
    assert!(expected.0.len() > 60, "the work was not done");

    let in_memory = Ext4::open(image(&dirty.path)).unwrap();
    assert!(in_memory.info().unwrap().needs_recovery);
    let seen = Tree::of_engine(&in_memory).unwrap();
    seen.compare(&expected, &Comparison::SAME_IMAGE).unwrap();
    let mut found = Vec::new();
    in_memory.check(&mut |finding| found.push(finding)).unwrap();
    assert!(found.is_empty(), "{found:#?}");
    assert!(std::fs::read(&dirty.path).unwrap() == before);

    let by_us = dirty.sibling("ours");
    let device = Arc::new(FileDevice::open_writable(&by_us).unwrap());
    let mut on_disk = Ext4::open_writable(device, OPTIONS).unwrap();
    on_disk.flush().unwrap();
    assert!(!on_disk.info().unwrap().needs_recovery);
    drop(on_disk);
    judge::check(&by_us, Kind::Ext).unwrap();
    assert!(!feature(&by_us, "needs_recovery") && !feature(&by_us, "orphan_present"));
    kernel_view(&by_us, Access::ReadOnly)
        .compare(&expected, &Comparison::SAME_IMAGE)
        .unwrap();
    let counts = |path: &Path| {
        let header = text(&output(Command::new("dumpe2fs").arg("-h").arg(path)));
        let free = |line: &&str| line.starts_with("Free ");
        header
            .lines()
            .filter(free)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(&by_us), counts(&by_kernel));
    // The journal is good for use again.
    drop(Mount::new(&by_us, Kind::Ext, Access::ReadWrite));
    judge::check(&by_us, Kind::Ext).unwrap();
}

macro_rules! comparisons {
    ($($test:ident: $mkfs:expr, $mount:literal;)*) => {$(
        #[test]
        fn $test() {
            compare(&$mkfs, $mount);
        }
    )*};
}

comparisons! {
    checksums_v3_64bit: ["-t", "ext4", "-b", "4096"], "";
    small_blocks: ["-t", "ext4", "-b", "1024"], "";
    data_in_the_journal: ["-t", "ext4", "-b", "1024"], ",data=journal";
    data_in_the_journal_ext3: ["-t", "ext3", "-b", "4096", "-J", "size=4"], ",data=journal";
    no_checksums: ["-t", "ext4", "-O", "^metadata_csum,^64bit"], "";
    no_checksums_64bit: ["-t", "ext4", "-O", "^metadata_csum"], "";
    transaction_checksums: ["-t", "ext4", "-O", "^metadata_csum"], ",journal_checksum";
    asynchronous_commits:
        ["-t", "ext4", "-O", "^metadata_csum,uninit_bg"],
        ",journal_async_commit,data=writeback";
    asynchronous_commits_v3: ["-t", "ext4", "-b", "4096"], ",journal_async_commit,data=writeback";
    orphan_file: ["-t", "ext4", "-O", "orphan_file,metadata_csum_seed"], "";
    orphan_file_without_checksums: ["-t", "ext4", "-O", "orphan_file,^metadata_csum"], "";
}

/// A log that has wrapped around: later transactions lie before earlier ones.
#[test]
fn a_log_that_wraps() {
    const ROUND: &str = r#"
for i in $(seq 400); do
  head -c 40000 /dev/urandom >"$m/f$((i % 9))"; mkdir "$m/d$i"; commit "$m/f$((i % 9))"
  debugfs -R logdump "$image" 2>/dev/null | sed -n 's/^Found.* at block \([0-9]*\)$/\1/p' |
    awk '$1 < last { found = 1 } { last = $1 } END { exit !found }' && wraps=1 && break
done
[ "$wraps" = 1 ]
for i in $(seq 3); do head -c 9000 /dev/urandom >"$m/late$i"; commit "$m/late$i"; done
cp --sparse=always "$image" "$copy"
"#;
    if !need::mounts(Kind::Ext.tools()) {
        return;
    }
    let dirty = dirty(&["-t", "ext4", "-b", "1024"], ",data=journal", ROUND);
    let by_kernel = dirty.sibling("kernel");
    drop(Mount::new(&by_kernel, Kind::Ext, Access::ReadWrite));
    let expected = kernel_view(&by_kernel, Access::ReadOnly);
    let fs = Ext4::open(image(&dirty.path)).unwrap();
    Tree::of_engine(&fs)
        .unwrap()
        .compare(&expected, &Comparison::SAME_IMAGE)
        .unwrap();
}

/// A file that was being truncated when the machine stopped.
#[test]
fn a_truncation_is_finished() {
    if !need::mounts(Kind::Ext.tools()) {
        return;
    }
    for mkfs in [["-t", "ext4"], ["-t", "ext3"]] {
        let work = "seq 20000 >$m/file; finish; trap - EXIT; cp --sparse=always $image $copy";
        let dirty = dirty(&mkfs, "", work);
        for request in [
            "set_inode_field /file size 5000",
            "set_super_value last_orphan 12",
        ] {
            run(Command::new("debugfs")
                .args(["-w", "-R", request])
                .arg(&dirty.path));
        }
        let by_kernel = dirty.sibling("kernel");
        drop(Mount::new(&by_kernel, Kind::Ext, Access::ReadWrite));
        judge::check(&by_kernel, Kind::Ext).unwrap();

        let found = check(&dirty.path);
        assert!(found.contains("orphan"), "{found}");
        let by_us = dirty.sibling("ours");
        let device = Arc::new(FileDevice::open_writable(&by_us).unwrap());
        drop(Ext4::open_writable(device, OPTIONS).unwrap());
        judge::check(&by_us, Kind::Ext).unwrap();
        let stat = |path: &Path| {
            let stat = Command::new("debugfs")
                .args(["-R", "stat /file"])
                .arg(path)
                .output();
            let stat = String::from_utf8(stat.unwrap().stdout).unwrap();
            let lines = stat.lines().filter(|line| !line.contains("time:"));
            let lines = lines.filter(|line| !line.contains("checksum"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(stat(&by_us), stat(&by_kernel));
        let tolerant = Comparison {
            directory_sizes: true,
            times: Times::All,
        };
        let mut expected = kernel_view(&by_kernel, Access::ReadOnly);
        let seen = kernel_view(&by_us, Access::ReadOnly);
        // Each stamped the file with its own clock.
        let (path, file) = (b"/file".to_vec(), &seen.0[&b"/file"[..]]);
        let other = expected.0.get_mut(&path).unwrap();
        (other.modified, other.changed) = (file.modified, file.changed);
        seen.compare(&expected, &tolerant).unwrap();
    }
}

/// What the checker says about an image, in one text.
fn check(path: &Path) -> String {
    let fs = Ext4::open(image(path)).unwrap();
    let mut found = Vec::new();
    fs.check(&mut |finding| found.push(format!("{}: {}", finding.at, finding.problem)))
        .unwrap();
    found.join("\n")
}

#[test]
fn fast_commits_are_refused_by_name() {
    if !need::mounts(Kind::Ext.tools()) {
        return;
    }
    let work = "sync -f $m; commit; commit; cp --sparse=always $image $copy";
    let dirty = dirty(&["-t", "ext4", "-O", "fast_commit"], "", work);
    let refusal = Ext4::open(image(&dirty.path)).expect_err("a refusal");
    assert!(matches!(refusal, Error::Incompatible { .. }), "{refusal}");
    assert!(refusal.to_string().contains("fast_commit"), "{refusal}");
}

#[test]
fn a_damaged_journal_is_refused_for_writing_and_nothing_is_written() {
    if !need::mounts(Kind::Ext.tools()) {
        return;
    }
    let dirty = dirty(&["-t", "ext4", "-b", "4096"], "", WORK);
    let place = Command::new("debugfs")
        .args(["-R", "bmap <8> 3"])
        .arg(&dirty.path)
        .output()
        .unwrap();
    let block: u64 = String::from_utf8(place.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    // The third block of the log is data of its first transaction; the journal's first block is
    // its superblock.
    for (offset, what) in [
        (block * 4096 + 77, "data"),
        ((block - 3) * 4096 + 0x54, "superblock"),
    ] {
        let damaged = dirty.sibling(what);
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
        let delta = Arc::new(Delta::new(device.clone()));
        // It is read as a kernel reads it with `noload`, and a check says so.
        let mut warnings = Vec::new();
        let fs = Ext4::open(device.clone()).unwrap();
        fs.check(&mut |finding| warnings.push(finding.problem))
            .unwrap();
        drop(fs);
        let is_said = warnings
            .iter()
            .any(|warning| warning.starts_with("the journal cannot be replayed"));
        assert!(is_said, "{what}: {warnings:?}");
        for refusal in [
            Ext4::open_writable(device, OPTIONS).err(),
            Ext4::open_writable(delta, OPTIONS).err(),
        ] {
            let refusal = refusal.unwrap_or_else(|| panic!("{what}: it was opened"));
            assert!(
                matches!(refusal, Error::Corrupt { .. }),
                "{what}: {refusal}"
            );
        }
        assert!(std::fs::read(&damaged).unwrap() == before, "{what}");
    }
}
