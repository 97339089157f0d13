//! Commands that say what files there are, with the options of GNU's: `ls`, `stat`, `find`, `xargs`.
//!
//! In what order a folder has its entries is a matter of the filesystem, and how names are sorted one of
//! the locale: where that could be seen, they are not known.

use super::super::pattern::{cost, matches};
use super::super::{Run, Shell};
use super::options;
use crate::Accounts;
use crate::files::list;
use imgasm_fs::FileType;
use imgasm_fs::path::ImagePath;

/// How deep folders are searched.
const MAX_DEPTH: usize = 64;
/// The work that an entry of a folder is ([`Shell::spend`]).
const ENTRY_WORK: u64 = 8 << 10;
/// What `stat` calls a user or group that has no name.
const UNKNOWN: &str = "UNKNOWN";
/// Programs for which the order of their arguments does not matter.
const ORDERLESS: [&str; 8] = [
    "rm",
    "rmdir",
    "chmod",
    "chown",
    "chgrp",
    "touch",
    "restorecon",
    "true",
];

/// What `find` asks of a file.
enum Test {
    Name(Vec<(char, bool)>),
    Kind(FileType),
    Not(Box<Test>),
}

/// What `find` does with a file.
enum Action {
    Print,
    Delete,
    /// A command, and whether it gets all files at once.
    Run(Vec<String>, bool),
}

impl Shell<'_, '_> {
    /// `ls` of a folder, whose names nobody reads, or that come to one at most, or are counted.
    pub(super) fn ls(&mut self, arguments: &[String]) -> Run {
        let options = options::parse(arguments, "1Aad", "", &[]).ok_or_else(|| self.unknown())?;
        let here = [".".to_owned()];
        let operands = match options.operands.as_slice() {
            [] => &here,
            operands => operands,
        };
        let (mut names, mut status, mut folders) = (Vec::new(), 0, 0);
        for operand in operands {
            self.check_ordinary(operand)?;
            let found = self.metadata(operand)?.or(self.metadata_kept(operand)?);
            match found.map(|found| found.file_type) {
                None => status = 2,
                Some(FileType::Directory) if !options.has('d') => {
                    folders += 1;
                    let entries = list(self.editor.fs(), &self.path(operand)?)?;
                    let entries = entries.into_iter().map(|(name, _)| name);
                    let is_shown = |name: &Vec<u8>| {
                        options.has('a') || options.has('A') || !name.starts_with(b".")
                    };
                    names.extend(entries.filter(is_shown));
                    if options.has('a') {
                        names.extend([b".".to_vec(), b"..".to_vec()]);
                    }
                }
                Some(_) => names.push(operand.as_bytes().to_vec()),
            }
        }
        if self.nobody_listens() {
            return Ok(status);
        }
        names.sort();
        let is_plain = |name: &Vec<u8>| {
            name.iter()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if (operands.len() > 1 && folders > 0) || (names.len() > 1 && !names.iter().all(is_plain)) {
            return Err(self.unknown());
        }
        for name in names {
            self.say(&[name.as_slice(), b"\n"].concat())?;
        }
        Ok(status)
    }

    /// `stat -c` with owners, rights and size.
    pub(super) fn stat(&mut self, arguments: &[String]) -> Run {
        let long = [("format", 'c'), ("dereference", 'L')];
        let options = options::parse(arguments, "L", "c", &long).ok_or_else(|| self.unknown())?;
        let accounts = Accounts::read(self.editor.fs())?;
        let known = |name: String, number: u32| {
            if name == number.to_string() {
                UNKNOWN.to_owned()
            } else {
                name
            }
        };
        let mut status = u8::from(options.operands.is_empty());
        for operand in &options.operands {
            self.check_ordinary(operand)?;
            let found = if options.has('L') {
                self.metadata(operand)?
            } else {
                self.metadata_kept(operand)?
            };
            let Some(found) = found else {
                status = 1;
                continue;
            };
            let Some(format) = options.value('c') else {
                if self.nobody_listens() {
                    continue;
                }
                return Err(self.unknown());
            };
            let mut text = String::new();
            let mut chars = format.chars();
            while let Some(c) = chars.next() {
                match c {
                    '%' => {
                        let value = match chars.next() {
                            Some('a') => format!("{:o}", found.permissions),
                            Some('u') => found.uid.to_string(),
                            Some('g') => found.gid.to_string(),
                            Some('U') => known(accounts.user_name(found.uid), found.uid),
                            Some('G') => known(accounts.group_name(found.gid), found.gid),
                            Some('s') if found.file_type == FileType::Regular => {
                                found.size.to_string()
                            }
                            Some('n') => operand.clone(),
                            Some('%') => "%".to_owned(),
                            _ => return Err(self.unknown()),
                        };
                        text.push_str(&value);
                    }
                    '\\' => return Err(self.unknown()),
                    c => text.push(c),
                }
            }
            self.say_line(&text)?;
        }
        Ok(status)
    }

    pub(super) fn find(&mut self, arguments: &[String]) -> Run {
        let starts = arguments
            .iter()
            .take_while(|word| !word.starts_with(['-', '(', '!']));
        let starts: Vec<_> = starts.cloned().collect();
        let Some((tests, action, depths)) = expression(&arguments[starts.len()..]) else {
            return Err(self.unknown());
        };
        if starts.is_empty() {
            return Err(self.unknown());
        }
        let (mut found, mut status) = (Vec::new(), 0);
        for start in &starts {
            self.check_ordinary(start)?;
            if self.file_type_kept(start)?.is_none() {
                status = 1;
                continue;
            }
            self.search_below(start, (&tests, depths), 0, &mut found)?;
        }
        if let Action::Run(command, _) = &action
            && command[0].contains("rm")
        {
            // What is removed with its folder is missed on the way on.
            for path in &found {
                if self.file_type_kept(path)? == Some(FileType::Directory) {
                    return Err(self.unknown());
                }
            }
        }
        let is_orderless = match &action {
            Action::Print => self.nobody_listens() || found.len() < 2,
            Action::Delete => true,
            Action::Run(command, _) => found.len() < 2 || self.is_orderless(&command[0]),
        };
        if !is_orderless {
            return Err(self.unknown());
        }
        match action {
            Action::Print => {
                for path in found {
                    self.say_line(&path)?;
                }
            }
            Action::Delete => {
                // What lies in a folder goes before it.
                for path in found.iter().rev() {
                    let is_folder = self.file_type_kept(path)? == Some(FileType::Directory);
                    let program = if is_folder { "rmdir" } else { "unlink" };
                    status |= self.builtin(program, std::slice::from_ref(path))?;
                }
            }
            Action::Run(command, is_at_once) => {
                let (program, words) = (&command[0], &command[1..]);
                if is_at_once && !found.is_empty() {
                    let words: Vec<_> = words.iter().cloned().chain(found).collect();
                    status |= u8::from(self.program(program, &words)? != 0);
                } else if !is_at_once {
                    for path in found {
                        let words: Vec<_> =
                            words.iter().map(|word| word.replace("{}", &path)).collect();
                        self.program(program, &words)?;
                    }
                }
            }
        }
        Ok(status)
    }

    fn is_orderless(&self, program: &str) -> bool {
        let name = program.rsplit('/').next().unwrap_or_default();
        ORDERLESS.contains(&name) && !self.functions.contains_key(program)
    }

    fn search_below(
        &mut self,
        path: &str,
        (tests, depths): (&[Test], (usize, usize)),
        depth: usize,
        found: &mut Vec<String>,
    ) -> Run<()> {
        self.spend(ENTRY_WORK)?;
        let Some(kind) = self.file_type_kept(path)? else {
            return Ok(());
        };
        if depth > MAX_DEPTH {
            return Err(self.unknown());
        }
        if depth >= depths.0 {
            let name = path
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or_default();
            let name: Vec<_> = name.chars().collect();
            let mut holds = true;
            for test in tests {
                holds &= self.holds(test, &name, kind)?;
            }
            if holds {
                found.push(path.to_owned());
            }
        }
        if kind != FileType::Directory || depth >= depths.1 {
            return Ok(());
        }
        let folder: ImagePath = self.path(path)?;
        for (name, _) in list(self.editor.fs(), &folder)? {
            let name = String::from_utf8(name).map_err(|_| self.unknown())?;
            let separator = if path.ends_with('/') { "" } else { "/" };
            self.search_below(
                &format!("{path}{separator}{name}"),
                (tests, depths),
                depth + 1,
                found,
            )?;
        }
        Ok(())
    }

    fn holds(&self, test: &Test, name: &[char], kind: FileType) -> Run<bool> {
        Ok(match test {
            Test::Kind(wanted) => kind == *wanted,
            Test::Name(pattern) => {
                self.spend(cost(pattern, name.len()))?;
                matches(pattern, name)
            }
            Test::Not(test) => !self.holds(test, name, kind)?,
        })
    }

    /// `xargs` with words that have no quotes in them, to one command.
    pub(super) fn xargs(&mut self, arguments: &[String]) -> Run {
        let (skips_nothing, command) = match arguments {
            [first, rest @ ..] if first == "-r" || first == "--no-run-if-empty" => (true, rest),
            rest => (false, rest),
        };
        let Some((program, words)) = command.split_first() else {
            return Err(self.unknown());
        };
        let input =
            String::from_utf8(self.descriptors.input.read_all()).map_err(|_| self.unknown())?;
        if program.starts_with('-') || input.contains(['\'', '"', '\\']) {
            return Err(self.unknown());
        }
        let more: Vec<_> = input.split_ascii_whitespace().map(str::to_owned).collect();
        if more.is_empty() && skips_nothing {
            return Ok(0);
        }
        // More than one call would be made of very many words.
        if input.len() > 1 << 15 {
            return Err(self.unknown());
        }
        let words: Vec<_> = words.iter().cloned().chain(more).collect();
        let status = self.program(program, &words)?;
        Ok(match status {
            0 | 127 => status,
            1..=125 => 123,
            _ => return Err(self.unknown()),
        })
    }
}

/// The tests, the action and the least and greatest depth of `find`; `None` if something is not known.
fn expression(words: &[String]) -> Option<(Vec<Test>, Action, (usize, usize))> {
    let (mut tests, mut action, mut depths) = (Vec::new(), None, (0, usize::MAX));
    let mut words = words.iter().map(String::as_str);
    let mut is_negated = false;
    while let Some(word) = words.next() {
        if matches!(word, "!" | "-not") {
            is_negated = !is_negated;
            continue;
        }
        // What follows an action would be done only if that went well.
        if action.is_some() {
            return None;
        }
        let test = match word {
            "-name" => {
                let pattern = words.next()?;
                (!pattern.contains('\\')).then_some(())?;
                Test::Name(pattern.chars().map(|c| (c, false)).collect())
            }
            "-type" => Test::Kind(match words.next()? {
                "f" => FileType::Regular,
                "d" => FileType::Directory,
                "l" => FileType::Symlink,
                _ => return None,
            }),
            "-mindepth" => {
                depths.0 = words.next()?.parse().ok()?;
                continue;
            }
            "-maxdepth" => {
                depths.1 = words.next()?.parse().ok()?;
                continue;
            }
            "-print" | "-delete" | "-exec" if is_negated => return None,
            "-print" => {
                action = Some(Action::Print);
                continue;
            }
            "-delete" => {
                action = Some(Action::Delete);
                continue;
            }
            "-exec" => {
                let mut command = Vec::new();
                let is_at_once = loop {
                    match words.next()? {
                        ";" => break false,
                        "+" if command.last().is_some_and(|word| word == "{}") => {
                            command.pop();
                            break true;
                        }
                        word => command.push(word.to_owned()),
                    }
                };
                (!command.is_empty()).then_some(())?;
                if is_at_once && command.iter().any(|word| word.contains("{}")) {
                    return None;
                }
                action = Some(Action::Run(command, is_at_once));
                continue;
            }
            _ => return None,
        };
        tests.push(if is_negated {
            Test::Not(Box::new(test))
        } else {
            test
        });
        is_negated = false;
    }
    (!is_negated).then_some((tests, action.unwrap_or(Action::Print), depths))
}
