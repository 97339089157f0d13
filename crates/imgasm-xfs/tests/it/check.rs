//! The checker against `xfs_repair -n`: both must find the same images sound and damaged. A field of
//! a structure is changed by `xfs_db`, which makes its checksum right again.
//!
//! `IMGASM_DAMAGE_ROUNDS` is how many fields are changed (6), from the seed `IMGASM_DAMAGE_SEED` (1).

use std::path::Path;
use std::process::Command;

use imgasm_fs::FileSystem;
use imgasm_testkit::apply::set_xattr;
use imgasm_testkit::command::{copy_sparse, output, text};
use imgasm_testkit::kernel::Access;
use imgasm_testkit::rng::Rng;
use imgasm_xfs::Xfs;

use crate::image::Image;

/// A place of the image: how `xfs_db` gets there.
struct Place {
    name: &'static str,
    /// The file whose inode is meant, if any.
    file: Option<&'static str>,
    /// Commands one after another.
    then: &'static [&'static str],
}

const fn place(
    name: &'static str,
    file: Option<&'static str>,
    then: &'static [&'static str],
) -> Place {
    Place { name, file, then }
}

const PLACES: [Place; 18] = [
    place("superblock", None, &["sb 0"]),
    place("copy of the superblock", None, &["sb 1"]),
    place("AGF", None, &["agf 0"]),
    place("AGI", None, &["agi 0"]),
    place("free space by block", None, &["agf 0", "addr bnoroot"]),
    place("free space by size", None, &["agf 0", "addr cntroot"]),
    place("inodes", None, &["agi 0", "addr root"]),
    place("free inodes", None, &["agi 0", "addr free_root"]),
    place("inode", Some("file"), &[]),
    place("node of names", Some("node"), &["dblock 8388608"]),
    place(
        "leaf below a node of names",
        Some("node"),
        &["dblock 8388610"],
    ),
    place("rooms", Some("node"), &["dblock 16777216"]),
    place("names", Some("node"), &["dblock 1"]),
    place("lone leaf of names", Some("leaf"), &["dblock 8388608"]),
    place("whole directory", Some("block"), &["dblock 0"]),
    place("node of attributes", Some("attributes"), &["ablock 0"]),
    place("leaf of attributes", Some("attributes"), &["ablock 3"]),
    place("value of an attribute", Some("value"), &["ablock 1"]),
];

/// An image with directories and attributes in blocks.
fn populated() -> Option<Image> {
    let image = Image::new(&[])?;
    image.kernel(Access::ReadWrite, |root| {
        std::fs::write(root.join("file"), b"content").expect("room");
        for (folder, names) in [("node", 1500), ("leaf", 300), ("block", 20)] {
            std::fs::create_dir(root.join(folder)).expect("room");
            for n in 0..names {
                let name = root.join(folder).join(format!("name{n:08}"));
                std::fs::hard_link(root.join("file"), name).expect("room");
            }
        }
        for (file, count, len) in [("attributes", 300, 60), ("value", 2, 10_000)] {
            let path = root.join(file);
            std::fs::write(&path, b"content").expect("room");
            for n in 0..count {
                let name = format!("user.name-{n:04}");
                set_xattr(&path, name.as_bytes(), &vec![7; len]).expect("room");
            }
        }
    });
    image.check();
    Some(image)
}

/// Runs a command of `xfs_db` at a place.
fn at_place(image: &Image, file: &Path, place: &Place, command: &str) -> String {
    let mut db = Command::new("xfs_db");
    db.arg("-x");
    if let Some(name) = place.file {
        let fs = Xfs::open(imgasm_testkit::engine::image(&image.path)).expect("a sound filesystem");
        let node = fs.lookup(fs.root(), name.as_bytes()).expect("readable");
        let node = node.expect("it is there");
        db.args(["-c", &format!("inode {}", node.0)]);
    }
    for step in place.then.iter().chain([&command]) {
        db.args(["-c", step]);
    }
    text(&output(db.arg(file)))
}

/// What our checker says: its first finding, or the error that ended it.
fn ours(file: &Path) -> Option<String> {
    let fs = match Xfs::open(imgasm_testkit::engine::image(file)) {
        Ok(fs) => fs,
        Err(error) => return Some(error.to_string()),
    };
    let mut first = None;
    let checked = fs.check(&mut |finding| {
        first.get_or_insert(format!("{}: {}", finding.at, finding.problem));
    });
    checked.err().map(|error| error.to_string()).or(first)
}

/// What `xfs_repair` says if it finds the image damaged.
fn theirs(file: &Path) -> Option<String> {
    let result = output(Command::new("xfs_repair").args(["-n", "-f"]).arg(file));
    (!result.status.success()).then(|| text(&result))
}

#[test]
fn damage_that_the_kernel_would_trip_over() {
    let Some(image) = populated() else {
        return;
    };
    let cases = [
        ("node of names", "write -d nbtree[0].hashval 1"),
        ("node of names", "write -d nbtree[1].before 8388999"),
        ("node of names", "write -d nhdr.level 2"),
        ("node of names", "write -d nhdr.count 3"),
        (
            "leaf below a node of names",
            "write -d lhdr.info.hdr.forw 0",
        ),
        ("leaf below a node of names", "write -d lents[5].hashval 1"),
        ("lone leaf of names", "write -d lents[5].hashval 1"),
        ("node of attributes", "write -d btree[0].hashval 1"),
        ("node of attributes", "write -d btree[0].before 2"),
        ("leaf of attributes", "write -d entries[3].hashval 1"),
        ("leaf of attributes", "write -d hdr.usedbytes 1"),
        ("rooms", "write -d fhdr.nused 1"),
        ("names", "write -d dhdr.bestfree[0].length 8"),
        ("free inodes", "write -d rightsib 4000000000"),
        ("copy of the superblock", "write -d features_ro_compat 0"),
        ("copy of the superblock", "write -d magicnum 1"),
        ("copy of the superblock", "write -d dblocks 70000"),
        ("copy of the superblock", "write -d agcount 3"),
        ("superblock", "write -d features_incompat 0x1b"),
    ];
    for (name, command) in cases {
        let place = PLACES.iter().find(|place| place.name == name);
        let damaged = image.path.with_extension("damaged");
        copy_sparse(&image.path, &damaged);
        at_place(&image, &damaged, place.expect("listed"), command);
        let theirs = theirs(&damaged);
        assert!(theirs.is_some(), "{name}: {command} is no damage");
        assert!(ours(&damaged).is_some(), "{name}: {command}: {theirs:?}");
    }
}

/// The fields of a structure as `xfs_db` prints it: plain ones, and those of arrays.
fn fields(printed: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut array: Option<(&str, Vec<&str>)> = None;
    for line in printed.lines() {
        if let Some((index, _)) = line.split_once(":[")
            && let Some((name, members)) = &array
        {
            fields.extend(
                members
                    .iter()
                    .map(|member| format!("{name}[{index}].{member}")),
            );
        } else if let Some((name, value)) = line.split_once(" = ") {
            array = None;
            let value = value.trim();
            match name.split_once('[') {
                // Names of members take the place of values here.
                Some((name, _)) if value.starts_with('[') => {
                    array = Some((name, value.trim_matches(['[', ']']).split(',').collect()));
                }
                Some(_) => {}
                None if value.ends_with("(correct)") => {}
                None => fields.push(name.to_owned()),
            }
        }
    }
    fields
}

/// Fields that `xfs_repair` does not look at, although the kernel refuses to read what contradicts them.
const KERNEL_ONLY: [(&str, &str); 5] = [
    ("value of an attribute", "hdr.offset"),
    ("value of an attribute", "hdr.bytes"),
    ("value of an attribute", "hdr.owner"),
    ("leaf of attributes", "hdr.info.owner"),
    ("node of attributes", "hdr.info.owner"),
];

#[test]
fn any_field_of_any_structure() {
    let Some(image) = populated() else {
        return;
    };
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let mut rng = Rng::new(number("IMGASM_DAMAGE_SEED", 1));
    let rounds = number("IMGASM_DAMAGE_ROUNDS", 6);
    let mut changed = 0;
    // Some draws are passed over, and some change nothing: zeros of a field that is zero already.
    for draw in 0..20 * rounds {
        if changed == rounds {
            break;
        }
        let place = rng.pick(&PLACES);
        let fields = fields(&at_place(&image, &image.path, place, "print"));
        let field = rng.pick(&fields);
        let verb = *rng.pick(&["lastbit", "middlebit", "firstbit", "add", "ones", "zeroes"]);
        if field.ends_with("lsn") || KERNEL_ONLY.contains(&(place.name, field.as_str())) {
            continue;
        }
        let damaged = image.path.with_extension("damaged");
        copy_sparse(&image.path, &damaged);
        let command = format!("fuzz -d {field} {verb}");
        let print = format!("print {field}");
        let before = at_place(&image, &damaged, place, &print);
        at_place(&image, &damaged, place, &command);
        if at_place(&image, &damaged, place, &print) == before {
            continue;
        }
        changed += 1;
        let (ours, theirs) = (ours(&damaged), theirs(&damaged));
        assert_eq!(
            ours.is_some(),
            theirs.is_some(),
            "draw {draw}: {}: {command}\nours: {ours:?}\ntheirs: {theirs:?}",
            place.name,
        );
    }
    assert_eq!(changed, rounds, "fields that were changed");
}
