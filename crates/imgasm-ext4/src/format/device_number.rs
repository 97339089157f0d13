//! Numbers of device nodes, which `i_block` holds in one of two forms: the old one, 16 bits in the
//! first word, or the new one, 32 bits in the second word while the first is zero.

use super::inode::I_BLOCK_LEN;
use super::{put_u32, read_u32};
use imgasm_fs::types::DeviceNumber;

/// The number in an inode's `i_block`.
pub fn decode(i_block: &[u8; I_BLOCK_LEN]) -> DeviceNumber {
    let old = read_u32(i_block, 0);
    if old != 0 {
        return DeviceNumber {
            major: old >> 8 & 0xff,
            minor: old & 0xff,
        };
    }
    let new = read_u32(i_block, 4);
    DeviceNumber {
        major: new >> 8 & 0xfff,
        minor: new & 0xff | new >> 12 & 0xf_ff00,
    }
}

/// An `i_block` for a number, in the old form if it fits, as the kernel does; `None` if it fits
/// neither, which takes at most 12 bits of major and 20 bits of minor number.
pub fn encode(number: DeviceNumber) -> Option<[u8; I_BLOCK_LEN]> {
    let DeviceNumber { major, minor } = number;
    let mut i_block = [0; I_BLOCK_LEN];
    if major < 1 << 8 && minor < 1 << 8 {
        put_u32(&mut i_block, 0, major << 8 | minor);
    } else if major < 1 << 12 && minor < 1 << 20 {
        let word = minor & 0xff | major << 8 | (minor & !0xff) << 12;
        put_u32(&mut i_block, 4, word);
    } else {
        return None;
    }
    Some(i_block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_round_trip() {
        for (major, minor) in [
            (0, 0),
            (1, 3),
            (255, 255),
            (256, 1),
            (8, 300),
            (4095, 0xf_ffff),
        ] {
            let number = DeviceNumber { major, minor };
            let i_block = encode(number).expect("in range");
            assert_eq!(decode(&i_block), number);
        }
        assert!(
            encode(DeviceNumber {
                major: 4096,
                minor: 0
            })
            .is_none()
        );
    }
}
