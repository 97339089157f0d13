//! Large files over connections that break, from servers that know parts of files and that do not.

use std::cell::RefCell;
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::{cmp, fs};

use imgasm_block::Digest;
use imgasm_repo::transport::resume::{Refusal, Remote, Stream, Wanted, fetch};
use imgasm_repo::{Error, Result};

/// A server of which each connection ends after some bytes.
struct Flaky {
    content: Vec<u8>,
    /// After how many bytes each of them ends.
    cuts: RefCell<Vec<usize>>,
    knows_parts: bool,
    says_length: bool,
    /// From which byte on it was asked.
    asked: RefCell<Vec<u64>>,
}

impl Flaky {
    fn new(content: &[u8], cuts: &[usize]) -> Self {
        Self {
            content: content.to_vec(),
            cuts: RefCell::new(cuts.iter().rev().copied().collect()),
            knows_parts: true,
            says_length: true,
            asked: RefCell::default(),
        }
    }
}

impl Remote for Flaky {
    fn url(&self) -> &'static str {
        "test:file"
    }

    fn open(&self, from: u64) -> Result<Stream, Refusal> {
        self.asked.borrow_mut().push(from);
        let start = if self.knows_parts { from } else { 0 };
        let begin = cmp::min(usize::try_from(start).unwrap(), self.content.len());
        let left = &self.content[begin..];
        let cut = self.cuts.borrow_mut().pop();
        let sent = &left[..cut.unwrap_or(left.len()).min(left.len())];
        // Without a length nobody sees that it ends too early, unless the connection breaks.
        let end: Box<dyn Read> = match cut {
            Some(_) if !self.says_length => Box::new(Broken),
            _ => Box::new(io::empty()),
        };
        Ok(Stream {
            reader: Box::new(io::Cursor::new(sent.to_vec()).chain(end)),
            start,
            len: self.says_length.then_some(self.content.len() as u64),
        })
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

fn get(remote: &Flaky, sha256: Digest, folder: &Path) -> Result<()> {
    let target = folder.join("file");
    let limit = 1_000_000;
    let wanted = Wanted {
        sha256: Some(sha256),
        limit,
        target: &target,
    };
    fetch(remote, wanted, &|_, _| {}).map(|_| ())
}

fn content() -> Vec<u8> {
    (0..300_000_u32)
        .flat_map(|i| (i % 251).to_le_bytes())
        .take(300_000)
        .collect()
}

#[test]
fn what_is_interrupted_goes_on_where_it_stopped() {
    let content = content();
    for (knows_parts, says_length) in [(true, true), (true, false), (false, true), (false, false)] {
        let folder = tempfile::tempdir().unwrap();
        let mut remote = Flaky::new(&content, &[100_000, 5, 150_000]);
        (remote.knows_parts, remote.says_length) = (knows_parts, says_length);
        get(&remote, Digest::of(&content), folder.path()).unwrap();
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), content);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        if knows_parts {
            assert_eq!(*remote.asked.borrow(), [0, 100_000, 100_005, 250_005]);
        }
    }
}

#[test]
fn also_in_another_process() {
    let content = content();
    let folder = tempfile::tempdir().unwrap();
    let remote = Flaky::new(&content, &[70_000, 0, 0, 0, 0, 0]);
    get(&remote, Digest::of(&content), folder.path()).unwrap_err();
    assert!(!folder.path().join("file").exists());
    let remote = Flaky::new(&content, &[]);
    get(&remote, Digest::of(&content), folder.path()).unwrap();
    assert_eq!(*remote.asked.borrow(), [70_000]);
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), content);
}

#[test]
fn parts_of_different_files_are_not_put_together() {
    let content = content();
    let folder = tempfile::tempdir().unwrap();
    for left in [&b"something else"[..], &vec![1; 400_000]] {
        fs::write(folder.path().join("file.part"), left).unwrap();
        let remote = Flaky::new(&content, &[]);
        get(&remote, Digest::of(&content), folder.path()).unwrap();
        assert_eq!(*remote.asked.borrow(), [left.len() as u64, 0]);
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), content);
        fs::remove_file(folder.path().join("file")).unwrap();
    }
}

#[test]
fn a_wrong_file_and_one_that_is_too_long_leave_nothing() {
    let content = content();
    let folder = tempfile::tempdir().unwrap();
    let remote = Flaky::new(&content, &[]);
    let error = get(&remote, Digest::of(b"other"), folder.path()).unwrap_err();
    assert!(matches!(error, Error::OtherFile { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    for says_length in [true, false] {
        let mut remote = Flaky::new(&vec![7; 1_000_001], &[]);
        remote.says_length = says_length;
        let error = get(&remote, Digest::of(b"x"), folder.path()).unwrap_err();
        assert!(
            error.to_string().contains("more than 1000000 bytes"),
            "{error}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_server_that_never_sends_anything_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let remote = Flaky::new(&content(), &[0; 50]);
    get(&remote, Digest::of(b"x"), folder.path()).unwrap_err();
    assert_eq!(remote.asked.borrow().len(), 3);
}

#[test]
fn a_link_in_the_place_of_the_part_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    fs::write(&other, "precious").unwrap();
    symlink(&other, folder.path().join("file.part")).unwrap();
    let remote = Flaky::new(&content(), &[]);
    get(&remote, Digest::of(&content()), folder.path()).unwrap_err();
    assert_eq!(fs::read(&other).unwrap(), b"precious");
}

#[test]
fn what_nobody_knows_is_only_ever_asked_for_from_its_beginning() {
    let content = content();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("file");
    let get = |remote: &Flaky| {
        let wanted = Wanted {
            sha256: None,
            limit: 1_000_000,
            target: &target,
        };
        fetch(remote, wanted, &|_, _| {})
    };
    fs::write(folder.path().join("file.part"), &content[..1000]).unwrap();
    let remote = Flaky::new(&content, &[100_000, 5]);
    assert_eq!(get(&remote).unwrap(), Digest::of(&content));
    assert_eq!(*remote.asked.borrow(), [0, 0, 0]);
    assert_eq!(fs::read(&target).unwrap(), content);
    fs::remove_file(&target).unwrap();
    // However much comes each time, it is not tried for ever.
    get(&Flaky::new(&content, &[100_000; 3])).unwrap_err();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
