//! The arguments that give variables their values.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::inert;
use crate::config::{Setting, Source, Values, decode};
use crate::environment::Environment;

/// The longest value in a file, in bytes.
const LONGEST: u64 = 1 << 20;

/// Values for variables.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct VariableArgs {
    /// Set a variable.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Set a variable to what a file holds, or standard input if it is `-`. If that is one line, its
    /// end is left out.
    #[arg(long, value_name = "NAME=FILE", value_parser = assignment)]
    set_file: Vec<(String, String)>,
    /// Set the variables that a TOML file lists: `name = value`. What --set says takes precedence.
    #[arg(long, value_name = "FILE")]
    var_file: Vec<PathBuf>,
}

/// `NAME=VALUE`, the argument of `--set`.
pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it is not of the form NAME=VALUE".to_owned()),
    }
}

impl VariableArgs {
    /// Whether a variable is set.
    pub(super) fn is_given(&self) -> bool {
        !(self.set.is_empty() && self.set_file.is_empty() && self.var_file.is_empty())
    }

    /// The files that are read for them.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let single = self.set_file.iter().map(|(_, path)| PathBuf::from(path));
        single.chain(self.var_file.iter().cloned())
    }

    /// The values. From here on, those that may be sensitive are not printed.
    pub(super) fn values(&self, environment: &Environment) -> Result<Values, Failure> {
        let mut apart = Vec::with_capacity(self.set_file.len());
        let mut uses_input = false;
        for (name, path) in &self.set_file {
            let is_input = path == "-";
            if is_input && uses_input {
                let what = "only one variable can be set from standard input";
                return Err(Failure::new(what));
            }
            uses_input |= is_input;
            let read = if is_input {
                content(io::stdin().lock())
            } else {
                File::open(Path::new(path)).and_then(content)
            };
            let value = read.map_err(|error| {
                Failure::from(error).in_context(format!("cannot set {name} from {path}"))
            })?;
            apart.push((name.clone(), value));
        }
        let mut files = Vec::new();
        for path in &self.var_file {
            let source = Source::read(path)?;
            let table = decode::parse(&source)?;
            for (name, value) in table {
                let value: Setting = decode::decode(&source, value)?;
                files.push((name.into_inner().into_owned(), value));
            }
        }
        let values = Values {
            set: self.set.clone(),
            files,
            apart,
            environment: environment.variables.clone(),
        };
        inert::hide(values.hidden());
        Ok(values)
    }
}

fn content(file: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if bytes.len() as u64 > LONGEST {
        return Err(wrong(&format!("it has more than {LONGEST} bytes")));
    }
    // What is wrong with it is not shown: it may be a key.
    let mut text = String::from_utf8(bytes).map_err(|_| wrong("it is not text in UTF-8"))?;
    let line = text
        .strip_suffix('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line));
    if let Some(line) = line.filter(|line| !line.contains('\n')) {
        text.truncate(line.len());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_end_and_lines_keep_theirs() {
        for (bytes, expected) in [
            (&b"secret"[..], "secret"),
            (b"secret\n", "secret"),
            (b"secret\r\n", "secret"),
            (b"one\ntwo\n", "one\ntwo\n"),
            (b"\n", ""),
            (b"", ""),
        ] {
            assert_eq!(content(bytes).unwrap(), expected);
        }
        let error = content(&b"sec\xffret"[..]).unwrap_err().to_string();
        assert!(!error.contains("sec"), "{error}");
        assert!(content(io::repeat(b'x')).is_err());
    }
}
