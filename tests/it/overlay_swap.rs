//! The step `swap`, judged by the kernel, which swaps to the file.

use std::fs;
use std::path::Path;

use crate::support::example::{assert_success, imgasm, same_bytes};
use imgasm_testkit::command::copy_sparse;
use imgasm_testkit::image::Kind;
use imgasm_testkit::images::{arg, sparse};
use imgasm_testkit::judge;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

/// Runs the step on an image; gives what the program printed, or the error.
fn swap(folder: &Path, image: &Path, keys: &str) -> Result<String, String> {
    let overlay = folder.join("swap");
    fs::create_dir_all(&overlay).unwrap();
    let toml = format!("[[step]]\nswap = {{ path = \"/swapfile\", {keys} }}\n");
    fs::write(overlay.join("overlay.toml"), toml).unwrap();
    let output = imgasm()
        .arg("apply")
        .arg(image)
        .arg(&overlay)
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).unwrap());
    }
    Err(String::from_utf8(output.stderr).unwrap())
}

/// An image of this kind with an `/etc`, and free space that is torn into pieces and not zeros.
fn image(folder: &Path, kind: Kind, mkfs: &[&str]) -> std::path::PathBuf {
    let image = folder.join("image");
    sparse(&image, if kind == Kind::Xfs { 320 } else { 128 } << 20);
    run(mkfs[0], mkfs[1..].iter().copied().chain([arg(&image)]));
    let mount = Mount::new(&image, kind, Access::ReadWrite);
    let script = format!(
        "cd {}; mkdir etc; echo '# none' >etc/fstab
          for i in $(seq 60); do head -c 1000000 /dev/urandom >f$i; done; sync
         for i in $(seq 1 2 60); do rm f$i; done; sync",
        arg(mount.path())
    );
    run("sh", ["-ec", &script]);
    mount.finish().unwrap();
    image
}

/// `is_paged` if a block is a page.
fn the_kernel_swaps_to_it(kind: Kind, mkfs: &[&str], is_paged: bool) {
    if !need::mounts(kind.tools()) || !need::tools(&["swapon", "swaplabel", "blkid"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = image(folder.path(), kind, mkfs);
    let printed = swap(
        folder.path(),
        &image,
        "size = \"48 MiB\", label = \"scratch\"",
    )
    .unwrap();
    assert!(
        printed.contains("/swapfile") && printed.contains("/etc/fstab"),
        "{printed}"
    );
    judge::check(&image, kind).unwrap();
    let before = folder.path().join("before");
    copy_sparse(&image, &before);
    let printed = swap(
        folder.path(),
        &image,
        "size = \"48 MiB\", label = \"scratch\"",
    )
    .unwrap();
    assert_eq!(printed, "");
    assert!(same_bytes(&image, &before), "the second run wrote");

    let mount = Mount::new(&image, kind, Access::ReadWrite);
    let file = mount.path().join("swapfile");
    let mode = run("stat", ["-c", "%a %u %g %s", arg(&file)]);
    assert_eq!(mode.trim(), "600 0 0 50331648");
    let label = run("swaplabel", [arg(&file)]);
    assert!(
        label.contains("LABEL: scratch") && label.contains("UUID: "),
        "{label}"
    );
    let known = run("blkid", ["-p", "-o", "value", "-s", "TYPE", arg(&file)]);
    assert_eq!(known.trim(), "swap");
    let fstab = fs::read_to_string(mount.path().join("etc/fstab")).unwrap();
    assert_eq!(fstab, "# none\n/swapfile\tnone\t\tswap\tdefaults\t0\t0\n");
    // What was deleted does not show through.
    run(
        "sh",
        [
            "-ec",
            &format!("tail -c +4097 {} | cmp -n 50327552 - /dev/zero", arg(&file)),
        ],
    );
    run("swapon", [arg(&file)]);
    let table = fs::read_to_string("/proc/swaps").unwrap();
    run("swapoff", [arg(&file)]);
    let line = table.lines().find(|line| line.contains("swapfile"));
    let size = line.and_then(|line| line.split_whitespace().nth(2));
    // All pages but the header's, in KiB; of pages whose blocks are not neighbours the kernel makes
    // no use.
    let size: u32 = size.unwrap().parse().unwrap();
    let all = if is_paged {
        49_148..=49_148
    } else {
        40_000..=49_148
    };
    assert!(all.contains(&size), "{table}");
    mount.finish().unwrap();

    // Another size: the file is made anew; and one with holes, as `truncate` leaves it, too.
    let mount = Mount::new(&image, kind, Access::ReadWrite);
    let file = mount.path().join("swapfile");
    run(
        "sh",
        [
            "-ec",
            &format!(
                "x=$(mktemp); cp {0} $x; rm {0}; cp --sparse=always $x {0}; rm $x",
                arg(&file)
            ),
        ],
    );
    mount.finish().unwrap();
    swap(
        folder.path(),
        &image,
        "size = \"48 MiB\", label = \"scratch\"",
    )
    .unwrap();
    judge::check(&image, kind).unwrap();
    let mount = Mount::new(&image, kind, Access::ReadWrite);
    let file = mount.path().join("swapfile");
    run("swapon", [arg(&file)]);
    run("swapoff", [arg(&file)]);
    mount.finish().unwrap();
}

#[test]
fn on_ext4() {
    the_kernel_swaps_to_it(
        Kind::Ext,
        &["mke2fs", "-q", "-t", "ext4", "-b", "4096"],
        true,
    );
}

#[test]
fn on_ext4_with_small_blocks() {
    the_kernel_swaps_to_it(
        Kind::Ext,
        &["mke2fs", "-q", "-t", "ext4", "-b", "1024"],
        false,
    );
}

#[test]
fn on_xfs() {
    the_kernel_swaps_to_it(Kind::Xfs, &["mkfs.xfs", "-q"], true);
}

#[test]
fn the_line_of_a_swap_volume_is_one_of_fstab() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    sparse(&path, 16 << 20);
    if !need::tools(&["mke2fs", "debugfs"]) {
        return;
    }
    run("mke2fs", ["-q", "-t", "ext4", arg(&path)]);
    run("debugfs", ["-w", "-R", "mkdir /etc", arg(&path)]);
    let overlay = folder.path().join("swap");
    fs::create_dir_all(&overlay).unwrap();
    let toml = "[[step]]\nfstab = { device = \"LABEL=swap\", mount = \"none\", type = \"swap\" }\n";
    fs::write(overlay.join("overlay.toml"), toml).unwrap();
    let output = imgasm()
        .arg("apply")
        .arg(&path)
        .arg(&overlay)
        .output()
        .unwrap();
    assert_success(&output);
    let line = run("debugfs", ["-R", "cat /etc/fstab", arg(&path)]);
    assert!(
        line.starts_with("LABEL=swap\tnone\t\tswap\tdefaults\t0\t0\n"),
        "{line}"
    );
}

#[test]
fn what_is_no_swap_file_is_an_error_and_changes_nothing() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    sparse(&image, 16 << 20);
    run("mke2fs", ["-q", "-t", "ext4", arg(&image)]);
    let before = folder.path().join("before");
    copy_sparse(&image, &before);
    for (keys, words) in [
        ("size = \"16 KiB\"", "10 to 2^32 pages"),
        ("size = 1000000", "no whole pages"),
        (
            "size = \"48 MiB\", label = \"more than sixteen\"",
            "a label of 16 bytes",
        ),
        ("size = \"2 GiB\"", "/swapfile"),
    ] {
        let error = swap(folder.path(), &image, keys).unwrap_err();
        assert!(error.contains(words), "{keys}: {error}");
        assert!(same_bytes(&image, &before), "{keys}");
    }
}
