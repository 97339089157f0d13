//! What a probe saw in the machine, as it reports it: lines of JSON, each with a key and its value
//! in base64, and a line `end` when it has looked at everything once.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

/// The most bytes that are kept of what a probe says in one round.
const ROUND_LIMIT: usize = 16 << 20;

/// The line that ends a round.
const END: &str = "end";

/// One round of a probe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    values: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

#[derive(Deserialize)]
struct Line<'a> {
    key: &'a str,
    base64: &'a str,
}

impl Seen {
    /// Takes a line of the probe; gives whether it ends the round. A line of another form is
    /// skipped: anything may write to a serial port.
    pub fn take(&mut self, line: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(line) else {
            return false;
        };
        let text = text.trim();
        if text == END {
            return true;
        }
        let Ok(Line { key, base64 }) = serde_json::from_str(text) else {
            return false;
        };
        let Ok(value) = BASE64_STANDARD.decode(base64) else {
            return false;
        };
        self.bytes += key.len() + value.len();
        if self.bytes <= ROUND_LIMIT {
            self.values.insert(key.to_owned(), value);
        }
        false
    }

    /// The text under a key, without white space at its end.
    pub fn text(&self, key: &str) -> Option<String> {
        let value = self.values.get(key)?;
        Some(String::from_utf8_lossy(value).trim_end().to_owned())
    }

    /// The values under the keys that begin with `prefix`, with what follows it.
    pub fn with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, String)> + 'a {
        let from = self.values.range(prefix.to_owned()..);
        from.map_while(move |(key, value)| {
            let rest = key.strip_prefix(prefix)?;
            Some((rest, String::from_utf8_lossy(value).trim_end().to_owned()))
        })
    }

    /// A property in what `systemctl show` printed under a key.
    pub fn property(&self, key: &str, name: &str) -> Option<String> {
        let text = self.text(key)?;
        let line = text.lines().find_map(|line| {
            let value = line.strip_prefix(name)?;
            value.strip_prefix('=')
        });
        line.map(str::to_owned)
    }

    /// The units that failed.
    pub fn failed_units(&self) -> Vec<String> {
        let text = self.text("failed").unwrap_or_default();
        let units = text.lines().filter_map(|line| {
            // Some versions put a mark before the name.
            line.split_whitespace().find(|word| word.contains('.'))
        });
        units.map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_taken_line_by_line() {
        let mut seen = Seen::default();
        for line in [
            &b"{\"key\":\"state\",\"base64\":\"cnVubmluZwo=\"}\r"[..],
            b"[ 1.0] a message of the kernel",
            b"{\"key\":\"broken\",\"base64\":\"!\"}",
            b"\xff",
            b"",
        ] {
            assert!(!seen.take(line));
        }
        assert!(seen.take(b"end\r"));
        assert_eq!(seen.text("state").as_deref(), Some("running"));
        assert_eq!(seen.text("broken"), None);
    }

    #[test]
    fn a_mark_is_no_unit() {
        let mut seen = Seen::default();
        let text = BASE64_STANDARD.encode("● a.service loaded failed failed A\nb.mount x\n");
        seen.take(format!("{{\"key\":\"failed\",\"base64\":\"{text}\"}}").as_bytes());
        assert_eq!(seen.failed_units(), ["a.service", "b.mount"]);
    }

    #[test]
    fn a_round_is_bounded() {
        let mut seen = Seen::default();
        let value = BASE64_STANDARD.encode(vec![0; 1 << 20]);
        for number in 0..20 {
            seen.take(format!("{{\"key\":\"{number}\",\"base64\":\"{value}\"}}").as_bytes());
        }
        assert!(seen.values.len() < 17);
    }
}
