//! Bytes from an image, and errors, as text.

use std::fmt::Write as _;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Marks a value that is written in base64, as `getfattr --encoding=base64` does.
const BASE64_MARK: &str = "0s";

/// A value as text, without loss: itself if it is UTF-8, else `0s` and its base64.
pub fn value_text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.starts_with(BASE64_MARK) => text.to_owned(),
        _ => format!("{BASE64_MARK}{}", BASE64_STANDARD.encode(value)),
    }
}

/// A name or path for people and for JSON: control characters, the backslash and what is not UTF-8
/// are written `\xNN`, so that two different names never look the same.
pub fn name_text(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                let mut utf8 = [0; 4];
                c.encode_utf8(&mut utf8)
                    .bytes()
                    .for_each(|byte| push_escaped(&mut text, byte));
            } else {
                text.push(c);
            }
        }
        chunk
            .invalid()
            .iter()
            .for_each(|&byte| push_escaped(&mut text, byte));
    }
    text
}

/// The bytes that [`name_text`] wrote as this text.
pub fn path_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match rest {
            [b'\\', b'x', high, low, after @ ..] => byte(*high, *low).zip(Some(after)),
            _ => None,
        };
        if let Some((byte, after)) = escaped {
            bytes.push(byte);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

fn push_escaped(text: &mut String, byte: u8) {
    let _ = write!(text, "\\x{byte:02x}");
}

/// The byte that two hexadecimal digits stand for.
fn byte(high: u8, low: u8) -> Option<u8> {
    let value = |digit| char::from(digit).to_digit(16);
    u8::try_from(value(high)? * 16 + value(low)?).ok()
}

/// An error with all that is behind it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let reason = error.to_string();
        if !text.ends_with(&reason) {
            text = format!("{text}: {reason}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_apart() {
        assert_eq!(name_text("/etc/größe".as_bytes()), "/etc/größe");
        assert_eq!(name_text(b"a\xffb\nc\\"), r"a\xffb\x0ac\x5c");
        assert_ne!(name_text(b"\xff"), name_text(br"\xff"));
        for name in [&b"/a\xffb\nc\\"[..], br"\xff", "größe".as_bytes()] {
            assert_eq!(path_bytes(&name_text(name)), name);
        }
        assert_eq!(path_bytes(r"\x"), br"\x");
    }

    #[test]
    fn values_stay_apart() {
        assert_eq!(
            value_text(b"system_u:object_r:etc_t:s0\0"),
            "system_u:object_r:etc_t:s0\0"
        );
        assert_eq!(value_text(b"\x01\xff"), "0sAf8=");
        assert_eq!(value_text(b"0sAf8="), "0sMHNBZjg9");
    }
}
