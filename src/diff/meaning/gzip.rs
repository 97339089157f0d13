//! What a gzip file holds (RFC 1952).

use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::{Facts, LIMIT_BYTES, text};
use imgasm_block::Digest;

/// The name and the time in the header, and the content; `None` if the file is not a gzip file.
pub(super) fn facts(head: &[u8], whole: impl Fn() -> Option<Vec<u8>>) -> Option<Facts> {
    if !head.starts_with(b"\x1f\x8b\x08") {
        return None;
    }
    let whole = whole()?;
    let mut decoder = MultiGzDecoder::new(whole.as_slice()).take(LIMIT_BYTES + 1);
    let mut content = Vec::new();
    decoder.read_to_end(&mut content).ok()?;
    if u64::try_from(content.len()).ok()? > LIMIT_BYTES {
        return None;
    }
    let mut facts = Facts::new();
    facts.insert(
        "unpacked sha256".to_owned(),
        Digest::of(&content).to_string(),
    );
    facts.insert("unpacked size".to_owned(), content.len().to_string());
    let header = decoder.get_ref().header()?;
    facts.insert("gzip time".to_owned(), header.mtime().to_string());
    if let Some(name) = header.filename() {
        facts.insert("gzip name".to_owned(), text(name));
    }
    Some(facts)
}
