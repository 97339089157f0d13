//! Values for variables from outside, and which of them nobody else may see.
//!
//! Arguments can be seen by every user of the machine, and end up in the logs of build services. So a
//! sensitive variable takes its value from a file, standard input or the environment.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Setting;
use super::variables::Declarations;
use super::{Error, Result};
use imgasm_fs::text::{name_text, shown, shown_lines};

/// The fewest bytes of a sensitive value. Fewer are found by trying, and stand in texts by chance.
pub const FEWEST_SENSITIVE: usize = 4;

/// What a sensitive value, and each line of it, may look like where it is written: as it is, with what is
/// invisible in it written out, as in JSON, as JSON within JSON, and any of these as in HTML.
pub fn forms(value: &str) -> BTreeSet<String> {
    let parts = value.lines().map(str::trim).chain([value]);
    let parts = parts.filter(|part| part.len() >= FEWEST_SENSITIVE);
    let written = parts.flat_map(|part| {
        let visible = [
            shown(part),
            shown_lines(part),
            name_text(part.as_bytes()).into(),
        ];
        visible
            .map(Cow::into_owned)
            .into_iter()
            .chain([part.to_owned()])
    });
    let mut forms: BTreeSet<String> = written.collect();
    for _ in 0..2 {
        let in_json = |form: &String| {
            let json = serde_json::Value::from(form.as_str()).to_string();
            json[1..json.len() - 1].to_owned()
        };
        forms.extend(forms.iter().map(in_json).collect::<Vec<_>>());
    }
    let in_html = |form: &String| minijinja::HtmlEscape(form).to_string();
    forms.extend(forms.iter().map(in_html).collect::<Vec<_>>());
    forms
}

/// Values by the names of the variables that they are for.
#[derive(Clone, Default)]
pub struct Values {
    /// From arguments.
    pub set: Vec<(String, String)>,
    /// From files with values of several variables.
    pub files: Vec<(String, Setting)>,
    /// From files and standard input.
    pub apart: Vec<(String, String)>,
    /// From the environment, for sensitive variables only: others are not to depend on it.
    pub environment: BTreeMap<String, String>,
}

/// Only the names.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.set.iter().chain(&self.apart).map(|(name, _)| name);
        let names = names.chain(self.environment.keys());
        f.debug_tuple("Values")
            .field(&names.collect::<Vec<_>>())
            .finish()
    }
}

impl Values {
    /// The names of variables that something is meant for by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let given = self.set.iter().chain(&self.apart).map(|(name, _)| name);
        let given = given.chain(self.files.iter().map(|(name, _)| name));
        given.map(String::as_str)
    }

    /// All values that may be sensitive.
    pub fn hidden(&self) -> impl Iterator<Item = &str> {
        let apart = self.apart.iter().map(|(_, value)| value);
        apart.chain(self.environment.values()).map(String::as_str)
    }

    /// What is given for the variables that are declared; of several values for one, the last.
    /// What is meant for no declared variable is left out.
    ///
    /// # Errors
    /// If a value is not one of its variable's kind, or is a sensitive one among the arguments.
    pub fn declared(&self, declarations: &Declarations) -> Result<BTreeMap<String, Setting>> {
        let mut given = BTreeMap::new();
        for (name, declaration) in declarations.iter() {
            if declaration.is_sensitive
                && let Some(text) = self.environment.get(name)
            {
                given.insert(name.to_owned(), declarations.parse(name, text)?);
            }
        }
        for (name, value) in &self.files {
            let Some(declaration) = declarations.get(name) else {
                continue;
            };
            let wrong = |problem: String| Error::Variable {
                name: name.clone(),
                problem,
            };
            if declaration.is_sensitive {
                let what = format!("it is sensitive: give it by `--set-file {name}=FILE`");
                return Err(wrong(what));
            }
            let value = declarations
                .fit(name, value.clone().into())
                .map_err(wrong)?;
            given.insert(name.clone(), value);
        }
        for (name, text) in &self.set {
            let Some(declaration) = declarations.get(name) else {
                continue;
            };
            if declaration.is_sensitive {
                let problem = format!(
                    "it is sensitive, and others can see arguments: give it by `--set-file \
                     {name}=FILE`, or in the environment as {PREFIX}{name}"
                );
                let name = name.clone();
                return Err(Error::Variable { name, problem });
            }
            given.insert(name.clone(), declarations.parse(name, text)?);
        }
        for (name, text) in &self.apart {
            if declarations.contains(name) {
                given.insert(name.clone(), declarations.parse(name, text)?);
            }
        }
        Ok(given)
    }
}

/// How the names of variables begin in the environment that are values for sensitive ones.
pub const PREFIX: &str = "IMGASM_VAR_";

/// A value for a variable.
#[derive(Clone, PartialEq, Eq)]
pub struct Given {
    /// The value.
    pub value: Setting,
    /// Whether nobody else may see it, whatever the variable is declared as.
    pub is_sensitive: bool,
}

/// One that everybody may see.
impl From<Setting> for Given {
    fn from(value: Setting) -> Self {
        Self {
            value,
            is_sensitive: false,
        }
    }
}

/// What is recorded of a sensitive value: an HMAC-SHA-256 (RFC 2104) with the value as the key, of the
/// names of what it is used for. Whoever has the value can compare; nobody sees by it that two
/// images have the same.
pub fn keyed_digest(value: &Setting, of: &str, name: &str) -> imgasm_block::Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(value.to_string().as_bytes())
        .expect("a key of any length is possible");
    for text in ["imgasm sensitive variable", of, name] {
        mac.update(text.as_bytes());
        mac.update(&[0]);
    }
    imgasm_block::Digest::from_bytes(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyed_digest_is_that_of_others() {
        let digest = keyed_digest(&Setting::Text("secret".to_owned()), "image", "token");
        // printf 'imgasm sensitive variable\0image\0token\0' | openssl dgst -sha256 -hmac secret
        let expected = "1341e5694c0be6ef33cc34b5e92d49875954aec37b649c5d6c0ad19e82fd25b2";
        assert_eq!(digest.to_string(), expected);
    }

    #[test]
    fn nothing_shows_values() {
        let values = Values {
            set: vec![("a".to_owned(), "one".to_owned())],
            files: Vec::new(),
            apart: vec![("b".to_owned(), "two".to_owned())],
            environment: BTreeMap::from([("c".to_owned(), "three".to_owned())]),
        };
        assert_eq!(format!("{values:?}"), r#"Values(["a", "b", "c"])"#);
    }
}
