//! Numbers of bytes, for people.

/// A number of bytes with three significant digits.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = None;
    let mut scaled = count;
    let mut rest = 0;
    for name in UNITS {
        if scaled < 1024 {
            break;
        }
        rest = scaled % 1024;
        scaled /= 1024;
        unit = Some(name);
    }
    match unit {
        None => format!("{count} B"),
        Some(unit) if scaled >= 100 || rest == 0 => format!("{scaled} {unit}"),
        Some(unit) => format!("{scaled}.{} {unit}", rest * 10 / 1024),
    }
}

/// A number of bytes to the last one, its digits in groups of three.
pub(super) fn exact(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + " bytes"
}

#[cfg(test)]
mod tests {
    use super::{bytes, exact};

    #[test]
    fn sizes() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(8 << 30), "8 GiB");
        assert_eq!(bytes(1_500_000), "1.4 MiB");
        assert_eq!(exact(0), "0 bytes");
        assert_eq!(exact(123), "123 bytes");
        assert_eq!(exact(1_234_567), "1,234,567 bytes");
    }
}
