//! A hashed password, as in shadow(5).

use serde::{Deserialize, Deserializer, de};

/// The second field of a line of `/etc/shadow`: a hash that crypt(3) makes, an `!` before one that is
/// locked, or `*` or `!` alone, which no password matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PasswordHash(String);

impl PasswordHash {
    /// The text of the field.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if is_hash(&text) {
            return Ok(Self(text));
        }
        // The value is not repeated: it may be the password itself.
        let problem = "this is not a hashed password; `openssl passwd -6` makes one";
        Err(de::Error::custom(problem))
    }
}

/// Whether crypt(5) lists a method that gives such a text.
fn is_hash(field: &str) -> bool {
    if ["*", "!", "!!", "!*"].contains(&field) {
        return true;
    }
    let hash = field.trim_start_matches('!');
    if !hash.starts_with('$') {
        // Traditional DES, and BSDi's with `_` before it.
        return match hash.strip_prefix('_') {
            Some(bsdi) => bsdi.len() == 19 && is_base64(bsdi),
            None => hash.len() == 13 && is_base64(hash),
        };
    }
    let mut parts = hash.split('$').skip(1);
    let method = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let Some((digest, parameters)) = rest.split_last() else {
        return false;
    };
    let digest_len = match method {
        "1" | "md5" => 22,
        "5" | "y" | "gy" | "7" => 43,
        "6" => 86,
        "sha1" => 28,
        // Salt and digest together.
        "2a" | "2b" | "2x" | "2y" => 53,
        "3" => 32,
        _ => return false,
    };
    let is_salted = !parameters.is_empty();
    let is_text = |part: &&str| part.bytes().all(|byte| byte.is_ascii_graphic());
    is_salted && digest.len() == digest_len && is_base64(digest) && parameters.iter().all(is_text)
}

/// The alphabet of crypt(3).
fn is_base64(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/')
}

#[cfg(test)]
mod tests {
    use super::is_hash;

    /// Made by `openssl passwd` and `mkpasswd`.
    const HASHES: [&str; 7] = [
        "$1$salt$9GHNWvCB1UrDZjPi7uags0",
        "$5$salt$eC8iHMk0B/acxRGi4idWiCK/.xXHLUsxovn4V591t3.",
        "$6$salt$wZU8LXJfJJqoagopbB7RuK6JEotEMZ0CQDy0phpPAuLMYQFcmf6L6BdAbs/Q7w7o1qsZ9pFqFVY4yuUSWgaYt1",
        "$6$rounds=5000$salt$wZU8LXJfJJqoagopbB7RuK6JEotEMZ0CQDy0phpPAuLMYQFcmf6L6BdAbs/Q7w7o1qsZ9pFqFVY4yuUSWgaYt1",
        "$2b$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe",
        "$y$j9T$tk38ySZj2mVZ6iiMbFFYA1$3xUQ2hvsBJQTZtP9fVL4v8J3yUVWdBBrlQhIZmdrAr1",
        "ab01FAX.bQRSU",
    ];

    #[test]
    fn what_crypt_makes() {
        for hash in HASHES {
            assert!(is_hash(hash), "{hash}");
            assert!(is_hash(&format!("!{hash}")), "{hash}");
        }
        assert!(is_hash("*") && is_hash("!") && is_hash("!!"));
    }

    #[test]
    fn what_crypt_does_not_make() {
        for other in [
            "",
            "x",
            "secret",
            "correct horse battery staple",
            "$6$x$y",
            "$6$",
            "$9$salt$0123456789012345678901",
            "$1$9GHNWvCB1UrDZjPi7uags0",
            "$1$salt$9GHNWvCB1UrDZj:i7uags0",
        ] {
            assert!(!is_hash(other), "{other}");
        }
        for hash in HASHES {
            assert!(!is_hash(&hash[..hash.len() - 1]), "{hash}");
        }
    }
}
