//! A name in a directory, and the codes of file types.

use crate::format::numbers::InodeNumber;

use imgasm_fs::FileType;

/// A name with what it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) inode: InodeNumber,
    /// What the inode is, if the filesystem stores that with the name.
    pub(crate) file_type: Option<FileType>,
}

/// The type codes that are stored with names (`XFS_DIR3_FT_*`).
const TYPE_CODES: [(u8, FileType); 7] = [
    (1, FileType::Regular),
    (2, FileType::Directory),
    (3, FileType::CharDevice),
    (4, FileType::BlockDevice),
    (5, FileType::Fifo),
    (6, FileType::Socket),
    (7, FileType::Symlink),
];

/// The file type that a code stands for.
pub(crate) fn type_from_code(code: u8) -> Option<FileType> {
    TYPE_CODES
        .iter()
        .find_map(|(known, file_type)| (*known == code).then_some(*file_type))
}

/// The code that stands for a file type.
pub(crate) fn code_of_type(file_type: FileType) -> u8 {
    TYPE_CODES
        .iter()
        .find_map(|(code, known)| (*known == file_type).then_some(*code))
        .expect("every type has a code")
}
