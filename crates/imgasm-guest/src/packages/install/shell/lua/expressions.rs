//! Evaluating expressions.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::{MAX_CALLS, Run};
use super::Lua;
use super::ast::{Expression, Function};
use super::library;
use super::statements::Flow;
use super::value::Value;

/// The longest text, in bytes.
const MAX_TEXT: usize = 1 << 20;

impl Lua<'_, '_, '_> {
    /// The values of a list of expressions: all that the last gives, and one of each other.
    pub(super) fn all(&mut self, expressions: &[Expression]) -> Run<Vec<Value>> {
        let mut values = Vec::new();
        for (index, expression) in expressions.iter().enumerate() {
            if index + 1 == expressions.len() {
                values.extend(self.values(expression)?);
            } else {
                values.push(self.value(expression)?);
            }
        }
        Ok(values)
    }

    /// All values that an expression gives: a call may give several.
    pub(super) fn values(&mut self, expression: &Expression) -> Run<Vec<Value>> {
        let Expression::Call(function, arguments) = expression else {
            return Ok(vec![self.value(expression)?]);
        };
        self.step()?;
        let function = self.value(function)?;
        let arguments = self.all(arguments)?;
        match function {
            Value::Library(name) => self.library(name, arguments),
            Value::Function(function) => self.call(&function, arguments),
            // What nobody has defined may be something that is not known here.
            _ => Err(self.unknown()),
        }
    }

    fn call(&mut self, function: &Rc<Function>, arguments: Vec<Value>) -> Run<Vec<Value>> {
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return Err(self.unknown());
        }
        let mut arguments = arguments.into_iter();
        let named = function.parameters.iter();
        let variables: BTreeMap<_, _> = named
            .map(|name| (name.clone(), arguments.next().unwrap_or(Value::Nil)))
            .collect();
        // A function sees its own variables and those of the whole script.
        let hidden = self.scopes.split_off(1);
        self.scopes.push(variables);
        let flow = self.block(&function.body)?;
        self.scopes.truncate(1);
        self.scopes.extend(hidden);
        self.calls -= 1;
        match flow {
            Flow::Next => Ok(Vec::new()),
            Flow::Return(values) => Ok(values),
            Flow::Break => Err(self.unknown()),
        }
    }

    pub(super) fn truth(&mut self, expression: &Expression) -> Run<bool> {
        let truth = self.value(expression)?.truth();
        truth.ok_or_else(|| self.unknown())
    }

    pub(super) fn number(&mut self, expression: &Expression) -> Run<i64> {
        match self.value(expression)? {
            Value::Number(number) => Ok(number),
            _ => Err(self.unknown()),
        }
    }

    /// The first value of an expression.
    pub(super) fn value(&mut self, expression: &Expression) -> Run<Value> {
        Ok(match expression {
            Expression::Nil => Value::Nil,
            Expression::Bool(value) => Value::Bool(*value),
            Expression::Number(number) => Value::Number(*number),
            Expression::Text(text) => Value::Text(text.clone()),
            Expression::Name(name) => {
                let mut scopes = self.scopes.iter().rev();
                match scopes.find_map(|scope| scope.get(name)) {
                    Some(value) => value.clone(),
                    None if library::OTHERS.contains(&name.as_str()) => return Err(self.unknown()),
                    None => library::find(name).map_or(Value::Nil, Value::Library),
                }
            }
            Expression::Index(table, key) => {
                let table = self.value(table)?;
                let key = self.value(key)?;
                self.looked_up(&table, &key)?
            }
            Expression::Call(..) => {
                let values = self.values(expression)?;
                values.into_iter().next().unwrap_or(Value::Nil)
            }
            Expression::Table(entries) => {
                let (mut list, mut fields) = (Vec::new(), BTreeMap::new());
                for (index, (key, value)) in entries.iter().enumerate() {
                    match key {
                        Some(key) => {
                            let Value::Text(key) = self.value(key)? else {
                                return Err(self.unknown());
                            };
                            let value = self.value(value)?;
                            fields.insert(key, value);
                        }
                        None if index + 1 == entries.len() => list.extend(self.values(value)?),
                        None => list.push(self.value(value)?),
                    }
                }
                if list.iter().any(|value| matches!(value, Value::Nil)) {
                    return Err(self.unknown());
                }
                Value::table(list, fields)
            }
            // What lies around a function is not kept for it.
            Expression::Function(_) if self.scopes.len() > 1 => return Err(self.unknown()),
            Expression::Function(function) => Value::Function(function.clone()),
            Expression::Unary("not", value) => Value::Bool(!self.truth(value)?),
            Expression::Unary("-", value) => {
                let number = self.number(value)?.checked_neg();
                Value::Number(number.ok_or_else(|| self.unknown())?)
            }
            Expression::Unary(_, value) => {
                let len = match self.value(value)? {
                    Value::Text(text) => text.len(),
                    Value::Table(table) => table.borrow().list.len(),
                    _ => return Err(self.unknown()),
                };
                Value::Number(i64::try_from(len).map_err(|_| self.unknown())?)
            }
            Expression::Binary(operator, left, right) => self.binary(operator, left, right)?,
        })
    }

    /// A field of a table.
    fn looked_up(&mut self, table: &Value, key: &Value) -> Run<Value> {
        match (table, key) {
            (Value::Library(library), Value::Text(name)) => {
                let name = library::find(&format!("{library}.{name}"));
                name.map(Value::Library).ok_or_else(|| self.unknown())
            }
            (Value::Table(table), Value::Text(name)) => Ok(table
                .borrow()
                .fields
                .get(name)
                .cloned()
                .unwrap_or(Value::Nil)),
            (Value::Table(table), Value::Number(number)) => {
                let index = usize::try_from(*number)
                    .ok()
                    .and_then(|index| index.checked_sub(1));
                let table = table.borrow();
                let value = index.and_then(|index| table.list.get(index));
                Ok(value.cloned().unwrap_or(Value::Nil))
            }
            (Value::Nil | Value::Bool(_), _) => Err(self.error()),
            _ => Err(self.unknown()),
        }
    }

    fn binary(&mut self, operator: &str, left: &Expression, right: &Expression) -> Run<Value> {
        let left = self.value(left)?;
        if matches!(operator, "and" | "or") {
            let truth = left.truth().ok_or_else(|| self.unknown())?;
            return if truth == (operator == "and") {
                self.value(right)
            } else {
                Ok(left)
            };
        }
        let right = self.value(right)?;
        if matches!(operator, "==" | "~=") {
            let is_equal = left.is(&right).ok_or_else(|| self.unknown())?;
            return Ok(Value::Bool(is_equal == (operator == "==")));
        }
        if operator == ".." {
            let parts = (left.joined(), right.joined());
            let (Some(left), Some(right)) = parts else {
                // Nothing and truth values cannot be joined: an error of the script.
                let is_wrong =
                    |value| matches!(value, &Value::Nil | &Value::Bool(_) | &Value::Table(_));
                return Err(if is_wrong(&left) || is_wrong(&right) {
                    self.error()
                } else {
                    self.unknown()
                });
            };
            self.shell.spend((left.len() + right.len()) as u64)?;
            if left.len() + right.len() > MAX_TEXT {
                return Err(self.unknown());
            }
            return Ok(Value::Text(left + &right));
        }
        let (Value::Number(left), Value::Number(right)) = (left, right) else {
            return Err(self.unknown());
        };
        let number = match operator {
            "<" => return Ok(Value::Bool(left < right)),
            ">" => return Ok(Value::Bool(left > right)),
            "<=" => return Ok(Value::Bool(left <= right)),
            ">=" => return Ok(Value::Bool(left >= right)),
            "+" => left.checked_add(right),
            "-" => left.checked_sub(right),
            "*" => left.checked_mul(right),
            // Lua rounds down, and divides into fractions.
            "%" if left >= 0 && right > 0 => left.checked_rem(right),
            _ => None,
        };
        Ok(Value::Number(number.ok_or_else(|| self.unknown())?))
    }
}
