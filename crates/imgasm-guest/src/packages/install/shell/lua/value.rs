//! Values of Lua, as far as they are known.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::ast::Function;

#[derive(Debug, Clone)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Number(i64),
    Text(String),
    Table(Rc<RefCell<Table>>),
    Function(Rc<Function>),
    /// A function that RPM or Lua has, or a table of these, by its name.
    Library(&'static str),
    /// How many packages of the name there are: a number for some versions of RPM, and text for others.
    Instances(i64),
    /// The number of a process that was forked.
    Process,
    /// What differs from system to system, and may not be looked at.
    Unsure,
}

/// A list, and what has a name.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub list: Vec<Value>,
    pub fields: BTreeMap<String, Value>,
}

impl Value {
    pub(super) fn table(list: Vec<Self>, fields: BTreeMap<String, Self>) -> Self {
        Self::Table(Rc::new(RefCell::new(Table { list, fields })))
    }

    /// Whether it counts as true; `None` if that is not known.
    pub(super) const fn truth(&self) -> Option<bool> {
        match self {
            Self::Nil | Self::Bool(false) => Some(false),
            Self::Unsure => None,
            _ => Some(true),
        }
    }

    /// What `..` makes of it: the text, or that of a number; `None` for all others.
    pub(super) fn joined(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Whether two are equal; `None` if that is not known.
    pub(super) fn is(&self, other: &Self) -> Option<bool> {
        Some(match (self, other) {
            (Self::Nil, Self::Nil) => true,
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::Number(one), Self::Number(other)) => one == other,
            (Self::Text(one), Self::Text(other)) => one == other,
            (Self::Table(one), Self::Table(other)) => Rc::ptr_eq(one, other),
            (
                Self::Unsure
                | Self::Instances(_)
                | Self::Process
                | Self::Library(_)
                | Self::Function(_),
                _,
            )
            | (
                _,
                Self::Unsure
                | Self::Instances(_)
                | Self::Process
                | Self::Library(_)
                | Self::Function(_),
            ) => return None,
            _ => false,
        })
    }
}
