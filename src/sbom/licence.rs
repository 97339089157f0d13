//! What databases say of the licences of packages.

use spdx::{Expression, ParseMode};

/// The licence of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Licence {
    /// An SPDX expression.
    Expression(String),
    /// Words that are none, as older packages have them; each stands for itself.
    Words(Vec<String>),
}

impl Licence {
    /// The licence that some texts name together; `None` if there are none.
    pub(super) fn of(texts: &[String]) -> Option<Self> {
        match texts {
            [] => None,
            [one] if is_expression(one) => Some(Self::Expression(one.clone())),
            words => Some(Self::Words(words.to_vec())),
        }
    }
}

/// Whether a text says by itself which licence it is: a `LicenseRef-` needs a text beside it, which no
/// database has.
fn is_expression(text: &str) -> bool {
    let says_nothing = ["NOASSERTION", "NONE"].contains(&text) || text.contains("LicenseRef-");
    !says_nothing && Expression::parse_mode(text, ParseMode::STRICT).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_and_other_words() {
        let of = |text: &str| Licence::of(&[text.to_owned()]);
        for expression in [
            "MIT",
            "GPL-2.0-or-later WITH GCC-exception-3.1 AND (MIT OR Apache-2.0)",
        ] {
            assert_eq!(of(expression), Some(Licence::Expression(expression.into())));
        }
        for words in [
            "GPLv2+ and MIT",
            "pubkey",
            "",
            "MIT AND",
            "LicenseRef-Callaway-MIT",
            "MIT OR DocumentRef-x:LicenseRef-y",
            "NOASSERTION",
        ] {
            assert_eq!(of(words), Some(Licence::Words(vec![words.into()])));
        }
        assert_eq!(Licence::of(&[]), None);
    }
}
