//! Bytes from an image, and errors, as text: the one place that decides how untrusted text is shown.

use std::borrow::Cow;
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

/// The last private area of Unicode ends with characters that stand for bytes: U+10FF80 to U+10FFFF.
const BYTES: u32 = 0x10_ff00;

/// The byte for which a character stands in an [`editable`] text.
fn byte_of(c: char) -> Option<u8> {
    let byte = u8::try_from(u32::from(c).checked_sub(BYTES)?).ok()?;
    (!byte.is_ascii()).then_some(byte)
}

/// Content as text that can be edited and become bytes again without loss, by [`edited`]: each byte
/// that is not UTF-8 is a character of its own.
pub fn editable(content: &[u8]) -> String {
    let mut text = String::with_capacity(content.len());
    let stands_for = |byte: &u8| char::from_u32(BYTES + u32::from(*byte));
    for chunk in content.utf8_chunks() {
        for c in chunk.valid().chars() {
            if byte_of(c).is_some() {
                text.extend(
                    c.encode_utf8(&mut [0; 4])
                        .as_bytes()
                        .iter()
                        .filter_map(stands_for),
                );
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().filter_map(stands_for));
    }
    text
}

/// The bytes of a text that was [`editable`].
pub fn edited(text: &str) -> Vec<u8> {
    let mut content = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => content.push(byte),
            None => content.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    content
}

/// Whether a character is invisible, or changes how others look: control characters, the ends of
/// lines and paragraphs, marks of direction (Unicode Standard Annex 9), joiners and fillers without
/// width, tags.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{2800}' | '\u{fe00}'..='\u{fe0f}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// A text with its hidden characters ([`is_hidden`]) written out as `\x1b` or `\u{202e}`, so that it
/// is one line and looks like what it is.
pub fn shown(text: &str) -> Cow<'_, str> {
    shown_but(text, |_| false)
}

/// As [`shown`] for a text of several lines: their ends and tabs stay.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    shown_but(text, |c| matches!(c, '\n' | '\t'))
}

fn shown_but(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_written_out = |c: char| is_hidden(c) && !stays(c);
    if !text.contains(is_written_out) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if !is_written_out(c) {
            shown.push(c);
        } else if c.is_ascii() {
            let _ = write!(shown, "\\x{:02x}", u32::from(c));
        } else {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        }
    }
    Cow::Owned(shown)
}

/// A name or path for people and for JSON: hidden characters ([`is_hidden`]), backslashes and what
/// is not UTF-8 are written as `\xNN`, so that two different names never look the same.
pub fn name_text(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_hidden(c) || c == '\\' {
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

/// An error with all of its causes, in one line.
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
    fn what_is_edited_stays() {
        for content in [
            &b"caf\xe9\r\n\xff\0\xf4\x8f"[..],
            "größe 漢字 \u{10ff7f}\u{10ff80}\u{10ffff}\u{10fffd}".as_bytes(),
        ] {
            assert_eq!(edited(&editable(content)), content);
        }
        assert_eq!(editable("größe\n".as_bytes()), "größe\n");
    }

    #[test]
    fn nothing_is_hidden() {
        assert!(matches!(shown("größe ✓ 漢字"), Cow::Borrowed(_)));
        assert_eq!(
            shown("a\x1b[2J\nb\u{202e}c\u{200b}\u{2028}\u{feff}"),
            r"a\x1b[2J\x0ab\u{202e}c\u{200b}\u{2028}\u{feff}"
        );
        assert_eq!(
            shown("\u{fe0f}\u{2800}\u{1d173}\u{1bca0}\u{fff0}"),
            r"\u{fe0f}\u{2800}\u{1d173}\u{1bca0}\u{fff0}"
        );
        assert_eq!(shown_lines("a\tb\r\nc\u{2029}"), "a\tb\\x0d\nc\\u{2029}");
        assert_eq!(name_text("\u{202e}gnp".as_bytes()), r"\xe2\x80\xaegnp");
        assert_eq!(
            path_bytes(&name_text("\u{202e}gnp".as_bytes())),
            "\u{202e}gnp".as_bytes()
        );
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
