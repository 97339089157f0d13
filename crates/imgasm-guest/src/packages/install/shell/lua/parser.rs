//! From tokens to statements and expressions (Lua 5.3 reference manual, 3.3 and 3.4).

use std::rc::Rc;

use super::ast::{Block, Expression, Function, Statement};
use super::tokens::{Token, tokens};

/// The most tables, blocks and parentheses within each other.
const DEEPEST: usize = 64;
/// Words that are no names.
const KEYWORDS: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
    "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];
/// The operators between two values, those that bind least first; `..` binds to the right.
const OPERATORS: [&[&str]; 6] = [
    &["or"],
    &["and"],
    &["==", "~=", "<", ">", "<=", ">="],
    &[".."],
    &["+", "-"],
    &["*", "/", "%"],
];

/// Takes a script apart; `None` if something in it is not known.
pub(super) fn parse(script: &str) -> Option<Block> {
    let mut parser = Parser {
        tokens: tokens(script)?,
        at: 0,
        depth: 0,
    };
    let block = parser.block()?;
    (parser.at == parser.tokens.len()).then_some(block)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn take(&mut self, mark: &str) -> bool {
        let is_there = match self.tokens.get(self.at) {
            Some(Token::Mark(found)) => *found == mark,
            Some(Token::Word(found)) => found == mark,
            _ => false,
        };
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, mark: &str) -> Option<()> {
        self.take(mark).then_some(())
    }

    fn name(&mut self) -> Option<String> {
        match self.tokens.get(self.at)? {
            Token::Word(word) if !KEYWORDS.contains(&word.as_str()) => {
                self.at += 1;
                Some(word.clone())
            }
            _ => None,
        }
    }

    fn names(&mut self) -> Option<Vec<String>> {
        let mut names = vec![self.name()?];
        while self.take(",") {
            names.push(self.name()?);
        }
        Some(names)
    }

    /// Statements, up to the word that ends them.
    fn block(&mut self) -> Option<Block> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let mut block = Vec::new();
        loop {
            if self.take(";") {
                continue;
            }
            match self.tokens.get(self.at) {
                None => break,
                Some(Token::Word(word)) if matches!(word.as_str(), "end" | "else" | "elseif") => {
                    break;
                }
                Some(_) => block.push(self.statement()?),
            }
        }
        self.depth -= 1;
        Some(block)
    }

    /// Statements and the `end` behind them.
    fn ended(&mut self) -> Option<Block> {
        let block = self.block()?;
        self.expect("end")?;
        Some(block)
    }

    fn statement(&mut self) -> Option<Statement> {
        if self.take("if") {
            return self.choice();
        }
        if self.take("while") {
            let condition = self.expression(0)?;
            self.expect("do")?;
            return Some(Statement::While(condition, self.ended()?));
        }
        if self.take("for") {
            return self.repetition();
        }
        if self.take("do") {
            return Some(Statement::Do(self.ended()?));
        }
        if self.take("break") {
            return Some(Statement::Break);
        }
        if self.take("return") {
            let is_last = match self.tokens.get(self.at) {
                None | Some(Token::Mark(";")) => true,
                Some(Token::Word(word)) => matches!(word.as_str(), "end" | "else" | "elseif"),
                Some(_) => false,
            };
            let values = if is_last {
                Vec::new()
            } else {
                self.expressions()?
            };
            return Some(Statement::Return(values));
        }
        if self.take("function") {
            let name = self.name()?;
            let function = self.function()?;
            return Some(Statement::Assign(
                vec![Expression::Name(name)],
                vec![function],
            ));
        }
        if self.take("local") {
            if self.take("function") {
                let name = self.name()?;
                return Some(Statement::Local(vec![name], vec![self.function()?]));
            }
            let names = self.names()?;
            let values = if self.take("=") {
                self.expressions()?
            } else {
                Vec::new()
            };
            return Some(Statement::Local(names, values));
        }
        let first = self.suffixed()?;
        if let Expression::Call(..) = first {
            return Some(Statement::Call(first));
        }
        let mut targets = vec![first];
        while self.take(",") {
            targets.push(self.suffixed()?);
        }
        let is_place =
            |one: &Expression| matches!(one, Expression::Name(_) | Expression::Index(..));
        if !targets.iter().all(is_place) {
            return None;
        }
        self.expect("=")?;
        Some(Statement::Assign(targets, self.expressions()?))
    }

    fn choice(&mut self) -> Option<Statement> {
        let mut arms = Vec::new();
        loop {
            let condition = self.expression(0)?;
            self.expect("then")?;
            arms.push((condition, self.block()?));
            if self.take("elseif") {
                continue;
            }
            let otherwise = if self.take("else") {
                self.block()?
            } else {
                Vec::new()
            };
            self.expect("end")?;
            return Some(Statement::If(arms, otherwise));
        }
    }

    fn repetition(&mut self) -> Option<Statement> {
        let names = self.names()?;
        if let [name] = names.as_slice()
            && self.take("=")
        {
            let first = self.expression(0)?;
            self.expect(",")?;
            let last = self.expression(0)?;
            let step = if self.take(",") {
                self.expression(0)?
            } else {
                Expression::Number(1)
            };
            self.expect("do")?;
            return Some(Statement::Count(
                name.clone(),
                [first, last, step],
                self.ended()?,
            ));
        }
        self.expect("in")?;
        let list = self.expression(0)?;
        self.expect("do")?;
        Some(Statement::Each(names, list, self.ended()?))
    }

    /// The parameters and the body of a function.
    fn function(&mut self) -> Option<Expression> {
        self.expect("(")?;
        let mut parameters = Vec::new();
        if !self.take(")") {
            parameters = self.names()?;
            self.expect(")")?;
        }
        let body = self.ended()?;
        Some(Expression::Function(Rc::new(Function { parameters, body })))
    }

    fn expressions(&mut self) -> Option<Vec<Expression>> {
        let mut values = vec![self.expression(0)?];
        while self.take(",") {
            values.push(self.expression(0)?);
        }
        Some(values)
    }

    fn expression(&mut self, level: usize) -> Option<Expression> {
        let Some(operators) = OPERATORS.get(level) else {
            return self.unary();
        };
        let mut value = self.expression(level + 1)?;
        while let Some(operator) = operators.iter().find(|operator| self.take(operator)) {
            let next = if *operator == ".." { level } else { level + 1 };
            self.depth += 1;
            if self.depth > DEEPEST {
                return None;
            }
            let other = self.expression(next)?;
            self.depth -= 1;
            value = Expression::Binary(operator, Box::new(value), Box::new(other));
        }
        Some(value)
    }

    fn unary(&mut self) -> Option<Expression> {
        let found = ["not", "-", "#"]
            .into_iter()
            .find(|operator| self.take(operator));
        let Some(operator) = found else {
            return self.primary();
        };
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let value = self.unary()?;
        self.depth -= 1;
        Some(Expression::Unary(operator, Box::new(value)))
    }

    fn primary(&mut self) -> Option<Expression> {
        let value = match self.tokens.get(self.at)? {
            Token::Number(number) => Expression::Number(*number),
            Token::Text(text) => Expression::Text(text.clone()),
            Token::Word(word) => match word.as_str() {
                "nil" => Expression::Nil,
                "true" => Expression::Bool(true),
                "false" => Expression::Bool(false),
                "function" => {
                    self.at += 1;
                    return self.function();
                }
                _ => return self.suffixed(),
            },
            Token::Mark("{") => {
                self.at += 1;
                return self.table();
            }
            Token::Mark(_) => return self.suffixed(),
        };
        self.at += 1;
        Some(value)
    }

    fn table(&mut self) -> Option<Expression> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let mut entries = Vec::new();
        while !self.take("}") {
            let start = self.at;
            let mut key = None;
            if self.take("[") {
                key = Some(self.expression(0)?);
                self.expect("]")?;
                self.expect("=")?;
            } else if let Some(name) = self.name() {
                if self.take("=") {
                    key = Some(Expression::Text(name));
                } else {
                    self.at = start;
                }
            }
            entries.push((key, self.expression(0)?));
            if !self.take(",") && !self.take(";") {
                self.expect("}")?;
                break;
            }
        }
        self.depth -= 1;
        Some(Expression::Table(entries))
    }

    /// A name or an expression in parentheses, with what is looked up in it or called. Methods are not
    /// known.
    fn suffixed(&mut self) -> Option<Expression> {
        let mut value = if self.take("(") {
            self.depth += 1;
            if self.depth > DEEPEST {
                return None;
            }
            let inner = self.expression(0)?;
            self.depth -= 1;
            self.expect(")")?;
            // Parentheses cut the results of a call down to one: not known.
            if matches!(inner, Expression::Call(..)) {
                return None;
            }
            inner
        } else {
            Expression::Name(self.name()?)
        };
        loop {
            if self.take(".") {
                let key = Expression::Text(self.name()?);
                value = Expression::Index(Box::new(value), Box::new(key));
            } else if self.take("[") {
                let key = self.expression(0)?;
                self.expect("]")?;
                value = Expression::Index(Box::new(value), Box::new(key));
            } else if self.take("(") {
                let mut arguments = Vec::new();
                if !self.take(")") {
                    arguments = self.expressions()?;
                    self.expect(")")?;
                }
                value = Expression::Call(Box::new(value), arguments);
            } else if let Some(Token::Text(text)) = self.tokens.get(self.at) {
                let text = Expression::Text(text.clone());
                self.at += 1;
                value = Expression::Call(Box::new(value), vec![text]);
            } else {
                return Some(value);
            }
        }
    }
}
