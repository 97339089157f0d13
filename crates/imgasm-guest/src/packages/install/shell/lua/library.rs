//! What RPM's Lua brings along: its own functions and those of `posix` (rpm's `lposix.c`, "RPM Lua
//! documentation") and of Lua itself.

use std::collections::BTreeMap;

use super::super::{Run, Stop, parser};
use super::Lua;
use super::value::Value;
use imgasm_fs::FileType;

/// All that is known, tables by their names alone.
const KNOWN: [&str; 25] = [
    "error",
    "assert",
    "ipairs",
    "os",
    "os.execute",
    "os.remove",
    "os.rename",
    "posix",
    "posix.access",
    "posix.exec",
    "posix.fork",
    "posix.mkdir",
    "posix.readlink",
    "posix.rmdir",
    "posix.stat",
    "posix.symlink",
    "posix.unlink",
    "posix.wait",
    "print",
    "rpm",
    "rpm.execute",
    "table",
    "table.insert",
    "tonumber",
    "tostring",
];

/// What else there is without being defined by a script.
pub(super) const OTHERS: [&str; 31] = [
    "_G",
    "_VERSION",
    "_ENV",
    "bit32",
    "collectgarbage",
    "coroutine",
    "debug",
    "dofile",
    "getmetatable",
    "io",
    "load",
    "loadfile",
    "loadstring",
    "macros",
    "math",
    "next",
    "opt",
    "package",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "require",
    "select",
    "setmetatable",
    "string",
    "type",
    "unpack",
    "utf8",
];

/// A function or table by its whole name.
pub(super) fn find(name: &str) -> Option<&'static str> {
    KNOWN.into_iter().find(|known| *known == name)
}

impl Lua<'_, '_, '_> {
    /// A call of a function that is known.
    pub(super) fn library(&mut self, name: &str, arguments: Vec<Value>) -> Run<Vec<Value>> {
        if self.is_child && !matches!(name, "posix.exec" | "assert") {
            return Err(self.unknown());
        }
        match (name, arguments.as_slice()) {
            ("print", _) => Ok(Vec::new()),
            ("error", _) => Err(self.error()),
            ("assert", [value, ..]) => match value.truth() {
                Some(true) => Ok(arguments),
                Some(false) => Err(self.error()),
                None => Err(self.unknown()),
            },
            ("tonumber", [Value::Number(number) | Value::Instances(number)]) => {
                Ok(vec![Value::Number(*number)])
            }
            ("tonumber", [Value::Text(text)]) => {
                let number = text.parse::<i64>().ok();
                let number = number.filter(|number| number.to_string() == *text);
                Ok(vec![Value::Number(number.ok_or_else(|| self.unknown())?)])
            }
            ("tostring", [Value::Number(number) | Value::Instances(number)]) => {
                Ok(vec![Value::Text(number.to_string())])
            }
            ("tostring", [Value::Text(text)]) => Ok(vec![Value::Text(text.clone())]),
            ("table.insert", [Value::Table(table), value]) if !matches!(value, Value::Nil) => {
                table.borrow_mut().list.push(value.clone());
                Ok(Vec::new())
            }
            ("posix.fork", []) => Ok(vec![Value::Process]),
            ("posix.wait", [Value::Process]) => Ok(vec![Value::Unsure]),
            ("posix.exec", _) if self.is_child => {
                let (program, words) = self.command(&arguments)?;
                Err(Stop::Return(self.shell.builtin(&program, &words)?))
            }
            ("rpm.execute", _) => {
                let (program, words) = self.command(&arguments)?;
                let status = self
                    .shell
                    .isolated(|shell| shell.builtin(&program, &words))?;
                // As wait(2) has it.
                Ok(vec![Value::Number(i64::from(status) << 8)])
            }
            ("os.execute", [Value::Text(script)]) => {
                let list = parser::parse(script);
                self.shell.isolated(|shell| shell.list(&list))?;
                // What it gives has changed from one version of Lua to another.
                Ok(vec![Value::Unsure])
            }
            _ => self.of_files(name, &arguments),
        }
    }

    /// A program with its arguments.
    fn command(&self, arguments: &[Value]) -> Run<(String, Vec<String>)> {
        let words: Option<Vec<_>> = arguments.iter().map(Value::joined).collect();
        let mut words = words.ok_or_else(|| self.unknown())?;
        if words.is_empty() {
            return Err(self.unknown());
        }
        let program = words.remove(0);
        Ok((program, words))
    }

    fn of_files(&mut self, name: &str, arguments: &[Value]) -> Run<Vec<Value>> {
        let texts: Option<Vec<_>> = arguments.iter().map(Value::joined).collect();
        let texts = texts.ok_or_else(|| self.unknown())?;
        for path in &texts {
            // Where something is mounted there is a folder in the image, too.
            if name != "posix.mkdir" || !matches!(path.as_str(), "/dev" | "/proc" | "/sys") {
                self.shell.check_ordinary(path)?;
            }
        }
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let is_done = match (name, texts.as_slice()) {
            ("posix.access", [path]) => self.is_accessible(path, "f")?,
            ("posix.access", [path, modes]) => self.is_accessible(path, modes)?,
            ("posix.stat", [path]) => return self.stat(path),
            ("posix.stat", [path, "type"]) => {
                let kind = self.shell.file_type_kept(path)?;
                return Ok(kind.map_or_else(failure, |kind| vec![kind_of(kind)]));
            }
            ("posix.readlink", [path]) => {
                let path = self.shell.path(path)?;
                let link = crate::files::link_target(self.shell.editor.fs(), &path)?;
                let link = link.map(String::from_utf8).transpose();
                let link = link.map_err(|_| self.unknown())?;
                return Ok(link.map_or_else(failure, |link| vec![Value::Text(link)]));
            }
            ("os.rename", [from, to]) => {
                let is_done = self.shell.mv(from, to)?;
                return Ok(if is_done {
                    vec![Value::Bool(true)]
                } else {
                    failure()
                });
            }
            ("os.remove", [path]) => {
                let is_folder = self.shell.file_type_kept(path)? == Some(FileType::Directory);
                let program = if is_folder { "rmdir" } else { "unlink" };
                let is_done = self.succeeds(program, &[path])?;
                return Ok(if is_done {
                    vec![Value::Bool(true)]
                } else {
                    failure()
                });
            }
            ("posix.unlink", [path]) => self.succeeds("unlink", &[path])?,
            ("posix.rmdir", [path]) => self.succeeds("rmdir", &[path])?,
            ("posix.mkdir", [path]) => {
                self.shell.metadata_kept(path)?.is_none()
                    && self.shell.make_folder(path, None, false)?
            }
            ("posix.symlink", [target, path]) => {
                self.shell.file_type_kept(path)?.is_none()
                    && self.succeeds("ln", &["-sT", "--", target, path])?
            }
            _ => return Err(self.unknown()),
        };
        Ok(if is_done {
            vec![Value::Number(0)]
        } else {
            failure()
        })
    }

    /// Whether a command of the shell succeeds.
    fn succeeds(&mut self, program: &str, words: &[&str]) -> Run<bool> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        Ok(self.shell.builtin(program, &words)? == 0)
    }

    /// `posix.access` for root.
    fn is_accessible(&mut self, path: &str, modes: &str) -> Run<bool> {
        let mut is_accessible = true;
        for mode in modes.chars() {
            let test = match mode {
                'f' => "-e",
                'r' => "-r",
                'w' => "-w",
                'x' => "-x",
                _ => return Err(self.unknown()),
            };
            is_accessible &= self.succeeds("test", &[test, path])?;
        }
        Ok(is_accessible)
    }

    /// `posix.stat`, which does not follow links.
    fn stat(&mut self, path: &str) -> Run<Vec<Value>> {
        let Some(found) = self.shell.metadata_kept(path)? else {
            return Ok(failure());
        };
        let mut fields = BTreeMap::from([("type".to_owned(), kind_of(found.file_type))]);
        if found.file_type == FileType::Regular {
            let size = i64::try_from(found.size).map_err(|_| self.unknown())?;
            fields.insert("size".to_owned(), Value::Number(size));
        }
        for unsure in [
            "mode", "ino", "dev", "nlink", "uid", "gid", "atime", "mtime", "ctime",
        ] {
            fields.insert(unsure.to_owned(), Value::Unsure);
        }
        fields.entry("size".to_owned()).or_insert(Value::Unsure);
        Ok(vec![Value::table(Vec::new(), fields)])
    }
}

/// What a function gives that failed: nothing, then words about it and a number.
fn failure() -> Vec<Value> {
    vec![Value::Nil, Value::Unsure, Value::Unsure]
}

/// A kind of file in the words of `posix.stat`.
fn kind_of(kind: FileType) -> Value {
    let name = match kind {
        FileType::Regular => "regular",
        FileType::Directory => "directory",
        FileType::Symlink => "link",
        FileType::CharDevice => "character device",
        FileType::BlockDevice => "block device",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    };
    Value::Text(name.to_owned())
}
