//! The journal of a transfer of blocks: what a run that was killed had done.
//!
//! Lines of text. The first is what is being done, as JSON; `id ID` once there is something at AWS
//! for it; then `block INDEX SHA-256` for each block that has been transferred. A line without its
//! end does not count.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};
use imgasm_block::Digest;
use imgasm_block::bytes::byte_len;
use imgasm_block::lock::lock;
use imgasm_block::sidecar::Sidecar;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head<I> {
    /// What is being done. Only a run that does the same can go on.
    intent: I,
    /// The token that makes starting the snapshot twice start it once. No other run has it.
    token: String,
}

/// A journal that is being written.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// See [`Head::token`].
    pub(super) token: String,
    /// What there is at AWS for it.
    pub(super) id: Option<String>,
    /// The blocks that have been transferred.
    pub(super) done: BTreeMap<u64, Digest>,
}

impl Journal {
    /// Goes on with the journal at `path`, or begins a new one where it is of something else.
    pub(super) fn open<I>(path: &Path, intent: &I) -> Result<Self>
    where
        I: Serialize + DeserializeOwned + PartialEq,
    {
        let mut file = opened(path)?;
        let mut text = Vec::new();
        let read = file.read_to_end(&mut text);
        read.map_err(failed(path, "read"))?;
        let Some(found) = Found::parse(&String::from_utf8_lossy(&text), intent) else {
            return Self::begin_in(path, file, intent);
        };
        // A line that was cut off must not become whole by what follows.
        cut(&mut file, path, found.len)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            token: found.token,
            id: found.id,
            done: found.done,
        })
    }

    /// Begins a new journal.
    pub(super) fn begin<I: Serialize>(path: &Path, intent: &I) -> Result<Self> {
        Self::begin_in(path, opened(path)?, intent)
    }

    fn begin_in<I: Serialize>(path: &Path, mut file: File, intent: &I) -> Result<Self> {
        let token = new_token(path);
        let head = Head {
            intent,
            token: token.clone(),
        };
        cut(&mut file, path, 0)?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            token,
            id: None,
            done: BTreeMap::new(),
        };
        let head = serde_json::to_string(&head).expect("plain values are always JSON");
        journal.line(&head)?;
        Ok(journal)
    }

    /// There is something at AWS for it.
    pub(super) fn begun(&mut self, id: &str) -> Result<()> {
        self.id = Some(id.to_owned());
        self.line(&format!("id {id}"))
    }

    /// A block has been transferred.
    pub(super) fn block(&mut self, index: u64, digest: Digest) -> Result<()> {
        self.done.insert(index, digest);
        self.line(&format!("block {index} {digest}"))
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|source| Error::Journal {
            path: self.path.clone(),
            operation: "write",
            source,
        })
    }
}

/// What an operation on a journal failed by.
fn failed(path: &Path, operation: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Journal {
        path: path.to_owned(),
        operation,
        source,
    }
}

/// Opens or makes the file of a journal, for this process alone: two would write into each other's.
fn opened(path: &Path) -> Result<File> {
    let file = Sidecar::open_own(path)?;
    lock(&file, path)
        .map_err(|error| failed(path, "have for this run alone")(io::Error::other(error)))?;
    Ok(file)
}

/// Keeps the first `len` bytes, behind which the next line is written.
fn cut(file: &mut File, path: &Path, len: u64) -> Result<()> {
    let done = file
        .set_len(len)
        .and_then(|()| file.seek(SeekFrom::Start(len)));
    done.map(drop).map_err(failed(path, "cut"))
}

/// Removes a journal that is not needed any more.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Journal {
            path: path.to_owned(),
            operation: "remove",
            source,
        }),
        _ => Ok(()),
    }
}

/// A token that no other run has, because of the time and the process. EBS takes 64 characters.
fn new_token(path: &Path) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanoseconds = now.map_or(0, |now| now.as_nanos());
    let process = std::process::id();
    let text = format!("{} {nanoseconds} {process}", path.display());
    Digest::of(text.as_bytes()).to_string()
}

/// What a journal says.
struct Found {
    /// Bytes of whole lines.
    len: u64,
    token: String,
    id: Option<String>,
    done: BTreeMap<u64, Digest>,
}

impl Found {
    /// Reads a journal; `None` where it is of something else or was hardly begun.
    fn parse<I: DeserializeOwned + PartialEq>(text: &str, intent: &I) -> Option<Self> {
        let (whole, _) = text.rsplit_once('\n')?;
        let mut lines = whole.lines();
        let head: Head<I> = serde_json::from_str(lines.next()?).ok()?;
        if head.intent != *intent {
            return None;
        }
        let mut found = Self {
            len: byte_len(whole.as_bytes()) + 1,
            token: head.token,
            id: None,
            done: BTreeMap::new(),
        };
        for line in lines {
            match line.split_once(' ') {
                Some(("id", id)) => found.id = Some(id.to_owned()),
                Some(("block", block)) => found.done.extend(parse_block(block)),
                _ => {}
            }
        }
        Some(found)
    }
}

fn parse_block(text: &str) -> Option<(u64, Digest)> {
    let (index, digest) = text.split_once(' ')?;
    Some((index.parse().ok()?, digest.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_goes_on_where_it_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let digest = Digest::of(b"block");
        let mut journal = Journal::open(&path, &"this".to_owned()).unwrap();
        journal.begun("snap-1").unwrap();
        journal.block(7, digest).unwrap();
        journal.block(1234, digest).unwrap();
        let token = journal.token.clone();
        drop(journal);
        let text = fs::read_to_string(&path).unwrap();
        // However far the last line got, it does not count, and does not spoil the next.
        for cut in text.find("block 1234").unwrap()..text.len() {
            fs::write(&path, &text[..cut]).unwrap();
            let mut journal = Journal::open(&path, &"this".to_owned()).unwrap();
            assert_eq!(journal.token, token);
            assert_eq!(journal.id.as_deref(), Some("snap-1"));
            assert_eq!(journal.done, BTreeMap::from([(7, digest)]), "{cut}");
            journal.block(8, digest).unwrap();
            drop(journal);
            let journal = Journal::open(&path, &"this".to_owned()).unwrap();
            let expected = BTreeMap::from([(7, digest), (8, digest)]);
            assert_eq!(journal.done, expected, "{cut}");
        }
        let other = Journal::open(&path, &"that".to_owned()).unwrap();
        assert!(other.token != token && other.id.is_none() && other.done.is_empty());
    }
}
