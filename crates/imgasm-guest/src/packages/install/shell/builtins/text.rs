//! Commands that write and read text.

use super::super::regex::Syntax;
use super::super::{Dialect, Run, Shell};
use super::options;
use imgasm_fs::FileType;

impl Shell<'_, '_> {
    pub(super) fn text_command(&mut self, name: &str, arguments: &[String]) -> Run {
        match name {
            "echo" => self.echo(arguments),
            "printf" => self.printf(arguments),
            "cat" => self.cat(arguments),
            "grep" => self.grep(arguments, Syntax::Basic),
            "egrep" => self.grep(arguments, Syntax::Extended),
            "fgrep" => self.grep(arguments, Syntax::Fixed),
            "cut" => self.cut(arguments),
            "head" | "tail" => self.ends(arguments, name == "head"),
            "wc" => self.count(arguments),
            "tr" => self.translate(arguments),
            "awk" | "gawk" => self.awk(arguments),
            "readlink" => self.read_link(arguments),
            _ => self.part_of_path(name, arguments),
        }
    }

    fn echo(&mut self, arguments: &[String]) -> Run {
        let mut words = arguments;
        let mut has_end = true;
        while let Some((first, rest)) = words.split_first() {
            match first.as_str() {
                "-n" => has_end = false,
                "-e" | "-E" | "-ne" | "-en" if self.nobody_listens() => {}
                // Here bash and others part.
                "-e" | "-ne" | "-en" => return Err(self.unknown()),
                "-E" if self.dialect == Dialect::Bash => {}
                _ => break,
            }
            words = rest;
        }
        let mut text = words.join(" ");
        if text.contains('\\') && self.dialect != Dialect::Bash && !self.nobody_listens() {
            return Err(self.unknown());
        }
        if has_end {
            text.push('\n');
        }
        self.say(text.as_bytes())?;
        Ok(0)
    }

    pub(super) fn nobody_listens(&self) -> bool {
        matches!(self.descriptors.output, super::super::io::Output::Nowhere)
    }

    /// `printf` with `%s`, `%d`, `%%` and the usual escapes (POSIX.1-2017, "printf").
    fn printf(&mut self, arguments: &[String]) -> Run {
        let Some((format, arguments)) = arguments.split_first() else {
            return Err(self.unknown());
        };
        if format.starts_with('-') {
            return Err(self.unknown());
        }
        let mut text = String::new();
        let mut left = arguments.iter();
        loop {
            let before = left.len();
            let mut chars = format.chars();
            while let Some(c) = chars.next() {
                match c {
                    '\\' => text.push(match chars.next() {
                        Some('n') => '\n',
                        Some('t') => '\t',
                        Some('r') => '\r',
                        Some('\\') => '\\',
                        Some('"') => '"',
                        _ => return Err(self.unknown()),
                    }),
                    '%' => match chars.next() {
                        Some('%') => text.push('%'),
                        Some('s') => text.push_str(left.next().map_or("", String::as_str)),
                        Some('d' | 'i') => {
                            let number = left.next().map_or("0", String::as_str);
                            let is_plain = number
                                .parse::<i64>()
                                .is_ok_and(|n| n.to_string() == *number);
                            if !is_plain {
                                return Err(self.unknown());
                            }
                            text.push_str(number);
                        }
                        _ => return Err(self.unknown()),
                    },
                    c => text.push(c),
                }
            }
            if left.len() == 0 || left.len() == before {
                break;
            }
        }
        self.say(text.as_bytes())?;
        Ok(0)
    }

    /// What a command reads: its files, or the standard input without any. `None` in place of a
    /// file that cannot be read.
    fn inputs(&mut self, files: &[String]) -> Run<Vec<Option<Vec<u8>>>> {
        if files.is_empty() {
            return Ok(vec![Some(self.descriptors.input.read_all())]);
        }
        let mut inputs = Vec::new();
        for file in files {
            inputs.push(match file.as_str() {
                "-" => Some(self.descriptors.input.read_all()),
                file => self.read_file(file)?,
            });
        }
        Ok(inputs)
    }

    /// The lines of all inputs, and whether one could not be read.
    pub(super) fn lines(&mut self, files: &[String]) -> Run<(Vec<String>, bool)> {
        let (mut lines, mut is_missing) = (Vec::new(), false);
        for input in self.inputs(files)? {
            let Some(input) = input else {
                is_missing = true;
                continue;
            };
            let text = String::from_utf8(input).map_err(|_| self.unknown())?;
            lines.extend(text.lines().map(str::to_owned));
            if text.contains('\r') {
                return Err(self.unknown());
            }
        }
        Ok((lines, is_missing))
    }

    fn cat(&mut self, arguments: &[String]) -> Run {
        let options = options::parse(arguments, "", "", &[]).ok_or_else(|| self.unknown())?;
        let mut status = 0;
        for input in self.inputs(&options.operands)? {
            match input {
                Some(bytes) => self.say(&bytes)?,
                None => status = 1,
            }
        }
        Ok(status)
    }

    fn cut(&mut self, arguments: &[String]) -> Run {
        let long = [("delimiter", 'd'), ("fields", 'f'), ("only-delimited", 's')];
        let options = options::parse(arguments, "s", "dfc", &long).ok_or_else(|| self.unknown())?;
        let is_chars = options.value('c').is_some();
        let list = options
            .value('f')
            .or(options.value('c'))
            .ok_or_else(|| self.unknown())?;
        let ranges: Option<Vec<_>> = list.split(',').map(range).collect();
        let ranges = ranges.ok_or_else(|| self.unknown())?;
        let delimiter = options.value('d').unwrap_or("\t");
        let mut delimiter = delimiter.chars();
        let (Some(delimiter), None) = (delimiter.next(), delimiter.next()) else {
            return Err(self.unknown());
        };
        if is_chars && (options.value('f').is_some() || options.has('s')) {
            return Err(self.unknown());
        }
        let is_wanted = |index: usize| ranges.iter().any(|range| range.contains(&(index + 1)));
        let (lines, is_missing) = self.lines(&options.operands)?;
        for line in lines {
            if is_chars {
                // GNU's cut counts bytes.
                if !line.is_ascii() {
                    return Err(self.unknown());
                }
                let chars = line
                    .chars()
                    .enumerate()
                    .filter(|(index, _)| is_wanted(*index));
                let text: String = chars.map(|(_, c)| c).collect();
                self.say_line(&text)?;
            } else if line.contains(delimiter) {
                let fields = line.split(delimiter).enumerate();
                let fields: Vec<_> = fields
                    .filter(|(index, _)| is_wanted(*index))
                    .map(|(_, field)| field)
                    .collect();
                let text = fields.join(delimiter.encode_utf8(&mut [0; 4]));
                self.say_line(&text)?;
            } else if !options.has('s') {
                self.say_line(&line)?;
            }
        }
        Ok(u8::from(is_missing))
    }

    /// `head` and `tail` by lines.
    fn ends(&mut self, arguments: &[String], is_head: bool) -> Run {
        let first = arguments.first().and_then(|first| first.strip_prefix('-'));
        let count = first.filter(|first| first.bytes().all(|byte| byte.is_ascii_digit()));
        let arguments: Vec<_> = match count.filter(|count| !count.is_empty()) {
            Some(count) => ["-n", count]
                .into_iter()
                .map(str::to_owned)
                .chain(arguments[1..].iter().cloned())
                .collect(),
            None => arguments.to_vec(),
        };
        let options = options::parse(&arguments, "q", "n", &[("lines", 'n')]);
        let options = options.filter(|options| options.operands.len() < 2);
        let options = options.ok_or_else(|| self.unknown())?;
        let count = options.value('n').unwrap_or("10").parse::<usize>();
        let count = count.map_err(|_| self.unknown())?;
        let mut inputs = self.inputs(&options.operands)?;
        let Some(Some(input)) = inputs.pop() else {
            return Ok(1);
        };
        let lines: Vec<_> = input.split_inclusive(|byte| *byte == b'\n').collect();
        let skipped = if is_head {
            0
        } else {
            lines.len().saturating_sub(count)
        };
        let taken = lines.into_iter().skip(skipped).take(count).flatten();
        let bytes: Vec<_> = taken.copied().collect();
        self.say(&bytes)?;
        Ok(0)
    }

    /// `wc -l` of the standard input.
    fn count(&mut self, arguments: &[String]) -> Run {
        if arguments != ["-l"] {
            return Err(self.unknown());
        }
        let input = self.descriptors.input.read_all();
        let count = input.split(|byte| *byte == b'\n').count() - 1;
        self.say_line(&count.to_string())?;
        Ok(0)
    }

    /// `tr` with sets of plain characters and ranges, and `tr -d`.
    fn translate(&mut self, arguments: &[String]) -> Run {
        let input = self.descriptors.input.read_all();
        let (from, to) = match arguments {
            [flag, set] if flag == "-d" => (set_of(set), Some(Vec::new())),
            [from, to] if !from.starts_with('-') => (set_of(from), set_of(to)),
            _ => return Err(self.unknown()),
        };
        let (Some(from), Some(to)) = (from, to) else {
            return Err(self.unknown());
        };
        let bytes =
            input
                .iter()
                .filter_map(|byte| match from.iter().rposition(|one| one == byte) {
                    None => Some(*byte),
                    Some(index) => to.get(index).or(to.last()).copied(),
                });
        let bytes: Vec<_> = bytes.collect();
        self.say(&bytes)?;
        Ok(0)
    }

    /// `awk '{print $N}'`, the one program that scripts commonly have.
    fn awk(&mut self, arguments: &[String]) -> Run {
        let options = options::parse(arguments, "", "F", &[]).ok_or_else(|| self.unknown())?;
        let Some((program, files)) = options.operands.split_first() else {
            return Err(self.unknown());
        };
        let number = program
            .trim()
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        let number = number.and_then(|rest| {
            rest.trim()
                .trim_end_matches(';')
                .trim()
                .strip_prefix("print")
        });
        let number = number.and_then(|rest| rest.trim().strip_prefix('$'));
        let number: Option<usize> = number.and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| self.unknown())?;
        let separator = match options.value('F') {
            None | Some(" ") => None,
            Some(text) if text.len() == 1 && !"\\|.*+?[](){}^$t".contains(text) => {
                Some(text.to_owned())
            }
            Some(_) => return Err(self.unknown()),
        };
        let (lines, is_missing) = self.lines(files)?;
        for line in lines {
            let field = match (&separator, number.checked_sub(1)) {
                (_, None) => Some(line.as_str()),
                (None, Some(index)) => line
                    .split([' ', '\t'])
                    .filter(|field| !field.is_empty())
                    .nth(index),
                (Some(separator), Some(index)) => line.split(separator.as_str()).nth(index),
            };
            let field = field.unwrap_or_default().to_owned();
            self.say_line(&field)?;
        }
        Ok(if is_missing { 2 } else { 0 })
    }

    fn read_link(&mut self, arguments: &[String]) -> Run {
        let options = options::parse(arguments, "fe", "", &[("canonicalize", 'f')]);
        let options = options.filter(|options| options.operands.len() == 1);
        let options = options.ok_or_else(|| self.unknown())?;
        let target = &options.operands[0];
        if options.has('f') || options.has('e') {
            self.check_ordinary(target)?;
            let path = self.path(target)?;
            let place =
                imgasm_fs::tree::locate(self.editor.fs(), &path, imgasm_fs::tree::LastLink::Follow);
            let place = match place {
                Err(imgasm_fs::tree::Error::NotFound { .. }) => return Ok(1),
                place => place?,
            };
            if options.has('e') && place.node.is_none() {
                return Ok(1);
            }
            self.say_line(&place.path.to_string())?;
            return Ok(0);
        }
        if self.file_type_kept(target)? != Some(FileType::Symlink) {
            return Ok(1);
        }
        let link = crate::files::link_target(self.editor.fs(), &self.path(target)?)?;
        let mut link = link.unwrap_or_default();
        link.push(b'\n');
        self.say(&link)?;
        Ok(0)
    }

    fn part_of_path(&mut self, name: &str, arguments: &[String]) -> Run {
        let (path, suffix) = match arguments {
            [path] => (path.as_str(), ""),
            [path, suffix] if name == "basename" => (path.as_str(), suffix.as_str()),
            _ => return Err(self.unknown()),
        };
        if path.starts_with('-') || path.is_empty() {
            return Err(self.unknown());
        }
        let trimmed = path.trim_end_matches('/');
        let (folder, last) = match trimmed.rsplit_once('/') {
            Some((folder, last)) => (folder.trim_end_matches('/'), last),
            None => (".", trimmed),
        };
        let text = match name {
            _ if trimmed.is_empty() => "/",
            "basename" => last
                .strip_suffix(suffix)
                .filter(|rest| !rest.is_empty())
                .unwrap_or(last),
            _ if folder.is_empty() => "/",
            _ => folder,
        };
        self.say_line(text)?;
        Ok(0)
    }
}

/// A range of fields, as cut has it: `3`, `2-`, `-4`, `2-4`.
fn range(text: &str) -> Option<std::ops::RangeInclusive<usize>> {
    let (start, end) = match text.split_once('-') {
        None => (text, text),
        Some((start, end)) => (start, end),
    };
    let start = if start.is_empty() {
        1
    } else {
        start.parse().ok()?
    };
    let end = if end.is_empty() {
        usize::MAX
    } else {
        end.parse().ok()?
    };
    (start > 0 && start <= end && text != "-").then_some(start..=end)
}

/// The characters of a set of `tr`.
fn set_of(text: &str) -> Option<Vec<u8>> {
    match text {
        "[:upper:]" => return Some((b'A'..=b'Z').collect()),
        "[:lower:]" => return Some((b'a'..=b'z').collect()),
        "\\n" => return Some(vec![b'\n']),
        "\\t" => return Some(vec![b'\t']),
        _ => {}
    }
    if !text.is_ascii() || text.contains(['[', '\\']) || text.is_empty() {
        return None;
    }
    let bytes = text.as_bytes();
    let mut set = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (bytes.get(at + 1), bytes.get(at + 2)) {
            (Some(b'-'), Some(end)) if end >= byte => {
                set.extend(*byte..=*end);
                at += 3;
            }
            _ => {
                set.push(*byte);
                at += 1;
            }
        }
    }
    Some(set)
}
