//! A number of bytes as people write it.

use std::fmt;
use std::str::FromStr;

/// A number of bytes, written as `512MiB`, `20 GiB` or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// The units of a size, each 1024 of the one before.
const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseByteSizeError {
    /// It is not a whole number with a known unit, or none.
    #[error("{0:?} is not a size; write a whole number with B, KiB, MiB, GiB or TiB")]
    Malformed(String),
    /// It is more than 64 bits hold.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim();
        let exponent = match unit {
            "" => Some(0),
            unit => UNITS.iter().position(|known| *known == unit),
        };
        let (Ok(number), Some(exponent)) = (number.parse::<u64>(), exponent) else {
            return Err(ParseByteSizeError::Malformed(text.to_owned()));
        };
        let size = number.checked_mul(1 << (10 * exponent));
        size.map(Self)
            .ok_or_else(|| ParseByteSizeError::TooLarge(text.to_owned()))
    }
}

/// The largest unit that leaves a whole number.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut number, mut unit) = (self.0, 0);
        while number != 0 && number % 1024 == 0 && unit + 1 < UNITS.len() {
            number /= 1024;
            unit += 1;
        }
        write!(f, "{number}{}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!("20GiB".parse(), Ok(ByteSize(20 << 30)));
        assert_eq!("20 MiB".parse(), Ok(ByteSize(20 << 20)));
        assert_eq!("7".parse(), Ok(ByteSize(7)));
        for bad in [
            "",
            "GiB",
            "20G",
            "20GB",
            "-1",
            "1.5GiB",
            "99999999999TiB",
            "20 giB",
        ] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        let error = "99999999999TiB".parse::<ByteSize>();
        assert!(matches!(error, Err(ParseByteSizeError::TooLarge(_))));
        assert_eq!(ByteSize(20 << 30).to_string(), "20GiB");
        assert_eq!(ByteSize(1025).to_string(), "1025B");
        assert_eq!(ByteSize(0).to_string(), "0B");
    }
}
