//! A swap area, as `mkswap` makes it: a page with a header (`union swap_header` of the kernel), and
//! pages with any content.

use imgasm_block::BlockDevice;
use imgasm_fs::{Error, Result};
use uuid::Uuid;

/// Bytes in a page. A machine with larger pages does not accept the area.
const PAGE: usize = 4096;
/// The same for sizes of areas.
pub const PAGE_BYTES: u64 = 4096;
/// Where the header lies behind room for a boot loader: version, last page, bad pages, identity and
/// label.
const VERSION: usize = 1024;
const LAST_PAGE: usize = 1028;
const UUID: usize = 1036;
const LABEL: usize = 1052;
/// The longest label.
pub(super) const MAX_LABEL_LEN: usize = 16;
/// What the page ends with.
const SIGNATURE: &[u8; 10] = b"SWAPSPACE2";

/// Makes a swap area of all of `device`, which reads as zeros.
///
/// # Errors
/// [`Error::Unstorable`] if it is too small or too large, or the label too long.
pub fn format(device: &dyn BlockDevice, uuid: Uuid, label: &[u8]) -> Result<()> {
    let page = header(device.len(), uuid, label)?;
    Ok(device.write_at(0, &page)?)
}

/// The page that an area of `size` bytes begins with.
///
/// # Errors
/// [`Error::Unstorable`] as [`format()`].
pub fn header(size: u64, uuid: Uuid, label: &[u8]) -> Result<Vec<u8>> {
    let pages = size / PAGE_BYTES;
    let last = pages.checked_sub(1).filter(|last| *last >= 9);
    let last = last.and_then(|last| u32::try_from(last).ok());
    let Some(last) = last.filter(|_| label.len() <= MAX_LABEL_LEN) else {
        return Err(Error::Unstorable {
            what: format!("a swap area of {pages} pages"),
            problem: format!(
                "it has 10 to 2^32 pages and a label of {MAX_LABEL_LEN} bytes at most"
            ),
        });
    };
    let mut page = vec![0; PAGE];
    // Numbers are in the machine's order.
    page[VERSION..VERSION + 4].copy_from_slice(&1u32.to_le_bytes());
    page[LAST_PAGE..LAST_PAGE + 4].copy_from_slice(&last.to_le_bytes());
    page[UUID..UUID + 16].copy_from_slice(uuid.as_bytes());
    page[LABEL..LABEL + label.len()].copy_from_slice(label);
    page[PAGE - SIGNATURE.len()..].copy_from_slice(SIGNATURE);
    Ok(page)
}

/// The label and the UUID of an area.
///
/// # Errors
/// If `device` cannot be read.
pub fn identity(device: &dyn BlockDevice) -> imgasm_block::Result<(Vec<u8>, Uuid)> {
    let mut page = [0; PAGE];
    device.read_padded(0, &mut page)?;
    let uuid: [u8; 16] = page[UUID..UUID + 16].try_into().expect("16 bytes");
    let label = page[LABEL..LABEL + MAX_LABEL_LEN].split(|byte| *byte == 0);
    let label = label.into_iter().next().unwrap_or_default();
    Ok((label.to_vec(), Uuid::from_bytes(uuid)))
}
