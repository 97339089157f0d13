//! FAT's dates and times, taken as UTC.
//!
//! A date has 7 bits for the years since 1980, 4 for the month and 5 for the day; a time 5 bits for
//! the hour, 6 for the minute and 5 for the seconds, counted in twos.

use imgasm_fs::Timestamp;

/// Seconds in a day.
const DAY: i64 = 86_400;
/// 1980-01-01T00:00:00Z, the first moment that FAT can store.
const FIRST: i64 = 315_532_800;
/// 2107-12-31T23:59:59Z, the last.
const LAST: i64 = 4_354_819_199;

/// A moment, as its calendar fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// Year, 1980 to 2107.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u16,
    /// Day, 1 to 31.
    pub day: u16,
    /// Hour, 0 to 23.
    pub hour: u16,
    /// Minute, 0 to 59.
    pub minute: u16,
    /// Second, 0 to 59.
    pub second: u16,
}

impl Civil {
    /// The nearest moment to `time` that FAT can store.
    pub fn new(time: Timestamp) -> Self {
        let seconds = time.seconds.clamp(FIRST, LAST);
        let (mut days, rest) = ((seconds - FIRST) / DAY, (seconds - FIRST) % DAY);
        let mut year = 1980;
        while days >= days_of_year(year) {
            days -= days_of_year(year);
            year += 1;
        }
        let mut month = 1;
        while days >= days_of_month(year, month) {
            days -= days_of_month(year, month);
            month += 1;
        }
        let small = |n: i64| u16::try_from(n).expect("a calendar field");
        Self {
            year: small(year),
            month,
            day: small(days + 1),
            hour: small(rest / 3600),
            minute: small(rest / 60 % 60),
            second: small(rest % 60),
        }
    }

    /// The date's bits.
    pub fn date(self) -> u16 {
        (self.year - 1980) << 9 | self.month << 5 | self.day
    }

    /// The time's bits.
    pub fn time(self) -> u16 {
        (self.hour << 11) | (self.minute << 5) | (self.second / 2)
    }
}

/// The moment of a date, a time and hundredths of a second; fields that are out of range count as
/// their nearest sound value.
pub fn decode(date: u16, time: u16, hundredths: u8) -> Timestamp {
    let year = i64::from(date >> 9) + 1980;
    let month = (date >> 5 & 0xf).clamp(1, 12);
    let day = i64::from(date & 0x1f).clamp(1, days_of_month(year, month));
    let days: i64 = (1980..year).map(days_of_year).sum::<i64>()
        + (1..month)
            .map(|month| days_of_month(year, month))
            .sum::<i64>()
        + day
        - 1;
    let clock = i64::from(time >> 11).min(23) * 3600
        + i64::from(time >> 5 & 0x3f).min(59) * 60
        + i64::from(time & 0x1f).min(29) * 2;
    let hundredths = u32::from(hundredths).min(199);
    Timestamp {
        seconds: FIRST + days * DAY + clock + i64::from(hundredths / 100),
        nanoseconds: hundredths % 100 * 10_000_000,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_year(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_of_month(year: i64, month: u16) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp {
            seconds,
            nanoseconds: 0,
        }
    }

    #[test]
    fn known_moments() {
        // date -u -d @1709210096 gives 2024-02-29 12:34:56.
        let civil = Civil::new(at(1_709_210_096));
        assert_eq!((civil.year, civil.month, civil.day), (2024, 2, 29));
        assert_eq!((civil.hour, civil.minute, civil.second), (12, 34, 56));
        assert_eq!(decode(civil.date(), civil.time(), 0), at(1_709_210_096));
        assert_eq!(
            Civil::new(at(4_107_542_400)).date(),
            (120 << 9) | (3 << 5) | 1
        );
    }

    #[test]
    fn what_fat_cannot_tell_is_clamped() {
        assert_eq!(Civil::new(at(0)).date(), 1 << 5 | 1);
        assert_eq!(Civil::new(at(i64::MIN)), Civil::new(at(FIRST)));
        assert_eq!(Civil::new(at(i64::MAX)).date(), 127 << 9 | 12 << 5 | 31);
        for bits in 0..=u16::MAX {
            let _ = decode(bits, !bits, 255);
        }
    }
}
