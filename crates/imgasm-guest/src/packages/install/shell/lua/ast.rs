//! A script in Lua, taken apart.

use std::rc::Rc;

pub(super) type Block = Vec<Statement>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    /// `local a, b = …`
    Local(Vec<String>, Vec<Expression>),
    /// `a, b[1] = …`
    Assign(Vec<Expression>, Vec<Expression>),
    /// A call whose results nobody wants.
    Call(Expression),
    /// Conditions with what is done, and what is done if none holds.
    If(Vec<(Expression, Block)>, Block),
    While(Expression, Block),
    /// `for name = first, last, step do`
    Count(String, [Expression; 3], Block),
    /// `for index, name in ipairs(list) do`
    Each(Vec<String>, Expression, Block),
    /// `do … end`
    Do(Block),
    Return(Vec<Expression>),
    Break,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    Nil,
    Bool(bool),
    Number(i64),
    Text(String),
    /// A variable.
    Name(String),
    /// `a.b`, `a["b"]`
    Index(Box<Expression>, Box<Expression>),
    Call(Box<Expression>, Vec<Expression>),
    /// `{ … }`: those with a key of their own, and those that are counted.
    Table(Vec<(Option<Expression>, Expression)>),
    Function(Rc<Function>),
    /// `not`, `-`, `#`
    Unary(&'static str, Box<Expression>),
    Binary(&'static str, Box<Expression>, Box<Expression>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub parameters: Vec<String>,
    pub body: Block,
}
