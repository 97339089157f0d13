//! A rehearsal: edits come to the same as on the filesystem itself, which stays as it is.

use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink, read_file, walk};
use imgasm_fs::{FileSystem, FileType, Timestamp};
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::rng::Rng;

/// Everything in a filesystem, by path.
fn listing(fs: &dyn FileSystem) -> Vec<String> {
    let entries = walk(fs, &ImagePath::root()).unwrap().map(Result::unwrap);
    let mut lines: Vec<_> = entries
        .map(|entry| {
            let m = &entry.metadata;
            let body = match m.file_type {
                FileType::Regular => read_file(fs, &entry.path, 1 << 20).unwrap(),
                FileType::Symlink => fs.read_link(entry.node).unwrap(),
                _ => Vec::new(),
            };
            let links = (m.file_type != FileType::Directory).then_some(m.links);
            let parent = fs.parent(entry.node).ok();
            let parent = parent.filter(|_| m.file_type == FileType::Directory);
            let above = entry.path.parent().map(|above| {
                imgasm_fs::tree::resolve(fs, &above, LastLink::Keep)
                    .unwrap()
                    .0
            });
            assert!(parent.is_none() || above.is_none() || parent == above);
            let owner = (m.permissions, m.uid, m.gid, m.size);
            let xattrs = fs.xattrs(entry.node).unwrap();
            format!(
                "{} {:?} {owner:?} {links:?} {body:?} {xattrs:?}",
                entry.path, m.file_type
            )
        })
        .collect();
    lines.sort();
    lines
}

/// A random edit; gives whether it succeeds.
fn edit(editor: &mut Editor<'_>, rng: &mut Rng) -> bool {
    const NAMES: [&str; 6] = ["/a", "/b", "/a/c", "/b/d", "/a/c/e", "/f"];
    let mut path = || ImagePath::parse(*rng.pick(&NAMES)).unwrap();
    let (path, other) = (path(), path());
    let plain = Attributes::default();
    let number = u16::try_from(rng.below(1 << 16)).unwrap();
    let done = match rng.below(9) {
        0 => editor.mkdir_all(&path, plain),
        1 => {
            let content = vec![b'x'; usize::from(number % 300)];
            editor.write(&path, LastLink::Follow, &content, plain)
        }
        2 => editor.symlink(&path, other.to_string().as_bytes()),
        3 => editor.hard_link(&path, &other),
        4 => editor.rename(&path, &other),
        5 => editor.remove_tree(&path).map(drop),
        6 => editor.set_size(&path, u64::from(number % 500)),
        7 => {
            let value = number.to_le_bytes();
            let value = (number % 3 > 0).then_some(value.as_slice());
            editor.set_xattr(&path, LastLink::Keep, b"user.x", value)
        }
        _ => {
            let attributes = Attributes {
                permissions: Some(number & 0o7777),
                uid: Some(u32::from(number % 3)),
                gid: None,
            };
            editor.set_attributes(&path, LastLink::Keep, attributes)
        }
    };
    done.is_ok()
}

#[test]
fn edits_come_to_the_same_and_nothing_is_changed() {
    let now = Timestamp::default();
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut fs = MemoryFs::new();
        for _ in 0..10 {
            edit(&mut Editor::new(&mut fs), &mut rng);
        }
        let before = fs.clone();
        let mut real = fs.clone();
        let mut editor = Editor::new(&mut fs);
        let mut rehearsal = editor.rehearsal(now);
        for step in 0..30 {
            let mut same = rng.clone();
            let ours = edit(&mut Editor::new(&mut rehearsal), &mut rng);
            let theirs = edit(&mut Editor::new(&mut real), &mut same);
            assert_eq!(ours, theirs, "seed {seed}, step {step}");
            assert_eq!(
                listing(&rehearsal),
                listing(&real),
                "seed {seed}, step {step}"
            );
        }
        assert!(rehearsal.flush().is_err());
        assert_eq!((fs.dump(), fs.writes), (before.dump(), before.writes));
    }
}

#[test]
fn a_rehearsal_takes_bounded_memory() {
    let mut fs = MemoryFs::new();
    let mut editor = Editor::new(&mut fs);
    let path = ImagePath::parse("/large").unwrap();
    let plain = Attributes::default();
    editor.write(&path, LastLink::Keep, b"x", plain).unwrap();
    let mut rehearsal = editor.rehearsal(Timestamp::default());
    let mut trial = Editor::new(&mut rehearsal);
    assert!(trial.set_size(&path, u64::MAX).is_err());
    assert!(trial.set_size(&path, 65 << 20).is_err());
    trial.set_size(&path, 1 << 20).unwrap();
    assert_eq!(read_file(&rehearsal, &path, 2 << 20).unwrap()[..2], *b"x\0");
}
