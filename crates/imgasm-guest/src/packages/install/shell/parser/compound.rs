//! Compound commands: conditions, loops, choices, functions.

use std::rc::Rc;

use super::super::ast::{Command, List, Part, Stage};
use super::{GiveUp, Parsed, Parser, RESERVED, UNKNOWN_WORDS};

impl Parser<'_> {
    pub(super) fn command(&mut self) -> Parsed<Stage> {
        let plain = |command| Stage {
            command,
            redirections: Vec::new(),
        };
        if self.rest().starts_with("((") {
            return Err(GiveUp);
        }
        if self.take("(") {
            let list = self.some(&[")"])?;
            return if self.take(")") {
                Ok(plain(Command::Subshell(list)))
            } else {
                Err(GiveUp)
            };
        }
        if self.take_word("{") {
            let list = self.some(&["}"])?;
            self.expect_word("}")?;
            return Ok(plain(Command::Group(list)));
        }
        if self.take_word("if") {
            return Ok(plain(self.condition()?));
        }
        if self.take_word("for") {
            return Ok(plain(self.for_loop()?));
        }
        for word in ["while", "until"] {
            if self.take_word(word) {
                let condition = self.some(&["do"])?;
                let body = self.body()?;
                return Ok(plain(Command::While(word == "until", condition, body)));
            }
        }
        if self.take_word("case") {
            return Ok(plain(self.case()?));
        }
        if self.take_word("[[") {
            return Ok(plain(self.double_brackets()?));
        }
        if self.take_word("function") {
            self.skip_spaces();
            let name = self.name().ok_or(GiveUp)?;
            self.skip_spaces();
            if self.take("(") && !self.take(")") {
                return Err(GiveUp);
            }
            return self.function(name).map(plain);
        }
        if let Some(name) = self.function_name() {
            return self.function(name).map(plain);
        }
        let is_unknown = |word: &&str| self.word_is(word);
        if UNKNOWN_WORDS.iter().any(is_unknown) || RESERVED.iter().any(is_unknown) {
            return Err(GiveUp);
        }
        self.simple()
    }

    /// `name()` at this place, which is passed over.
    fn function_name(&mut self) -> Option<String> {
        let start = self.at;
        let name = self.name();
        self.skip_spaces();
        if let Some(name) = name
            && self.take("(")
        {
            self.skip_spaces();
            if self.take(")") {
                return Some(name);
            }
        }
        self.at = start;
        None
    }

    fn function(&mut self, name: String) -> Parsed<Command> {
        self.skip_blank_lines();
        let body = self.stage()?;
        match body.command {
            Command::Simple(..) => Err(GiveUp),
            _ => Ok(Command::Function(name, Rc::new(body))),
        }
    }

    fn condition(&mut self) -> Parsed<Command> {
        let mut arms = Vec::new();
        loop {
            let condition = self.some(&["then"])?;
            self.expect_word("then")?;
            let body = self.some(&["elif", "else", "fi"])?;
            arms.push((condition, body));
            if self.take_word("elif") {
                continue;
            }
            let otherwise = if self.take_word("else") {
                self.some(&["fi"])?
            } else {
                Vec::new()
            };
            self.expect_word("fi")?;
            return Ok(Command::If(arms, otherwise));
        }
    }

    fn for_loop(&mut self) -> Parsed<Command> {
        self.skip_spaces();
        let name = self.name().ok_or(GiveUp)?;
        self.skip_blank_lines();
        let mut words = None;
        if self.take_word("in") {
            let mut list = Vec::new();
            loop {
                self.skip_spaces();
                if self.peek().is_none_or(|c| c == ';' || c == '\n') {
                    break;
                }
                list.push(self.word()?);
            }
            words = Some(list);
        }
        self.skip_spaces();
        self.take(";");
        Ok(Command::For(name, words, self.body()?))
    }

    /// `do … done`
    fn body(&mut self) -> Parsed<List> {
        self.expect_word("do")?;
        let list = self.some(&["done"])?;
        self.expect_word("done")?;
        Ok(list)
    }

    fn case(&mut self) -> Parsed<Command> {
        self.skip_spaces();
        let word = self.word()?;
        self.expect_word("in")?;
        let mut arms = Vec::new();
        loop {
            self.skip_blank_lines();
            if self.take_word("esac") {
                return Ok(Command::Case(word, arms));
            }
            self.take("(");
            let mut patterns = Vec::new();
            loop {
                self.skip_spaces();
                patterns.push(self.word()?);
                self.skip_spaces();
                if self.take(")") {
                    break;
                }
                if !self.take("|") {
                    return Err(GiveUp);
                }
            }
            let body = self.list(&[";;", "esac"])?;
            arms.push((patterns, body));
            self.skip_blank_lines();
            if self.rest().starts_with(";;&") || (!self.take(";;") && !self.word_is("esac")) {
                return Err(GiveUp);
            }
        }
    }

    /// The words between `[[` and `]]`; its operators are words of their own.
    fn double_brackets(&mut self) -> Parsed<Command> {
        let mut words = Vec::new();
        loop {
            self.skip_blank_lines();
            if self.take_word("]]") {
                return Ok(Command::Test(words));
            }
            let mut operators = ["&&", "||", "(", ")", "<", ">"].into_iter();
            if let Some(operator) = operators.find(|operator| self.take(operator)) {
                words.push(vec![Part::Text {
                    text: operator.to_owned(),
                    is_quoted: false,
                }]);
                continue;
            }
            if self.peek().is_none() {
                return Err(GiveUp);
            }
            words.push(self.word()?);
        }
    }
}
