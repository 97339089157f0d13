//! What `imgasm diff` accepts besides raw images, the policy of `--allow`, and the meanings of
//! changes.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::support::example::{assert_success, build, copy_inputs, imgasm, shrink_disks};
use imgasm_block::FileDevice;
use imgasm_disk::Disk;
use imgasm_fs::tree::{Attributes, Editor, LastLink};
use imgasm_fs::{Timestamp, WriteOptions};
use imgasm_testkit::images::sparse;
use imgasm_testkit::mount::Mounted;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;
use serde_json::Value;

fn diff(folder: &Path, args: &[&str]) -> Output {
    imgasm()
        .arg("diff")
        .args(args)
        .current_dir(folder)
        .env("IMGASM_CACHE", folder.join("cache"))
        .output()
        .unwrap()
}

fn code_and_text(output: &Output) -> (Option<i32>, String) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// The example, built in a folder.
fn example() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_inputs(folder.path());
    shrink_disks(folder.path());
    build(folder.path());
    folder
}

/// Changes a disk in place: another message of the day.
fn touch(image: &Path) {
    let device = std::sync::Arc::new(FileDevice::open_writable(image).unwrap());
    let disk = Disk::open(device).unwrap();
    let place = disk.root(None).unwrap();
    let options = WriteOptions {
        now: Timestamp::default(),
        seed: [0; 16],
    };
    let mut fs = disk.open_filesystem_writable(place, options).unwrap();
    let path = imgasm_fs::path::ImagePath::parse("/etc/fstab").unwrap();
    Editor::new(fs.as_mut())
        .write(&path, LastLink::Follow, b"#\n", Attributes::default())
        .unwrap();
    fs.flush().unwrap();
}

#[test]
fn a_side_is_an_image_a_recipe_a_manifest_or_standard_input() {
    let folder = example();
    let at = |name: &str| folder.path().join(name);
    let same = |old: &str, new: &str| {
        let output = diff(folder.path(), &[old, new]);
        assert_eq!(
            code_and_text(&output),
            (Some(0), String::new()),
            "{old} {new}"
        );
    };
    same("out/ecs.raw", "out/ecs.raw");
    same("imgasm.toml", "out/ecs.raw");
    same("out/manifest.json", "imgasm.toml");
    assert!(!at("ecs.raw").exists(), "nothing is written");

    // By its digests alone.
    fs::copy(at("out/manifest.json"), at("record.json")).unwrap();
    same("record.json", "out/ecs.raw");
    same("imgasm.toml", "record.json");
    same("record.json", "record.json");
    fs::copy(at("out/ecs.raw"), at("other.raw")).unwrap();
    touch(&at("other.raw"));
    let output = diff(folder.path(), &["record.json", "other.raw"]);
    let (code, text) = code_and_text(&output);
    assert_eq!(code, Some(1));
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.split("  ").nth(1).unwrap())
        .collect();
    let [image, fstab] = lines.as_slice() else {
        panic!("{text}");
    };
    assert!(image.starts_with("image.digest "), "{text}");
    assert!(fstab.starts_with("changes./etc/fstab.sha256 "), "{text}");

    let with_stdin = |stdin: Stdio| {
        let output = imgasm()
            .args(["diff", "-", "out/ecs.raw"])
            .current_dir(folder.path())
            .env("IMGASM_CACHE", at("cache"))
            .stdin(stdin)
            .output()
            .unwrap();
        code_and_text(&output)
    };
    let file = || fs::File::open(at("other.raw")).unwrap();
    let (code, text) = with_stdin(file().into());
    assert_eq!(code, Some(1));
    assert!(text.contains("M  /etc/fstab  size 2 -> "), "{text}");
    let mut pipe = std::process::Command::new("cat")
        .stdin(file())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(with_stdin(pipe.stdout.take().unwrap().into()), (code, text));
    assert!(pipe.wait().unwrap().success());
    let output = diff(folder.path(), &["-", "-"]);
    assert_eq!(
        code_and_text(&output),
        (
            Some(2),
            "error: only one side can be standard input\n".to_owned()
        )
    );

    // An image beside a manifest must be the one that the manifest describes.
    touch(&at("out/ecs.raw"));
    let output = diff(folder.path(), &["out/manifest.json", "other.raw"]);
    let (code, text) = code_and_text(&output);
    assert_eq!(code, Some(2));
    assert!(
        text.contains("out/ecs.raw is not the image of this manifest"),
        "{text}"
    );
}

#[test]
fn two_manifests_are_compared_by_what_they_say() {
    let folder = example();
    let at = |name: &str| folder.path().join(name);
    fs::copy(at("out/manifest.json"), at("one.json")).unwrap();
    let output = imgasm()
        .args(["build", "--set", "timezone=Asia/Tokyo", "-o", "out"])
        .current_dir(folder.path())
        .env("IMGASM_CACHE", at("cache"))
        .output()
        .unwrap();
    assert_success(&output);
    fs::copy(at("out/manifest.json"), at("two.json")).unwrap();
    let (code, text) = code_and_text(&diff(folder.path(), &["one.json", "two.json"]));
    assert_eq!(code, Some(1));
    let names: Vec<_> = text
        .lines()
        .map(|line| line.split(' ').nth(2).unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "changes./etc/sysconfig/clock.sha256",
            "image.digest",
            "overlays.overlays/timezone.variables.timezone",
            "recipe_sha256",
            "variables.timezone",
        ],
        "{text}"
    );
}

#[test]
fn a_plan_has_the_report_of_a_diff() {
    let folder = example();
    let plan = |args: &[&str]| {
        let output = imgasm()
            .arg("plan")
            .args(args)
            .current_dir(folder.path())
            .env("IMGASM_CACHE", folder.path().join("cache"))
            .output()
            .unwrap();
        assert_success(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    // The base by itself: the recipe without its overlays.
    let recipe = fs::read_to_string(folder.path().join("imgasm.toml")).unwrap();
    let start = recipe.find("base = ").unwrap();
    let base = recipe[start..].split('\n').next().unwrap();
    let disk = format!("name = \"ecs\"\n{base}\n");
    fs::write(folder.path().join("base.toml"), disk).unwrap();
    let report = |args: &[&str]| {
        let output = diff(
            folder.path(),
            &[&["base.toml", "imgasm.toml"], args].concat(),
        );
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(plan(&[]), report(&[]));
    assert_eq!(plan(&["--patch"]), report(&["--patch"]));
    let plan: Value = serde_json::from_str(&plan(&["--json"])).unwrap();
    let report: Value = serde_json::from_str(&report(&["--json"])).unwrap();
    assert_eq!(plan["diff"], report);
    for key in [
        "digest",
        "paths",
        "changed_blocks",
        "changed_bytes",
        "upload_chunks",
        "upload_bytes",
        "full_upload_bytes",
    ] {
        assert!(!plan[key].is_null(), "{key}");
    }
}

#[test]
fn a_policy_passes_over_what_it_expects() {
    let folder = example();
    let policy = |text: &str, args: &[&str]| {
        fs::write(folder.path().join("allow.toml"), text).unwrap();
        let args = [&["--allow", "allow.toml", "base.toml", "out/ecs.raw"], args].concat();
        code_and_text(&diff(folder.path(), &args))
    };
    let recipe = fs::read_to_string(folder.path().join("imgasm.toml")).unwrap();
    let start = recipe.find("base = ").unwrap();
    let base = recipe[start..].split('\n').next().unwrap();
    fs::write(
        folder.path().join("base.toml"),
        format!("name = \"ecs\"\n{base}\n"),
    )
    .unwrap();

    let all = "[[allow]]\npaths = [\"/**\"]\n";
    assert_eq!(policy(all, &[]), (Some(0), String::new()));
    assert_eq!(policy(all, &["--json"]), (Some(0), String::new()));
    let (code, whole) = policy("", &[]);
    assert_eq!(code, Some(1));
    assert!(
        whole.contains("M  /etc/fstab") && whole.contains("A  /data"),
        "{whole}"
    );
    // A kind that does not fit the change, and only one of the two that do.
    for kinds in ["\"mode\", \"owner\"", "\"added\", \"removed\", \"mode\""] {
        let text = format!(
            "[[allow]]\npaths = [\"/data\", \"/etc/rc.d/**\", \"/var/**\", \"/etc/[!f]*\", \"/etc/cloud/*\", \"/{{opt,usr,root,home,tmp}}/**\"]\n\
             [[allow]]\npaths = [\"/etc/fstab\"]\nkinds = [{kinds}]\n"
        );
        let (code, left) = policy(&text, &[]);
        assert_eq!(code, Some(1), "{left}");
        assert!(
            left.contains("M  /etc/fstab") && !left.contains("/data"),
            "{left}"
        );
    }

    let wrong = |text: &str| {
        let (code, text) = policy(text, &[]);
        assert_eq!(code, Some(2), "{text}");
        text
    };
    insta::assert_snapshot!(wrong("[[allow]]\npaths = [\"/etc\"]\nkinds = [\"contnt\"]\n"), @r#"
    error: `contnt` is not known here
     --> allow.toml:3:10
      |
    3 | kinds = ["contnt"]
      |          ^^^^^^^^
      |
      = help: did you mean `content`?
    "#);
    insta::assert_snapshot!(wrong("[[allow]]\npaths = [\"etc\"]\n"), @r#"
    error: "etc" is not a valid pattern: it does not begin with `/`
     --> allow.toml:2:10
      |
    2 | paths = ["etc"]
      |          ^^^^^
    "#);
    insta::assert_snapshot!(wrong("[[allow]]\nreason = \"none\"\n"), @r#"
    error: a rule is about one of `paths`, `properties` and `raw`
     --> allow.toml:1:1
      |
    1 | [[allow]]
      | ^^^^^^^^^
    "#);
    insta::assert_snapshot!(wrong("[[alow]]\n"), @r#"
    error: unknown key `alow`
     --> allow.toml:1:3
      |
    1 | [[alow]]
      |   ^^^^
      |
      = help: did you mean `allow`?
    "#);
}

/// Two filesystems that are filled by the kernel, in a folder.
fn filled(fill: impl Fn(&Path, bool)) -> Option<tempfile::TempDir> {
    if !need::mounts(&["mke2fs"]) {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, is_new) in [("old", false), ("new", true)] {
        let image = folder.path().join(name);
        sparse(&image, 16 << 20);
        run(
            "mke2fs",
            [
                "-q",
                "-t",
                "ext4",
                "-U",
                "6d676173-6d00-4000-8000-000000000001",
                image.to_str().unwrap(),
            ],
        );
        let mount = Mounted::new(&image, &folder.path().join("mount"), "loop");
        fill(mount.path(), is_new);
    }
    Some(folder)
}

/// Writes a file and the folders above it.
fn put(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The meanings of the change of a path in a report, one line each.
fn meanings(folder: &Path, path: &str) -> Vec<String> {
    let output = diff(folder, &["--json", "old", "new"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let paths = report["filesystems"][0]["paths"].as_array().unwrap();
    let found = paths.iter().find(|change| change["path"] == path);
    let meanings = found.expect(path)["meanings"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let line = |m: &Value| {
        let (name, old, new) = (text(&m["name"]), text(&m["old"]), text(&m["new"]));
        format!("{name}: {old} -> {new}")
    };
    meanings.map(line).collect()
}

#[test]
fn users_packages_and_services() {
    let folder = filled(|root, is_new| {
        let pick = |old: &'static str, new: &'static str| if is_new { new } else { old };
        let passwd = pick(
            "root:x:0:0::/root:/bin/sh\ngone:x:7:7::/:/bin/sh\n",
            "root:x:0:0::/root:/bin/bash\nnew:x:8:8::/home/new:/bin/sh\n",
        );
        put(root, "etc/passwd", passwd);
        let package = |name: &str, version: &str| {
            let status = "Status: install ok installed\nArchitecture: all";
            format!("Package: {name}\n{status}\nVersion: {version}\n\n")
        };
        let packages = [
            package("kept", "3"),
            package("updated", pick("1.0", "1.1")),
            package(pick("removed", "added"), "2"),
        ];
        put(root, "var/lib/dpkg/status", &packages.concat());
        if is_new {
            let wants = root.join("etc/systemd/system/multi-user.target.wants");
            fs::create_dir_all(&wants).unwrap();
            std::os::unix::fs::symlink("/usr/lib/web.service", wants.join("web.service")).unwrap();
        }
    });
    let Some(folder) = folder else { return };
    let meanings = |path: &str| meanings(folder.path(), path);
    assert_eq!(
        meanings("/etc/passwd"),
        [
            "user gone: uid 7, gid 7, home /, shell /bin/sh -> none",
            "user new: none -> uid 8, gid 8, home /home/new, shell /bin/sh",
            "user root: uid 0, gid 0, home /root, shell /bin/sh -> \
             uid 0, gid 0, home /root, shell /bin/bash",
        ]
    );
    assert_eq!(
        meanings("/var/lib/dpkg/status"),
        [
            "package added all: none -> 2",
            "package removed all: 2 -> none",
            "package updated all: 1.0 -> 1.1",
        ]
    );
    assert_eq!(
        meanings("/etc/systemd/system/multi-user.target.wants/web.service"),
        ["service web.service: none -> wanted by multi-user.target"]
    );
}

#[test]
fn programs_and_packed_files() {
    let programs = ["/bin/ls", "/bin/cat"];
    let folder = filled(|root, is_new| {
        fs::copy(programs[usize::from(is_new)], root.join("program")).unwrap();
        put(root, "text", if is_new { "new\n" } else { "old\n" });
        run("gzip", ["-9", root.join("text").to_str().unwrap()]);
    });
    let Some(folder) = folder else { return };
    let packed = meanings(folder.path(), "/text.gz");
    let sum = |text: &str| imgasm_block::Digest::of(text.as_bytes()).to_string();
    let unpacked = format!("unpacked sha256: {} -> {}", sum("old\n"), sum("new\n"));
    assert!(packed.contains(&unpacked), "{packed:?}");
    if need::tools(&["readelf"]) {
        let [old, new] = programs.map(|program| {
            let notes = run("readelf", ["-n", program]);
            let id = notes.split("Build ID: ").nth(1);
            let id = id.expect("Debian's programs have one").split_whitespace();
            id.take(1).collect::<String>()
        });
        let told = meanings(folder.path(), "/program");
        assert_eq!(told, [format!("build id: {old} -> {new}")]);
    }
}

#[test]
fn a_damaged_side_is_an_error_with_what_was_read_before() {
    let folder = filled(|root, is_new| {
        fs::write(root.join("a"), if is_new { "new" } else { "old" }).unwrap();
        fs::create_dir(root.join("broken")).unwrap();
        fs::write(root.join("broken/b"), "b").unwrap();
        fs::write(root.join("c"), if is_new { "new" } else { "old" }).unwrap();
    });
    let Some(folder) = folder else { return };
    if !need::tools(&["debugfs"]) {
        return;
    }
    let new = folder.path().join("new");
    let block = run("debugfs", ["-R", "blocks /broken", new.to_str().unwrap()]);
    let block: u64 = block.trim().parse().unwrap();
    let image = fs::File::options().write(true).open(&new).unwrap();
    image.write_all_at(&[0xff; 1024], block * 1024).unwrap();
    let output = diff(folder.path(), &["old", "new"]);
    let (code, text) = code_and_text(&output);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("M  /a  sha256") && !text.contains("M  /c"),
        "{text}"
    );
    assert!(
        text.contains("error: cannot read /broken in the new image"),
        "{text}"
    );
    let output = diff(folder.path(), &["--json", "old", "new"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["error"], "cannot read /broken in the new image");

    // Cut off in the middle.
    image.set_len(8 << 20).unwrap();
    let output = diff(folder.path(), &["old", "new"]);
    assert_eq!(output.status.code(), Some(2));
    let found = String::from_utf8(output.stdout).unwrap();
    assert_eq!(found, "M  disk: size 16777216 -> 8388608\n");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the new image"), "{said}");
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
}

/// Two disks with a file that differs in each of two partitions.
fn two_partitions() -> Option<tempfile::TempDir> {
    if !need::mounts(&["mke2fs", "sgdisk"]) {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("old", "old\n"), ("new", "new\n")] {
        let image = folder.path().join(name);
        sparse(&image, 40 << 20);
        let image = image.to_str().unwrap();
        let guid = "6d676173-6d00-4000-8000-00000000000";
        let (first, second) = (format!("1:{guid}1"), format!("2:{guid}2"));
        let disk = format!("{guid}3");
        let table = ["-n", "1:2048:+16M", "-n", "2:0:+16M", "-U", &disk];
        let guids = ["-u", &first, "-u", &second, image];
        run("sgdisk", [&table[..], &guids].concat());
        for offset in [1_u64 << 20, 17 << 20] {
            let options = format!("offset={offset},root_owner=0:0");
            let args = [
                "-q",
                "-t",
                "ext4",
                "-U",
                disk.as_str(),
                "-E",
                &options,
                image,
                "16M",
            ];
            run("mke2fs", args);
            // The device of the first partition may still be there when the second is mounted.
            let loop_option = format!("loop,offset={offset},sizelimit={}", 16 << 20);
            let mount = Mounted::new(image.as_ref(), &folder.path().join("mount"), &loop_option);
            fs::write(mount.path().join("file"), text).unwrap();
        }
    }
    Some(folder)
}

#[test]
fn damage_in_one_partition_does_not_hide_the_other() {
    let Some(folder) = two_partitions() else {
        return;
    };
    let whole = diff(folder.path(), &["old", "new"]);
    assert_eq!(whole.status.code(), Some(1));
    let whole = String::from_utf8(whole.stdout).unwrap();
    let second = &whole[whole.find("partition 2\n").expect(&whole)..];
    assert!(second.contains("M  /file"), "{second}");
    // The superblock of the first filesystem, except its magic number.
    let image = fs::File::options()
        .write(true)
        .open(folder.path().join("new"))
        .unwrap();
    image.write_all_at(&[0xff; 48], (1 << 20) + 1024).unwrap();
    let output = diff(folder.path(), &["old", "new"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), second);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("partition 1"), "{said}");
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
}

#[test]
fn a_disk_that_is_cut_off_is_compared_as_far_as_it_goes() {
    let Some(folder) = two_partitions() else {
        return;
    };
    let whole = diff(folder.path(), &["old", "new"]);
    let whole = String::from_utf8(whole.stdout).unwrap();
    let first = &whole[..whole.find("partition 2\n").expect(&whole)];
    assert!(first.contains("M  /file"), "{first}");
    let path = folder.path().join("new");
    run("gzip", ["-k", "-1", path.to_str().unwrap()]);
    // In the middle of the second partition.
    let image = fs::File::options().write(true).open(&path).unwrap();
    image.set_len(20 << 20).unwrap();
    let expected = format!("M  disk: size 41943040 -> 20971520\n{first}");
    let output = diff(folder.path(), &["old", "new"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    let said = String::from_utf8(output.stderr).unwrap();
    insta::assert_snapshot!(said, @r"
    error: cannot open new
      cause: GPT partition table: it is for a disk of more than 81886 blocks, but there are 40960: the image is cut short
    hint: what could be compared is printed, and is not all that differs
    ");

    // Even if nothing in what is left differs.
    fs::copy(&path, folder.path().join("same")).unwrap();
    let (code, text) = code_and_text(&diff(folder.path(), &["new", "same"]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.starts_with("error: cannot open new\n"), "{text}");

    // Compressed, and the compressed file cut off.
    let packed = fs::read(folder.path().join("new.gz")).unwrap();
    fs::write(
        folder.path().join("cut.gz"),
        &packed[..packed.len() * 9 / 10],
    )
    .unwrap();
    let output = diff(folder.path(), &["old", "cut.gz"]);
    let (code, text) = code_and_text(&output);
    assert_eq!(code, Some(2), "{text}");
    let found = String::from_utf8(output.stdout).unwrap();
    assert!(found.starts_with("M  disk: size 41943040 -> "), "{text}");
    assert!(found.ends_with(&whole), "{text}");
    let left = fs::read_dir(folder.path().join("cache")).unwrap().count();
    assert_eq!(left, 1, "only the folder of paths");
    assert!(
        text.contains("the gzip data ends in the middle, after "),
        "{text}"
    );
    assert_eq!(text.matches("error: ").count(), 1, "{text}");
}

#[test]
fn bytes_that_no_path_explains_are_told() {
    // The file's last block holds less than a sector of it.
    let content = vec![b'x'; 4200];
    let folder = filled(|root, is_new| {
        fs::write(root.join("same"), &content).unwrap();
        fs::write(root.join("told"), if is_new { "new" } else { "old" }).unwrap();
    });
    let Some(folder) = folder else { return };
    if !need::tools(&["debugfs"]) {
        return;
    }
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let lines = || {
        let output = diff(folder.path(), &["--json", "old", "new"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let paths = report["filesystems"][0]["paths"].as_array().unwrap();
        assert_eq!(paths.len(), 1, "{report}");
        assert!(
            report["filesystems"][0]["structure_bytes"]
                .as_u64()
                .unwrap()
                > 0
        );
        let raw = report["raw"].as_array().unwrap().iter();
        let raw = raw.filter(|raw| raw["region"] != "the whole disk, free space");
        raw.map(|raw| {
            let number = |key: &str| raw[key].as_u64().unwrap();
            let region = raw["region"].as_str().unwrap().to_owned();
            (region, number("start")..number("end"), number("bytes"))
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(lines(), []);
    // Where the kernel put the end of the file, on both sides, in blocks of 1 KiB.
    let blocks = |image: &Path| run("debugfs", ["-R", "blocks /same", image.to_str().unwrap()]);
    assert_eq!(blocks(&old), blocks(&new));
    let last: u64 = blocks(&new)
        .split_whitespace()
        .last()
        .unwrap()
        .parse()
        .unwrap();
    let slack = last * 1024 + 512;
    let len = fs::metadata(&new).unwrap().len();
    for image in [&old, &new] {
        let file = fs::File::options().write(true).open(image).unwrap();
        file.set_len(len + 4096).unwrap();
    }
    let image = fs::File::options().write(true).open(&new).unwrap();
    for offset in [700, slack + 100, len + 600] {
        image.write_all_at(b"poked", offset).unwrap();
    }
    assert_eq!(
        lines(),
        [
            ("the whole disk, boot block".to_owned(), 512..1024, 512),
            (
                "the whole disk, behind the filesystem".to_owned(),
                len + 512..len + 1024,
                512
            ),
            (
                "the whole disk, behind the end of files".to_owned(),
                slack..slack + 512,
                512
            ),
        ]
    );
}
