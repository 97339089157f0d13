//! The disk of the machines: Debian with GRUB for BIOS and for UEFI, in a GPT with the partition
//! numbers of cloud images.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use imgasm_testkit::command::run;
use imgasm_testkit::image::Kind;
use imgasm_testkit::kernel::{Access, Mount};

pub const SUITE: &str = "bookworm";
pub const PACKAGES: &str = "systemd-sysv,dbus,udev,linux-image-cloud-amd64,cloud-init,isc-dhcp-client,\
                        iproute2,curl,jq,openssh-server,xfsprogs,grub-pc-bin,grub-efi-amd64-bin,grub2-common,logsave,python3-cffi-backend";

const SECTOR: u64 = 512;
/// First sectors of the partitions, and the end of the last one.
const BIOS_START: u64 = 2048;
const EFI_START: u64 = 4096;
const ROOT_START: u64 = 40_960;
const ROOT_BYTES: u64 = 3 << 30;

/// The identity of the root filesystem, with which the boot loader and the kernel find it.
pub const ROOT_UUID: &str = "b0070000-0000-4000-8000-000000000001";

/// What every machine is told.
pub const SETTINGS: [(&str, &str); 4] = [
    ("etc/machine-id", ""),
    (
        "etc/systemd/network/10-all.network",
        "[Match]\nName=en* eth*\n\n[Network]\nDHCP=ipv4\n",
    ),
    (
        "etc/cloud/cloud.cfg.d/10_ec2.cfg",
        "datasource_list: [ Ec2, None ]\nnetwork: { config: disabled }\nlocale: C.UTF-8\n",
    ),
    ("etc/default/locale", "LANG=C.UTF-8\n"),
];

/// The modules that GRUB needs to find its configuration and start the kernel.
pub const MODULES: [&str; 14] = [
    "part_gpt",
    "ext2",
    "xfs",
    "fat",
    "normal",
    "linux",
    "search",
    "search_fs_uuid",
    "serial",
    "terminal",
    "configfile",
    "echo",
    "test",
    "boot",
];

/// Makes the disk in the file `disk`.
pub fn make(kind: Kind, disk: &Path) {
    let root = debian();
    let file = File::create(disk).expect("there is room for it");
    file.set_len(ROOT_START * SECTOR + ROOT_BYTES + (1 << 20))
        .expect("there is room for it");
    run(Command::new("sgdisk")
        .args([
            "-n",
            &format!("1:{ROOT_START}:+3G"),
            "-t",
            "1:8300",
            "-c",
            "1:Linux",
        ])
        .args([
            "-n",
            &format!("14:{BIOS_START}:{}", EFI_START - 1),
            "-t",
            "14:ef02",
        ])
        .args([
            "-n",
            &format!("15:{EFI_START}:{}", ROOT_START - 1),
            "-t",
            "15:ef00",
        ])
        .arg(disk));
    let (bios, efi) = loaders(&root);
    install_bios_loader(&root, disk, &bios);
    install_efi_loader(disk, &efi);
    install_root(&root, kind, disk);
}

/// The root that debootstrap makes, kept for the next run.
fn debian() -> PathBuf {
    kept(SUITE, PACKAGES, |root| {
        run(Command::new("debootstrap")
            .arg("--variant=minbase")
            .arg(format!("--include={PACKAGES}"))
            .arg(SUITE)
            .arg(root));
    })
}

/// What is made of these words and kept for the next run, in a file or folder of this name.
pub fn kept(name: &str, words: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/boot");
    let (made, done) = (folder.join(name), folder.join(format!("{name}.done")));
    if fs::read_to_string(&done).is_ok_and(|known| known == words) {
        return made;
    }
    fs::create_dir_all(&folder).expect("target can be written");
    run(Command::new("rm").arg("-rf").arg(&made));
    make(&made);
    fs::write(done, words).expect("target can be written");
    made
}

/// GRUB for a BIOS and for UEFI, as files: both look for the root and read their configuration there.
fn loaders(root: &Path) -> (Vec<u8>, PathBuf) {
    let early = format!(
        "search --no-floppy --fs-uuid --set=root {ROOT_UUID}\nset prefix=($root)/boot/grub\n\
         configfile $prefix/grub.cfg\n"
    );
    fs::write(root.join("early.cfg"), early).expect("target can be written");
    let make = |format: &str, to: &str, more: &[&str]| {
        run(Command::new("chroot")
            .arg(root)
            .args(["grub-mkimage", "-O", format, "-o", to, "-p", "/boot/grub"])
            .args(["-c", "/early.cfg"])
            .args(MODULES)
            .args(more));
        root.join(&to[1..])
    };
    let bios = make("i386-pc", "/core.img", &["biosdisk"]);
    let efi = make("x86_64-efi", "/bootx64.efi", &[]);
    (fs::read(bios).expect("it was made"), efi)
}

/// Does what `grub-bios-setup` does: the first sector says where the core lies, and the core's first
/// sector where the rest of it does (GRUB's `boot.S`, `kernel_sector`; `diskboot.S`, the list of
/// blocks at its end).
fn install_bios_loader(root: &Path, disk: &Path, core: &[u8]) {
    let boot = fs::read(root.join("usr/lib/grub/i386-pc/boot.img")).expect("the package is there");
    let file = OpenOptions::new()
        .write(true)
        .open(disk)
        .expect("it is there");
    file.write_all_at(&boot[..440], 0).expect("it fits");
    file.write_all_at(&BIOS_START.to_le_bytes(), 0x5c)
        .expect("it fits");
    // A BIOS hands over the drive that it boots from, but some must be checked (`boot_drive_check`).
    file.write_all_at(&[0x90, 0x90], 0x66).expect("it fits");
    let mut core = core.to_vec();
    core[0x1f4..0x1fc].copy_from_slice(&(BIOS_START + 1).to_le_bytes());
    file.write_all_at(&core, BIOS_START * SECTOR)
        .expect("it fits");
}

/// The EFI partition is written with mtools: not every kernel mounts FAT.
fn install_efi_loader(disk: &Path, loader: &Path) {
    let partition = disk.with_extension("efi");
    let bytes = (ROOT_START - EFI_START) * SECTOR;
    File::create(&partition)
        .and_then(|file| file.set_len(bytes))
        .expect("there is room for it");
    run(Command::new("mkfs.fat").arg(&partition));
    run(Command::new("mmd")
        .arg("-i")
        .arg(&partition)
        .args(["::EFI", "::EFI/BOOT"]));
    run(Command::new("mcopy")
        .arg("-i")
        .arg(&partition)
        .arg(loader)
        .arg("::EFI/BOOT/BOOTX64.EFI"));
    put(&partition, disk, EFI_START);
}

fn install_root(root: &Path, kind: Kind, disk: &Path) {
    let partition = disk.with_extension("root");
    File::create(&partition)
        .and_then(|file| file.set_len(ROOT_BYTES))
        .expect("there is room for it");
    match kind {
        Kind::Ext => run(Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-U", ROOT_UUID])
            .arg(&partition)),
        Kind::Xfs => run(Command::new("mkfs.xfs")
            .args(["-q", "-m", &format!("uuid={ROOT_UUID}")])
            .arg(&partition)),
    };
    let mount = Mount::new(&partition, kind, Access::ReadWrite);
    run(Command::new("cp")
        .arg("-a")
        .arg(root.join("."))
        .arg(mount.path()));
    configure(mount.path(), kind);
    mount.finish().expect("the kernel has nothing to say");
    put(&partition, disk, ROOT_START);
}

/// Makes what an installed Debian cloud image has and debootstrap does not make.
fn configure(root: &Path, kind: Kind) {
    let name = |link: &str| {
        let target = fs::read_link(root.join(link)).expect("Debian has a link to it");
        target.to_string_lossy().into_owned()
    };
    let write = |path: &str, text: &str| super::write(root, path, text);
    write(
        "boot/grub/grub.cfg",
        &format!(
            "serial --unit=0 --speed=115200\nterminal_output serial\nset timeout=0\n\
             menuentry Debian {{\n\tsearch --no-floppy --fs-uuid --set=root {ROOT_UUID}\n\
             \tlinux /{} root=UUID={ROOT_UUID} ro console=ttyS0\n\tinitrd /{}\n}}\n",
            name("vmlinuz"),
            name("initrd.img")
        ),
    );
    let driver = kind.driver();
    write(
        "etc/fstab",
        &format!("UUID={ROOT_UUID} / {driver} defaults 0 1\n"),
    );
    for (path, text) in SETTINGS {
        write(path, text);
    }
    // An empty database, for packages of RPM.
    run(Command::new("rpm")
        .arg("--root")
        .arg(root)
        .args(["--dbpath", "/var/lib/rpm", "--initdb"]));
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).expect("there is room for it");
    std::os::unix::fs::symlink(
        "/lib/systemd/system/systemd-networkd.service",
        wants.join("systemd-networkd.service"),
    )
    .expect("there is room for it");
}

fn put(partition: &Path, disk: &Path, sector: u64) {
    run(Command::new("dd")
        .arg(format!("if={}", partition.display()))
        .arg(format!("of={}", disk.display()))
        .arg(format!("seek={}", sector / 2048))
        .args(["bs=1M", "conv=sparse,notrunc", "status=none"]));
    fs::remove_file(partition).expect("it is there");
}
