//! XFS images whose metadata `xfs_db` has trashed: reading, checking and editing them succeeds or
//! fails with status 1 or 2, within 20 seconds and 1 GiB of memory, and a failed edit leaves the
//! image as it was. `IMGASM_MUTATION_SEED` and `IMGASM_MUTATION_COUNT` choose which images.

use std::path::Path;
use std::process::Command;

use crate::support::example::{project, same_bytes};
use imgasm_testkit::command::{copy_sparse, output, run, text};
use imgasm_testkit::image::{Kind, set};
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;
use imgasm_testkit::populate::{Amount, populate};

const AMOUNT: Amount = Amount {
    files: 200,
    large_directory: 1500,
    pieces: 400,
    labels: true,
};

#[test]
fn trashed_metadata_is_survived() {
    if !need::mounts(Kind::Xfs.tools()) {
        return;
    }
    let number = |name, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let first = number("IMGASM_MUTATION_SEED", 1);
    let count = number("IMGASM_MUTATION_COUNT", 12);
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    let set = set(Kind::Xfs, "al2023").expect("a set of this name");
    set.make(&base);
    let mount = Mount::new(&base, Kind::Xfs, Access::ReadWrite);
    populate(mount.path(), set, 1, AMOUNT);
    std::fs::create_dir_all(mount.path().join("etc")).unwrap();
    mount.finish().unwrap();

    let mut failures = 0;
    for seed in first..first + count {
        let image = folder.path().join("image");
        copy_sparse(&base, &image);
        trash(&image, seed);
        let path = image.to_str().unwrap();
        let overlay = project().join("overlays/data-volume");
        let overlay = overlay.to_str().unwrap();
        failures += status(seed, &["ls", "-R", "--json", path, "/"]);
        failures += status(seed, &["verify", path]);
        let before = folder.path().join("before");
        copy_sparse(&image, &before);
        let refused = status(seed, &["apply", path, overlay]);
        failures += refused;
        assert!(refused == 0 || same_bytes(&image, &before), "seed {seed}");
    }
    // Damage that nobody notices would test nothing.
    assert!(failures > 0);
}

/// Flips bits of some of the metadata blocks.
fn trash(image: &Path, seed: u64) {
    run(Command::new("xfs_db")
        .args(["-x", "-c", "blockget", "-c"])
        .arg(format!("blocktrash -2 -n 20 -s {seed} -y 64"))
        .arg(image));
}

/// 0 if the program succeeds, 1 if it reports a failure; anything else fails the test.
fn status(seed: u64, args: &[&str]) -> u64 {
    let result = output(
        Command::new("timeout")
            .args(["20", "prlimit", "--as=1073741824"])
            .arg(env!("CARGO_BIN_EXE_imgasm"))
            .args(args),
    );
    match result.status.code() {
        Some(0) => 0,
        Some(1 | 2) => 1,
        _ => panic!(
            "seed {seed}, {args:?}: {}\n{}",
            result.status,
            text(&result)
        ),
    }
}
