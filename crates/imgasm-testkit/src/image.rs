//! Images in the feature sets that occur in practice, made by the formats' own tools.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use crate::command::run;
use crate::kernel::{Access, Mount};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A family of formats that one engine handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ext2, ext3 and ext4.
    Ext,
    Xfs,
}

impl Kind {
    /// The name that the engines and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// The driver with which the kernel mounts it.
    pub fn driver(self) -> &'static str {
        self.name()
    }

    /// Options that keep the kernel from doing more than it is told, and let a copy of an image be
    /// mounted beside it.
    pub fn mount_options(self) -> &'static str {
        match self {
            Self::Ext => "noatime,noinit_itable,user_xattr,acl",
            Self::Xfs => "noatime,nouuid",
        }
    }

    /// The tools without which it cannot be tested.
    pub fn tools(self) -> &'static [&'static str] {
        match self {
            Self::Ext => &["mke2fs", "e2fsck", "tune2fs", "debugfs", "resize2fs"],
            Self::Xfs => &["mkfs.xfs", "xfs_repair", "xfs_growfs", "xfs_db"],
        }
    }
}

/// What a feature set can store.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of names and values of attributes that surely fit one file.
    pub xattr_bytes: usize,
    /// Longest target of a symbolic link.
    pub symlink_len: usize,
    /// Highest major and minor number of a device.
    pub last_device: (u32, u32),
    /// Last second that times can show.
    pub last_second: i64,
    /// Whether times have nanoseconds.
    pub nanoseconds: bool,
}

/// A feature set: how to make an image that has it.
#[derive(Debug)]
pub struct Set {
    pub name: &'static str,
    pub kind: Kind,
    /// Bytes of the image when it is made.
    pub size: u64,
    /// Bytes to which it is then grown by the format's own tool.
    pub grown_to: Option<u64>,
    /// Arguments of `mke2fs` or `mkfs.xfs`.
    pub mkfs: &'static [&'static str],
    /// Further commands; the image's path is appended to each.
    pub then: &'static [&'static [&'static str]],
    pub limits: Limits,
}

const NANOSECONDS_34_BITS: i64 = (1 << 34) - (1 << 31) - 1;
const SECONDS_31_BITS: i64 = i32::MAX as i64;
/// The `bigtime` form counts nanoseconds from 1901 in 64 bits.
const BIGTIME: i64 = 16_299_260_424;

const EXT_4K: Limits = Limits {
    xattr_bytes: 2800,
    symlink_len: 4095,
    last_device: (4095, 1_048_575),
    last_second: NANOSECONDS_34_BITS,
    nanoseconds: true,
};
const EXT_2K: Limits = Limits {
    xattr_bytes: 1400,
    symlink_len: 2047,
    ..EXT_4K
};
const EXT_1K: Limits = Limits {
    xattr_bytes: 600,
    symlink_len: 1023,
    ..EXT_4K
};
const XFS_BIGTIME: Limits = Limits {
    xattr_bytes: 20_000,
    symlink_len: 1023,
    last_device: (511, 262_143),
    last_second: BIGTIME,
    nanoseconds: true,
};
const XFS_OLD: Limits = Limits {
    last_second: SECONDS_31_BITS,
    ..XFS_BIGTIME
};

/// Groups are made small, so that small images have several.
pub const SETS: &[Set] = &[
    Set {
        name: "al1",
        mkfs: &[
            "-t",
            "ext4",
            "-b",
            "4096",
            "-g",
            "8192",
            "-i",
            "8192",
            "-J",
            "size=4",
            "-O",
            "^metadata_csum,^64bit,uninit_bg",
        ],
        ..EXT4
    },
    Set {
        name: "al1-64bit",
        mkfs: &[
            "-t",
            "ext4",
            "-b",
            "4096",
            "-g",
            "8192",
            "-i",
            "8192",
            "-J",
            "size=4",
            "-O",
            "^metadata_csum,64bit,uninit_bg",
        ],
        ..EXT4
    },
    Set {
        name: "debian12",
        mkfs: &[
            "-t", "ext4", "-b", "4096", "-g", "8192", "-i", "8192", "-J", "size=4",
        ],
        ..EXT4
    },
    Set {
        name: "csum-seed-orphan-file",
        mkfs: &[
            "-t",
            "ext4",
            "-b",
            "4096",
            "-g",
            "8192",
            "-i",
            "8192",
            "-J",
            "size=4",
            "-O",
            "metadata_csum_seed,orphan_file",
        ],
        ..EXT4
    },
    Set {
        name: "1k",
        size: 96 * MIB,
        mkfs: &["-t", "ext4", "-b", "1024", "-i", "4096"],
        limits: EXT_1K,
        ..EXT4
    },
    Set {
        name: "1k-al1",
        size: 96 * MIB,
        mkfs: &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-i",
            "4096",
            "-O",
            "^metadata_csum,^64bit,uninit_bg",
        ],
        limits: EXT_1K,
        ..EXT4
    },
    Set {
        name: "inode128",
        mkfs: &[
            "-t", "ext4", "-b", "4096", "-g", "8192", "-i", "8192", "-I", "128",
        ],
        limits: Limits {
            last_second: SECONDS_31_BITS,
            nanoseconds: false,
            ..EXT_4K
        },
        ..EXT4
    },
    Set {
        name: "inode1024",
        mkfs: &[
            "-t", "ext4", "-b", "4096", "-g", "8192", "-i", "8192", "-I", "1024",
        ],
        ..EXT4
    },
    Set {
        name: "no-journal",
        mkfs: &[
            "-t",
            "ext4",
            "-b",
            "4096",
            "-g",
            "8192",
            "-i",
            "8192",
            "-O",
            "^has_journal",
        ],
        ..EXT4
    },
    Set {
        name: "ext3",
        mkfs: &[
            "-t", "ext3", "-b", "4096", "-g", "8192", "-i", "8192", "-J", "size=4",
        ],
        ..EXT4
    },
    Set {
        name: "ext3-1k",
        size: 96 * MIB,
        mkfs: &["-t", "ext3", "-b", "1024", "-i", "4096", "-I", "128"],
        limits: Limits {
            last_second: SECONDS_31_BITS,
            nanoseconds: false,
            ..EXT_1K
        },
        ..EXT4
    },
    Set {
        name: "ext2",
        mkfs: &["-t", "ext2", "-b", "4096", "-g", "8192", "-i", "8192"],
        ..EXT4
    },
    Set {
        name: "2k-large-dir",
        mkfs: &["-t", "ext4", "-b", "2048", "-i", "8192", "-O", "large_dir"],
        limits: EXT_2K,
        ..EXT4
    },
    Set {
        name: "meta-bg",
        size: 160 * MIB,
        mkfs: &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-i",
            "4096",
            "-O",
            "meta_bg,^resize_inode",
        ],
        limits: EXT_1K,
        ..EXT4
    },
    Set {
        name: "no-flex-bg",
        mkfs: &[
            "-t", "ext4", "-b", "4096", "-g", "8192", "-i", "8192", "-J", "size=4", "-O",
            "^flex_bg",
        ],
        ..EXT4
    },
    Set {
        name: "sparse-super2",
        mkfs: &[
            "-t",
            "ext4",
            "-b",
            "4096",
            "-g",
            "8192",
            "-i",
            "8192",
            "-J",
            "size=4",
            "-O",
            "sparse_super2,^resize_inode",
        ],
        ..EXT4
    },
    Set {
        name: "grown",
        size: 64 * MIB,
        grown_to: Some(224 * MIB),
        mkfs: &[
            "-t", "ext4", "-b", "4096", "-g", "8192", "-i", "8192", "-J", "size=4",
        ],
        ..EXT4
    },
    Set {
        name: "grown-al1",
        size: 64 * MIB,
        grown_to: Some(200 * MIB),
        mkfs: &[
            "-t",
            "ext4",
            "-b",
            "4096",
            "-g",
            "8192",
            "-i",
            "8192",
            "-J",
            "size=4",
            "-O",
            "^metadata_csum,^64bit,uninit_bg",
        ],
        ..EXT4
    },
    Set {
        name: "hash-tea",
        then: &[&["tune2fs", "-E", "hash_alg=tea"]],
        mkfs: &[
            "-t", "ext4", "-b", "4096", "-g", "8192", "-i", "8192", "-J", "size=4",
        ],
        ..EXT4
    },
    Set {
        name: "hash-legacy-unsigned",
        then: &[
            &["tune2fs", "-E", "hash_alg=legacy"],
            // EXT2_FLAGS_UNSIGNED_HASH
            &["debugfs", "-w", "-R", "set_super_value flags 2"],
        ],
        mkfs: &[
            "-t", "ext4", "-b", "4096", "-g", "8192", "-i", "8192", "-J", "size=4",
        ],
        ..EXT4
    },
    Set {
        name: "hash-half-md4-unsigned",
        then: &[&["debugfs", "-w", "-R", "set_super_value flags 2"]],
        mkfs: &[
            "-t", "ext4", "-b", "4096", "-g", "8192", "-i", "8192", "-J", "size=4",
        ],
        ..EXT4
    },
    Set {
        name: "al2",
        mkfs: &[
            "-m",
            "crc=1,finobt=1,reflink=0,bigtime=0,inobtcount=0,rmapbt=0",
            "-i",
            "sparse=0",
            "-s",
            "size=512",
            "-d",
            "agcount=4",
        ],
        limits: XFS_OLD,
        ..XFS
    },
    Set {
        name: "al2-grown",
        size: 128 * MIB,
        grown_to: Some(61 * 32 * MIB),
        mkfs: &[
            "-m",
            "crc=1,finobt=1,reflink=0,bigtime=0,inobtcount=0,rmapbt=0",
            "-i",
            "sparse=0",
            "-s",
            "size=512",
            "-d",
            "agcount=4",
        ],
        limits: XFS_OLD,
        ..XFS
    },
    Set {
        name: "al2-30g",
        size: 524159 * 4 * 4096,
        grown_to: Some(30 * GIB - 3 * MIB),
        mkfs: &[
            "-m",
            "crc=1,finobt=1,reflink=0,bigtime=0,inobtcount=0,rmapbt=0",
            "-i",
            "sparse=0",
            "-s",
            "size=512",
            "-d",
            "agcount=4",
        ],
        limits: XFS_OLD,
        ..XFS
    },
    Set {
        name: "al2023",
        mkfs: &[
            "-m",
            "crc=1,finobt=1,reflink=1,bigtime=1,inobtcount=1,rmapbt=0",
            "-i",
            "sparse=1,nrext64=0",
            "-s",
            "size=4096",
            "-n",
            "size=16384",
            "-d",
            "agcount=2,su=512k,sw=1",
            "-l",
            "su=16k",
        ],
        ..XFS
    },
    Set {
        name: "al2023-30g",
        size: 1047040 * 2 * 4096,
        grown_to: Some(30 * GIB - 15 * MIB),
        mkfs: &[
            "-m",
            "crc=1,finobt=1,reflink=1,bigtime=1,inobtcount=1,rmapbt=0",
            "-i",
            "sparse=1,nrext64=0",
            "-s",
            "size=4096",
            "-n",
            "size=16384",
            "-d",
            "agcount=2,su=512k,sw=1",
            "-l",
            "su=16k,size=64m",
        ],
        ..XFS
    },
    Set {
        name: "rmapbt",
        mkfs: &["-m", "rmapbt=1,reflink=1"],
        ..XFS
    },
    Set {
        name: "nrext64",
        mkfs: &["-i", "nrext64=1"],
        ..XFS
    },
    Set {
        name: "2k",
        mkfs: &["-b", "size=2048"],
        ..XFS
    },
    Set {
        name: "1k-blocks",
        mkfs: &["-b", "size=1024", "-m", "rmapbt=1"],
        ..XFS
    },
    Set {
        name: "inode1k",
        mkfs: &["-i", "size=1024"],
        ..XFS
    },
    Set {
        name: "defaults",
        mkfs: &[],
        ..XFS
    },
];

/// What most sets have in common. The name and the arguments are each set's own.
const EXT4: Set = Set {
    name: "",
    kind: Kind::Ext,
    size: 192 * MIB,
    grown_to: None,
    mkfs: &[],
    then: &[],
    limits: EXT_4K,
};
const XFS: Set = Set {
    kind: Kind::Xfs,
    size: 256 * MIB,
    limits: XFS_BIGTIME,
    ..EXT4
};

/// The set of this name.
pub fn set(kind: Kind, name: &str) -> Option<&'static Set> {
    sets(kind).find(|set| set.name == name)
}

/// The sets of a kind.
pub fn sets(kind: Kind) -> impl Iterator<Item = &'static Set> {
    SETS.iter().filter(move |set| set.kind == kind)
}

impl Set {
    /// Makes an empty image.
    pub fn make(&self, image: &Path) {
        set_len(image, self.size);
        let mut mkfs = match self.kind {
            Kind::Ext => {
                let mut mkfs = Command::new("mke2fs");
                mkfs.args(["-q", "-F", "-U", "6d676173-6d00-4000-8000-000000000001"]);
                mkfs.args(["-E", "hash_seed=6d676173-6d00-4000-8000-000000000002"]);
                mkfs
            }
            Kind::Xfs => {
                let mut mkfs = Command::new("mkfs.xfs");
                // Anything below 300 MiB counts as unsupported, and so do the logs of old images.
                mkfs.args(["-q", "-f", "--unsupported"]);
                mkfs
            }
        };
        run(mkfs.args(self.mkfs).arg(image));
        for command in self.then {
            run(Command::new(command[0]).args(&command[1..]).arg(image));
        }
        if let Some(len) = self.grown_to {
            set_len(image, len);
            match self.kind {
                Kind::Ext => {
                    run(Command::new("resize2fs").arg("-f").arg(image));
                }
                Kind::Xfs => {
                    let mount = Mount::new(image, self.kind, Access::ReadWrite);
                    run(Command::new("xfs_growfs").arg(mount.path()));
                    mount.finish().unwrap_or_else(|e| panic!("growing: {e}"));
                }
            }
        }
    }
}

fn set_len(image: &Path, len: u64) {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(image)
        .and_then(|file| file.set_len(len))
        .unwrap_or_else(|e| panic!("{}: {e}", image.display()));
}
