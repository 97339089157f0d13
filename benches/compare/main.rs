//! imgasm compared with what one would run instead, as ratios within one run: `make bench`.
//!
//! Needs root, for the other tools. The work folder is `IMGASM_BENCH_DIR`, else `target/compare`;
//! it takes about 14 GiB and is kept. `IMGASM_BENCH_MIB` is how much the files on the 8 GiB disk
//! hold (2048), `IMGASM_BENCH_TIMES` how often each way is run (5).

mod creates;
mod diff;
mod measure;
mod scenery;
mod upload;

use std::path::{Path, PathBuf};

use measure::{Usage, Way, compare, run, shell};
use scenery::Scenery;

const IMGASM: &str = env!("CARGO_BIN_EXE_imgasm");

fn main() {
    // `cargo test --benches` and the like must not take minutes.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root, for the mounts that imgasm is compared with");
        return;
    }
    let number = |name, default| {
        std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
    };
    let folder = std::env::var_os("IMGASM_BENCH_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/compare"),
        PathBuf::from,
    );
    let scenery = Scenery::new(&folder, number("IMGASM_BENCH_MIB", 2048));
    let times = usize::try_from(number("IMGASM_BENCH_TIMES", 5)).expect("a small number");
    let bench = Bench {
        folder: &scenery.folder,
        times,
    };
    println!(
        "CPU and wall in seconds, memory in MiB, medians of {times}; ratio to the row above it"
    );
    println!(
        "{:<44} {:>8} {:>8} {:>7} {:>7} {:>7}",
        "", "CPU", "wall", "memory", "CPU", "wall"
    );
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let jobs: [(&str, Job); 13] = [
        ("apply-small", |bench| apply_small(bench, EXT4)),
        ("apply-small-xfs", |bench| apply_small(bench, XFS)),
        ("apply-large", |bench| apply_large(bench, EXT4)),
        ("apply-large-xfs", |bench| apply_large(bench, XFS)),
        ("warm", warm),
        ("reflink", reflink),
        ("cold", cold),
        ("read", |bench| read(bench, EXT4)),
        ("read-xfs", |bench| read(bench, XFS)),
        ("diff", |bench| diff::difference(bench)),
        ("creates", |_| creates::report()),
        ("convert", upload::convert),
        ("upload", upload::upload),
    ];
    for (name, job) in jobs {
        if wanted
            .as_ref()
            .is_none_or(|wanted| name.contains(wanted.as_str()))
        {
            job(&bench);
        }
    }
}

type Job = fn(&Bench<'_>);

/// A disk to work on.
#[derive(Clone, Copy)]
struct Disk {
    /// What it is, in a title.
    title: &'static str,
    file: &'static str,
    /// The first byte of its root partition.
    offset: u64,
}

const EXT4: Disk = Disk {
    title: "the disk",
    file: "base.raw",
    offset: scenery::EXT4_OFFSET,
};
const XFS: Disk = Disk {
    title: "an XFS disk grown to 30 GiB",
    file: "xfs.raw",
    offset: scenery::XFS_OFFSET,
};

impl Disk {
    /// A loop mount of the root partition of `image` at `mount`, while `work` is done in it.
    fn mounted(self, image: &str, work: &str) -> String {
        format!(
            "mount -o loop,offset={} {image} mount
        {work}
        umount mount
        sync -d {image}",
            self.offset
        )
    }

    /// Makes a new copy, so that nothing is already as it should be.
    fn fresh(self, name: &str) -> String {
        format!(
            "rm -f {name}; cp --sparse=always {} {name}; mkdir -p mount",
            self.file
        )
    }
}

struct Bench<'a> {
    folder: &'a Path,
    times: usize,
}

impl Bench<'_> {
    /// Measures a job in several ways: the first of `ways` is the measure, the last is ours.
    fn job(&self, title: &str, ways: &[Way<'_>]) {
        self.job_in(self.folder, title, ways);
    }

    fn job_in(&self, folder: &Path, title: &str, ways: &[Way<'_>]) {
        println!("{title}");
        let usages = compare(ways, self.times, folder);
        let measure = usages[0];
        for (way, usage) in ways.iter().zip(&usages) {
            match usage {
                Some(usage) => println!("{}", row(way.name, usage, measure.as_ref())),
                None => println!("  {:<42} failed", way.name),
            }
        }
    }
}

#[allow(clippy::cast_precision_loss)] // Numbers for people.
fn row(name: &str, usage: &Usage, measure: Option<&Usage>) -> String {
    let ratio = |ours: f64, theirs: Option<f64>| {
        theirs.map_or_else(String::new, |theirs| format!("{:.2}", ours / theirs))
    };
    let (cpu, wall) = (usage.cpu.as_secs_f64(), usage.wall.as_secs_f64());
    format!(
        "  {name:<42} {cpu:>8.3} {wall:>8.3} {:>7.0} {:>7} {:>7}",
        usage.memory_bytes as f64 / f64::from(1 << 20),
        ratio(cpu, measure.map(|usage| usage.cpu.as_secs_f64())),
        ratio(wall, measure.map(|usage| usage.wall.as_secs_f64())),
    )
}

fn apply_small(bench: &Bench<'_>, disk: Disk) {
    let by_hand = "printf 'welcome\\n' >mount/etc/motd
        printf 'ZONE=UTC\\n' >mount/etc/sysconfig/clock
        ln -sf /usr/share/zoneinfo/UTC mount/etc/localtime
        mkdir -p mount/data/volume/inner
        grep -q LABEL=docker mount/etc/fstab || echo LABEL=docker /data ext4 noatime 0 0 >>mount/etc/fstab
        sed -i 's/PermitRootLogin yes/PermitRootLogin no/' mount/etc/ssh/sshd_config
        rm -f mount/var/log/old.log
        chmod 0 mount/etc/shadow
        chown 0:0 mount/var/log
        printf '#!/bin/sh\\necho first\\n' >mount/home/ec2-user/first.sh
        chmod 755 mount/home/ec2-user/first.sh
        chown 500:500 mount/home/ec2-user/first.sh";
    bench.job(
        &format!("ten small overlays onto {}", disk.title),
        &[
            Way {
                name: "mount, shell commands, umount",
                before: disk.fresh("other.raw"),
                script: disk.mounted("other.raw", by_hand),
            },
            Way {
                name: "imgasm apply",
                before: disk.fresh("ours.raw"),
                script: format!("{IMGASM} apply ours.raw small/*; sync -d ours.raw"),
            },
        ],
    );
    shell("rm -f ours.raw other.raw", bench.folder);
}

fn apply_large(bench: &Bench<'_>, disk: Disk) {
    bench.job(
        &format!("5,000 files of 200 MiB onto {}", disk.title),
        &[
            Way {
                name: "mount, cp -a, umount",
                before: disk.fresh("other.raw"),
                script: disk.mounted("other.raw", "cp -a large/files/. mount/"),
            },
            Way {
                name: "imgasm apply",
                before: disk.fresh("ours.raw"),
                script: format!("{IMGASM} apply ours.raw large; sync -d ours.raw"),
            },
        ],
    );
    shell("rm -f ours.raw other.raw", bench.folder);
}

/// A recipe that builds from `base` with the ten small overlays, and the command that does it.
fn build(folder: &Path, name: &str, base: &str) -> String {
    let overlays: Vec<_> = (0..10).map(|n| format!("\"small/{n:02}\"")).collect();
    let recipe = format!(
        "name = \"{name}\"\nbase = {{ file = \"{base}\" }}\noverlays = [{}]\n",
        overlays.join(", ")
    );
    std::fs::write(folder.join(format!("{name}.toml")), recipe).expect("room for a recipe");
    format!(
        "SOURCE_DATE_EPOCH=1500000000 XDG_CACHE_HOME=$PWD/cache {IMGASM} build -f {name}.toml -o out-{name} --force"
    )
}

fn warm(bench: &Bench<'_>) {
    let build = build(bench.folder, "warm", "base.zst");
    // Fills the cache.
    run(&build, bench.folder);
    bench.job(
        "build, base in the cache, ten small overlays",
        &[
            Way {
                name: "cp --sparse=always",
                before: "rm -f copy.raw".to_owned(),
                script: "cp --sparse=always base.raw copy.raw".to_owned(),
            },
            Way {
                name: "imgasm build",
                before: "rm -rf out-warm".to_owned(),
                script: build,
            },
        ],
    );
    shell("rm -rf copy.raw out-warm cache", bench.folder);
}

/// The same in a work folder on a filesystem that can share blocks between files.
fn reflink(bench: &Bench<'_>) {
    let prepare = "umount reflink 2>/dev/null || true
        truncate -s 24G reflink.img
        mkfs.xfs -q -f -m reflink=1 reflink.img
        mkdir -p reflink
        mount -o loop reflink.img reflink
        cp --sparse=always base.raw reflink/base.raw
        cp base.zst reflink/
        cp -a small reflink/";
    shell(prepare, bench.folder);
    let folder = bench.folder.join("reflink");
    let build = build(&folder, "warm", "base.zst");
    if run(&build, &folder).is_some() {
        bench.job_in(
            &folder,
            "the same where files can share blocks",
            &[
                Way {
                    name: "cp --reflink=always",
                    before: "rm -f copy.raw".to_owned(),
                    script: "cp --reflink=always base.raw copy.raw".to_owned(),
                },
                Way {
                    name: "imgasm build",
                    before: "rm -rf out-warm".to_owned(),
                    script: build,
                },
            ],
        );
    } else {
        println!("the same where files can share blocks: failed");
    }
    shell(
        "umount reflink; rmdir reflink; rm reflink.img",
        bench.folder,
    );
}

/// From a compressed base that is not in the cache to a sparse image with its digest.
fn cold(bench: &Bench<'_>) {
    let digest = "openssl dgst -sha256 copy.raw";
    for (base, unpack) in [
        (
            "base.gz",
            "igzip -dc base.gz | dd of=copy.raw bs=1M iflag=fullblock conv=sparse status=none",
        ),
        ("base.zst", "zstd -q -d --sparse base.zst -o copy.raw"),
        (
            "base.xz",
            "xz -T0 -dc base.xz | dd of=copy.raw bs=1M iflag=fullblock conv=sparse status=none",
        ),
    ] {
        let tool = unpack.split(' ').next().unwrap_or_default();
        bench.job(
            &format!("build from {base}, nothing in the cache"),
            &[
                Way {
                    name: &format!("{tool}, sparse, openssl sha256"),
                    before: "rm -f copy.raw".to_owned(),
                    script: format!("{unpack}; {digest}"),
                },
                Way {
                    name: "imgasm build",
                    before: "rm -rf cache out-cold".to_owned(),
                    script: build(bench.folder, "cold", base),
                },
            ],
        );
        shell("rm -rf copy.raw cache out-cold", bench.folder);
    }
}

/// Every file with its digest.
fn read(bench: &Bench<'_>, disk: Disk) {
    let find = "find mount -xdev -type f -print0 | xargs -0 sha256sum";
    let Disk {
        title,
        file,
        offset,
    } = disk;
    bench.job(
        &format!("every file of {title} with its SHA-256"),
        &[
            Way {
                name: "mount, find, sha256sum",
                before: "mkdir -p mount".to_owned(),
                script: format!(
                    "mount -o ro,loop,offset={offset} {file} mount; {find}; umount mount"
                ),
            },
            Way {
                name: "imgasm ls -R --json --digest",
                before: String::new(),
                script: format!("{IMGASM} ls -R --json --digest {file} /"),
            },
        ],
    );
}
