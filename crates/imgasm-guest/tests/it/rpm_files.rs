//! Package files on the host that somebody else writes.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;

use imgasm_block::Digest;
use imgasm_guest::packages::rpm_file::RpmFile;

use crate::transactions::Lab;

#[test]
fn a_package_that_is_written_after_it_was_hashed_is_not_used() {
    let Some(mut lab) = Lab::new() else { return };
    let path = lab.package("one", "1", "", &[("/opt/one", "one")]);
    let whole = fs::read(&path).unwrap();
    let package = RpmFile::open(&path, Digest::of(&whole)).unwrap();
    let payload = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        package.payload()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    assert!(whole.ends_with(&payload().unwrap()));
    // As through a mapping: the file has its name, length and inode, and one bit is another.
    let writer = OpenOptions::new().write(true).open(&path).unwrap();
    let last = whole.len() - 1;
    let put = |byte: u8| writer.write_all_at(&[byte], last as u64).unwrap();
    put(whole[last] ^ 1);
    let error = payload().unwrap_err().to_string();
    assert!(error.contains("changed"), "{error}");
    put(whole[last]);
    assert!(whole.ends_with(&payload().unwrap()));
}
