//! The first page of a file, which says what the file is.

use super::super::{Pieces, failure};
use super::page::{Layout, kind};
use crate::packages::Error;

/// Bytes that each first page has, whatever the length of pages.
pub const META_LEN: usize = 512;
/// Where the first page names the first of the list of free pages.
pub const FREE_AT: usize = 28;
/// Where it names the last page.
pub const LAST_AT: usize = 32;
/// The magic of hash tables.
const HASH_MAGIC: u32 = 0x0006_1561;
/// The magic of trees.
const TREE_MAGIC: u32 = 0x0005_3162;
/// The versions of hash tables that are written: Berkeley DB makes the newer one since 4.6, and takes
/// the older one as it is.
const HASH_VERSIONS: [u32; 2] = [8, 9];
/// The version of trees that is written, the only one in those years.
const TREE_VERSION: u32 = 9;
/// The largest file, in bytes.
const MAX_LEN: u64 = 4 << 30;

/// How a file finds its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A hash table.
    Hash,
    /// A tree.
    Tree,
}

/// What the first page says of the file.
pub struct Meta {
    /// How its pages are laid out.
    pub layout: Layout,
    /// How it finds its keys.
    pub method: Method,
    /// The version of that.
    pub version: u32,
    /// The number of the last page.
    pub last: u32,
    /// The beginning of the page.
    pub bytes: [u8; META_LEN],
}

impl Meta {
    /// Reads the first page.
    ///
    /// # Errors
    /// If the file is no hash table or tree with a single value per key, or does not have the pages
    /// that it says.
    pub fn read(pieces: &Pieces<'_>) -> Result<Self, Error> {
        let unsound = |problem: String| failure(&pieces.path, problem);
        let mut bytes = [0; META_LEN];
        pieces.read(0, &mut bytes)?;
        let order = |is_big_endian| Layout {
            page_size: META_LEN,
            is_big_endian,
        };
        let magics = [
            (HASH_MAGIC, Method::Hash, kind::HASH_META),
            (TREE_MAGIC, Method::Tree, kind::TREE_META),
        ];
        let found = [false, true].into_iter().find_map(|is_big_endian| {
            let layout = order(is_big_endian);
            let magic = layout.get32(&bytes, 12);
            let known = magics.into_iter().find(|known| known.0 == magic);
            known.map(|(_, method, kind)| (layout, method, kind))
        });
        let Some((order, method, meta_kind)) = found else {
            let problem = "it is not a hash table or tree of Berkeley DB (no magic is there)";
            return Err(unsound(problem.to_owned()));
        };
        let page_size = usize::try_from(order.get32(&bytes, 20)).unwrap_or(usize::MAX);
        let is_size = page_size.is_power_of_two() && (META_LEN..=65536).contains(&page_size);
        if !is_size || bytes[25] != meta_kind {
            let problem = "its first page is not that of a hash table or tree";
            return Err(unsound(problem.to_owned()));
        }
        // Encryption, checksums and parts; several values per key, and files in files.
        if bytes[24] != 0 || bytes[26] != 0 || order.get32(&bytes, 48) != 0 {
            let problem = "it is of a form of Berkeley DB that RPM does not use";
            return Err(unsound(problem.to_owned()));
        }
        let meta = Self {
            layout: Layout { page_size, ..order },
            method,
            version: order.get32(&bytes, 16),
            last: order.get32(&bytes, LAST_AT),
            bytes,
        };
        let len = (u64::from(meta.last) + 1) * page_size as u64;
        if len > pieces.len || len > MAX_LEN {
            let (last, len) = (meta.last, pieces.len);
            let problem = format!("its last page is said to be {last}, and it has {len} bytes");
            return Err(unsound(problem));
        }
        Ok(meta)
    }

    /// Whether files of this version can be written.
    ///
    /// # Errors
    /// If they cannot, in words.
    pub fn check_version(&self) -> Result<(), String> {
        let is_known = match self.method {
            Method::Hash => HASH_VERSIONS.contains(&self.version),
            Method::Tree => self.version == TREE_VERSION,
        };
        if is_known {
            Ok(())
        } else {
            let version = self.version;
            Err(format!(
                "it has version {version} of its format, which can be read but not written"
            ))
        }
    }

    /// The first page as it was, but for counts that somebody asked for once.
    pub fn page(&self) -> Vec<u8> {
        let mut page = self.bytes.to_vec();
        page.resize(self.layout.page_size, 0);
        self.layout.put32(&mut page, 0, 0);
        self.layout.put32(&mut page, 4, 1);
        // Of keys and of records; zero is not known.
        self.layout.put32(&mut page, 40, 0);
        self.layout.put32(&mut page, 44, 0);
        page
    }
}
