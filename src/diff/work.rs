//! How much work one comparison may make beyond reading both sides.
//!
//! A small image can hold many texts without a line in common, and many files that unpack to a
//! thousand times their length.

use std::collections::HashMap;

/// The lines that were taken out and put in of each text, squared and added up: that is the work of
/// finding them, a few seconds of it.
const LINES_SQUARED: u64 = 1_500_000_000;

/// As much as one text may take of it.
const OF_ONE: u64 = LINES_SQUARED / 4;

/// Bytes that are unpacked to look at them.
const UNPACKED_BYTES: u64 = 2 << 30;

/// What is left.
#[derive(Debug)]
pub struct Work {
    lines: u64,
    unpacked: u64,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            lines: LINES_SQUARED,
            unpacked: UNPACKED_BYTES,
        }
    }
}

impl Work {
    /// Whether the lines of two texts may be compared; that is then taken from what is left.
    pub(super) fn take_lines(&mut self, old: &str, new: &str) -> bool {
        let mut numbers = HashMap::new();
        let (old, new) = (numbered(old, &mut numbers), numbered(new, &mut numbers));
        let (old, new) = without_ends(&old, &new);
        // What has no counterpart is known at once.
        let mut counts = vec![0_i64; numbers.len()];
        for line in old {
            counts[*line] += 1;
        }
        for line in new {
            counts[*line] -= 1;
        }
        let lone = counts.iter().map(|count| count.unsigned_abs()).sum::<u64>();
        let most = self.lines.min(OF_ONE);
        if square(lone) > most {
            return false;
        }
        let distance = distance(old, new, most.isqrt());
        // What was tried in vain took as long.
        let squared = distance.map_or(most, square);
        self.lines = self.lines.saturating_sub(squared);
        distance.is_some()
    }

    /// How many bytes may still be unpacked.
    pub(super) fn unpacked_left(&self) -> u64 {
        self.unpacked
    }

    /// Takes what was unpacked.
    pub(super) fn take_unpacked(&mut self, bytes: u64) {
        self.unpacked = self.unpacked.saturating_sub(bytes);
    }
}

/// The lines of a text as numbers, the same for the same line.
fn numbered<'t>(text: &'t str, numbers: &mut HashMap<&'t str, usize>) -> Vec<usize> {
    text.split_inclusive('\n')
        .map(|line| {
            let next = numbers.len();
            *numbers.entry(line).or_insert(next)
        })
        .collect()
}

fn square(number: u64) -> u64 {
    number.saturating_mul(number)
}

/// Both without what they have in common at their beginnings and ends.
fn without_ends<'a>(old: &'a [usize], new: &'a [usize]) -> (&'a [usize], &'a [usize]) {
    let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[same..], &new[same..]);
    let ends = old.iter().rev().zip(new.iter().rev());
    let same = ends.take_while(|(a, b)| a == b).count();
    (&old[..old.len() - same], &new[..new.len() - same])
}

/// How many lines must go and come to make one of the other, if that is not more than `most` (E. W. Myers,
/// "An O(ND) Difference Algorithm", the basic algorithm).
fn distance(old: &[usize], new: &[usize], most: u64) -> Option<u64> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let most = most.min(old.len() + new.len());
    // By diagonal, how far in `old` the best path there has come. That of both beginnings is the middle one;
    // those outside the table, which has as many as there are lines, lead nowhere.
    let middle = most + 1;
    let (first, last) = (middle.saturating_sub(new.len()), middle + old.len());
    let mut reached = vec![0_usize; 2 * most + 3];
    for edits in 0..=most {
        let (lowest, highest) = (middle - edits, middle + edits);
        let low = lowest + first.saturating_sub(lowest).next_multiple_of(2);
        for diagonal in (low..=highest.min(last)).step_by(2) {
            let (below, above) = (reached[diagonal - 1], reached[diagonal + 1]);
            let is_first = diagonal == lowest || diagonal == first;
            let is_last = diagonal == highest || diagonal == last;
            let mut row = if is_first || (!is_last && below < above) {
                above
            } else {
                below + 1
            };
            let mut column = (row + middle).saturating_sub(diagonal);
            while row < old.len() && column < new.len() && old[row] == new[column] {
                (row, column) = (row + 1, column + 1);
            }
            if row >= old.len() && column >= new.len() {
                return u64::try_from(edits).ok();
            }
            reached[diagonal] = row;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffy::{DiffOptions, Line};

    #[test]
    fn the_distance_is_that_of_the_comparison() {
        let mut state = 1_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for _ in 0..2000 {
            let (kinds, longest) = (1 + random(5), 1 + random(12));
            let mut text = || -> Vec<usize> {
                let len = random(longest);
                (0..len).map(|_| random(kinds) as usize).collect()
            };
            let (old, new) = (text(), text());
            let lines = |all: &[usize]| {
                all.iter()
                    .map(|n| format!("{n}\n"))
                    .collect::<Vec<_>>()
                    .concat()
            };
            let (a, b) = (lines(&old), lines(&new));
            let patch = DiffOptions::new().create_patch(&a, &b);
            let lines = patch.hunks().iter().flat_map(diffy::Hunk::lines);
            let is_changed = |line: &&Line<'_, str>| !matches!(line, Line::Context(_));
            let expected = lines.filter(is_changed).count() as u64;
            assert_eq!(distance(&old, &new, 100), Some(expected), "{old:?} {new:?}");
            if expected > 0 {
                assert_eq!(distance(&old, &new, expected - 1), None);
            }
        }
    }

    #[test]
    fn texts_are_compared_until_it_is_too_much() {
        let joined = |lines: Vec<String>| lines.concat();
        let text = |seed: u32| joined((0..8_000).map(|i| format!("{seed} {i}\n")).collect());
        let mut work = Work::default();
        assert!(work.take_lines(&text(0), &text(0).replace("7\n", "8\n")));
        let taken = (1..20).take_while(|seed| work.take_lines(&text(0), &text(*seed)));
        assert_eq!(taken.count(), 5);
        assert!(work.take_lines("a\n", "b\n"));
        // No line is lone, and hardly two are in order.
        let shuffled = |step: usize| {
            let lines = (0..40_009).map(|i| format!("{}\n", i * step % 40_009));
            joined(lines.collect())
        };
        let mut work = Work::default();
        for _ in 0..4 {
            assert!(work.take_lines("a\n", "b\n"));
            assert!(!work.take_lines(&shuffled(1), &shuffled(20_011)));
        }
        assert!(!work.take_lines("a\n", "b\n"));
    }
}
