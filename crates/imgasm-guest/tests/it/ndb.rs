//! RPM's own database, written: against files that RPM 4.18.2 wrote, since Debian's rpm is built without
//! that format.
//!
//! `tests/data/ndb` has such a database, `empty` and `full`, with the packages of [`super::databases`].
//! What reads the files here reads RPM's own and ours. With an RPM of
//! which `IMGASM_NDB_RPM` is the folder of programs, `rpm_and_we_take_turns` has it work on our files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ndb_files::{FILES, FOLDER, Ndb, Rows, word};
use imgasm_guest::packages::database::Kind;
use imgasm_guest::packages::header::Header;
use imgasm_guest::packages::{Error, Package};
use imgasm_testkit::command::output;
use imgasm_testkit::rng::Rng;
use tempfile::TempDir;

fn decoded(headers: &BTreeMap<u32, Vec<u8>>) -> Vec<Header> {
    headers
        .values()
        .map(|header| Header::decode(header.clone()).unwrap())
        .collect()
}

/// Another package: the name and the provided names of a header have the same length, and so the header.
fn renamed(header: &[u8], old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut bytes = header.to_vec();
    for at in 0..=bytes.len() - old.len() {
        if bytes[at..].starts_with(old.as_bytes()) {
            bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
        }
    }
    bytes
}

#[test]
fn what_rpm_adds_we_add() {
    let theirs = Ndb::of_rpm("full");
    let headers = theirs.headers();
    assert!(headers.len() > 4);
    let mut ours = Ndb::of_rpm("empty");
    assert_eq!(ours.database().unwrap().kind, Kind::Ndb);
    let headers = decoded(&headers);
    for header in &headers {
        ours.update(&[], &[header]).unwrap();
    }
    assert!(ours.file(FILES[0]) == theirs.file(FILES[0]), "other bytes");
    assert_eq!(ours.rows(), theirs.rows());
    // At once or one by one, and however often.
    let mut again = Ndb::of_rpm("empty");
    again
        .update(&[], &headers.iter().collect::<Vec<_>>())
        .unwrap();
    assert!(again.file(FILES[0]) == theirs.file(FILES[0]));
    assert_eq!(again.rows(), theirs.rows());
    // What goes leaves nothing behind.
    for record in theirs.database().unwrap().records {
        ours.update(&[record.number.unwrap()], &[]).unwrap();
        assert!(
            !ours
                .headers()
                .contains_key(&u32::try_from(record.number.unwrap()).unwrap())
        );
    }
    let empty = Ndb::of_rpm("empty");
    assert_eq!(ours.rows(), empty.rows());
    assert_eq!(ours.file(FILES[0]).len(), 4096);
    assert!(ours.file(FILES[0])[32..] == empty.file(FILES[0])[32..]);
}

#[test]
fn many_packages_come_and_go() {
    let full = Ndb::of_rpm("full");
    let headers = full.headers();
    let small = headers.values().min_by_key(|header| header.len()).unwrap();
    let name = Package::of(&Header::decode(small.clone()).unwrap()).name;
    let mut rng = Rng::new(3);
    let mut ndb = Ndb::of_rpm("full");
    let mut wanted = headers.clone();
    let mut next = 1 + headers.keys().max().unwrap();
    for round in 0..7 {
        let count = [150, 100, 0, 300, 20, 1, 200][round];
        let added: Vec<_> = (0..count)
            .map(|own| {
                // Of three lengths, so that not every gap fits.
                let base = headers
                    .values()
                    .nth(rng.index(3))
                    .filter(|one| one.len() < 20_000);
                let text = format!("{:0width$}", round * 1000 + own, width = name.len());
                renamed(base.unwrap_or(small), &name, &text)
            })
            .collect();
        let removed: Vec<_> = wanted.keys().copied().filter(|_| rng.chance(30)).collect();
        let gone: Vec<_> = removed.iter().map(|number| i64::from(*number)).collect();
        let new: Vec<_> = added
            .iter()
            .map(|one| Header::decode(one.clone()).unwrap())
            .collect();
        ndb.update(&gone, &new.iter().collect::<Vec<_>>()).unwrap();
        wanted.retain(|number, _| !removed.contains(number));
        wanted.extend((next..).zip(added));
        next += u32::try_from(count).unwrap();
        assert!(ndb.headers() == wanted, "round {round}");
        let numbers: BTreeSet<_> = ndb.rows()[&1000].values().flatten().copied().collect();
        assert_eq!(numbers, wanted.keys().map(|number| (*number, 0)).collect());
    }
    assert!(
        word(&ndb.file(FILES[0]), 12) > 1,
        "more than a page of slots"
    );
}

/// Each number of the files' own structures is changed, in several ways: that is refused, or comes to
/// nothing. Rows of indexes do not count: they are all written anew.
#[test]
fn each_number_is_checked() {
    let full = Ndb::of_rpm("full");
    let files = FILES.map(|name| full.file(name));
    let headers = full.headers();
    let new = decoded(&headers).remove(0);
    let numbers: Vec<_> = headers.keys().map(|number| i64::from(*number)).collect();
    let blocks = files[0][32..4096]
        .chunks_exact(16)
        .map(|slot| word(slot, 8) as usize * 16);
    let blobs = blocks.filter(|start| *start > 0);
    let ends = files[0][32..4096].chunks_exact(16);
    let ends = ends.map(|slot| (word(slot, 8) + word(slot, 12)) as usize * 16);
    let packages = (0..20).step_by(4).chain((32..32 + 16 * 9).step_by(4));
    let packages = packages.chain(blobs.flat_map(|start| (start..start + 16).step_by(4)));
    let packages = packages.chain(
        ends.filter(|end| *end > 0)
            .flat_map(|end| (end - 12..end).step_by(4)),
    );
    let indexes = (0..24).step_by(4).chain((32..32 + 16 * 20).step_by(4));
    let places = packages.map(|at| (0, at)).chain(indexes.map(|at| (1, at)));
    let (mut refused, mut taken) = (0, BTreeSet::new());
    for (file, at) in places {
        let old = word(&files[file], at);
        for value in [
            0,
            1,
            old ^ 1,
            old.wrapping_add(1),
            old << 8,
            0x7fff_ffff,
            u32::MAX,
        ] {
            if value == old {
                continue;
            }
            let mut damaged = files.clone();
            damaged[file][at..at + 4].copy_from_slice(&value.to_le_bytes());
            let mut ndb = Ndb::new(damaged);
            let before = FILES.map(|name| ndb.file(name));
            // All go, and one comes.
            match ndb.update(&numbers, &[&new]) {
                Ok(()) => {
                    taken.insert((file, at));
                    let left = ndb.headers();
                    assert!(left.len() == 1 && left.values().all(|one| one == new.bytes()));
                    ndb.rows();
                }
                Err(Error::Database { .. }) => {
                    refused += 1;
                    assert!(before == FILES.map(|name| ndb.file(name)));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    // The generations and the next number may be any; so may a slot be empty, if nothing is to be found
    // by it, and where an index lies in its file does not matter to what is written anew.
    println!("{refused} are refused; taken: {taken:?}");
    assert!(refused > 300);
    for (file, at) in taken {
        let is_slot = file == 0 && (32..4096).contains(&at) && at % 16 != 0;
        let is_counter = file == 0 && (at == 8 || at == 16);
        let is_generation =
            file == 0 && at >= 4096 && word(&files[0], at - 8) == u32::from_le_bytes(*b"BlbS");
        assert!(file == 1 || is_slot || is_counter || is_generation, "{at}");
    }
}

/// Runs a program of an RPM with this format on a root; gives what it prints. It may warn of nothing.
fn rpm(program: &str, root: &Path, arguments: &[&str]) -> Vec<u8> {
    let folder = std::env::var("IMGASM_NDB_RPM").expect("the folder with its programs");
    let mut command = Command::new(Path::new(&folder).join(program));
    command
        .arg("--root")
        .arg(root)
        .args(["--define", "_db_backend ndb"]);
    let result = output(command.args(["--dbpath", FOLDER]).args(arguments));
    let said = String::from_utf8_lossy(&result.stderr);
    assert!(
        result.status.success() && said.is_empty(),
        "{arguments:?}: {said}"
    );
    result.stdout
}

/// A database on the disk.
fn on_disk(ndb: &Ndb) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join(&FOLDER[1..]);
    std::fs::create_dir_all(&database).unwrap();
    for name in FILES {
        std::fs::write(database.join(name), ndb.file(name)).unwrap();
    }
    (folder, database)
}

fn read(database: &Path) -> Ndb {
    Ndb::new(FILES.map(|name| std::fs::read(database.join(name)).unwrap()))
}

/// The rows of an index with the names of packages.
type NamedRows = BTreeMap<Vec<u8>, BTreeSet<(String, u32)>>;

/// The rows of all indexes with the names of packages, whatever their numbers.
fn named_rows(ndb: &Ndb) -> BTreeMap<u32, NamedRows> {
    let headers = ndb.headers();
    let named = |(number, at): &(u32, u32)| {
        let header = Header::decode(headers[number].clone()).unwrap();
        (Package::of(&header).nevra(), *at)
    };
    let row = |(key, set): (Vec<u8>, BTreeSet<(u32, u32)>)| (key, set.iter().map(named).collect());
    let index = |(tag, rows): (u32, Rows)| (tag, rows.into_iter().map(row).collect());
    ndb.rows().into_iter().map(index).collect()
}

#[test]
#[ignore = "needs an RPM that is built with ndb"]
fn rpm_and_we_take_turns() {
    let full = Ndb::of_rpm("full");
    let headers = full.headers();
    let small = headers.values().min_by_key(|header| header.len()).unwrap();
    let name = Package::of(&Header::decode(small.clone()).unwrap()).name;
    let mut ndb = Ndb::of_rpm("full");
    let mut rng = Rng::new(5);
    for round in 0..6 {
        let numbers = ndb.headers().into_keys();
        // The first ones have all kinds of keys.
        let removed = numbers.skip(6).filter(|_| rng.chance(30));
        let removed: Vec<_> = removed.map(i64::from).collect();
        let added = (0..150).map(|own| {
            let text = format!("{:0width$}", round * 1000 + own, width = name.len());
            Header::decode(renamed(small, &name, &text)).unwrap()
        });
        let added: Vec<_> = added.collect();
        ndb.update(&removed, &added.iter().collect::<Vec<_>>())
            .unwrap();

        let (folder, database) = on_disk(&ndb);
        // What was renamed has digests of before.
        let ask = |arguments: &[&str]| -> BTreeSet<String> {
            let plain = ["--nodigest", "--nosignature"];
            let said = rpm("rpm", folder.path(), &[&plain, arguments].concat());
            let text = String::from_utf8(said).unwrap();
            text.lines().map(str::to_owned).collect()
        };
        rpm("rpmdb", folder.path(), &["--verifydb"]);
        let wanted = ndb.database().unwrap().records;
        let wanted: BTreeSet<_> = wanted
            .iter()
            .map(|record| Package::of(&record.header).nevra())
            .collect();
        assert_eq!(ask(&["-qa", "--qf", "%{nevra}\\n"]), wanted);
        for name in &wanted {
            assert_eq!(ask(&["-q", "--qf", "%{nevra}\\n", name]).len(), 1, "{name}");
        }
        let many = BTreeSet::from(["many-1-1.noarch".to_owned()]);
        assert_eq!(ask(&["-qf", "/usr/share/many/3/file-020"]), many);
        assert_eq!(ask(&["-q", "--whatprovides", "virtual(0001-)"]), many);
        let few = ask(&["-q", "--whatrequires", "many"]);
        assert!(few.contains("few-1-1.noarch"), "{few:?}");
        let gone = wanted.iter().find(|name| name.starts_with('0'));
        ask(&["-e", "--justdb", "--nodeps", gone.unwrap()]);
        ndb = read(&database);
        assert_eq!(ndb.headers().len(), wanted.len() - 1);
    }
    // It makes the same of what we have made.
    let mut ndb = Ndb::of_rpm("empty");
    let headers = decoded(&headers);
    ndb.update(&[], &headers.iter().collect::<Vec<_>>())
        .unwrap();
    ndb.update(&[3], &[&headers[2]]).unwrap();
    let (folder, database) = on_disk(&ndb);
    let exported = rpm("rpmdb", folder.path(), &["--exportdb"]);
    for header in ndb.headers().values() {
        let mut parts = exported.windows(header.len());
        assert!(parts.any(|part| part == header.as_slice()));
    }
    rpm("rpmdb", folder.path(), &["--rebuilddb"]);
    assert!(named_rows(&read(&database)) == named_rows(&ndb));
}
