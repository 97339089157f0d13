//! `grep`, with the options of GNU's.

use super::super::regex::{Expression, Syntax, compile};
use super::super::{Run, Shell};
use super::options::{self, Options};

impl Shell<'_, '_> {
    pub(super) fn grep(&mut self, arguments: &[String], syntax: Syntax) -> Run {
        let long = [
            ("quiet", 'q'),
            ("silent", 'q'),
            ("no-messages", 's'),
            ("ignore-case", 'i'),
            ("invert-match", 'v'),
            ("count", 'c'),
            ("extended-regexp", 'E'),
            ("fixed-strings", 'F'),
            ("word-regexp", 'w'),
            ("line-regexp", 'x'),
            ("regexp", 'e'),
            ("no-filename", 'h'),
        ];
        let options = options::parse(arguments, "qsivcEFGwxhol", "e", &long);
        let mut options = options.ok_or_else(|| self.unknown())?;
        let syntax = match (options.has('E'), options.has('F'), options.has('G')) {
            (false, false, false) => syntax,
            (true, false, false) => Syntax::Extended,
            (false, true, false) => Syntax::Fixed,
            (false, false, true) => Syntax::Basic,
            _ => return Err(self.unknown()),
        };
        let patterns: Vec<String> = match options.values.is_empty() {
            false => options
                .values
                .iter()
                .map(|(_, value)| value.clone())
                .collect(),
            true if options.operands.is_empty() => return Ok(2),
            true => vec![options.operands.remove(0)],
        };
        let expressions: Option<Vec<_>> = patterns
            .iter()
            .flat_map(|pattern| pattern.split('\n'))
            .map(|pattern| compile(pattern, syntax, options.has('i')))
            .collect();
        let expressions = expressions.ok_or_else(|| self.unknown())?;
        self.search(&expressions, &options)
    }

    fn search(&mut self, expressions: &[Expression], options: &Options) -> Run {
        let (is_word, is_line) = (options.has('w'), options.has('x'));
        if (is_word || is_line || options.has('o'))
            && expressions.iter().any(|one| one.has_alternatives)
        {
            return Err(self.unknown());
        }
        let several = options.operands.len() > 1 && !options.has('h') && !options.has('q');
        if several && !self.nobody_listens() || options.has('l') && !options.has('q') {
            return Err(self.unknown());
        }
        let matches = |line: &str| {
            expressions.iter().any(|expression| {
                let found = expression.regex.find_iter(line);
                let mut found = found.filter(|found| {
                    let is_all = found.start() == 0 && found.end() == line.len();
                    let before = line[..found.start()].chars().next_back();
                    let after = line[found.end()..].chars().next();
                    let joins =
                        |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
                    (!is_line || is_all) && (!is_word || (!joins(before) && !joins(after)))
                });
                found.next().is_some()
            })
        };
        let (lines, is_missing) = self.lines(&options.operands)?;
        let found: Vec<_> = lines
            .into_iter()
            .filter(|line| matches(line) != options.has('v'))
            .collect();
        if options.has('q') {
            return Ok(match (found.is_empty(), is_missing) {
                (false, _) => 0,
                (true, false) => 1,
                (true, true) => 2,
            });
        }
        if options.has('c') {
            self.say_line(&found.len().to_string())?;
        } else if options.has('o') {
            if options.has('v') || expressions.len() > 1 {
                return Err(self.unknown());
            }
            for line in &found {
                let parts: Vec<_> = expressions[0]
                    .regex
                    .find_iter(line)
                    .map(|found| found.as_str().to_owned())
                    .collect();
                for part in parts.iter().filter(|part| !part.is_empty()) {
                    self.say_line(part)?;
                }
            }
        } else {
            for line in &found {
                self.say_line(line)?;
            }
        }
        Ok(match (is_missing, found.is_empty()) {
            (true, _) => 2,
            (false, is_empty) => u8::from(is_empty),
        })
    }
}
