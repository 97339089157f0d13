//! `[` and `[[`.

use super::ast::{Part, Word};
use super::pattern::{cost, matches};
use super::{Run, Shell};
use imgasm_fs::{FileType, Metadata};

/// How deep parentheses may lie in each other.
const MAX_DEPTH: usize = 32;
/// The tests of one operand.
const UNARY: &str = "bcdefghkLnprsSuwxzGO";
/// The tests of two operands.
const BINARY: [&str; 12] = [
    "=", "==", "!=", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-ef", "-nt", "-ot",
];

impl Shell<'_, '_> {
    /// `test` with these arguments (POSIX.1-2017, "test").
    pub(super) fn test(&mut self, arguments: &[String]) -> Run {
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        self.test_words(&words)
    }

    fn test_words(&mut self, words: &[&str]) -> Run {
        let holds = match words {
            [] => false,
            [text] => !text.is_empty(),
            ["!", text] => text.is_empty(),
            // An error of its own.
            [operator, _]
                if self.dialect == super::Dialect::Bash
                    && (operator.len() != 2 || !operator.starts_with('-')) =>
            {
                return Ok(2);
            }
            [operator, operand] => self.unary(operator, operand)?,
            [left, operator, right] if BINARY.contains(operator) => {
                return self.binary(left, operator, right);
            }
            [left, "-a", right] => !left.is_empty() && !right.is_empty(),
            [left, "-o", right] => !left.is_empty() || !right.is_empty(),
            ["!", rest @ ..] if rest.len() <= 3 => {
                return Ok(match self.test_words(rest)? {
                    0 => 1,
                    1 => 0,
                    error => error,
                });
            }
            ["(", text, ")"] => !text.is_empty(),
            ["(", first, second, ")"] => return self.test_words(&[first, second]),
            words => return self.joined(words),
        };
        Ok(u8::from(!holds))
    }

    /// Several tests with `-a` and `-o` between them. What is one test is found by its length, as
    /// far as that is not ambiguous.
    fn joined(&mut self, words: &[&str]) -> Run {
        let is_joined = words.iter().any(|word| matches!(*word, "-a" | "-o"));
        if !is_joined || words.iter().any(|word| matches!(*word, "(" | ")")) {
            return Err(self.unknown());
        }
        let mut or = 1;
        for group in words.split(|word| *word == "-o") {
            let mut and = 0;
            for single in group.split(|word| *word == "-a") {
                if single.is_empty() || single.len() > 4 {
                    return Err(self.unknown());
                }
                match self.test_words(single)? {
                    0 => {}
                    1 => and = 1,
                    // An error ends it at another place in different shells.
                    _ => return Err(self.unknown()),
                }
            }
            or = or.min(and);
        }
        Ok(or)
    }

    fn unary(&mut self, operator: &str, operand: &str) -> Run<bool> {
        let letter = operator.strip_prefix('-').filter(|rest| rest.len() == 1);
        let letter = letter.filter(|letter| UNARY.contains(*letter));
        let Some(letter) = letter else {
            return Err(self.unknown());
        };
        match letter {
            "n" => return Ok(!operand.is_empty()),
            "z" => return Ok(operand.is_empty()),
            _ => {}
        }
        // What is there on a running machine is not what is there in the image.
        self.check_ordinary(operand)?;
        let found = match letter {
            "h" | "L" => self.metadata_kept(operand)?,
            _ => self.metadata(operand)?,
        };
        let Some(found) = found else {
            return Ok(false);
        };
        let is = |file_type| found.file_type == file_type;
        Ok(match letter {
            "e" | "r" | "w" => true,
            "b" => is(FileType::BlockDevice),
            "c" => is(FileType::CharDevice),
            "d" => is(FileType::Directory),
            "f" => is(FileType::Regular),
            "h" | "L" => is(FileType::Symlink),
            "p" => is(FileType::Fifo),
            "S" => is(FileType::Socket),
            // A folder has a size by what its filesystem wants.
            "s" if is(FileType::Directory) => true,
            "s" => found.size > 0,
            "u" => found.permissions & 0o4000 != 0,
            "g" => found.permissions & 0o2000 != 0,
            "k" => found.permissions & 0o1000 != 0,
            "O" => found.uid == 0,
            "G" => found.gid == 0,
            // For root a program needs one right to be run.
            _ => is(FileType::Directory) || found.permissions & 0o111 != 0,
        })
    }

    fn binary(&mut self, left: &str, operator: &str, right: &str) -> Run {
        let holds = match operator {
            "=" => left == right,
            "==" if self.dialect == super::Dialect::Bash => left == right,
            "==" => return Err(self.unknown()),
            "!=" => left != right,
            "-ef" | "-nt" | "-ot" => return self.compare_files(left, operator, right),
            operator => {
                let number = |text: &str| text.trim().parse::<i64>().ok();
                let (Some(left), Some(right)) = (number(left), number(right)) else {
                    return Ok(2);
                };
                match operator {
                    "-eq" => left == right,
                    "-ne" => left != right,
                    "-lt" => left < right,
                    "-le" => left <= right,
                    "-gt" => left > right,
                    _ => left >= right,
                }
            }
        };
        Ok(u8::from(!holds))
    }

    fn compare_files(&mut self, left: &str, operator: &str, right: &str) -> Run {
        if operator != "-ef" {
            // Which of two files is newer depends on when they were installed.
            return Err(self.unknown());
        }
        let node = |shell: &Self, path: &str| -> Run<Option<imgasm_fs::NodeId>> {
            if shell.metadata(path)?.is_none() {
                return Ok(None);
            }
            let path = shell.path(path)?;
            let last = imgasm_fs::tree::LastLink::Follow;
            Ok(imgasm_fs::tree::locate(shell.editor.fs(), &path, last)?.node)
        };
        let (left, right) = (node(self, left)?, node(self, right)?);
        Ok(u8::from(left.is_none() || left != right))
    }

    /// `[[ … ]]`
    pub(super) fn double_brackets(&mut self, words: &[Word]) -> Run {
        let mut rest = words;
        let holds = self.any(&mut rest, true, 0)?;
        if !rest.is_empty() {
            return Err(self.unknown());
        }
        Ok(u8::from(!holds))
    }

    /// `…||…`; if `counts` is false, the answer is known already and nothing is expanded.
    fn any(&mut self, words: &mut &[Word], counts: bool, depth: usize) -> Run<bool> {
        let mut holds = self.all(words, counts, depth)?;
        while take(words, "||") {
            let other = self.all(words, counts && !holds, depth)?;
            holds |= other;
        }
        Ok(holds)
    }

    fn all(&mut self, words: &mut &[Word], counts: bool, depth: usize) -> Run<bool> {
        let mut holds = self.negated(words, counts, depth)?;
        while take(words, "&&") {
            let other = self.negated(words, counts && holds, depth)?;
            holds &= other;
        }
        Ok(holds)
    }

    fn negated(&mut self, words: &mut &[Word], counts: bool, depth: usize) -> Run<bool> {
        if depth > MAX_DEPTH {
            return Err(self.unknown());
        }
        if take(words, "!") {
            return Ok(!self.negated(words, counts, depth + 1)?);
        }
        if take(words, "(") {
            let holds = self.any(words, counts, depth + 1)?;
            return if take(words, ")") {
                Ok(holds)
            } else {
                Err(self.unknown())
            };
        }
        self.single(words, counts)
    }

    fn single(&mut self, words: &mut &[Word], counts: bool) -> Run<bool> {
        let all = *words;
        let operator = |index: usize| {
            all.get(index)
                .and_then(|word| plain(word))
                .unwrap_or_default()
        };
        let is_unary = operator(0)
            .strip_prefix('-')
            .is_some_and(|letter| letter.len() == 1 && UNARY.contains(letter));
        let is_binary = BINARY.contains(&operator(1)) || matches!(operator(1), "<" | ">" | "=~");
        if is_binary && all.len() >= 3 {
            *words = &all[3..];
            if !counts {
                return Ok(false);
            }
            let left = self.text(&all[0])?;
            return match operator(1) {
                operator @ ("=" | "==" | "!=") => {
                    let pattern = self.pattern(&all[2])?;
                    let left: Vec<_> = left.chars().collect();
                    self.spend(cost(&pattern, left.len()))?;
                    Ok(matches(&pattern, &left) == (operator != "!="))
                }
                "<" | ">" | "=~" => Err(self.unknown()),
                operator => {
                    let right = self.text(&all[2])?;
                    match self.binary(&left, operator, &right)? {
                        // Here bash calculates, which `test` does not.
                        2 => Err(self.unknown()),
                        status => Ok(status == 0),
                    }
                }
            };
        }
        if is_unary && all.len() >= 2 {
            *words = &all[2..];
            if !counts {
                return Ok(false);
            }
            let operand = self.text(&all[1])?;
            return self.unary(operator(0), &operand);
        }
        let (first, rest) = all.split_first().ok_or_else(|| self.unknown())?;
        *words = rest;
        Ok(counts && !self.text(first)?.is_empty())
    }
}

/// The text of a word that is nothing but unquoted text.
fn plain(word: &Word) -> Option<&str> {
    match word.as_slice() {
        [
            Part::Text {
                text,
                is_quoted: false,
            },
        ] => Some(text),
        _ => None,
    }
}

fn take(words: &mut &[Word], operator: &str) -> bool {
    match words.split_first() {
        Some((first, rest)) if plain(first) == Some(operator) => {
            *words = rest;
            true
        }
        _ => false,
    }
}

/// Whether somebody may run what is there.
pub(super) fn is_program(found: &Metadata) -> bool {
    found.file_type == FileType::Regular && found.permissions & 0o111 != 0
}
