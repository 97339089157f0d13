//! Engines against the kernel.
//!
//! An image is made by the format's own tool and filled through a kernel mount. Then the engine must
//! show what the kernel shows. After the same random edits, made by the kernel on one copy and by
//! the engine on another, both must be the same tree, and the checker and the kernel must find
//! nothing wrong with the engine's copy.
//!
//! These are a few fixed seeds; `cargo run --example differential -- --help` takes any.

use imgasm_testkit::image::{Kind, set};
use imgasm_testkit::need;
use imgasm_testkit::populate::Amount;
use imgasm_testkit::trial::Base;

fn compare(kind: Kind, name: &str, seed: u64) {
    if !need::mounts(kind.tools()) {
        return;
    }
    let set = set(kind, name).expect("a set of this name");
    let folder = tempfile::tempdir().expect("a folder for the images");
    let base = Base::new(set, seed, Amount::MODERATE, folder.path());
    let edits = base.edits(400);
    let failed = |failure| {
        panic!(
            "{failure}\nto see it again: cargo run --example differential -- \
             --fs {} --set {name} --seed {seed} --edits 400",
            kind.name()
        )
    };
    base.check_reader().unwrap_or_else(failed);
    base.check_edits(&edits, folder.path())
        .unwrap_or_else(failed);
}

macro_rules! comparisons {
    ($($test:ident: $kind:ident $set:literal, $seed:literal;)*) => {$(
        #[test]
        fn $test() {
            compare(Kind::$kind, $set, $seed);
        }
    )*};
}

comparisons! {
    ext4_al1: Ext "al1", 1;
    ext4_al1_64bit: Ext "al1-64bit", 2;
    ext4_debian12: Ext "debian12", 3;
    ext4_csum_seed_orphan_file: Ext "csum-seed-orphan-file", 4;
    ext4_1k: Ext "1k", 5;
    ext4_1k_al1: Ext "1k-al1", 6;
    ext4_inode128: Ext "inode128", 7;
    ext4_inode1024: Ext "inode1024", 8;
    ext4_no_journal: Ext "no-journal", 9;
    ext3: Ext "ext3", 10;
    ext3_1k: Ext "ext3-1k", 11;
    ext2: Ext "ext2", 12;
    ext4_2k_large_dir: Ext "2k-large-dir", 13;
    ext4_meta_bg: Ext "meta-bg", 14;
    ext4_no_flex_bg: Ext "no-flex-bg", 15;
    ext4_sparse_super2: Ext "sparse-super2", 16;
    ext4_grown: Ext "grown", 17;
    ext4_grown_al1: Ext "grown-al1", 18;
    ext4_hash_tea: Ext "hash-tea", 19;
    ext4_hash_legacy_unsigned: Ext "hash-legacy-unsigned", 20;
    ext4_hash_half_md4_unsigned: Ext "hash-half-md4-unsigned", 21;
    xfs_al2: Xfs "al2", 31;
    xfs_al2_grown: Xfs "al2-grown", 32;
    xfs_al2023: Xfs "al2023", 33;
    xfs_rmapbt: Xfs "rmapbt", 34;
    xfs_nrext64: Xfs "nrext64", 35;
    xfs_2k: Xfs "2k", 36;
    xfs_1k_blocks: Xfs "1k-blocks", 37;
    xfs_inode1k: Xfs "inode1k", 38;
    xfs_defaults: Xfs "defaults", 39;
}
