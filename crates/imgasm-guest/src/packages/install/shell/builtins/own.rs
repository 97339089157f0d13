//! Commands that change the shell itself.

use super::super::conditions::is_program;
use super::super::{Dialect, Run, Shell, Stop, parser};
use imgasm_fs::FileType;
use imgasm_fs::tree::{self, LastLink};

/// The programs that a shell carries in itself.
const OWN: [&str; 20] = [
    ".", ":", "[", "break", "cd", "command", "continue", "echo", "exit", "export", "false",
    "printf", "pwd", "read", "return", "set", "shift", "test", "true", "unset",
];
/// The folders in which programs are looked for.
const SEARCHED: [&str; 4] = ["/sbin", "/bin", "/usr/sbin", "/usr/bin"];

impl Shell<'_, '_> {
    #[allow(clippy::too_many_lines, reason = "a table of commands")]
    pub(super) fn own(&mut self, name: &str, arguments: &[String]) -> Run {
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        match (name, words.as_slice()) {
            ("exit", _) => {
                let status = self.status_of(&words)?;
                Err(Stop::Exit(status))
            }
            ("return", _) if self.calls == 0 => Err(self.unknown()),
            ("return", _) => {
                let status = self.status_of(&words)?;
                Err(Stop::Return(status))
            }
            ("break" | "continue", _) => {
                let count = match words.as_slice() {
                    [] => Some(1),
                    [count] => count.parse().ok(),
                    _ => None,
                };
                let count = count.filter(|count| (1..=self.loops).contains(count));
                let count = count.ok_or_else(|| self.unknown())?;
                Err(match name {
                    "break" => Stop::Break(count),
                    _ => Stop::Continue(count),
                })
            }
            ("shift", [] | [_]) => {
                let count = words.first().map_or(Some(1), |count| count.parse().ok());
                let count = count.filter(|count| *count <= self.arguments.len());
                // The shells do not agree on what happens if there are not so many.
                let count = count.ok_or_else(|| self.unknown())?;
                self.arguments.drain(..count);
                Ok(0)
            }
            ("set", _) => self.set_options(&words),
            ("unset", names) => {
                for name in names {
                    if name.starts_with('-') || *name == "IFS" {
                        return Err(self.unknown());
                    }
                    self.variables.remove(*name);
                }
                Ok(0)
            }
            ("export" | "local", names) => {
                for word in names {
                    let (variable, value) = match word.split_once('=') {
                        Some((variable, value)) => (variable, Some(value)),
                        None => (*word, None),
                    };
                    if variable.starts_with('-') {
                        return Err(self.unknown());
                    }
                    if name == "local" {
                        self.hide(variable)?;
                    }
                    if let Some(value) = value {
                        self.assign(variable, value.to_owned())?;
                    }
                }
                Ok(0)
            }
            ("cd", [folder]) if !folder.starts_with('-') => {
                if !self.is_directory(folder)? {
                    return Ok(1);
                }
                let path = self.path(folder)?;
                let place = tree::locate(self.editor.fs(), &path, LastLink::Follow)?;
                if place.path != path {
                    // Where a link leads and how it is called are two answers.
                    return Err(self.unknown());
                }
                self.folder = path;
                Ok(0)
            }
            ("pwd", []) => {
                let folder = self.folder.to_string();
                self.say_line(&folder)?;
                Ok(0)
            }
            ("umask", [mask]) => {
                let mask = u16::from_str_radix(mask, 8)
                    .ok()
                    .filter(|mask| *mask <= 0o777);
                self.umask = mask.ok_or_else(|| self.unknown())?;
                Ok(0)
            }
            ("read", _) => self.read(&words),
            ("hash" | "which" | "type", [program]) | ("command", ["-v", program]) => {
                let found = self.find_program(program)?;
                match (&found, name) {
                    (Some(path), "command" | "which") => self.say_line(path)?,
                    (None, _) | (_, "hash") => {}
                    (Some(_), _)
                        if matches!(self.descriptors.output, super::super::io::Output::Nowhere) => {
                    }
                    (Some(_), _) => return Err(self.unknown()),
                }
                Ok(u8::from(found.is_none()))
            }
            ("command", [program, rest @ ..]) if !program.starts_with('-') => {
                let rest: Vec<_> = rest.iter().map(|word| (*word).to_owned()).collect();
                self.builtin(program, &rest)
            }
            ("." | "source", [path]) if path.contains('/') => {
                let Some(content) = self.read_file(path)? else {
                    // A shell that is not interactive ends here.
                    return Err(self.unknown());
                };
                let script = String::from_utf8(content).map_err(|_| self.unknown())?;
                self.calls += 1;
                if self.calls > super::super::MAX_CALLS {
                    return Err(self.unknown());
                }
                let result = self.list(&parser::parse(&script));
                self.calls -= 1;
                match result {
                    Err(Stop::Return(status)) => Ok(status),
                    result => result,
                }
            }
            _ => Err(self.unknown()),
        }
    }

    /// Makes a variable the function's own, without a value.
    fn hide(&mut self, name: &str) -> Run<()> {
        // Without a value of its own, it keeps the outer one in some shells.
        if self.dialect != Dialect::Bash || name == "IFS" {
            return Err(self.unknown());
        }
        let value = self.variables.remove(name);
        match self.hidden.last_mut() {
            Some(hidden) => {
                hidden.entry(name.to_owned()).or_insert(value);
                Ok(())
            }
            None => Err(self.unknown()),
        }
    }

    fn status_of(&self, words: &[&str]) -> Run {
        let status = match words {
            [] => Some(self.status),
            [status] => status.parse().ok(),
            _ => None,
        };
        status.ok_or_else(|| self.unknown())
    }

    fn set_options(&mut self, words: &[&str]) -> Run {
        let Some((first, rest)) = words.split_first() else {
            return Err(self.unknown());
        };
        if *first == "--" {
            self.arguments = rest.iter().map(|word| (*word).to_owned()).collect();
            return Ok(0);
        }
        if *first == "-o" || *first == "+o" {
            return match rest {
                ["pipefail"] => Err(self.unknown()),
                ["errexit"] => {
                    self.stops_on_failure = *first == "-o";
                    Ok(0)
                }
                ["nounset"] => {
                    self.refuses_unset = *first == "-o";
                    Ok(0)
                }
                _ => Err(self.unknown()),
            };
        }
        let is_on = first.starts_with('-');
        let letters = first
            .strip_prefix(['-', '+'])
            .filter(|letters| !letters.is_empty());
        let letters = letters
            .filter(|_| rest.is_empty())
            .ok_or_else(|| self.unknown())?;
        for letter in letters.chars() {
            match letter {
                'e' => self.stops_on_failure = is_on,
                'u' => self.refuses_unset = is_on,
                // What is printed is lost, unless errors are read by somebody.
                'x' | 'v'
                    if matches!(self.descriptors.errors, super::super::io::Output::Nowhere) => {}
                _ => return Err(self.unknown()),
            }
        }
        Ok(0)
    }

    fn read(&mut self, words: &[&str]) -> Run {
        let (is_raw, names) = match words {
            ["-r", names @ ..] => (true, names),
            names => (false, names),
        };
        if names.is_empty() || names.iter().any(|name| name.starts_with('-')) {
            return Err(self.unknown());
        }
        let line = self.descriptors.input.read_line();
        let status = u8::from(line.as_ref().is_none_or(|line| !line.ends_with(b"\n")));
        let line = String::from_utf8(line.unwrap_or_default()).map_err(|_| self.unknown())?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        if !is_raw && line.contains('\\') {
            return Err(self.unknown());
        }
        let separators = self.separators();
        let is_separator = |c: char| separators.contains(c);
        let is_space = |c: char| is_separator(c) && c.is_ascii_whitespace();
        let mut rest = line.trim_matches(is_space);
        for (index, name) in names.iter().enumerate() {
            let is_last = index + 1 == names.len();
            let end = if is_last {
                None
            } else {
                rest.find(is_separator)
            };
            let (value, after) = match end {
                Some(end) => (&rest[..end], &rest[end..]),
                None if is_last && rest.ends_with(is_separator) => {
                    // One separator behind the last field is dropped, more are not.
                    let shorter = rest.trim_end_matches(is_separator);
                    let dropped = rest[shorter.len()..].chars().count();
                    if dropped > 1 || shorter.contains(is_separator) {
                        return Err(self.unknown());
                    }
                    (shorter, "")
                }
                None => (rest, ""),
            };
            self.assign(name, value.to_owned())?;
            let after = after.trim_start_matches(is_space);
            let mut chars = after.chars();
            rest = match chars.next() {
                Some(c) if is_separator(c) => chars.as_str().trim_start_matches(is_space),
                _ => after,
            };
        }
        Ok(status)
    }

    /// Where a program is, or its name if it is one of the shell's own.
    fn find_program(&self, program: &str) -> Run<Option<String>> {
        if OWN.contains(&program) || self.functions.contains_key(program) {
            return Ok(Some(program.to_owned()));
        }
        let candidates = if program.contains('/') {
            vec![program.to_owned()]
        } else {
            SEARCHED
                .map(|folder| format!("{folder}/{program}"))
                .to_vec()
        };
        for candidate in candidates {
            let found = self.metadata(&candidate)?;
            if found.is_some_and(|found| is_program(&found) && found.file_type == FileType::Regular)
            {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }
}
