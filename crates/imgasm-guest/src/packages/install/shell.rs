//! As much of the shell's language as packages' scripts commonly use.
//!
//! Commands with words in quotes, `$1`, lists with `&&`, `||`, `;`, conditions, and output that is
//! thrown away. Everything else is kept as text that nobody understands, so that a script is only
//! refused where such a part would be reached.

use std::iter::Peekable;
use std::str::Chars;

/// How deep commands may lie in each other.
const MAX_DEPTH: usize = 32;

/// A part of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A command with its arguments.
    Simple(Vec<String>),
    /// The first, and then each of the others only if all before it came to success, or to failure.
    Chain(Box<Command>, Vec<(Link, Command)>),
    /// Success becomes failure.
    Not(Box<Command>),
    /// One after the other.
    List(Vec<Command>),
    /// Conditions with what is done where they hold, and what is done where none does.
    If(Vec<[Command; 2]>, Box<Command>),
    /// What is not known.
    Opaque(String),
}

/// What stands between two commands of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// `&&`
    And,
    /// `||`
    Or,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// A word with what only a shell could make of it.
    Opaque(String),
    Operator(&'static str),
}

/// Reads a script that is called with `argument` as `$1`.
pub fn parse(script: &str, argument: usize) -> Command {
    let tokens = tokens(script, &argument.to_string());
    let mut parser = Parser {
        tokens: &tokens,
        depth: 0,
    };
    let list = parser.list(&[]);
    match parser.tokens.first() {
        None => list,
        Some(_) => Command::List(vec![list, Command::Opaque(parser.text())]),
    }
}

/// The words of a line, with quotes taken away.
pub fn split_words(line: &str) -> Vec<String> {
    let tokens = tokens(line, "").into_iter();
    tokens
        .filter_map(|token| match token {
            Token::Word(word) | Token::Opaque(word) => Some(word),
            Token::Operator(_) => None,
        })
        .collect()
}

fn tokens(script: &str, argument: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = script.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            '\n' | ';' => {
                chars.next();
                let is_case = c == ';' && chars.next_if_eq(&';').is_some();
                tokens.push(Token::Operator(if is_case { ";;" } else { ";" }));
            }
            c if c.is_whitespace() => {
                chars.next();
            }
            '#' => while chars.next_if(|&c| c != '\n').is_some() {},
            '&' => {
                chars.next();
                let operator = match chars.peek() {
                    Some('&') => "&&",
                    Some('>') => ">",
                    _ => "&",
                };
                if operator != "&" {
                    chars.next();
                }
                tokens.push(Token::Operator(operator));
            }
            '|' => {
                chars.next();
                let is_or = chars.next_if_eq(&'|').is_some();
                tokens.push(Token::Operator(if is_or { "||" } else { "|" }));
            }
            '>' | '<' => {
                chars.next();
                chars.next_if_eq(&'>');
                let is_duplicate = chars.next_if_eq(&'&').is_some();
                tokens.push(Token::Operator(if is_duplicate { ">&" } else { ">" }));
            }
            '(' | ')' => {
                chars.next();
                tokens.push(Token::Operator(if c == '(' { "(" } else { ")" }));
            }
            _ => tokens.extend(word(&mut chars, argument)),
        }
    }
    tokens
}

/// A word from here on; none where it is only the continuation of a line, or the number before a
/// redirection.
fn word(chars: &mut Peekable<Chars<'_>>, argument: &str) -> Option<Token> {
    let mut word = String::new();
    let mut is_opaque = false;
    let mut is_quoted = false;
    let mut quote = None;
    while let Some(&c) = chars.peek() {
        let ends = c.is_whitespace() || "|&;<>()".contains(c);
        if quote.is_none() && ends {
            break;
        }
        chars.next();
        match (c, quote) {
            ('\'' | '"', None) => {
                quote = Some(c);
                is_quoted = true;
            }
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => match chars.next() {
                Some('\n') | None => {}
                Some(c) => word.push(c),
            },
            ('$', None | Some('"')) => {
                let braced = chars.next_if_eq(&'{').is_some();
                let is_first = chars.next_if_eq(&'1').is_some();
                let is_closed = !braced || chars.next_if_eq(&'}').is_some();
                let goes_on = chars.peek().is_some_and(char::is_ascii_alphanumeric);
                if is_first && is_closed && (braced || !goes_on) {
                    word.push_str(argument);
                } else {
                    word.push('$');
                    is_opaque = true;
                }
            }
            ('`', None | Some('"')) | ('*' | '?' | '~', None) => {
                word.push(c);
                is_opaque = true;
            }
            (c, _) => word.push(c),
        }
    }
    let is_redirection = matches!(chars.peek(), Some('<' | '>'))
        && !word.is_empty()
        && word.bytes().all(|byte| byte.is_ascii_digit());
    if (word.is_empty() && !is_quoted && !is_opaque) || is_redirection {
        return None;
    }
    Some(if is_opaque {
        Token::Opaque(word)
    } else {
        Token::Word(word)
    })
}

struct Parser<'t> {
    tokens: &'t [Token],
    depth: usize,
}

impl Parser<'_> {
    /// Commands up to one of these words, which is left, or to what is not understood.
    fn list(&mut self, ends: &[&str]) -> Command {
        let mut commands = Vec::new();
        loop {
            while self.take(";") {}
            if self.tokens.is_empty() || ends.iter().any(|end| self.is_word(end)) {
                return Command::List(commands);
            }
            let before = self.tokens.len();
            commands.push(self.and_or());
            if self.tokens.len() == before || !(self.at(";") || self.tokens.is_empty()) {
                // What goes on without an end of the command is no list any more.
                commands.push(Command::Opaque(self.text()));
                self.tokens = &[];
                return Command::List(commands);
            }
        }
    }

    fn and_or(&mut self) -> Command {
        let first = self.command();
        let mut rest = Vec::new();
        loop {
            let link = if self.take("&&") {
                Link::And
            } else if self.take("||") {
                Link::Or
            } else if rest.is_empty() {
                return first;
            } else {
                return Command::Chain(Box::new(first), rest);
            };
            while self.take(";") {}
            rest.push((link, self.command()));
        }
    }

    fn command(&mut self) -> Command {
        if self.depth > MAX_DEPTH {
            return self.give_up();
        }
        self.depth += 1;
        let command = if self.take_word("!") {
            Command::Not(Box::new(self.command()))
        } else if self.take_word("if") {
            self.condition()
        } else if self.take_word("{") {
            let list = self.list(&["}"]);
            if self.take_word("}") {
                list
            } else {
                self.give_up()
            }
        } else {
            self.simple()
        };
        self.depth -= 1;
        command
    }

    fn condition(&mut self) -> Command {
        let mut arms = Vec::new();
        loop {
            let condition = self.list(&["then"]);
            if !self.take_word("then") {
                return self.give_up();
            }
            let body = self.list(&["elif", "else", "fi"]);
            arms.push([condition, body]);
            if self.take_word("elif") {
                continue;
            }
            let otherwise = if self.take_word("else") {
                self.list(&["fi"])
            } else {
                Command::List(Vec::new())
            };
            if !self.take_word("fi") {
                return self.give_up();
            }
            self.redirections();
            return Command::If(arms, Box::new(otherwise));
        }
    }

    fn simple(&mut self) -> Command {
        const RESERVED: [&str; 7] = [
            "for", "while", "until", "case", "function", "select", "time",
        ];
        if RESERVED.iter().any(|word| self.is_word(word)) {
            return self.give_up();
        }
        let all = self.tokens;
        let mut words = Vec::new();
        let mut is_opaque = false;
        loop {
            match self.tokens.first() {
                Some(Token::Word(word)) => words.push(word.clone()),
                Some(Token::Opaque(word)) => {
                    words.push(word.clone());
                    is_opaque = true;
                }
                Some(Token::Operator(">" | ">&")) => {
                    is_opaque |= !self.redirections();
                    continue;
                }
                Some(Token::Operator("(" | ")" | "|" | "&" | ";;")) => {
                    self.tokens = all;
                    return self.give_up();
                }
                _ => break,
            }
            self.tokens = &self.tokens[1..];
        }
        let is_assignment = words.first().is_some_and(|word| word.contains('='));
        if is_opaque || is_assignment || words.is_empty() {
            return Command::Opaque(text(&all[..all.len() - self.tokens.len()]));
        }
        Command::Simple(words)
    }

    /// Passes over redirections; gives whether they only throw output away.
    fn redirections(&mut self) -> bool {
        let mut is_harmless = true;
        while self.at(">") || self.at(">&") {
            let target = self.tokens.get(1);
            is_harmless &= match target {
                Some(Token::Word(word)) => {
                    word == "/dev/null" || (self.at(">&") && word.parse::<u8>().is_ok())
                }
                _ => false,
            };
            self.tokens = self.tokens.get(2..).unwrap_or_default();
        }
        is_harmless
    }

    /// Everything that is left, as what is not known.
    fn give_up(&mut self) -> Command {
        let text = self.text();
        self.tokens = &[];
        Command::Opaque(text)
    }

    fn text(&self) -> String {
        let is_end = |token: &Token| *token == Token::Operator(";");
        let end = self.tokens.iter().position(is_end);
        text(&self.tokens[..end.unwrap_or(self.tokens.len())])
    }

    fn at(&self, operator: &str) -> bool {
        matches!(self.tokens.first(), Some(Token::Operator(found)) if *found == operator)
    }

    fn take(&mut self, operator: &str) -> bool {
        let is_there = self.at(operator);
        if is_there {
            self.tokens = &self.tokens[1..];
        }
        is_there
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.tokens.first(), Some(Token::Word(found)) if found == word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_there = self.is_word(word);
        if is_there {
            self.tokens = &self.tokens[1..];
        }
        is_there
    }
}

/// Tokens as a person would write them.
fn text(tokens: &[Token]) -> String {
    let words: Vec<_> = tokens
        .iter()
        .map(|token| match token {
            Token::Word(word) | Token::Opaque(word) => word.as_str(),
            Token::Operator(operator) => operator,
        })
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simple(words: &[&str]) -> Command {
        Command::Simple(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn what_packages_write() {
        let script = "# a comment\nif [ $1 -eq 1 ] ; then\n  /sbin/chkconfig --add ntpd >/dev/null \
                      2>&1 || :\nfi\n";
        let condition = Command::List(vec![simple(&["[", "1", "-eq", "1", "]"])]);
        let add = simple(&["/sbin/chkconfig", "--add", "ntpd"]);
        let body = Command::List(vec![Command::Chain(
            Box::new(add),
            vec![(Link::Or, simple(&[":"]))],
        )]);
        let nothing = Box::new(Command::List(Vec::new()));
        let wanted = Command::List(vec![Command::If(vec![[condition, body]], nothing)]);
        assert_eq!(parse(script, 1), wanted);
        let quoted = parse("useradd -c \"An account \\\"x\\\"\" 'a b' \\\n c", 1);
        let wanted = simple(&["useradd", "-c", "An account \"x\"", "a b", "c"]);
        assert_eq!(quoted, Command::List(vec![wanted]));
    }

    #[test]
    fn what_is_not_known_stays_in_its_place() {
        for script in [
            "echo $HOME",
            "x=$(date)",
            "rm -f /var/cache/*",
            "echo a > /etc/b",
            "for f in a b; do echo; done",
            "cat a | sort",
            "f() { :; }",
            "if true; then :",
            "sleep 1 &",
        ] {
            let Command::List(list) = parse(script, 1) else {
                panic!("a script is a list");
            };
            let opaque = |command: &Command| matches!(command, Command::Opaque(_));
            assert!(list.iter().any(opaque), "{script}: {list:?}");
        }
        let deep = format!("{}:", "! ".repeat(100_000));
        parse(&deep, 1);
        parse(&": && ".repeat(100_000), 1);
        parse(&"if ".repeat(100_000), 1);
    }
}
