//! One case for each structure of ext4 that ordinary trees seldom have: the engine changes it;
//! `e2fsck` and a kernel mount judge whether it did so correctly.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use imgasm_block::FileDevice;
use imgasm_ext4::Ext4;
use imgasm_fs::{Error, FileSystem, MetadataChange, NodeKind};
use imgasm_testkit::command::{output, run};
use imgasm_testkit::engine;
use imgasm_testkit::image::Kind;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::tree::mounted_xattrs;

use super::image::{Image, create, lookup, names_in, pattern, try_create};

const MIB: u64 = 1 << 20;

#[test]
fn block_maps_reach_their_third_level() {
    let Some(image) = Image::new(96 * MIB, &["-t", "ext2", "-b", "1024"]) else {
        return;
    };
    // With 1 KiB blocks: 12 direct, 256, 65536, then the third level.
    let places = [0, 11, 12, 267, 268, 65_803, 65_804, 65_804 + 256, 5_000_000];
    let piece = pattern(3000, 7);
    image.edit(|fs| {
        let root = fs.root();
        let node = create(fs, root, "sparse", NodeKind::Regular);
        for block in places {
            fs.write_at(node, block * 1024 + 100, &piece).expect("room");
        }
    });
    image.compare();
    image.kernel(|root| {
        let file = std::fs::File::open(root.join("sparse")).expect("it is there");
        for block in places {
            let mut seen = vec![0; 600];
            file.read_exact_at(&mut seen, block * 1024 + 100)
                .expect("it has these bytes");
            assert_eq!(seen, piece[..600], "block {block}");
        }
    });
    for size in [65_804 * 1024 + 5, 300 * 1024, 12 * 1024, 10] {
        image.edit(|fs| {
            let node = lookup(fs, "sparse");
            fs.set_size(node, size).expect("it can be cut");
        });
        image.compare();
    }
    image.edit(|fs| {
        let root = fs.root();
        fs.remove(root, b"sparse").expect("it is there");
    });
}

#[test]
fn unwritten_extents_read_as_zeros_and_are_written_piecewise() {
    let Some(image) = Image::new(64 * MIB, &["-t", "ext4", "-b", "1024"]) else {
        return;
    };
    image.kernel(|root| {
        let path = root.join("reserved");
        // The old content of the blocks must not show.
        std::fs::write(root.join("old"), vec![0xee; 8 << 20]).expect("room");
        run(Command::new("sync").arg("-f").arg(root));
        std::fs::remove_file(root.join("old")).expect("it is there");
        run(Command::new("sync").arg("-f").arg(root));
        run(Command::new("fallocate").args(["-l", "6000000"]).arg(&path));
    });
    let tree = image.compare();
    assert_eq!(tree.0[&b"/reserved"[..]].size, 6_000_000);
    image.edit(|fs| {
        let node = lookup(fs, "reserved");
        for n in 0..200_u64 {
            fs.write_at(node, n * 29_000 + 333, &pattern(500, 1))
                .expect("room");
        }
    });
    image.compare();
    image.kernel(|root| {
        let seen = std::fs::read(root.join("reserved")).expect("it is there");
        let mut expected = vec![0; 6_000_000];
        for n in 0..200 {
            expected[n * 29_000 + 333..][..500].copy_from_slice(&pattern(500, 1));
        }
        assert!(seen == expected);
    });
}

#[test]
fn shared_attribute_blocks_are_copied_when_one_changes() {
    let Some(image) = Image::new(64 * MIB, &["-t", "ext4", "-I", "128"]) else {
        return;
    };
    let value = "v".repeat(700);
    image.kernel(|root| {
        for n in 0..20 {
            let path = root.join(format!("file-{n}"));
            std::fs::write(&path, "x").expect("room");
            run(Command::new("setfattr")
                .args(["-n", "user.shared", "-v", &value])
                .arg(&path));
        }
    });
    let blocks = |fs: &Ext4| fs.info().expect("readable").free_bytes;
    let before = blocks(&image.open());
    image.edit(|fs| {
        let changed = lookup(fs, "file-3");
        fs.set_xattr(changed, b"user.own", Some(b"1"))
            .expect("room");
        let removed = lookup(fs, "file-4");
        fs.set_xattr(removed, b"user.shared", None).expect("there");
        let root = fs.root();
        fs.remove(root, b"file-5").expect("there");
    });
    // One block more for the copy, one less for the removed file's content.
    assert_eq!(blocks(&image.open()), before);
    let tree = image.compare();
    let xattrs = |name: &str| tree.0[name.as_bytes()].xattrs.clone();
    let shared = || (b"user.shared".to_vec(), value.clone().into_bytes());
    assert_eq!(xattrs("/file-2"), BTreeMap::from([shared()]));
    assert_eq!(
        xattrs("/file-3"),
        BTreeMap::from([shared(), (b"user.own".to_vec(), b"1".to_vec())])
    );
    assert_eq!(xattrs("/file-4"), BTreeMap::new());
}

#[test]
fn attributes_that_do_not_fit_are_refused_and_change_nothing() {
    let Some(image) = Image::new(64 * MIB, &["-t", "ext4", "-b", "4096"]) else {
        return;
    };
    image.edit(|fs| {
        let root = fs.root();
        let node = create(fs, root, "file", NodeKind::Regular);
        fs.set_xattr(node, b"user.a", Some(&[1; 3000]))
            .expect("room");
        fs.set_xattr(node, b"user.b", Some(b"inside"))
            .expect("room");
    });
    let error = image.error(|fs| {
        let node = lookup(fs, "file");
        fs.set_xattr(node, b"user.c", Some(&[2; 2000]))
    });
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    let error = image.error(|fs| {
        let node = lookup(fs, "file");
        fs.set_xattr(node, b"strange.name", Some(b""))
    });
    assert!(matches!(error, Error::Unstorable { .. }), "{error}");
    image.compare();
}

#[test]
fn access_lists_and_modes_keep_in_step_as_the_kernel_has_them() {
    let Some(image) = Image::new(64 * MIB, &["-t", "ext4"]) else {
        return;
    };
    let list = image.kernel(|root| {
        let path = root.join("reference");
        std::fs::write(&path, "").expect("room");
        run(Command::new("setfacl")
            .args(["-m", "u:1000:rwx,g:7:r,m::rx"])
            .arg(&path));
        mounted_xattrs(&path)[&b"system.posix_acl_access"[..]].clone()
    });
    image.edit(|fs| {
        let root = fs.root();
        let node = create(fs, root, "file", NodeKind::Regular);
        fs.set_xattr(node, b"system.posix_acl_access", Some(&list))
            .expect("room");
        let change = MetadataChange {
            permissions: Some(0o604),
            ..MetadataChange::default()
        };
        fs.set_metadata(node, &change).expect("it is stored");
    });
    image.kernel(|root| {
        let (file, reference) = (root.join("file"), root.join("reference"));
        run(Command::new("chmod").arg("0604").arg(&reference));
        let mode = |path: &PathBuf| std::fs::metadata(path).expect("there").mode();
        assert_eq!(mode(&file), mode(&reference));
        assert_eq!(mounted_xattrs(&file), mounted_xattrs(&reference));
    });
}

/// A source that ends early.
struct Broken(u64);

impl Read for Broken {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("the source is gone"));
        }
        let len = buf.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
        buf[..len].fill(0x55);
        self.0 -= u64::try_from(len).expect("a length");
        Ok(len)
    }
}

#[test]
fn what_fails_leaves_the_old_content() {
    for mke2fs in [&["-t", "ext4"][..], &["-t", "ext3", "-b", "1024"]] {
        let Some(image) = Image::new(16 * MIB, mke2fs) else {
            return;
        };
        let old = pattern(5 << 20, 3);
        image.edit(|fs| {
            let root = fs.root();
            let node = create(fs, root, "file", NodeKind::Regular);
            let size = u64::try_from(old.len()).expect("a length");
            fs.write_content(node, size, &mut old.as_slice())
                .expect("room");
        });
        let error = image.error(|fs| {
            let node = lookup(fs, "file");
            fs.write_content(node, 3 << 20, &mut Broken(2 << 20))
        });
        assert!(matches!(error, Error::Content(_)), "{error}");
        let error = image.error(|fs| {
            let node = lookup(fs, "file");
            fs.write_content(node, 60 << 20, &mut io::repeat(1).take(60 << 20))
        });
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        let error = image.error(|fs| {
            let node = lookup(fs, "file");
            fs.write_at(node, 1000, &vec![9; 20 << 20])
        });
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        image.kernel(|root| assert!(std::fs::read(root.join("file")).expect("there") == old));

        // Without room for both, the new content takes the place of the old.
        let new = pattern(5 << 20, 4);
        let fill = |fs: &mut Ext4, size| {
            let root = fs.root();
            let filler = create(fs, root, "filler", NodeKind::Regular);
            fs.write_content(filler, size, &mut io::repeat(2))
        };
        let mut filler_size = image.open().info().expect("readable").free_bytes;
        while image.try_out(|fs| fill(fs, filler_size)).is_err() {
            filler_size -= 4096;
        }
        image.edit(|fs| {
            fill(fs, filler_size).expect("there is room");
            let node = lookup(fs, "file");
            let size = u64::try_from(new.len()).expect("a length");
            fs.write_content(node, size, &mut new.as_slice())
                .expect("in place");
        });
        image.kernel(|root| assert!(std::fs::read(root.join("file")).expect("there") == new));
    }
}

#[test]
fn an_index_grows_to_three_levels_with_large_dir_only() {
    for (features, levels_end) in [("large_dir", false), ("^large_dir", true)] {
        let Some(image) = Image::new(
            160 * MIB,
            &["-t", "ext4", "-b", "1024", "-N", "70000", "-O", features],
        ) else {
            return;
        };
        let name = |n: u32| format!("{n:0250}");
        let (count, full) = image.try_out(|fs| {
            let root = fs.root();
            let directory = create(fs, root, "large", NodeKind::Directory);
            for n in 0..60_000 {
                match try_create(fs, directory, &name(n), NodeKind::Fifo) {
                    Ok(_) => {}
                    Err(Error::NoSpace { .. }) => return (n, true),
                    Err(other) => panic!("{other}"),
                }
            }
            (60_000, false)
        });
        image.edit(|fs| {
            let root = fs.root();
            let directory = create(fs, root, "large", NodeKind::Directory);
            for n in 0..count {
                create(fs, directory, &name(n), NodeKind::Fifo);
            }
        });
        // Two levels hold at most 123 × 126 leaves of three names.
        assert_eq!(full, levels_end, "{features}: {count} names");
        image.kernel(|root| {
            let directory = root.join("large");
            let seen = std::fs::read_dir(&directory).expect("there").count();
            assert_eq!(seen, usize::try_from(count).expect("a count"));
            for n in (0..count).step_by(997) {
                assert!(directory.join(name(n)).exists());
            }
        });
        image.edit(|fs| {
            let directory = lookup(fs, "large");
            for n in (0..count).step_by(3) {
                fs.remove(directory, name(n).as_bytes()).expect("there");
            }
            for n in (0..count).step_by(6) {
                create(fs, directory, &name(n), NodeKind::Socket);
            }
        });
    }
}

#[test]
fn large_directories_without_an_index() {
    let Some(image) = Image::new(
        64 * MIB,
        &["-t", "ext2", "-N", "30000", "-O", "^dir_index,^filetype"],
    ) else {
        return;
    };
    let name = |n: usize| format!("{}-{n}", "x".repeat(n % 40));
    image.edit(|fs| {
        let root = fs.root();
        let directory = create(fs, root, "linear", NodeKind::Directory);
        for n in 0..20_000 {
            create(fs, directory, &name(n), NodeKind::Regular);
        }
        let again = try_create(fs, directory, &name(17), NodeKind::Regular);
        assert!(matches!(again, Err(Error::AlreadyExists { .. })));
        for n in (0..20_000).step_by(2) {
            fs.remove(directory, name(n).as_bytes()).expect("there");
        }
        for n in (0..20_000).step_by(4) {
            create(fs, directory, &name(n), NodeKind::Regular);
        }
        assert_eq!(names_in(fs, directory), 15_000);
    });
    image.compare();
}

#[test]
fn more_subdirectories_than_links_can_be_counted() {
    let Some(image) = Image::new(160 * MIB, &["-t", "ext4", "-b", "1024", "-N", "70000"]) else {
        return;
    };
    let links = |image: &Image| {
        image.kernel(|root| std::fs::metadata(root.join("many")).expect("there").nlink())
    };
    image.edit(|fs| {
        let root = fs.root();
        let many = create(fs, root, "many", NodeKind::Directory);
        for n in 0..64_997 {
            create(fs, many, &n.to_string(), NodeKind::Directory);
        }
    });
    assert_eq!(links(&image), 64_999);
    image.edit(|fs| {
        let many = lookup(fs, "many");
        for n in 64_997..65_010 {
            create(fs, many, &n.to_string(), NodeKind::Directory);
        }
    });
    assert_eq!(links(&image), 1);
    image.edit(|fs| {
        let many = lookup(fs, "many");
        for n in 0..100 {
            fs.remove(many, n.to_string().as_bytes()).expect("there");
        }
    });
    assert_eq!(links(&image), 1);
}

#[test]
fn files_end_where_the_format_ends() {
    for (mke2fs, block) in [
        (&["-t", "ext4", "-b", "4096"][..], 4096),
        (&["-t", "ext4", "-b", "1024"], 1024),
        (&["-t", "ext2", "-b", "1024"], 1024_u64),
    ] {
        let Some(image) = Image::new(64 * MIB, mke2fs) else {
            return;
        };
        let blocks = if mke2fs[1] == "ext4" {
            u64::from(u32::MAX)
        } else {
            12 + 256 + 256 * 256 + 256 * 256 * 256
        };
        let size = blocks * block;
        image.edit(|fs| {
            let root = fs.root();
            let node = create(fs, root, "long", NodeKind::Regular);
            fs.write_at(node, 0, b"begin").expect("room");
            fs.write_at(node, size - 3, b"end").expect("room");
        });
        let error = image.error(|fs| {
            let node = lookup(fs, "long");
            fs.write_at(node, size - 2, b"end")
        });
        assert!(matches!(error, Error::Unstorable { .. }), "{error}");
        let error = image.error(|fs| {
            let node = lookup(fs, "long");
            fs.set_size(node, size + 1)
        });
        assert!(matches!(error, Error::Unstorable { .. }), "{error}");
        image.kernel(|root| {
            let file = std::fs::File::open(root.join("long")).expect("there");
            assert_eq!(file.metadata().expect("there").len(), size);
            let mut end = [0; 5];
            file.read_exact_at(&mut end, size - 5).expect("readable");
            assert_eq!(&end, b"\0\0end");
        });
    }
}

#[test]
fn features_of_few_files_are_read_as_the_kernel_reads_them() {
    let read = |feature: &str, mke2fs: &[&str]| {
        let image = Image::new(64 * MIB, mke2fs)?;
        match Mount::try_new(&image.path, Kind::Ext, Access::ReadWrite) {
            Ok(mount) => {
                fill(mount.path(), feature == "ea_inode");
                mount.finish().unwrap_or_else(|e| panic!("{e}"));
                image.compare();
            }
            Err(_) => eprintln!("not compared: the kernel does not mount {feature}"),
        }
        let file = FileDevice::open_writable(&image.path).expect("a file");
        let fs = Ext4::open(Arc::new(file)).expect("it can be read");
        assert!(names_in(&fs, fs.root()) > 0);
        Some(image)
    };
    read("inline_data", &["-t", "ext4", "-O", "inline_data"]);
    read("ea_inode", &["-t", "ext4", "-O", "ea_inode"]);
    read("bigalloc", &["-t", "ext4", "-O", "bigalloc", "-C", "16384"]);
    read("quota", &["-t", "ext4", "-O", "quota"]);
    read("project", &["-t", "ext4", "-O", "project"]);
    read("casefold", &["-t", "ext4", "-O", "casefold"]);
    read("encrypt", &["-t", "ext4", "-O", "encrypt"]);
    read("verity", &["-t", "ext4", "-O", "verity"]);
    if let Some(image) = read("mmp", &["-t", "ext4", "-O", "mmp"]) {
        let file = FileDevice::open_writable(&image.path).expect("a file");
        let refused = Ext4::open_writable(Arc::new(file), engine::OPTIONS).map(|_| ());
        let message = refused.expect_err("it is not written").to_string();
        assert!(message.contains("mmp"), "{message}");
    }
}

/// Files of sizes at which their form changes, and an attribute that only `ea_inode` can hold.
fn fill(root: &std::path::Path, holds_long_values: bool) {
    for (name, len) in [("a", 10), ("b", 61), ("c", 140), ("d", 100_000)] {
        std::fs::write(root.join(name), pattern(len, 5)).expect("room");
    }
    std::fs::create_dir(root.join("small")).expect("room");
    for n in 0..9 {
        std::fs::write(root.join(format!("small/{n}")), "").expect("room");
    }
    let value = "w".repeat(20_000);
    let mut long = Command::new("setfattr");
    long.args(["-n", "user.long", "-v", &value])
        .arg(root.join("d"));
    assert_eq!(output(&mut long).status.success(), holds_long_values);
}

#[test]
fn a_directory_cannot_be_moved_into_itself() {
    let Some(image) = Image::new(64 * MIB, &["-t", "ext4"]) else {
        return;
    };
    image.edit(|fs| {
        let root = fs.root();
        let outer = create(fs, root, "outer", NodeKind::Directory);
        let inner = create(fs, outer, "inner", NodeKind::Directory);
        let file = create(fs, root, "file", NodeKind::Regular);
        let result = fs.rename(root, b"outer", inner, b"x");
        assert!(matches!(result, Err(Error::IntoItself(_))), "{result:?}");
        let result = fs.rename(root, b"file", root, b"outer");
        assert!(matches!(result, Err(Error::OtherKind { .. })), "{result:?}");
        let result = fs.rename(outer, b"inner", root, b"file");
        assert!(matches!(result, Err(Error::OtherKind { .. })), "{result:?}");
        let result = fs.remove(root, b"outer");
        assert!(matches!(result, Err(Error::NotEmpty(_))), "{result:?}");
        fs.rename(outer, b"inner", root, b"moved").expect("it can");
        fs.link(file, inner, b"second").expect("it can");
        fs.rename(root, b"file", inner, b"second")
            .expect("the same file");
        assert_eq!(names_in(fs, inner), 1);
        assert_eq!(names_in(fs, outer), 0);
        assert!(fs.lookup(root, b"file").expect("readable").is_some());
    });
    image.compare();
}
