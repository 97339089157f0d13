//! The checker of ext4 against e2fsck: what one accepts, the other must accept, and what one
//! complains about, the other must, too.

use std::path::{Path, PathBuf};
use std::process::Command;

use imgasm_block::FileDevice;
use imgasm_ext4::Ext4;
use imgasm_fs::FileSystem as _;
use imgasm_testkit::command::{copy_sparse, output, run, text};
use imgasm_testkit::engine::image;
use imgasm_testkit::image::{Kind, Set, sets};
use imgasm_testkit::judge;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::mutate::{Places, damage};
use imgasm_testkit::need;
use imgasm_testkit::populate::{Amount, populate};
use imgasm_testkit::rng::Rng;
use imgasm_testkit::scratch;

/// What our checker finds, or why it cannot go on.
fn findings(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let checked = Ext4::open(image(path)).and_then(|fs| {
        fs.check(&mut |finding| {
            if finding.is_error() {
                found.push(format!("{}: {}", finding.at, finding.problem));
            }
        })
    });
    if let Err(error) = checked {
        found.push(error.to_string());
    }
    found
}

/// Few files, but a directory with an index and a file with a tree of extents.
const LITTLE: Amount = Amount {
    files: 150,
    large_directory: 1500,
    pieces: 900,
    labels: false,
};

/// An image of a set, filled by the kernel, with a few files of known names.
fn filled(set: &'static Set, folder: &Path) -> PathBuf {
    let path = folder.join(set.name);
    set.make(&path);
    let mount = Mount::new(&path, Kind::Ext, Access::ReadWrite);
    populate(mount.path(), set, 11, LITTLE);
    let script = r#"
        set -e; mkdir "$1/known"; cd "$1/known"
        head -c 20000 /dev/urandom >file; cp file other; ln file second; ln -s file fast
        ln -s "$(head -c 300 /dev/zero | tr '\0' s)" slow
        mkdir -p dir/below names; mkfifo fifo; mknod device c 4 64
        for i in $(seq 700); do : >names/a-name-of-some-length-$i; done
        for i in $(seq 0 2 1800); do printf x | dd of=pieces bs=1k seek=$((i * 5)) status=none; done
        v=$(head -c 600 /dev/zero | tr '\0' v)
        for i in 1 2; do : >dressed$i; setfattr -n user.long -v $v dressed$i; done
    "#;
    run(Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(mount.path()));
    mount.finish().unwrap();
    path
}

/// All feature sets if `IMGASM_TEST_SETS` is `all`, else these.
fn chosen(names: &[&str]) -> Vec<&'static Set> {
    let all = std::env::var_os("IMGASM_TEST_SETS").is_some_and(|value| value == "all");
    sets(Kind::Ext)
        .filter(|set| all || names.contains(&set.name))
        .collect()
}

#[test]
fn nothing_is_wrong_with_what_the_kernel_left() {
    if !need::mounts(Kind::Ext.tools()) {
        return;
    }
    for set in chosen(&[
        "al1",
        "debian12",
        "csum-seed-orphan-file",
        "1k-al1",
        "ext3-1k",
    ]) {
        let folder = scratch::folder();
        let path = filled(set, folder.path());
        judge::check(&path, Kind::Ext).unwrap_or_else(|e| panic!("{}: {e}", set.name));
        let found = findings(&path);
        assert!(found.is_empty(), "{}: {found:#?}", set.name);
    }
}

/// Single faults, as commands of debugfs. `{/path:n}` stands for the block that holds block n of a
/// file, `{bg:field}` for a field of the descriptor of group 1, as dumpe2fs shows it.
const FAULTS: &[&str] = &[
    "set_inode_field /known/file links_count 5",
    "set_inode_field /known/file links_count 1",
    "set_inode_field /known/dir links_count 4",
    "set_inode_field /known/dir links_count 1",
    "set_inode_field /known/file blocks 8",
    "set_inode_field /known/file size 1",
    "set_inode_field /known/names size 1024",
    "set_inode_field /known/names size 999",
    "set_inode_field /known/file mode 0",
    "set_inode_field /known/file mode 0120644",
    "set_inode_field /known/dir mode 0100644",
    "set_inode_field /known/fifo mode 0100644",
    "set_inode_field /known/file mode 040755",
    "set_inode_field /known/file dtime 1234567890",
    "set_inode_field /known/file flags 0",
    "set_inode_field /known/file file_acl 3",
    "set_inode_field /known/dressed1 file_acl 0",
    "set_inode_field /known/dressed1 file_acl {/known/file:0}",
    "set_inode_field /known/slow size 200",
    "set_inode_field /known/fast size 0",
    "set_inode_field /known/file block[0] 0",
    "set_inode_field /known/file block[3] 77",
    "set_inode_field /known/file block[5] 2",
    "set_inode_field /known/file block[5] {/known/other:0}",
    "set_inode_field /known/file block[5] 4000000",
    "set_inode_field /known/pieces block[1] 9",
    "set_inode_field /known/names flags 0x81000",
    "set_inode_field /known/dir flags 0x81000",
    "clri /known/file",
    "clri /known/dir",
    "clri /known/names",
    "clri <2>",
    "clri <8>",
    "freei /known/file",
    "freei <2>",
    "freei <7>",
    "seti <900>",
    "freeb {/known/file:0}",
    "freeb {/known/names:1}",
    "freeb {/known/dressed1:acl}",
    "setb {free}",
    "set_block_group 1 free_blocks_count 5",
    "set_block_group 1 free_inodes_count 5",
    "set_block_group 1 used_dirs_count 900",
    "set_block_group 0 itable_unused 5",
    "set_block_group 0 itable_unused {inodes}",
    "set_block_group 1 block_bitmap 2",
    "set_block_group 1 inode_bitmap 99999999",
    "set_block_group 1 inode_table 3",
    "set_block_group 0 flags 3",
    "set_block_group 0 checksum 0xdead",
    "set_super_value free_blocks_count 1",
    "set_super_value free_inodes_count 1",
    "set_super_value last_orphan 12",
    "set_super_value state 2",
    "set_super_value first_ino 9999999",
    "set_super_value inodes_per_group 8",
    "link /known/file /known/dir/third",
    "link /known/dir /known/names/directory",
    "link / /known/dir/root",
    "unlink /known/file",
    "unlink /known/dir",
    "unlink /known/dir/below",
    "unlink /lost+found",
    "kill_file /known/file",
    "punch /known/names 1 1",
    "punch /known/slow 0 0",
    "zap_block -f /known/names 0",
    "zap_block -f /known/names 1",
    "zap_block -f /known/names -o 40 -l 8 -p 255 1",
    "zap_block -f /known/dir -o 6 -l 1 -p 9 0",
    "zap_block -f /known/dir -o 0 -l 4 -p 1 0",
    "zap_block -f /known/dir -o 12 -l 4 -p 1 0",
    "zap_block -f /known/dir -o 16 -l 2 -p 255 0",
    "zap_block -f /known/dir -o 32 -l 1 -p 47 0",
    "zap_block -f /known/names -o 33 -l 1 -p 9 0",
    "zap_block -f /known/names -o 44 -l 3 -p 255 0",
    "zap_block -f /known/slow 0",
    "zap_block {/known/pieces:node}",
    "zap_block -o 16 -l 4 -p 255 {/known/pieces:node}",
    "zap_block {/known/dressed1:acl}",
    "zap_block -o 4 -l 1 -p 7 {/known/dressed1:acl}",
    "zap_block -o 70 -l 4 -p 65 {/known/dressed1:acl}",
    "zap_block {bg:Block bitmap at }",
    "zap_block -p 255 {bg:Block bitmap at }",
    "zap_block -p 255 {bg:Inode bitmap at }",
    "zap_block -o 256 -l 8 {bg:Block bitmap at }",
    "zap_block {bg:Backup superblock at }",
    "zap_block -f <8> 0",
    "zap_block -f <8> -o 30 -l 2 -p 1 0",
];

/// The verdict of `e2fsck -fn`: its status alone, because it offers to change things in filesystems
/// that it calls clean.
fn verdict(path: &Path) -> Result<(), String> {
    let result = output(Command::new("e2fsck").arg("-fn").arg(path));
    if result.status.success() {
        return Ok(());
    }
    Err(text(&result))
}

/// What a program prints.
fn printed(program: &str, args: &[&str], path: &Path) -> String {
    text(&output(Command::new(program).args(args).arg(path)))
}

fn debugfs(request: &str, path: &Path) -> String {
    printed("debugfs", &["-w", "-R", request], path)
}

/// The first number in a text.
fn number(text: &str) -> Option<String> {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit());
    let number = &digits[..end.unwrap_or(digits.len())];
    (!number.is_empty()).then(|| number.to_owned())
}

/// Replaces what stands in braces by numbers; `None` if an image has no such thing.
fn resolve(fault: &str, path: &Path) -> Option<String> {
    let Some((before, rest)) = fault.split_once('{') else {
        return Some(fault.to_owned());
    };
    let (what, after) = rest.split_once('}').unwrap();
    // debugfs prints its version on standard error.
    let answer = |request: &str| debugfs(request, path).replace("debugfs 1.", "");
    let found = match what.split_once(':') {
        Some(("bg", field)) => {
            let text = printed("dumpe2fs", &[], path);
            let (_, group) = text.split_once("Group 1:")?;
            let group = group.split("Group 2:").next()?;
            number(group.split_once(field)?.1)?
        }
        Some((file, "acl")) => {
            let stat = answer(&format!("stat {file}"));
            number(stat.split_once("File ACL: ")?.1)?
        }
        Some((file, "node")) => {
            let stat = answer(&format!("stat {file}"));
            let blocks = stat.split_once("(ETB0):").or(stat.split_once("(IND):"))?;
            number(blocks.1)?
        }
        Some((file, block)) => {
            let answer = answer(&format!("bmap {file} {block}"));
            answer
                .lines()
                .find_map(|line| line.trim().parse::<u64>().ok())?
                .to_string()
        }
        None if what == "inodes" => {
            let text = printed("dumpe2fs", &["-h"], path);
            number(text.split_once("Inodes per group:")?.1)?
        }
        None => number(answer("ffb 1").split_once(':')?.1)?,
    };
    Some(format!("{before}{found}{after}"))
}

#[test]
fn what_e2fsck_complains_of_is_found() {
    if !need::mounts(Kind::Ext.tools()) {
        return;
    }
    let mut missed = Vec::new();
    let mut found = 0;
    for set in chosen(&["debian12", "ext3"]) {
        let name = set.name;
        let folder = scratch::folder();
        let sound = filled(set, folder.path());
        let damaged = folder.path().join("damaged");
        for fault in FAULTS {
            copy_sparse(&sound, &damaged);
            let Some(request) = resolve(fault, &damaged) else {
                continue;
            };
            debugfs(&request, &damaged);
            let complaints = verdict(&damaged);
            let findings = findings(&damaged);
            match (&complaints, findings.is_empty()) {
                (Err(_), false) => found += 1,
                (Ok(()), true) => {}
                (Err(complaints), true) => {
                    missed.push(format!("{name}: {request}: missed: {complaints}"));
                }
                (Ok(()), false) => missed.push(format!(
                    "{name}: {request}: e2fsck finds nothing wrong: {findings:?}"
                )),
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    assert!(found > 120, "only {found} faults came about");
}

/// Bytes changed at random in the metadata of images without checksums, where nothing but what the
/// bytes mean can give a fault away.
#[test]
fn random_damage_is_found() {
    if !need::mounts(Kind::Ext.tools()) {
        return;
    }
    let rounds = std::env::var("IMGASM_TEST_ROUNDS").map_or(30, |n| n.parse().unwrap());
    let mut missed = Vec::new();
    let mut found = 0;
    for set in chosen(&["al1", "ext3"]) {
        let folder = scratch::folder();
        let sound = filled(set, folder.path());
        let damaged = folder.path().join("damaged");
        let device = image(&sound);
        let places = Places::of_filesystem(&Ext4::open(device.clone()).unwrap(), &*device).unwrap();
        let mut rng = Rng::new(5);
        for _ in 0..rounds {
            copy_sparse(&sound, &damaged);
            let device = FileDevice::open_writable(&damaged).unwrap();
            let what = damage(&mut rng, &device, &places).unwrap();
            let Err(complaints) = verdict(&damaged) else {
                continue;
            };
            // What it offers to repair, except what only makes things smaller.
            let is_fault = |line: &str| line.ends_with("? no") && !line.ends_with("Optimize? no");
            if !complaints.lines().any(is_fault) || complaints.contains("is in the future") {
                continue;
            }
            found += 1;
            if findings(&damaged).is_empty() {
                missed.push(format!(
                    "{}: sectors {what:?}: missed: {complaints}",
                    set.name
                ));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    assert!(found > 0);
}
