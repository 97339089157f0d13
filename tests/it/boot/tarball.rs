//! A machine whose disk is made of a root filesystem that mmdebstrap packed.

use std::fs;
use std::path::Path;
use std::process::Command;

use imgasm_testkit::command::{output, run};
use imgasm_testkit::image::Kind;
use imgasm_testkit::kernel::{Access, Mount};

use super::base::{self, MODULES, PACKAGES, SETTINGS, SUITE};
use super::{amiss, boot, imgasm, write};
use crate::support::example::assert_success;

const RECIPE: &str = r#"
name = "packed"
base = { rootfs = "root.tar", size = "3 GiB" }
overlays = [OVERLAYS]

[[disk.partition]]
number = 14
type = "bios-boot"
size = "4 MiB"

[[disk.partition]]
number = 1
filesystem = "ext4"
label = "packed"
mount = "/"

[[expect.live]]
mount = "/"
type = "ext4"
label = "packed"

[[expect.live]]
command = "cut -d . -f 1 /etc/debian_version; cat /run/from-user-data; stat -c %a:%U:%G /usr/bin/passwd /etc/shadow"
stdout = "12\nran\n4755:root:root\n640:root:shadow"
"#;

const GRUB_CFG: &str = "serial --unit=0 --speed=115200
terminal_output serial
set timeout=0
menuentry Debian {
	search --no-floppy --label --set=root packed
	linux /vmlinuz root=LABEL=packed ro console=ttyS0
	initrd /initrd.img
}
";

/// What runs in the root before it is packed: GRUB for a BIOS, as `grub-install` leaves it.
fn grub() -> String {
    let modules = MODULES.join(" ");
    format!(
        "chroot \"$1\" sh -ec 'mkdir -p /boot/grub/i386-pc; cp /usr/lib/grub/i386-pc/boot.img /boot/grub/i386-pc/; \
         {{ echo search --no-floppy --label --set=root packed; echo set prefix=\\(\\$root\\)/boot/grub; \
         echo configfile \\$prefix/grub.cfg; }} >/tmp/early.cfg; \
         grub-mkimage -O i386-pc -o /boot/grub/i386-pc/core.img -p /boot/grub -c /tmp/early.cfg biosdisk search_label {modules}; \
         rm /tmp/early.cfg'"
    )
}

#[test]
#[ignore = "it takes minutes: make test-boot"]
fn a_root_by_mmdebstrap_starts() {
    let folder = tempfile::tempdir().expect("a folder for the images");
    let dir = folder.path();
    let hook = grub();
    let root = base::kept("root.tar", &format!("{PACKAGES}\n{hook}"), |root| {
        run(Command::new("mmdebstrap")
            .args(["--mode=root", "--variant=minbase", "--quiet"])
            .arg(format!("--include={PACKAGES}"))
            .arg(format!("--customize-hook={hook}"))
            .arg(SUITE)
            .arg(root));
    });
    std::os::unix::fs::symlink(&root, dir.join("root.tar")).expect("the folder is new");

    // Twice the same bytes, with the archive's own tree.
    let outside = ["--allow-outside", env!("CARGO_MANIFEST_DIR")];
    write(dir, "imgasm.toml", &RECIPE.replace("OVERLAYS", ""));
    for out in ["one", "two"] {
        assert_success(&imgasm(
            dir,
            &[&["build", "-o", out], &outside[..]].concat(),
        ));
    }
    let images = ["one/packed.raw", "two/packed.raw"].map(|image| dir.join(image));
    run(Command::new("cmp").args(&images));
    compare(dir, &images[0], &root);

    write(
        dir,
        "imgasm.toml",
        &RECIPE.replace("OVERLAYS", "\"overlay\""),
    );
    let mut steps = String::new();
    let grub_cfg = [("boot/grub/grub.cfg", GRUB_CFG)];
    for (path, text) in SETTINGS.iter().chain(&grub_cfg) {
        let written =
            format!("[[step]]\nwrite = {{ path = \"/{path}\", content = '''{text}''' }}\n");
        steps.push_str(&written);
    }
    steps.push_str("[[step]]\nservice = { name = \"systemd-networkd\", enabled = true }\n");
    write(dir, "overlay/overlay.toml", &steps);
    write(
        dir,
        "user-data",
        "#!/bin/sh\necho ran >/run/from-user-data\n",
    );
    let (report, status) = boot(dir, &[&["--user-data", "user-data"], &outside[..]].concat());
    assert_eq!(amiss(&report), [""; 0]);
    assert_eq!(status, Some(0));
    assert_eq!(report["firmware"], "bios");
}

/// The tree of an image beside that of the archive, by GNU tar: names, types, owners, modes, devices,
/// links, contents.
fn compare(dir: &Path, image: &Path, archive: &Path) {
    let partition = dir.join("partition");
    let table = run(Command::new("sfdisk").args(["-J"]).arg(image));
    let table: serde_json::Value = serde_json::from_str(&table).expect("sfdisk gives JSON");
    let partitions = table["partitiontable"]["partitions"]
        .as_array()
        .expect("there are some");
    let root = partitions.iter().find(|one| {
        one["node"]
            .as_str()
            .is_some_and(|name| name.ends_with("raw1"))
    });
    let root = root.expect("the first is the root");
    let start = root["start"].as_u64().expect("a number of sectors");
    assert_eq!(start % 2048, 0);
    run(Command::new("dd")
        .arg(format!("if={}", image.display()))
        .arg(format!("of={}", partition.display()))
        .arg(format!("skip={}", start / 2048))
        .args(["bs=1M", "conv=sparse", "status=none"]));
    let mount = Mount::new(&partition, Kind::Ext, Access::ReadOnly);
    let compared = output(
        Command::new("tar")
            .args(["--compare", "--numeric-owner", "--xattrs", "-f"])
            .arg(archive)
            .arg("-C")
            .arg(mount.path()),
    );
    mount.finish().expect("the kernel has nothing to say");
    fs::remove_file(partition).expect("it is there");
    let said = String::from_utf8_lossy(&compared.stdout).into_owned();
    let other: Vec<&str> = said
        .lines()
        // Times are the recipe's; `/etc/fstab` gets the disk's filesystems.
        .filter(|line| !line.ends_with("Mod time differs") && !line.starts_with("./etc/fstab: "))
        .collect();
    assert_eq!(
        other,
        [""; 0],
        "{}",
        String::from_utf8_lossy(&compared.stderr)
    );
}
