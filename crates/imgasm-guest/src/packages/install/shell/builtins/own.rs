//! Commands that change the shell itself.

use super::super::conditions::is_program;
use super::super::expand::PATH;
use super::super::{Dialect, Run, Shell, Stop, parser};
use imgasm_fs::Metadata;
use imgasm_fs::tree::{self, LastLink};

/// The programs that a shell carries in itself.
const OWN: [&str; 20] = [
    ".", ":", "[", "break", "cd", "command", "continue", "echo", "exit", "export", "false",
    "printf", "pwd", "read", "return", "set", "shift", "test", "true", "unset",
];

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
            // Bash only warns.
            ("break" | "continue", []) if self.loops == 0 && self.dialect == Dialect::Bash => Ok(0),
            ("eval", _) => {
                let script = words.join(" ");
                self.spend(script.len() as u64)?;
                self.deeper(|shell| shell.list(&parser::parse(&script)))
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
            ("trap", _) => self.trap(&words),
            // Its redirections were seen to before.
            ("exec", []) => Ok(0),
            ("exec", [program, ..]) if !program.starts_with('-') && self.at_exit.is_none() => {
                let status = self.program(program, &arguments[1..])?;
                Err(Stop::Exit(status))
            }
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
                match self.deeper(|shell| shell.list(&parser::parse(&script))) {
                    Err(Stop::Return(status)) => Ok(status),
                    result => result,
                }
            }
            _ => Err(self.unknown()),
        }
    }

    /// `trap` for the end of the script; signals do not come.
    fn trap(&mut self, words: &[&str]) -> Run {
        let words = words.strip_prefix(&["--"]).unwrap_or(words);
        let [action, signals @ ..] = words else {
            return Err(self.unknown());
        };
        let known = [
            "HUP", "INT", "QUIT", "TERM", "PIPE", "1", "2", "3", "13", "15",
        ];
        for signal in signals {
            match signal.strip_prefix("SIG").unwrap_or(signal) {
                "EXIT" | "0" if self.calls > 0 || self.loops > 0 => return Err(self.unknown()),
                "EXIT" | "0" => {
                    let list = parser::parse(action);
                    self.at_exit = Some(list).filter(|_| !matches!(*action, "-" | ""));
                }
                other if known.contains(&other) => {}
                _ => return Err(self.unknown()),
            }
        }
        if signals.is_empty() {
            Err(self.unknown())
        } else {
            Ok(0)
        }
    }

    /// `env` with variables for a program.
    pub(super) fn env(&mut self, arguments: &[String]) -> Run {
        let mut values = Vec::new();
        for (index, word) in arguments.iter().enumerate() {
            match word.split_once('=') {
                Some((name, value)) if !name.starts_with('-') => {
                    values.push((name.to_owned(), value.to_owned()));
                }
                _ if word.starts_with('-') => break,
                _ => {
                    let rest = &arguments[index + 1..];
                    if values.iter().any(|(name, _)| name == "PATH") {
                        break;
                    }
                    let before = self.variables.clone();
                    for (name, value) in values {
                        self.assign(&name, value)?;
                    }
                    let result = self.program(word, rest);
                    self.variables = before;
                    return result;
                }
            }
        }
        Err(self.unknown())
    }

    /// Carries something out that may come to itself again.
    fn deeper(&mut self, act: impl FnOnce(&mut Self) -> Run) -> Run {
        self.calls += 1;
        if self.calls > super::super::MAX_CALLS {
            return Err(self.unknown());
        }
        let result = act(self);
        self.calls -= 1;
        result
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
        if !first.starts_with(['-', '+']) {
            self.arguments = words.iter().map(|word| (*word).to_owned()).collect();
            return Ok(0);
        }
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
        let Some((last, before)) = names.split_last() else {
            return Err(self.unknown());
        };
        for name in before {
            let (value, after) = first_field(rest, &is_separator, &is_space);
            self.assign(name, value.to_owned())?;
            rest = after;
        }
        // What is left is one field with a separator behind it, or several with all of theirs.
        let (field, after) = first_field(rest, &is_separator, &is_space);
        let value = if after.is_empty() { field } else { rest };
        if value != rest && self.dialect != Dialect::Bash {
            return Err(self.unknown());
        }
        self.assign(last, value.to_owned())?;
        Ok(status)
    }

    /// Where a program is, or its name if it is one of the shell's own.
    fn find_program(&self, program: &str) -> Run<Option<String>> {
        if OWN.contains(&program) || self.functions.contains_key(program) {
            return Ok(Some(program.to_owned()));
        }
        let found = self.candidates(program)?.into_iter().flatten();
        let mut found = found.filter(|(_, found)| is_program(found));
        Ok(found.next().map(|(path, _)| path))
    }

    /// What is at each place where a shell looks for a program.
    pub(super) fn candidates(&self, program: &str) -> Run<Vec<Option<(String, Metadata)>>> {
        let places = if program.contains('/') {
            self.check_ordinary(program)?;
            vec![program.to_owned()]
        } else {
            let folders = self.variable("PATH").unwrap_or_else(|| PATH.to_owned());
            let mut folders = folders.split(':');
            // Others may be below what a running kernel makes up, or depend on the current folder.
            if !folders.clone().all(|folder| {
                folder.starts_with("/usr/")
                    || folder.starts_with("/opt/")
                    || ["/bin", "/sbin"].contains(&folder)
            }) {
                return Err(self.unknown());
            }
            folders
                .by_ref()
                .map(|folder| format!("{folder}/{program}"))
                .collect()
        };
        let look = |place: String| Ok(self.metadata(&place)?.map(|found| (place, found)));
        places.into_iter().map(look).collect()
    }
}

/// The first field of a line, and what follows its separator.
fn first_field<'l>(
    line: &'l str,
    is_separator: &impl Fn(char) -> bool,
    is_space: &impl Fn(char) -> bool,
) -> (&'l str, &'l str) {
    let Some(end) = line.find(is_separator) else {
        return (line, "");
    };
    let after = line[end..].trim_start_matches(is_space);
    let mut chars = after.chars();
    let after = match chars.next() {
        Some(c) if is_separator(c) => chars.as_str().trim_start_matches(is_space),
        _ => after,
    };
    (&line[..end], after)
}
