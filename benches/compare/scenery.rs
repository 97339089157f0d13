//! The inputs of the comparisons: a disk of 8 GiB with about 2 GiB of files like those of a server,
//! in several containers, and overlays. They are made once in a work folder, the same every time.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::measure::shell;

const MIB: u64 = 1 << 20;
/// Where the root partitions begin, in bytes: on the disk with ext4, and on that with XFS.
pub const EXT4_OFFSET: u64 = 2_097_152;
pub const XFS_OFFSET: u64 = 12_582_912;
/// Files on the disk with XFS, on which most directories are small.
const XFS_FILES: u64 = 76_000;

/// The work folder, and what is in it.
pub struct Scenery {
    pub folder: PathBuf,
}

impl Scenery {
    /// Uses what an earlier run has made in `folder`, and makes the rest. `data_mib` is how much
    /// the files on the disk hold.
    pub fn new(folder: &Path, data_mib: u64) -> Self {
        fs::create_dir_all(folder).expect("a folder for the images");
        let scenery = Self {
            folder: folder.to_owned(),
        };
        scenery.once("base.raw", |part| scenery.disk(part, data_mib));
        for (name, packer) in [
            (
                "base.gz",
                "if command -v pigz >/dev/null; then pigz -6; else gzip -6; fi",
            ),
            ("base.zst", "zstd -q -3 -T0"),
            ("base.xz", "xz -2 -T0"),
        ] {
            scenery.once(name, |part| {
                scenery.say(&format!("packing {name}"));
                shell(
                    &format!("{{ {packer}; }} <base.raw >{part}"),
                    &scenery.folder,
                );
            });
        }
        scenery.once("xfs.raw", |part| scenery.xfs_disk(part));
        scenery.once("small", |part| scenery.small_overlays(part));
        scenery.once("large", |part| scenery.large_overlay(part));
        scenery
    }

    /// Makes a file or folder under a temporary name, so that an interrupted run leaves none that
    /// looks whole.
    fn once(&self, name: &str, make: impl FnOnce(&str)) {
        let whole = self.folder.join(name);
        if whole.exists() {
            return;
        }
        let part = format!("{name}.part");
        shell(&format!("rm -rf {part}"), &self.folder);
        make(&part);
        fs::rename(self.folder.join(&part), whole).expect("just made");
    }

    fn say(&self, what: &str) {
        eprintln!("{what} in {}", self.folder.display());
    }

    fn disk(&self, part: &str, data_mib: u64) {
        self.say(&format!("making a disk with {data_mib} MiB of files"));
        shell(
            &format!(
                "truncate -s 8G {part}
                sgdisk -n 128:2048:4095 -t 128:ef02 -n 1:4096:0 -t 1:8300 \
                    -u 1:11111111-1111-4111-8111-111111111111 {part}
                mkdir -p mount
                loop=$(losetup --find --show --offset 2097152 --sizelimit $((8*1024*1024*1024 - 2097152 - 17408)) {part})
                trap 'losetup -d $loop' EXIT
                mke2fs -q -t ext4 -L / -U 22222222-2222-4222-8222-222222222222 $loop
                mount $loop mount"
            ),
            &self.folder,
        );
        let mount = self.folder.join("mount");
        let unmount = Unmount(&mount);
        skeleton(&mount);
        files(&mount.join("usr"), data_mib * MIB);
        drop(unmount);
    }

    /// A disk like that of Amazon Linux 2023: formatted with 8 GiB, then grown to 30.
    fn xfs_disk(&self, part: &str) {
        self.say(&format!("making an XFS disk with {XFS_FILES} files"));
        let partition = "-n 1:24576:0 -t 1:8300 -u 1:33333333-3333-4333-8333-333333333333";
        let attach = format!(
            "loop=$(losetup --find --show --offset {XFS_OFFSET} --sizelimit $(($(stat -c %s {part}) - {XFS_OFFSET} - 17408)) {part})
            trap 'losetup -d $loop' EXIT
            mkdir -p mount"
        );
        shell(
            &format!(
                "truncate -s 8G {part}
                sgdisk -n 127:2048:4095 -t 127:ef02 -n 128:4096:24575 -t 128:ef00 {partition} {part}
                {attach}
                mkfs.xfs -q -s size=4096 -n size=16384 -m reflink=1,bigtime=1,inobtcount=1,rmapbt=0 \
                    -i sparse=1,nrext64=0 -d su=512k,sw=1,agcount=2 -l su=16k,size=64m \
                    -m uuid=44444444-4444-4444-8444-444444444444 $loop
                mount $loop mount"
            ),
            &self.folder,
        );
        let mount = self.folder.join("mount");
        let unmount = Unmount(&mount);
        skeleton(&mount);
        small_files(&mount.join("usr"), XFS_FILES);
        drop(unmount);
        shell(
            &format!(
                "truncate -s 30G {part}
                sgdisk -e -d 1 {partition} {part}
                {attach}
                mount $loop mount
                xfs_growfs mount >/dev/null
                umount mount"
            ),
            &self.folder,
        );
    }

    /// Ten overlays of one or two steps each.
    fn small_overlays(&self, part: &str) {
        let steps = [
            "write = { path = \"/etc/motd\", content = \"welcome\\n\" }",
            "write = { path = \"/etc/sysconfig/clock\", content = \"ZONE=UTC\\n\", mode = \"0644\" }",
            "symlink = { path = \"/etc/localtime\", target = \"/usr/share/zoneinfo/UTC\" }",
            "mkdir = { path = \"/data/volume/inner\", mode = \"0750\" }",
            "append_line = { path = \"/etc/fstab\", line = \"LABEL=docker /data ext4 noatime 0 0\" }",
            "edit = { path = \"/etc/ssh/sshd_config\", pattern = \"PermitRootLogin yes\", replacement = \"PermitRootLogin no\" }",
            "remove = { path = \"/var/log/old.log\" }",
            "chmod = { path = \"/etc/shadow\", mode = \"0000\" }",
            "chown = { path = \"/var/log\", owner = \"root\", group = \"root\" }",
            "write = { path = \"/home/ec2-user/first.sh\", content = \"#!/bin/sh\\necho first\\n\", mode = \"0755\", owner = \"ec2-user\", group = \"ec2-user\" }",
        ];
        for (n, step) in steps.iter().enumerate() {
            let folder = self.folder.join(part).join(format!("{n:02}"));
            overlay(&folder, &format!("[[step]]\n{step}\n"));
        }
    }

    /// 5,000 files, 200 MiB in all.
    fn large_overlay(&self, part: &str) {
        let folder = self.folder.join(part);
        overlay(&folder, "");
        let mut words = Words(7);
        for n in 0..5000 {
            let inside = folder.join(format!("files/opt/many/{}/{}", n % 10, n % 100));
            fs::create_dir_all(&inside).expect("a folder of the overlay");
            // Between 2 and 82 KiB, 42,000 bytes on average.
            let size = 2000 + words.next() % 80_000;
            fs::write(inside.join(format!("file-{n}")), words.bytes(size)).expect("room for it");
        }
    }
}

fn overlay(folder: &Path, steps: &str) {
    fs::create_dir_all(folder).expect("a folder for the overlay");
    let text = format!("description = \"A part of the benchmark\"\n\n{steps}");
    fs::write(folder.join("overlay.toml"), text).expect("room for it");
}

/// Unmounts when dropped, so that a failure does not leave the disk mounted.
struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        shell(&format!("umount '{}'", self.0.display()), Path::new("/"));
    }
}

/// Makes a filesystem the root of a system.
fn skeleton(root: &Path) {
    let files = [
        (
            "etc/os-release",
            "ID=amzn\nVERSION_ID=2018.03\nPRETTY_NAME=\"Amazon Linux AMI 2018.03\"\n",
        ),
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nec2-user:x:500:500::/home/ec2-user:/bin/sh\n",
        ),
        ("etc/group", "root:x:0:\nec2-user:x:500:\n"),
        ("etc/shadow", "root:*::0:99999:7:::\n"),
        ("etc/fstab", "LABEL=/ / ext4 defaults 1 1\n"),
        ("etc/ssh/sshd_config", "PermitRootLogin yes\n"),
        ("etc/sysconfig/clock", "ZONE=\"America/New_York\"\n"),
        ("etc/inittab", "id:3:initdefault:\n"),
        ("sbin/init", "#!/bin/sh\n"),
        ("usr/share/zoneinfo/UTC", "TZif2\n"),
        ("var/log/old.log", "old\n"),
        ("home/ec2-user/.bashrc", "# nothing\n"),
    ];
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a path below the root")).expect("room for it");
        fs::write(path, text).expect("room for it");
    }
}

/// Files of all sizes, most of them small and most bytes in large ones, in folders of 40.
fn files(folder: &Path, mut bytes: u64) {
    let mut words = Words(1);
    let mut number = 0_u64;
    while bytes > 0 {
        let bits = match words.next() % 100 {
            0..80 => 9 + words.next() % 6,
            80..97 => 15 + words.next() % 4,
            _ => 19 + words.next() % 5,
        };
        let size = ((1 << bits) + words.next() % (1 << bits)).min(bytes);
        let inside = folder.join(format!("{}/{}", number / 4000, number / 40 % 100));
        fs::create_dir_all(&inside).expect("room for it");
        let mut file =
            fs::File::create(inside.join(format!("file-{number}"))).expect("room for it");
        let mut left = size;
        while left > 0 {
            let piece = left.min(MIB);
            file.write_all(&words.bytes(piece)).expect("room for it");
            left -= piece;
        }
        bytes -= size;
        number += 1;
    }
}

/// Files of up to 24 KiB in folders of 19.
fn small_files(folder: &Path, count: u64) {
    let mut words = Words(3);
    for number in 0..count {
        let inside = folder.join(format!("{}/{}", number / 1900, number / 19 % 100));
        fs::create_dir_all(&inside).expect("room for it");
        let size = words.next() % 24_000;
        fs::write(inside.join(format!("file-{number}")), words.bytes(size)).expect("room for it");
    }
}

/// Numbers (xorshift), and bytes that compress about as well as programs and texts do.
struct Words(u64);

impl Words {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        let len = usize::try_from(len).expect("at most some MiB");
        let mut text = String::with_capacity(len + 64);
        while text.len() < len {
            let number = self.next();
            // One of 512 words, sometimes with a number of its own.
            let word = number >> 8 & 0x1ff;
            let _ = write!(text, "{:x} ", word * word * 7919);
            if number & 0xf < 5 {
                let _ = write!(text, "{:012x}", number >> 16);
            }
        }
        text.truncate(len);
        text.into_bytes()
    }
}
