//! Bitmaps of blocks and inodes: a bit that is set stands for something in use. Pure.

use super::format::numbers::to_usize;

/// Whether bit `index` is set.
pub fn is_set(bitmap: &[u8], index: u32) -> bool {
    bitmap[to_usize(index / 8)] & 1 << (index % 8) != 0
}

/// Sets bit `index`.
pub fn set(bitmap: &mut [u8], index: u32) {
    bitmap[to_usize(index / 8)] |= 1 << (index % 8);
}

/// Clears bit `index`.
pub fn clear(bitmap: &mut [u8], index: u32) {
    bitmap[to_usize(index / 8)] &= !(1 << (index % 8));
}

/// Sets the bits `from..to`.
pub fn set_range(bitmap: &mut [u8], from: u32, to: u32) {
    for index in from..to {
        if index % 8 == 0 && to - index >= 8 {
            bitmap[to_usize(index / 8)..to_usize(to / 8)].fill(0xff);
            return set_range(bitmap, to & !7, to);
        }
        set(bitmap, index);
    }
}

/// How many of the first `len` bits are clear.
pub fn count_clear(bitmap: &[u8], len: u32) -> u32 {
    let whole = to_usize(len / 8);
    let in_bytes: u32 = bitmap[..whole].iter().map(|byte| byte.count_zeros()).sum();
    let rest = (len & !7..len)
        .filter(|&index| !is_set(bitmap, index))
        .count();
    in_bytes + super::format::numbers::to_u32(rest)
}

/// The first clear bit in `from..to`.
pub fn first_clear(bitmap: &[u8], from: u32, to: u32) -> Option<u32> {
    find(bitmap, from, to, 0)
}

/// The first set bit in `from..to`.
pub fn first_set(bitmap: &[u8], from: u32, to: u32) -> Option<u32> {
    find(bitmap, from, to, !0)
}

/// The first bit in `from..to` that differs from those of `pattern`, all clear or all set, eight
/// bytes at a time if that is possible; `pattern` 0 finds a clear bit.
fn find(bitmap: &[u8], from: u32, to: u32, pattern: u64) -> Option<u32> {
    let mut index = from;
    while index < to {
        let at = to_usize(index / 8);
        if index.is_multiple_of(64)
            && let Some(bytes) = bitmap.get(at..at + 8)
        {
            let mut word = [0; 8];
            word.copy_from_slice(bytes);
            // The bits that are looked for become ones.
            let wanted = !(u64::from_le_bytes(word) ^ pattern);
            if wanted == 0 {
                index += 64;
                continue;
            }
            let found = index + wanted.trailing_zeros();
            return (found < to).then_some(found);
        }
        if is_set(bitmap, index) == (pattern != 0) {
            return Some(index);
        }
        index += 1;
    }
    None
}

/// The first run of at least `wanted` clear bits in `from..to`, else the longest one; as the first
/// bit and the length, which is at most `wanted`.
pub fn clear_run(bitmap: &[u8], from: u32, to: u32, wanted: u32) -> Option<(u32, u32)> {
    let mut best: Option<(u32, u32)> = None;
    let mut at = from;
    while let Some(start) = first_clear(bitmap, at, to) {
        let limit = to.min(start.saturating_add(wanted));
        let end = first_set(bitmap, start, limit).unwrap_or(limit);
        if best.is_none_or(|(_, len)| end - start > len) {
            best = Some((start, end - start));
        }
        if end - start >= wanted {
            break;
        }
        at = end;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found() {
        let mut bitmap = vec![0; 64];
        set_range(&mut bitmap, 0, 70);
        set_range(&mut bitmap, 75, 200);
        set_range(&mut bitmap, 203, 512);
        assert_eq!(count_clear(&bitmap, 512), 8);
        assert_eq!(first_clear(&bitmap, 0, 512), Some(70));
        assert_eq!(clear_run(&bitmap, 0, 512, 3), Some((70, 3)));
        assert_eq!(clear_run(&bitmap, 72, 512, 9), Some((72, 3)));
        assert_eq!(clear_run(&bitmap, 76, 512, 9), Some((200, 3)));
        assert_eq!(clear_run(&bitmap, 203, 512, 1), None);
        assert_eq!(first_set(&bitmap, 70, 512), Some(75));
        clear(&mut bitmap, 300);
        assert!(!is_set(&bitmap, 300) && is_set(&bitmap, 301));
    }

    #[test]
    fn words_and_bits_agree() {
        let bitmap: Vec<u8> = (0..96_u8).map(|n| n.wrapping_mul(37) ^ 0x5a).collect();
        for from in 0..200 {
            let clear = (from..760).find(|&n| !is_set(&bitmap, n));
            let set = (from..760).find(|&n| is_set(&bitmap, n));
            assert_eq!(first_clear(&bitmap, from, 760), clear);
            assert_eq!(first_set(&bitmap, from, 760), set);
        }
    }
}
