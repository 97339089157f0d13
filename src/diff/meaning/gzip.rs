//! What a gzip file holds (RFC 1952).

use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::{Facts, LIMIT_BYTES, Work, text};
use imgasm_block::Digest;

/// The name and the time in the header, and the content; `None` if the file is not a gzip file, or more
/// than may be unpacked.
pub(super) fn facts(
    head: &[u8],
    whole: impl Fn() -> Option<Vec<u8>>,
    work: &mut Work,
) -> Option<Facts> {
    if !head.starts_with(b"\x1f\x8b\x08") {
        return None;
    }
    let most = LIMIT_BYTES.min(work.unpacked_left());
    if most == 0 {
        return None;
    }
    let whole = whole()?;
    let mut decoder = MultiGzDecoder::new(whole.as_slice()).take(most + 1);
    let mut content = Vec::new();
    let unpacked = decoder.read_to_end(&mut content);
    let len = u64::try_from(content.len()).ok()?;
    work.take_unpacked(len);
    unpacked.ok()?;
    if len > most {
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_unpacked_has_an_end() {
        let mut encoder = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
        let packed = encoder.finish().unwrap();
        let mut work = Work::default();
        work.take_unpacked(work.unpacked_left() - (3 << 20) - 5);
        let mut is_read = || facts(&packed, || Some(packed.clone()), &mut work).is_some();
        assert!(is_read() && is_read() && is_read());
        assert!(!is_read() && !is_read());
    }
}
