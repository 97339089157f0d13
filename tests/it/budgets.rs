//! Small images that ask for a lot of work: it is done within bounds, or left out with a message.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::example;
use imgasm_testkit::command::succeeded;
use imgasm_testkit::damage::damaged;
use imgasm_testkit::images::sparse;
use imgasm_testkit::need;
use imgasm_testkit::rng::Rng;
use imgasm_testkit::tools::run;

/// More than any of these may take, on a machine that does other things too.
const BOUND: Duration = Duration::from_mins(1);

fn imgasm(folder: &Path, arguments: &[&str]) -> Output {
    let began = Instant::now();
    let output = example::imgasm()
        .args(arguments)
        .current_dir(folder)
        .env("IMGASM_CACHE", folder.join("cache"))
        .output()
        .unwrap();
    assert!(
        began.elapsed() < BOUND,
        "{arguments:?}: {:?}",
        began.elapsed()
    );
    output
}

fn image(folder: &Path, name: &str) {
    let tree = folder.join(format!("tree-{name}"));
    let path = folder.join(name);
    sparse(&path, 8 << 20);
    let paths = [tree.to_str().unwrap(), path.to_str().unwrap()];
    run(
        "mke2fs",
        ["-q", "-t", "ext4", "-d"].into_iter().chain(paths),
    );
}

#[test]
fn holes_are_neither_compared_nor_hashed_without_a_bound() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, last) in [("old", b'1'), ("same", b'1'), ("new", b'2')] {
        let tree = dir.path().join(format!("tree-{name}"));
        fs::create_dir(&tree).unwrap();
        for file in ["one", "two"] {
            let file = File::create(tree.join(file)).unwrap();
            file.set_len(4 << 40).unwrap();
            file.write_all_at(&[last], (3 << 40) + 5).unwrap();
        }
        fs::write(tree.join("small"), [last]).unwrap();
        image(dir.path(), name);
    }
    let listed = imgasm(dir.path(), &["ls", "--digest", "-R", "old", "/"]);
    assert!(listed.status.success(), "{listed:?}");
    let said = String::from_utf8(listed.stderr).unwrap();
    assert!(said.contains("2 files have no digest"), "{said}");
    let lines = String::from_utf8(listed.stdout).unwrap();
    // The digest of "1".
    let digest = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b  /small";
    assert!(lines.lines().any(|line| line == digest), "{lines}");

    let compared = imgasm(dir.path(), &["diff", "old", "new"]);
    assert_eq!(compared.status.code(), Some(1));
    let lines = String::from_utf8(compared.stdout).unwrap();
    for path in ["/one", "/two", "/small"] {
        let changed = format!("M  {path}  ");
        assert!(
            lines.lines().any(|line| line.starts_with(&changed)),
            "{lines}"
        );
    }
    let compared = imgasm(dir.path(), &["diff", "old", "same"]);
    let lines = String::from_utf8(compared.stdout).unwrap();
    assert!(!lines.contains("/one"), "{lines}");
}

#[test]
fn columns_that_a_database_computes_are_not_read() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("tree-old/var/lib/rpm")).unwrap();
    image(dir.path(), "old");
    let folder = dir.path().join("tree-new/var/lib/rpm");
    fs::create_dir_all(&folder).unwrap();
    let database = rusqlite::Connection::open(folder.join("rpmdb.sqlite")).unwrap();
    let sql = "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, \
               blob BLOB GENERATED ALWAYS AS (zeroblob(900000000)) VIRTUAL)";
    database.execute(sql, []).unwrap();
    for _ in 0..100 {
        database
            .execute("INSERT INTO Packages DEFAULT VALUES", [])
            .unwrap();
    }
    drop(database);
    image(dir.path(), "new");
    let compared = imgasm(dir.path(), &["diff", "old", "new"]);
    let lines = String::from_utf8(compared.stdout).unwrap();
    assert!(lines.contains("computed columns"), "{lines}");
}

#[test]
fn files_that_share_blocks_are_not_read_again_and_again() {
    if !need::tools(&["mkfs.fat", "mcopy"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fat");
    sparse(&path, 64 << 20);
    fs::write(dir.path().join("data"), vec![7; 40 << 20]).unwrap();
    let (image, data) = (path.to_str().unwrap(), dir.path().join("data"));
    run("mkfs.fat", ["-F", "16", image]);
    run("mcopy", ["-i", image, data.to_str().unwrap(), "::F0000000"]);
    // The root directory has as many names of the file as it has room for.
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut head = [0; 36];
    file.read_exact_at(&mut head, 0).unwrap();
    let number = |at: usize| u64::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let root = number(11) * (number(14) + u64::from(head[16]) * number(22));
    let mut entry = [0; 32];
    file.read_exact_at(&mut entry, root).unwrap();
    for index in 1..number(17) {
        entry[..8].copy_from_slice(format!("F{index:07}").as_bytes());
        file.write_all_at(&entry, root + index * 32).unwrap();
    }
    let listed = imgasm(dir.path(), &["ls", "--digest", "-R", "fat", "/"]);
    assert!(listed.status.success(), "{listed:?}");
    let said = String::from_utf8(listed.stderr).unwrap();
    assert!(said.contains("files have no digest"), "{said}");
    for command in [&["tar", "fat"][..], &["cp", "-r", "fat:/", "copy"]] {
        let output = imgasm(dir.path(), command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        assert!(said.contains("they share blocks"), "{command:?}: {said}");
    }
    assert!(!dir.path().join("copy").exists());
}

#[test]
fn holes_of_small_files_are_nothing_that_is_held() {
    if !need::tools(&["tar", "mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // One holds 100 files of 1 MiB, the other 1000 of 60 KiB, all of them without a block.
    let make = "mkdir large small && cd large && seq 100 | xargs truncate -s 1M && cd ../small \
                && seq 1000 | xargs truncate -s 60K && cd .. && for i in large small; do \
                truncate -s 8M image-$i; mke2fs -q -t ext4 -d $i image-$i; done";
    let mut made = Command::new("sh");
    succeeded(made.args(["-ec", make]).current_dir(dir.path()));
    for name in ["image-large", "image-small"] {
        let listed = imgasm(dir.path(), &["ls", "--digest", "-R", name, "/"]);
        assert!(listed.status.success(), "{listed:?}");
        assert!(listed.stderr.is_empty(), "{listed:?}");
        let packed = imgasm(dir.path(), &["tar", name]);
        let said = String::from_utf8_lossy(&packed.stderr);
        assert!(packed.status.success() && said.is_empty(), "{said}");
    }
}

#[test]
fn a_tree_deeper_than_paths_are_long_is_left_where_it_is_too_deep() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tree-other")).unwrap();
    image(dir.path(), "other");
    let deep = "d".repeat(200);
    let script = format!(
        "mkdir tree && cd tree && i=0 && while [ $i -lt 30 ]; do mkdir {deep} && cd {deep} && i=$((i+1)); \
         done && cd {0} && mke2fs -q -t ext4 -b 1024 -d tree image 32M",
        dir.path().display()
    );
    succeeded(
        Command::new("bash")
            .args(["-ec", &script])
            .current_dir(dir.path()),
    );
    let limit = "has entries whose paths have more than 4095 bytes";
    for command in [
        &["ls", "-R", "image", "/"][..],
        &["find", "image", "--name", "x"],
        &["tar", "image"],
        &["diff", "image", "other"],
    ] {
        let output = imgasm(dir.path(), command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(limit), "{command:?}: {said:.500}");
        assert!(output.stdout.len() < 1 << 20, "{command:?}");
    }
}

#[test]
fn templates_make_no_values_that_grow() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("overlay")).unwrap();
    let recipe = "name = 'x'\nbase = { rootfs = 'rootfs' }\noverlays = ['overlay']\n";
    fs::write(dir.path().join("imgasm.toml"), recipe).unwrap();
    let refused = |step: &str, expected: &str| {
        let step = format!("[[step]]\n{step}\n");
        fs::write(dir.path().join("overlay/overlay.toml"), step).unwrap();
        let output = imgasm(dir.path(), &["check"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said:.999}");
        assert!(said.contains(expected), "{said:.999}");
    };
    let doubled = |statement: &str| {
        let all = statement.repeat(60);
        format!("write = {{ path = '/etc/x', content = \"{{% set a = [1] %}}{all}{{{{ a }}}}\" }}")
    };
    for (text, expected) in [
        (doubled("{% set a = [a, a] %}"), "values that were made of others"),
        (doubled("{% set a = a + a %}"), "values that were made of others"),
        (doubled("{% set a = [a] %}"), "values that were made of others"),
        (doubled("{% for a in [[a, a]] %}"), "values that were made of others"),
        (doubled("{% with a = dict(x=a, y=a) %}"), "values that were made of others"),
        (
            "write = { path = '/x', content = \"{% set a=namespace(x=[1]) %}{% for i in range(50000) %}\
             {% set a.x=[a.x] %}{% endfor %}{{ a.x }}\" }"
                .to_owned(),
            "within a loop",
        ),
        (
            "write = { path = '/x', content = \"{% set a=namespace() %}{{ a }}\" }".to_owned(),
            "there is no `namespace`",
        ),
    ] {
        refused(&text, expected);
    }
}

#[test]
fn recipes_and_overlays_take_no_more_than_others() {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["overlay", "rootfs/etc"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    fs::write(dir.path().join("rootfs/etc/os-release"), "ID=amzn\n").unwrap();
    fs::write(
        dir.path().join("imgasm.toml"),
        "name = 'x'\nbase = { rootfs = 'rootfs' }\noverlays = ['overlay']\n",
    )
    .unwrap();
    let plan = |step: &str| {
        let step = format!("[[step]]\n{step}\n");
        fs::write(dir.path().join("overlay/overlay.toml"), step).unwrap();
        imgasm(dir.path(), &["plan"])
    };
    let refused = |step: &str, expected: &str| {
        let output = plan(step);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{step:.99}: {said:.999}");
        assert!(said.contains(expected), "{step:.99}: {said:.999}");
    };
    let deep = "/a".repeat(3_000);
    refused(
        &format!("mkdir = {{ path = '{deep}' }}"),
        "longer than the 4095 that a process can name",
    );
    let deep = "/a".repeat(1_600);
    let output = plan(&format!("mkdir = {{ path = '{deep}' }}"));
    assert_eq!(
        output.status.code(),
        Some(0),
        "{:.999}",
        String::from_utf8_lossy(&output.stderr)
    );
    for (left, middle, right) in [
        ("", "-", "1"),
        ("", "not ", "1"),
        ("1", "+1", ""),
        ("'a'", "|upper", ""),
        ("1", "~1", ""),
    ] {
        let few = middle.repeat(4_000 / middle.len());
        let text = |middle: &str| {
            format!("write = {{ path = '/etc/x', content = \"{{{{ {left}{middle}{right} }}}}\" }}")
        };
        // It may be too much, but it is no crash.
        let code = plan(&text(&few)).status.code();
        assert!(code.is_some_and(|code| code <= 2), "{middle}: {code:?}");
        refused(&text(&few.repeat(2)), "an expression has at most");
    }
    let quoted = format!(
        "write = {{ path = '/a', content = \"{{{{ '}}}}{}' }}}}\" }}",
        "x".repeat(5000)
    );
    refused(&quoted, "an expression has at most");
    let long = format!(
        "write = {{ path = '/a', content = \"{{{{ 1 }}}}{}\" }}",
        "x".repeat(200_000)
    );
    refused(&long, "a template has at most");
    let recipe = fs::read_to_string(dir.path().join("imgasm.toml")).unwrap();
    let many = |count: u32, line: &dyn Fn(u32) -> String| {
        let lines: Vec<_> = (0..count).map(line).collect();
        lines.concat()
    };
    let images = many(300, &|i| format!("[[image]]\nname = 'i{i}'\n"));
    let variables = many(1500, &|i| format!("v{i} = 'x'\n"));
    for (more, limit) in [
        (images, "at most 250 images"),
        (
            format!("[variables]\n{variables}"),
            "at most 1000 variables",
        ),
    ] {
        fs::write(dir.path().join("imgasm.toml"), format!("{recipe}{more}")).unwrap();
        refused("write = { path = '/a', content = '' }", limit);
    }
    fs::write(dir.path().join("imgasm.toml"), recipe).unwrap();
    let long = "x".repeat(100_000);
    let edit = |pattern: &str, replacement: &str| {
        format!(
            "edit = {{ path = '/etc/os-release', pattern = '{pattern}', replacement = '{replacement}' }}"
        )
    };
    refused(
        &edit("(.{30}){500}q", ""),
        "takes more than 1048576 bytes when it is compiled",
    );
    let steps = many(1000, &|i| {
        format!("[[step]]\n{}\n", edit(&format!("(.{{30}}){{10}}{i}"), ""))
    });
    refused(
        steps.trim_start_matches("[[step]]\n"),
        "take more than 67108864 bytes",
    );
    refused(&edit("", &long), "a second run would change the file again");
    refused(
        &edit("(.*)", &"$1".repeat(1_000_000)),
        "a second run would change the file again",
    );
}

/// Makes all directories of an image, made by `mke2fs -t ext2 -b 1024 -I 128`, hold the blocks of the longest.
fn share_directories(path: &Path) {
    let mut image = fs::read(path).unwrap();
    let number = |image: &[u8], at: usize, len: usize| {
        let bytes = image[at..at + len].iter().rev();
        bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let groups = number(&image, 1024 + 4, 4).div_ceil(8192);
    let per_group = number(&image, 1024 + 40, 4);
    let inodes = (0..groups).flat_map(|group| {
        let table = number(&image, 2048 + 32 * group + 8, 4) * 1024;
        (0..per_group).map(move |index| table + 128 * index)
    });
    let is_directory = |at: &usize| number(&image, *at, 2) & 0xf000 == 0x4000;
    // The first eleven are the root and what the filesystem has for itself.
    let inodes: Vec<_> = inodes.skip(11).filter(is_directory).collect();
    let longest = inodes.iter().max_by_key(|at| number(&image, **at + 4, 4));
    let longest = image[*longest.unwrap()..][..128].to_vec();
    for at in inodes {
        for field in [4..8, 28..32, 40..100] {
            image[at + field.start..at + field.end].copy_from_slice(&longest[field]);
        }
    }
    fs::write(path, image).unwrap();
}

#[test]
fn directories_that_share_blocks_are_no_more_than_there_is_room_for() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("tree/z")).unwrap();
    fs::write(dir.path().join("tree/f"), "").unwrap();
    for index in 0..2000 {
        let name = dir.path().join(format!("tree/z/{index:04}"));
        fs::hard_link(dir.path().join("tree/f"), name).unwrap();
    }
    for index in 0..200 {
        fs::create_dir(dir.path().join(format!("tree/d{index}"))).unwrap();
    }
    let script =
        "mke2fs -q -t ext2 -O ^dir_index -b 1024 -I 128 -d tree image 2M && cp image sound";
    succeeded(
        Command::new("sh")
            .args(["-ec", script])
            .current_dir(dir.path()),
    );
    let listed = imgasm(dir.path(), &["ls", "-R", "image", "/"]);
    assert!(listed.status.success(), "{listed:?}");
    share_directories(&dir.path().join("image"));
    for command in [
        &["ls", "-R", "image", "/"][..],
        &["find", "image", "--name", "x"],
        &["tar", "image"],
        &["diff", "image", "sound"],
    ] {
        let output = imgasm(dir.path(), command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said:.500}");
        assert!(
            said.contains("they share blocks"),
            "{command:?}: {said:.500}"
        );
    }
}

#[test]
fn verify_reads_no_file_through_thousands_of_links() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tree = |name: &str| dir.path().join("tree-image").join(name);
    let said = |expected: &str| {
        image(dir.path(), "image");
        let output = imgasm(dir.path(), &["verify", "image"]);
        let lines = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{lines:.999}");
        assert!(lines.contains(expected), "{lines:.999}");
        assert!(lines.len() < 1 << 20, "{}", lines.len());
    };
    let links = |folder: &str, ending: &str, target: &str| {
        fs::create_dir_all(tree(folder)).unwrap();
        for index in 0..400 {
            let link = tree(folder).join(format!("a{index}{ending}"));
            std::os::unix::fs::symlink(target, link).unwrap();
        }
    };
    let most = "there is more configuration than is looked at";
    for folder in [
        "etc",
        "sbin",
        "boot/loader/entries",
        "usr/lib/systemd/system",
    ] {
        fs::create_dir_all(tree(folder)).unwrap();
    }
    fs::write(tree("usr/lib/systemd/systemd"), "").unwrap();
    std::os::unix::fs::symlink("/usr/lib/systemd/systemd", tree("sbin/init")).unwrap();
    fs::write(
        tree("boot/loader/entries/a.conf"),
        "linux /x\n".repeat(20_000),
    )
    .unwrap();
    said("and 19000 more");
    links(
        "boot/loader/entries",
        ".conf",
        "/boot/loader/entries/a.conf",
    );
    said(most);
    fs::remove_dir_all(tree("boot")).unwrap();

    fs::write(tree("etc/yaml"), "- [a, b, {c: d}]\n".repeat(2000)).unwrap();
    links("etc/cloud/cloud.cfg.d", ".cfg", "/etc/yaml");
    said(most);
    fs::remove_dir_all(tree("etc/cloud")).unwrap();

    let unit = format!("[Install]\nAlso={}\n", "a ".repeat(100_000));
    fs::write(tree("usr/lib/systemd/system/a@.service"), unit).unwrap();
    let wants = "etc/systemd/system/multi-user.target.wants";
    fs::create_dir_all(tree(wants)).unwrap();
    for index in 0..400 {
        let link = tree(wants).join(format!("a@{index}.service"));
        std::os::unix::fs::symlink("/usr/lib/systemd/system/a@.service", link).unwrap();
    }
    said(most);
}

#[test]
fn texts_without_a_line_in_common_are_not_compared_line_by_line() {
    if !need::tools(&["mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, letter) in [("old", 'a'), ("new", 'b')] {
        let tree = dir.path().join(format!("tree-{name}"));
        fs::create_dir(&tree).unwrap();
        let lines: Vec<_> = (0..25_000)
            .map(|line| format!("{letter}{line}\n"))
            .collect();
        fs::write(tree.join("large"), lines.concat()).unwrap();
        fs::write(tree.join("small"), format!("{letter}\n")).unwrap();
        image(dir.path(), name);
    }
    let compared = imgasm(dir.path(), &["diff", "-p", "old", "new"]);
    assert_eq!(compared.status.code(), Some(1));
    let lines = String::from_utf8(compared.stdout).unwrap();
    assert!(lines.contains("M  /large"), "{lines:.999}");
    assert!(
        lines.contains("+b\n") && !lines.contains("+b1\n"),
        "{lines:.999}"
    );
}

#[test]
fn a_disk_of_zeros_is_not_packed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = File::create(dir.path().join("disk")).unwrap();
    disk.set_len(4 << 40).unwrap();
    disk.write_all_at(b"x", 510).unwrap();
    disk.write_all_at(&[0x55, 0xaa], 510).unwrap();
    for name in ["disk.raw.gz", "disk.raw.zst", "disk.raw.xz"] {
        let output = imgasm(dir.path(), &["convert", "disk", name]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains("zeros for the most part"), "{name}: {said}");
    }
}

/// What may be read of any file of 1 MiB within 1 GiB of memory and 20 s of work.
const READING: [&[&str]; 9] = [
    &["inspect", "x"],
    &["ls", "-lR", "--digest", "x"],
    &["ls", "-R", "--json", "x"],
    &["find", "x", "--mode", "4000"],
    &["cat", "x", "/etc/os-release"],
    &["tar", "x"],
    &["verify", "x"],
    &["diff", "x", "sound", "-p"],
    &["convert", "x", "y.qcow2", "--force"],
];

/// Makes small images of several kinds, and one that is sound.
const MAKE: &str = r"
mkdir -p tree/etc/systemd/system tree/var/lib/dpkg tree/boot
echo ID=debian >tree/etc/os-release
echo 'LABEL=a / ext4 defaults 0 1' >tree/etc/fstab
printf '[Service]\nExecStart=/bin/a\n' >tree/etc/systemd/system/a.service
printf 'Package: a\nStatus: install ok installed\nVersion: 1\n' >tree/var/lib/dpkg/status
mke2fs -q -t ext4 -O ^has_journal -b 1024 -d tree ext4 700k
truncate -s 1M fat
mkfs.fat fat >log
for format in qcow2 vmdk vhdx vdi; do qemu-img convert -f raw -O $format ext4 $format; done
gzip -k ext4
zstd -q ext4
tar cf tar ext4
cp ext4 sound
";

#[test]
fn every_reading_command_is_bounded() {
    let tools = [
        "mke2fs", "mkfs.fat", "qemu-img", "gzip", "zstd", "tar", "prlimit",
    ];
    if !need::tools(&tools) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    succeeded(Command::new("sh").args(["-ec", MAKE]).current_dir(folder));
    let kinds = [
        "ext4", "fat", "qcow2", "vmdk", "vhdx", "vdi", "ext4.gz", "ext4.zst", "tar",
    ];
    for (seed, kind) in (1..).zip(kinds.into_iter().cycle().take(2 * kinds.len())) {
        let mut sound = fs::read(folder.join(kind)).unwrap();
        // The room between is not what is read.
        let metadata = sound.len().min(96 << 10);
        let rest = sound.split_off(metadata);
        let damaged = [damaged(&mut Rng::new(seed), sound), rest].concat();
        fs::write(folder.join("x"), damaged).unwrap();
        for command in READING {
            let output = Command::new("prlimit")
                .args(["--as=1073741824", "--cpu=20", env!("CARGO_BIN_EXE_imgasm")])
                .args(command)
                .current_dir(folder)
                .env("IMGASM_CACHE", folder.join("cache"))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            // Neither a signal nor a panic.
            let is_ended = output.status.code().is_some_and(|code| code <= 2);
            assert!(
                is_ended,
                "{kind}, seed {seed}, {command:?}: {}\n{said}",
                output.status
            );
        }
    }
}
