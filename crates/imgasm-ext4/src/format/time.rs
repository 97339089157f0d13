//! Times: 32 bits of seconds in every inode, and 32 more if inodes have room: two that extend the
//! seconds to 34 bits and thirty of nanoseconds. Kernel documentation, ext4, "Inode Timestamps".

use imgasm_fs::types::Timestamp;

/// The last second that two epoch bits can express: 2446-05-10T22:38:55Z.
const LAST_WITH_EPOCH: i64 = 0x3_7fff_ffff;

/// The time in a field of seconds and, if the inode has it, the extra field.
pub fn decode(seconds: u32, extra: Option<u32>) -> Timestamp {
    let base = i64::from(seconds.cast_signed());
    let extra = extra.unwrap_or(0);
    Timestamp {
        seconds: base + (i64::from(extra & 3) << 32),
        // A field above 999,999,999 is garbage that must not become a later second.
        nanoseconds: (extra >> 2).min(999_999_999),
    }
}

/// The two fields for a time, which is brought into the range that the fields can hold: without an
/// extra field from 1901 to 2038, with one up to 2446. As in the kernel, the first and the last
/// second of that range have no nanoseconds.
pub fn encode(time: Timestamp, has_extra: bool) -> (u32, u32) {
    let last = if has_extra {
        LAST_WITH_EPOCH
    } else {
        i64::from(i32::MAX)
    };
    let first = i64::from(i32::MIN);
    let clamped = time.seconds.clamp(first, last);
    let nanoseconds = if clamped == first || clamped == last {
        0
    } else {
        time.nanoseconds.min(999_999_999)
    };
    let [a, b, c, d, ..] = clamped.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    let epoch = (clamped - i64::from(low.cast_signed())) >> 32;
    let epoch = u32::try_from(epoch).expect("two bits, by the range above");
    (low, epoch | nanoseconds << 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the kernel documentation's section on time stamps.
    #[test]
    fn the_documented_examples() {
        let table: [(u32, u32, i64); 8] = [
            (0x8000_0000, 0, -0x8000_0000),
            (0x0000_0000, 0, 0),
            (0x7fff_ffff, 0, 0x7fff_ffff),
            (0x8000_0000, 1, 0x8000_0000),
            (0xffff_ffff, 1, 0xffff_ffff),
            (0x0000_0000, 1, 0x1_0000_0000),
            (0x8000_0000, 2, 0x1_8000_0000),
            (0x7fff_ffff, 3, 0x3_7fff_ffff),
        ];
        for (low, epoch, seconds) in table {
            let at_an_end = [-0x8000_0000, LAST_WITH_EPOCH].contains(&seconds);
            let nanoseconds = if at_an_end { 0 } else { 123_456_789 };
            let time = Timestamp {
                seconds,
                nanoseconds,
            };
            assert_eq!(decode(low, Some(nanoseconds << 2 | epoch)), time);
            assert_eq!(encode(time, true), (low, nanoseconds << 2 | epoch));
        }
    }

    #[test]
    fn times_out_of_range_are_clamped() {
        let far = Timestamp {
            seconds: i64::MAX,
            nanoseconds: 0,
        };
        assert_eq!(encode(far, false).0, 0x7fff_ffff);
        assert_eq!(encode(far, true), (0x7fff_ffff, 3));
    }
}
