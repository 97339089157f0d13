//! Configuration files with keys: one key is set, and every other byte stays.
//!
//! - [`set`]: the only operation, for every format. If the key has the value already, the content
//!   is returned as it is, which also answers whether it has.
//! - `key`, with [`Key`]: which key. [`Format`]: the format of the file.
//! - One file per format: [`yaml`] with [`yaml_value`], [`ini`], [`shell`], [`space`], [`json`], [`toml`].

mod ini;
mod json;
mod key;
pub mod shell;
mod space;
mod toml;
mod yaml;
mod yaml_value;

pub use key::{Format, Key};

/// The value of a key, as a value of TOML.
pub type Value = ::toml::Value;

/// Why a key could not be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file is not text.
    #[error("the file is not UTF-8 text")]
    NotText,
    /// The file is not in the format, or is written in a way that we do not understand.
    #[error("line {line}: {problem}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// The file is not in the format, or is written in an unusual way.
    #[error("the file is written in a way in which the key cannot be set safely")]
    Unclear,
    /// The key cannot be in a file of this format.
    #[error("the key {key} {problem}")]
    Key {
        /// The key.
        key: String,
        /// Why not.
        problem: &'static str,
    },
    /// The value cannot be in a file of this format.
    #[error("{format} has no way to write {value}")]
    Value {
        /// The format.
        format: &'static str,
        /// What cannot be written.
        value: &'static str,
    },
}

/// Gives `content` with `key` set to `value`: replaced in place if it is there, else appended.
pub fn set(format: Format, content: &[u8], key: &Key, value: &Value) -> Result<Vec<u8>, Error> {
    let text = std::str::from_utf8(content).map_err(|_| Error::NotText)?;
    let names = key.names(format);
    if names.is_empty()
        || names
            .iter()
            .any(|name| name.is_empty() || name.contains('\n'))
    {
        return Err(Error::Key {
            key: key.to_string(),
            problem: "has no name, an empty one, or a line end in it",
        });
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let set = |text: &str| match format {
        Format::Yaml => yaml::set(text, &names, value),
        Format::Ini => ini::set(text, &names, value),
        Format::Shell => shell::set_value(text, &names, value),
        Format::Space => space::set(text, &names, value),
        Format::Json => json::set(text, &names, value),
        Format::Toml => toml::set(text, &names, value),
    };
    let once = set(text)?;
    // Some formats are read line by line, and an unusual file may mislead us: then the key is not
    // found where it was just set.
    if set(&once).as_ref() != Ok(&once) {
        return Err(Error::Unclear);
    }
    Ok(once.into_bytes())
}

/// A scalar value, as written in a configuration file without types.
fn plain(format: &'static str, value: &Value) -> Result<String, Error> {
    let plain = match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(_) | Value::Table(_) => {
            let value = "a list or a table";
            return Err(Error::Value { format, value });
        }
    };
    if plain.contains(['\n', '\0']) {
        let value = "a text with a line end or NUL";
        return Err(Error::Value { format, value });
    }
    Ok(plain)
}

/// The number, from 1, of the line that holds the byte at `offset`.
fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.matches('\n').count() + 1
}

/// Appends a line, after a line end that the text may lack.
fn push_line(text: &mut String, line: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
}
