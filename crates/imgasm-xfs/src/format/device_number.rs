//! The numbers of devices, as inodes hold them.

use imgasm_fs::DeviceNumber;

/// The number of a device from its form on the disk: 14 bits above 18.
pub(crate) fn decode_device(raw: u32) -> DeviceNumber {
    DeviceNumber {
        major: raw >> 18 & 0x3fff,
        minor: raw & 0x3_ffff,
    }
}

/// The form of a device's number on the disk, if the kernel makes such devices on XFS: it leaves five of
/// the bits of the major number alone (`xfs_vn_mknod`).
pub(crate) fn encode_device(number: DeviceNumber) -> Option<u32> {
    (number.major <= 0x1ff && number.minor <= 0x3_ffff).then_some(number.major << 18 | number.minor)
}
