//! A machine for arm64: its root is made by mmdebstrap with the processor emulated, its disk by imgasm.

use std::path::Path;
use std::process::Command;

use imgasm_testkit::command::{output, run};
use imgasm_testkit::need;

use super::base::{self, SETTINGS, SUITE};
use super::{amiss, boot, write};

/// Without cloud-init, which takes most of the time and runs on the other machines.
const PACKAGES: &str = "systemd-sysv,dbus,udev,linux-image-cloud-arm64,curl,jq,grub-efi-arm64-bin,\
                        grub2-common,logsave";

const RECIPE: &str = r#"
name = "arm"
base = { rootfs = "root.tar", size = "2 GiB" }
overlays = ["overlay"]

[[disk.partition]]
type = "efi"
size = "32 MiB"
filesystem = "vfat"
mount = "/boot/efi"

[[disk.partition]]
type = "root-arm64"
name = "debian"
filesystem = "ext4"
label = "root"
mount = "/"

[[volume]]
device_name = "/dev/xvdcy"
volume_size = 1
filesystem = "xfs"
label = "data"
mount = "/data"
options = "defaults,nofail"

[[expect.live]]
command = "uname -m; cat /sys/class/dmi/id/sys_vendor; cat /proc/sys/kernel/hostname"
stdout = "aarch64\nAmazon EC2\narm"

[[expect.live]]
mount = "/data"
type = "xfs"
label = "data"

[[expect.live]]
mount = "/boot/efi"
type = "vfat"

[[expect.live]]
command = "curl -s http://169.254.169.254/latest/dynamic/instance-identity/document | jq -r '.architecture, .instanceType'"
stdout = "arm64\nm6g.large"
"#;

/// The kernel has all drivers that it needs for the root.
const GRUB_CFG: &str = "set timeout=0
menuentry Debian {
	search --no-floppy --label --set=root root
	linux /vmlinuz root=PARTLABEL=debian rootwait ro console=ttyS0
}
";

/// GRUB as a program for UEFI, in the place where firmware looks for it.
const GRUB: &str = "chroot \"$1\" sh -ec 'mkdir -p /boot/grub /boot/efi/EFI/BOOT; \
    { echo search --no-floppy --label --set=root root; echo set prefix=\\(\\$root\\)/boot/grub; \
    echo configfile \\$prefix/grub.cfg; } >/tmp/early.cfg; \
    grub-mkimage -O arm64-efi -o /boot/efi/EFI/BOOT/BOOTAA64.EFI -p /boot/grub -c /tmp/early.cfg \
    part_gpt ext2 normal linux search search_label configfile echo test boot; rm /tmp/early.cfg'";

/// Whether this machine runs programs for arm64.
fn runs_arm64() -> bool {
    need::tools(&["mmdebstrap", "arch-test", "qemu-system-aarch64"])
        && (output(Command::new("arch-test").arg("arm64"))
            .status
            .success()
            || need::lacking("qemu-user-static, registered with binfmt_misc"))
}

fn root() -> std::path::PathBuf {
    base::kept(
        "arm64.tar",
        &format!("{PACKAGES}\n{GRUB}"),
        |root: &Path| {
            run(Command::new("mmdebstrap")
                .args([
                    "--mode=root",
                    "--variant=minbase",
                    "--quiet",
                    "--architectures=arm64",
                ])
                .arg(format!("--include={PACKAGES}"))
                .arg(format!("--customize-hook={GRUB}"))
                .arg(SUITE)
                .arg(root));
        },
    )
}

#[test]
#[ignore = "it takes minutes: make test-boot"]
fn a_root_for_arm64_starts() {
    if !runs_arm64() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the image");
    let dir = folder.path();
    std::os::unix::fs::symlink(root(), dir.join("root.tar")).expect("the folder is new");
    write(dir, "imgasm.toml", RECIPE);
    let mut steps = String::new();
    let more = [("boot/grub/grub.cfg", GRUB_CFG), ("etc/hostname", "arm\n")];
    for (path, text) in SETTINGS.iter().chain(&more) {
        let step = format!("[[step]]\nwrite = {{ path = \"/{path}\", content = '''{text}''' }}\n");
        steps.push_str(&step);
    }
    steps.push_str("[[step]]\nservice = { name = \"systemd-networkd\", enabled = true }\n");
    write(dir, "overlay/overlay.toml", &steps);

    let (report, status) = boot(dir, &["--allow-outside", env!("CARGO_MANIFEST_DIR")]);

    let without = "skipped: cloud-init is done: there is no cloud-init in the machine";
    assert_eq!(amiss(&report), [without]);
    assert_eq!(status, Some(0));
    assert_eq!(report["firmware"], "uefi");
}
