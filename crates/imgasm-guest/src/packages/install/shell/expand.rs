//! From the words of a script to the arguments of a command (POSIX.1-2017, "Word Expansions").

use super::ast::{Action, Part, Word};
use super::io::{MAX_BYTES, Output};
use super::pattern::{Quotable, cost, is_pattern, matches};
use super::{Dialect, Run, Shell, Stop, arithmetic};
use crate::files::list;
use imgasm_fs::path::ImagePath;

/// The most arguments that words may become.
const MAX_FIELDS: usize = 10_000;
/// The most parts that these words may have.
const MAX_PARTS: usize = 100_000;
/// The most characters that one word may become.
const MAX_FIELD: usize = 1 << 20;
/// The work that reading a folder is for each of its entries ([`Shell::spend`]).
const ENTRY_WORK: u64 = 256;
/// The field of passwd(5) that has the home folder.
const HOME_FIELD: usize = 5;
/// The characters that split words if the script does not say others.
const DEFAULT_SEPARATORS: &str = " \t\n";
/// What every script is given by RPM (`rpmScriptRun`, `%_install_script_path`).
pub(super) const PATH: &str = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/X11R6/bin";
/// Variables that the system or the shell sets, to values that are not known here.
const ENVIRONMENT: [&str; 18] = [
    "HOME",
    "LANG",
    "LANGUAGE",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "HOSTNAME",
    "RANDOM",
    "SECONDS",
    "UID",
    "EUID",
    "BASH",
    "BASH_VERSION",
    "LINENO",
    "PPID",
    "OLDPWD",
    "TMPDIR",
];

/// A word while it is made.
#[derive(Default)]
struct Field {
    chars: Vec<(char, bool)>,
    /// Whether it is one even if it is empty.
    is_there: bool,
}

/// What words become of which braces make several.
#[derive(Default)]
struct Opened<'w> {
    words: Vec<Vec<&'w Part>>,
    /// How many they have together.
    parts: usize,
}

/// The fields that a word becomes, the last of which is not at its end.
#[derive(Default)]
struct Fields {
    ended: Vec<Field>,
    last: Field,
    /// The characters of those that are at their end.
    chars: usize,
}

impl Fields {
    fn end(&mut self) {
        let field = std::mem::take(&mut self.last);
        self.chars += field.chars.len();
        self.ended.push(field);
    }

    /// Adds what an expansion gave, split at separators unless it was quoted.
    fn add(&mut self, text: &str, separators: Option<&str>) {
        let Some(separators) = separators else {
            self.last.chars.extend(text.chars().map(|c| (c, true)));
            self.last.is_there |= !text.is_empty();
            return;
        };
        let mut was_space = false;
        for c in text.chars() {
            if !separators.contains(c) {
                self.last.push(c.encode_utf8(&mut [0; 4]), false);
                was_space = false;
            } else if c.is_ascii_whitespace() {
                if self.last.is_there {
                    self.end();
                    was_space = true;
                }
            } else {
                if !was_space || self.last.is_there {
                    self.last.is_there = true;
                    self.end();
                }
                was_space = false;
            }
        }
    }
}

impl Field {
    fn push(&mut self, text: &str, is_quoted: bool) {
        self.chars.extend(text.chars().map(|c| (c, is_quoted)));
        self.is_there |= is_quoted || !text.is_empty();
    }

    fn text(&self) -> String {
        self.chars.iter().map(|(c, _)| *c).collect()
    }
}

impl Shell<'_, '_> {
    /// The arguments that words become.
    pub(super) fn arguments(&mut self, words: &[Word]) -> Run<Vec<String>> {
        let (mut arguments, mut bytes) = (Vec::new(), 0);
        let mut opened = Opened::default();
        for word in words {
            self.open_braces(word, &mut opened)?;
        }
        for word in opened.words {
            for field in self.fields(word, true)? {
                let before = arguments.len();
                if is_pattern(&field.chars) {
                    arguments.extend(self.glob(&field.chars)?);
                }
                if arguments.len() == before {
                    arguments.push(field.text());
                }
                bytes += arguments[before..].iter().map(String::len).sum::<usize>();
                if arguments.len() > MAX_FIELDS || bytes > MAX_BYTES {
                    return Err(self.unknown());
                }
            }
        }
        Ok(arguments)
    }

    /// The words that one with braces stands for, those of its first braces changing last.
    fn open_braces<'w>(&self, word: &'w [Part], opened: &mut Opened<'w>) -> Run<()> {
        let braces = word.iter().position(|part| matches!(part, Part::Braces(_)));
        let Some((at, Part::Braces(choices))) = braces.map(|at| (at, &word[at])) else {
            return self.add_word(word.iter().collect(), opened);
        };
        if self.dialect != Dialect::Bash {
            return Err(self.unknown());
        }
        let (mut heads, mut tails) = (Opened::default(), Opened::default());
        for choice in choices {
            self.open_braces(choice, &mut heads)?;
        }
        self.open_braces(&word[at + 1..], &mut tails)?;
        for head in &heads.words {
            for tail in &tails.words {
                let before = word[..at].iter();
                let parts = before.chain(head.iter().copied());
                self.add_word(parts.chain(tail.iter().copied()).collect(), opened)?;
            }
        }
        Ok(())
    }

    fn add_word<'w>(&self, word: Vec<&'w Part>, opened: &mut Opened<'w>) -> Run<()> {
        opened.parts += word.len();
        opened.words.push(word);
        if opened.words.len() > MAX_FIELDS || opened.parts > MAX_PARTS {
            return Err(self.unknown());
        }
        Ok(())
    }

    /// The home folder of a user; that of the shell's own is not known here.
    fn home(&self, name: &str) -> Run<String> {
        let passwd = crate::files::read_known(self.editor.fs(), "/etc/passwd")?;
        let passwd = crate::colon_file::ColonFile::parse(&passwd.unwrap_or_default());
        let home = match passwd.row(name) {
            _ if name.is_empty() => None,
            Some(row) => row.get(HOME_FIELD).map(|home| home.to_vec()),
            None => Some(format!("~{name}").into_bytes()),
        };
        let home = home.and_then(|home| String::from_utf8(home).ok());
        home.ok_or_else(|| self.unknown())
    }

    /// The text that a word becomes where it is not split.
    pub(super) fn text(&mut self, word: &Word) -> Run<String> {
        Ok(self.pattern(word)?.iter().map(|(c, _)| *c).collect())
    }

    /// The same, as a pattern.
    pub(super) fn pattern(&mut self, word: &Word) -> Run<Vec<(char, bool)>> {
        let fields = self.fields(word, false)?;
        let mut joined = Vec::new();
        for (index, field) in fields.into_iter().enumerate() {
            if index > 0 {
                joined.push((' ', true));
            }
            joined.extend(field.chars);
        }
        Ok(joined)
    }

    fn fields<'w>(
        &mut self,
        word: impl IntoIterator<Item = &'w Part>,
        splits: bool,
    ) -> Run<Vec<Field>> {
        let mut fields = Fields::default();
        for part in word {
            self.bound(&fields)?;
            match part {
                Part::Text { text, is_quoted } => fields.last.push(text, *is_quoted),
                Part::Home(name) => {
                    let home = self.home(name)?;
                    fields.last.push(&home, true);
                }
                Part::Braces(_) | Part::Opaque => return Err(self.unknown()),
                Part::Arithmetic(word) => {
                    let text = self.text(word)?;
                    let value = arithmetic::evaluate(&text, &|name| self.variable(name));
                    let value = value.ok_or_else(|| self.unknown())?.to_string();
                    fields.last.push(&value, true);
                }
                Part::Output { list, is_quoted } => {
                    let output = self.output_of(list)?;
                    self.add(&mut fields, &output, *is_quoted || !splits)?;
                    fields.last.is_there |= *is_quoted;
                }
                Part::Parameter {
                    name,
                    action: Action::Value,
                    is_quoted,
                } if name == "@" || name == "*" => {
                    let arguments = self.arguments.clone();
                    if *is_quoted && name == "*" {
                        fields.last.push(&arguments.join(" "), true);
                        continue;
                    }
                    for (index, argument) in arguments.iter().enumerate() {
                        if index > 0 {
                            fields.end();
                        }
                        self.add(&mut fields, argument, *is_quoted || !splits)?;
                        fields.last.is_there |= *is_quoted;
                        self.bound(&fields)?;
                    }
                }
                Part::Parameter {
                    name,
                    action,
                    is_quoted,
                } => {
                    if let Action::Unset(sign, is_colon, word) = action {
                        let value = self.parameter(name)?;
                        let is_set = value.is_some_and(|value| !is_colon || !value.is_empty());
                        if is_set == (*sign == '+') {
                            // The word takes the parameter's place, with its own quotes.
                            let inner = self.fields(word, splits && !is_quoted)?;
                            if *sign == '=' {
                                let value = self.text(word)?;
                                self.assign(name, value)?;
                            } else if *sign == '?' {
                                return Err(self.unknown());
                            }
                            for (index, inner) in inner.into_iter().enumerate() {
                                if index > 0 {
                                    fields.end();
                                }
                                let text: Vec<_> = inner.chars;
                                fields.last.is_there |= inner.is_there || *is_quoted;
                                if splits && !is_quoted {
                                    for (c, is_quoted) in text {
                                        let c = c.to_string();
                                        self.add(&mut fields, &c, is_quoted)?;
                                    }
                                } else {
                                    fields.last.chars.extend(text);
                                }
                            }
                            fields.last.is_there |= *is_quoted;
                            continue;
                        }
                        if *sign == '+' {
                            fields.last.is_there |= *is_quoted;
                            continue;
                        }
                    }
                    let value = self.value(name, action)?;
                    self.add(&mut fields, &value, *is_quoted || !splits)?;
                    fields.last.is_there |= *is_quoted;
                }
            }
        }
        self.bound(&fields)?;
        let Fields {
            mut ended, last, ..
        } = fields;
        if last.is_there || !splits {
            ended.push(last);
        }
        ended.retain(|field| field.is_there || !splits);
        Ok(ended)
    }

    /// Counts the work of a part, and gives up a word that becomes too long.
    fn bound(&self, fields: &Fields) -> Run<()> {
        self.spend(fields.last.chars.len() as u64)?;
        if fields.chars + fields.last.chars.len() > MAX_FIELD || fields.ended.len() > MAX_FIELDS {
            return Err(self.unknown());
        }
        Ok(())
    }

    /// Adds what an expansion gave; also what is only separators is work.
    fn add(&self, fields: &mut Fields, text: &str, is_whole: bool) -> Run<()> {
        self.spend(text.len() as u64)?;
        let separators = (!is_whole).then(|| self.separators());
        fields.add(text, separators.as_deref());
        Ok(())
    }

    /// The characters that split words.
    pub(super) fn separators(&self) -> String {
        self.variable("IFS")
            .unwrap_or_else(|| DEFAULT_SEPARATORS.to_owned())
    }

    /// The value of a variable that the script has set.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    /// The value of a parameter; `None` if it has none.
    fn parameter(&self, name: &str) -> Run<Option<String>> {
        if let Ok(number) = name.parse::<usize>() {
            return match number.checked_sub(1) {
                Some(index) => Ok(self.arguments.get(index).cloned()),
                None => Err(self.unknown()),
            };
        }
        Ok(match name {
            "?" => Some(self.status.to_string()),
            "#" => Some(self.arguments.len().to_string()),
            "@" | "*" => Some(self.arguments.join(" ")),
            "$" | "!" | "-" => return Err(self.unknown()),
            name => match self.variable(name) {
                Some(value) => Some(value),
                None if name == "PATH" => Some(PATH.to_owned()),
                None if name == "PWD" => Some(self.folder.to_string()),
                None if ENVIRONMENT.contains(&name) || name.starts_with("LC_") => {
                    return Err(self.unknown());
                }
                None => None,
            },
        })
    }

    fn value(&mut self, name: &str, action: &Action) -> Run<String> {
        let value = self.parameter(name)?;
        if value.is_none() && self.refuses_unset && !matches!(action, Action::Unset(..)) {
            return Err(Stop::Exit(1));
        }
        let value = value.unwrap_or_default();
        Ok(match action {
            Action::Value | Action::Unset(..) => value,
            Action::Length if name == "@" || name == "*" => self.arguments.len().to_string(),
            Action::Length => value.chars().count().to_string(),
            Action::Trim {
                is_end,
                is_longest,
                pattern,
            } => {
                if name == "@" || name == "*" {
                    return Err(self.unknown());
                }
                let pattern = self.pattern(pattern)?;
                self.spend(cost(&pattern, value.len()).saturating_mul(value.len() as u64))?;
                trim(&value, &pattern, *is_end, *is_longest)
            }
        })
    }

    /// What a list of commands writes, without the line ends behind it.
    fn output_of(&mut self, list: &super::ast::List) -> Run<String> {
        let (output, buffer) = Output::pipe();
        let before = std::mem::replace(&mut self.descriptors.output, output);
        let result = self.subshell(list);
        self.descriptors.output = before;
        self.status = result?;
        self.has_substituted = true;
        let bytes = buffer.take();
        let text = String::from_utf8(bytes).map_err(|_| self.unknown())?;
        if text.contains('\0') {
            return Err(self.unknown());
        }
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// The paths of the image that a pattern matches, in order.
    fn glob(&self, pattern: &Quotable) -> Run<Vec<String>> {
        let is_absolute = pattern.first().is_some_and(|(c, _)| *c == '/');
        let start = if is_absolute { "/" } else { "" };
        let mut found = vec![start.to_owned()];
        let mut names = pattern
            .split(|(c, _)| *c == '/')
            .filter(|name| !name.is_empty())
            .peekable();
        while let Some(name) = names.next() {
            let mut next = Vec::new();
            for folder in &found {
                let join = |name: &str| match folder.as_str() {
                    "" | "/" => format!("{folder}{name}"),
                    folder => format!("{folder}/{name}"),
                };
                if !is_pattern(name) {
                    let path = join(&name.iter().map(|(c, _)| *c).collect::<String>());
                    if names.peek().is_some() || self.file_type_kept(&path)?.is_some() {
                        next.push(path);
                    }
                    continue;
                }
                let place = if folder.is_empty() { "." } else { folder };
                let path: ImagePath = self.path(place)?;
                let entries = match list(self.editor.fs(), &path) {
                    Err(imgasm_fs::tree::Error::WrongType { .. }) => continue,
                    entries => entries?,
                };
                for (entry, _) in entries {
                    self.spend(ENTRY_WORK + cost(name, entry.len()))?;
                    let entry = String::from_utf8(entry).map_err(|_| self.unknown())?;
                    let chars: Vec<_> = entry.chars().collect();
                    let is_hidden = entry.starts_with('.') && name[0].0 != '.';
                    if !is_hidden && matches(name, &chars) {
                        let path = join(&entry);
                        let is_last = names.peek().is_none();
                        if is_last || self.is_directory(&path)? {
                            next.push(path);
                        }
                    }
                }
                if next.len() > MAX_FIELDS {
                    return Err(self.unknown());
                }
            }
            found = next;
        }
        Ok(found)
    }
}

/// Cuts off what a pattern matches at one end.
fn trim(value: &str, pattern: &Quotable, is_end: bool, is_longest: bool) -> String {
    let chars: Vec<_> = value.chars().collect();
    let mut cuts: Vec<_> = (0..=chars.len()).collect();
    // At the end a later cut takes less, at the beginning an earlier one.
    if is_end != is_longest {
        cuts.reverse();
    }
    for cut in cuts {
        let (head, tail) = chars.split_at(cut);
        let (cut_off, kept) = if is_end { (tail, head) } else { (head, tail) };
        if matches(pattern, cut_off) {
            return kept.iter().collect();
        }
    }
    value.to_owned()
}
