//! Scripts in the Lua that RPM has built in, of the kinds that need no more than files and programs.
//!
//! They are written down as scripts of the shell, which say the same: `posix.fork`, `posix.exec` and
//! `posix.wait` are a command whose failure does not matter, `posix.access` is a test. Whatever has no
//! such form is not known.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::vec::IntoIter;

/// The most tables and blocks within each other.
const DEEPEST: usize = 32;

/// The script of the shell that does what a script in Lua does; `None` if there is no such form.
pub(super) fn as_shell(script: &str) -> Option<String> {
    let mut translator = Translator {
        tokens: tokens(script)?.into_iter().peekable(),
        forks: BTreeSet::new(),
        names: Vec::new(),
        depth: 0,
    };
    let mut shell = translator.block()?;
    translator.tokens.peek().is_none().then(|| {
        // Only an error ends a script in Lua badly.
        shell.push_str(":\n");
        shell
    })
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A name with its dots, a keyword, or a number.
    Word(String),
    Text(String),
    Mark(&'static str),
}

/// The marks, those that begin with others first.
const MARKS: [&str; 12] = [
    "==", "~=", "..", "(", ")", "{", "}", ",", ";", "=", ">", "<",
];

fn tokens(script: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = script;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else {
            return Some(tokens);
        };
        if let Some(comment) = rest.strip_prefix("--") {
            if comment.starts_with("[[") || comment.starts_with("[=") {
                return None;
            }
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if first == '"' || first == '\'' {
            let (text, after) = rest[1..].split_once(first)?;
            if text.contains(['\\', '\n']) {
                return None;
            }
            tokens.push(Token::Text(text.to_owned()));
            rest = after;
        } else if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) {
            tokens.push(Token::Mark(mark));
            rest = &rest[mark.len()..];
        } else {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            // `name..text` is two names, and so is nothing that is known.
            if end == 0 || rest[..end].contains("..") {
                return None;
            }
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
}

/// What a condition asks.
enum Condition {
    /// Whether this is the process that was forked, or the one that forked it.
    IsChild,
    IsParent,
    /// A command of the shell.
    Test(String),
}

struct Translator {
    tokens: Peekable<IntoIter<Token>>,
    /// Variables that hold what `posix.fork` gave.
    forks: BTreeSet<String>,
    /// Variables of the loops around.
    names: Vec<String>,
    depth: usize,
}

impl Translator {
    fn take(&mut self, mark: &'static str) -> Option<()> {
        self.tokens.next_if_eq(&Token::Mark(mark)).map(drop)
    }

    fn take_word(&mut self, word: &str) -> Option<()> {
        let is_it = |token: &Token| matches!(token, Token::Word(found) if found == word);
        self.tokens.next_if(is_it).map(drop)
    }

    fn word(&mut self) -> Option<String> {
        match self.tokens.next()? {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    /// Statements, up to the word that ends them.
    fn block(&mut self) -> Option<String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let mut shell = String::new();
        loop {
            match self.tokens.peek() {
                Some(Token::Mark(";")) => self.take(";")?,
                Some(Token::Word(word)) if !matches!(word.as_str(), "end" | "else" | "elseif") => {
                    shell += &self.statement()?;
                }
                _ => break,
            }
        }
        self.depth -= 1;
        Some(shell)
    }

    fn statement(&mut self) -> Option<String> {
        let word = self.word()?;
        match word.as_str() {
            "if" => self.choice(),
            "for" => self.repetition(),
            "local" => {
                let name = self.word()?;
                self.fork(name)
            }
            _ if self.tokens.peek() == Some(&Token::Mark("=")) => self.fork(word),
            _ => self.call(&word),
        }
    }

    /// `NAME = posix.fork()`
    fn fork(&mut self, name: String) -> Option<String> {
        self.take("=")?;
        self.take_word("posix.fork")?;
        self.take("(")?;
        self.take(")")?;
        self.forks.insert(name);
        Some(String::new())
    }

    fn choice(&mut self) -> Option<String> {
        let condition = self.condition()?;
        self.take_word("then")?;
        match condition {
            Condition::Test(test) => {
                let first = self.block()?;
                let mut shell = format!("if {test}; then\n{first}:\n");
                loop {
                    if self.take_word("elseif").is_some() {
                        let Condition::Test(test) = self.condition()? else {
                            return None;
                        };
                        self.take_word("then")?;
                        let block = self.block()?;
                        shell.extend(["elif ", &test, "; then\n", &block, ":\n"]);
                    } else if self.take_word("else").is_some() {
                        shell.extend(["else\n", &self.block()?, ":\n"]);
                    } else {
                        self.take_word("end")?;
                        return Some(shell + "fi\n");
                    }
                }
            }
            // The two processes do one thing after the other, because one waits for the other.
            Condition::IsChild => {
                let mut shell = self.program()?;
                if self.take_word("elseif").is_some() {
                    let Condition::IsParent = self.condition()? else {
                        return None;
                    };
                    self.take_word("then")?;
                    shell += &self.block()?;
                } else if self.take_word("else").is_some() {
                    shell += &self.block()?;
                }
                self.take_word("end")?;
                Some(shell)
            }
            Condition::IsParent => {
                let block = self.block()?;
                self.take_word("end")?;
                Some(block)
            }
        }
    }

    /// All that a forked process does: it becomes another program. Whether that fails is seen by nobody.
    fn program(&mut self) -> Option<String> {
        let is_asserted = self.take_word("assert").is_some();
        if is_asserted {
            self.take("(")?;
        }
        self.take_word("posix.exec")?;
        let command = as_command(&self.arguments()?)?;
        if is_asserted {
            self.take(")")?;
        }
        self.take(";");
        Some(command)
    }

    fn condition(&mut self) -> Option<Condition> {
        let mut tests = Vec::new();
        loop {
            let is_not = self.take_word("not").is_some();
            let word = self.word()?;
            if word == "posix.access" {
                let test = self.access()?;
                tests.push(if is_not { format!("! {test}") } else { test });
            } else if self.forks.contains(&word) && tests.is_empty() && !is_not {
                let is_child = self.take("==").is_some();
                if !is_child {
                    self.take(">")?;
                }
                self.take_word("0")?;
                return Some(if is_child {
                    Condition::IsChild
                } else {
                    Condition::IsParent
                });
            } else {
                return None;
            }
            if self.take_word("and").is_none() {
                return Some(Condition::Test(tests.join(" && ")));
            }
        }
    }

    /// The arguments of `posix.access`.
    fn access(&mut self) -> Option<String> {
        let arguments = self.arguments()?;
        let (path, modes) = match arguments.as_slice() {
            [path] => (path, "'f'"),
            [path, modes] => (path, modes.as_str()),
            _ => return None,
        };
        let test = match modes {
            "'f'" => "-e",
            "'r'" => "-r",
            "'w'" => "-w",
            "'x'" => "-x",
            _ => return None,
        };
        Some(format!("[ {test} {path} ]"))
    }

    /// `for NAME, NAME in ipairs({ … }) do … end`
    fn repetition(&mut self) -> Option<String> {
        self.word()?;
        self.take(",")?;
        let name = self.word()?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.chars().all(is_name) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.take_word("in")?;
        self.take_word("ipairs")?;
        self.take("(")?;
        self.take("{")?;
        let values = self.expressions("}")?;
        self.take(")")?;
        self.take_word("do")?;
        self.names.push(name.clone());
        let block = self.block()?;
        self.names.pop();
        self.take_word("end")?;
        if values.is_empty() {
            return Some(String::new());
        }
        let values = values.join(" ");
        Some(format!("for lua_{name} in {values}; do\n{block}:\ndone\n"))
    }

    fn call(&mut self, name: &str) -> Option<String> {
        match name {
            "rpm.execute" => Some(as_command(&self.arguments()?)?),
            "posix.wait" => {
                self.take("(")?;
                let name = self.word()?;
                self.take(")")?;
                self.forks.contains(&name).then(String::new)
            }
            "os.remove" => match self.arguments()?.as_slice() {
                [path] => Some(format!(
                    "if [ -d {path} ] && [ ! -L {path} ]; then\nrmdir {path} || :\nelse\nrm -f {path}\nfi\n"
                )),
                _ => None,
            },
            _ => None,
        }
    }

    /// Words of the shell in parentheses.
    fn arguments(&mut self) -> Option<Vec<String>> {
        self.take("(")?;
        self.expressions(")")
    }

    /// Words of the shell, up to the mark that ends their list.
    fn expressions(&mut self, end: &'static str) -> Option<Vec<String>> {
        let mut words = Vec::new();
        while self.take(end).is_none() {
            words.push(self.expression()?);
            if self.take(",").is_none() {
                self.take(end)?;
                break;
            }
        }
        Some(words)
    }

    /// A text, or texts joined, as a word of the shell.
    fn expression(&mut self) -> Option<String> {
        let mut word = String::new();
        loop {
            match self.tokens.next()? {
                Token::Text(text) => {
                    word.extend(["'", &text.replace('\'', "'\\''"), "'"]);
                }
                Token::Word(name) if self.names.contains(&name) => {
                    word.extend(["\"$lua_", &name, "\""]);
                }
                _ => return None,
            }
            if self.take("..").is_none() {
                return Some(word);
            }
        }
    }
}

/// A command of the shell whose failure does not matter.
fn as_command(words: &[String]) -> Option<String> {
    (!words.is_empty()).then(|| format!("{} || :\n", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::as_shell;

    #[test]
    fn a_program_of_a_forked_process_is_a_command() {
        let script = "-- Reloads.\nif posix.access(\"/run/systemd/system\") then\n    \
             pid = posix.fork()\n    if pid == 0 then\n        \
             assert(posix.exec(\"/usr/bin/systemctl\", \"daemon-reload\"))\n    \
             elseif pid > 0 then\n        posix.wait(pid)\n    end\nend\n";
        assert_eq!(
            as_shell(script).as_deref(),
            Some(
                "if [ -e '/run/systemd/system' ]; then\n\
                 '/usr/bin/systemctl' 'daemon-reload' || :\n:\nfi\n:\n"
            )
        );
    }

    #[test]
    fn loops_over_lists() {
        let script = "for i, name in ipairs({'a', \"b c\"}) do\n\
             os.remove('/etc/' .. name .. '.rpmnew')\nend\n";
        let path = "'/etc/'\"$lua_name\"'.rpmnew'";
        let expected = format!(
            "for lua_name in 'a' 'b c'; do\nif [ -d {path} ] && [ ! -L {path} ]; then\n\
             rmdir {path} || :\nelse\nrm -f {path}\nfi\n:\ndone\n:\n"
        );
        assert_eq!(as_shell(script), Some(expected));
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        for script in [
            "x = 1",
            "print('a')",
            "if x == 0 then end",
            "rpm.execute('a\\n')",
            "posix.exec('a')",
            "pid = posix.fork()\nif pid == 0 then posix.exec('a') posix.exec('b') end",
            "pid = posix.fork()\nif pid == 0 then os.remove('a') end",
            "rpm.execute()",
            "rpm.execute('a') end",
            "--[[ long ]] rpm.execute('a')",
            "assert(os.remove('/a'))",
            "if posix.access('/a', 'rw') then rpm.execute('b') end",
            "posix.wait(pid)",
            "if posix.access('/a') then rpm.execute('b')",
            "rpm.execute('a'..b)",
        ] {
            assert_eq!(as_shell(script), None, "{script}");
        }
        let deep = "if posix.access('/a') then ".repeat(10_000);
        assert_eq!(as_shell(&deep), None);
        assert_eq!(as_shell("").as_deref(), Some(":\n"));
    }
}
