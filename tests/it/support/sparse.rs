//! Comparing sparse files without reading their holes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

const PIECE_LEN: usize = 1 << 20;

/// Whether two files hold the same bytes.
pub fn same_bytes(one: &Path, other: &Path) -> bool {
    let one = File::open(one).unwrap();
    let other = File::open(other).unwrap();
    let len = one.metadata().unwrap().len();
    len == other.metadata().unwrap().len()
        && is_data_same(&one, &other, len)
        && is_data_same(&other, &one, len)
}

/// Whether `other` has the same bytes wherever `one` has data.
fn is_data_same(one: &File, other: &File, len: u64) -> bool {
    let mut position = 0;
    loop {
        position = match seek(one, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return true,
            Err(error) => panic!("{error}"),
        };
        let end = seek(one, SeekFrom::Hole(position)).unwrap();
        while position < end {
            let piece = usize::try_from(end.min(len) - position).unwrap();
            let mut bytes = vec![0; piece.min(PIECE_LEN)];
            let mut others = bytes.clone();
            one.read_exact_at(&mut bytes, position).unwrap();
            other.read_exact_at(&mut others, position).unwrap();
            if bytes != others {
                return false;
            }
            position += u64::try_from(bytes.len()).unwrap();
        }
    }
}
