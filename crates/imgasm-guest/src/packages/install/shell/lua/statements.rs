//! Carrying out statements.

use std::collections::BTreeMap;

use super::super::{Run, Stop};
use super::Lua;
use super::ast::{Block, Expression, Statement};
use super::value::Value;

/// How a block ended.
pub(super) enum Flow {
    Next,
    Break,
    Return(Vec<Value>),
}

impl Lua<'_, '_, '_> {
    /// A block with variables of its own.
    fn inner(&mut self, block: &Block, variables: BTreeMap<String, Value>) -> Run<Flow> {
        self.scopes.push(variables);
        let flow = self.block(block)?;
        self.scopes.pop();
        Ok(flow)
    }

    pub(super) fn block(&mut self, block: &Block) -> Run<Flow> {
        for statement in block {
            match self.statement(statement)? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    /// Counts a step, so that no script takes long.
    pub(super) fn step(&mut self) -> Run<()> {
        self.shell.step()
    }

    fn statement(&mut self, statement: &Statement) -> Run<Flow> {
        self.step()?;
        match statement {
            Statement::Local(names, values) => {
                let mut values = self.all(values)?.into_iter();
                for name in names {
                    let value = values.next().unwrap_or(Value::Nil);
                    // A further variable of the name hides the one before.
                    if let Some(scope) = self.scopes.last_mut() {
                        scope.insert(name.clone(), value);
                    }
                }
            }
            Statement::Assign(places, values) => {
                let mut values = self.all(values)?.into_iter();
                for place in places {
                    self.assign(place, values.next().unwrap_or(Value::Nil))?;
                }
            }
            Statement::Call(call) => {
                self.values(call)?;
            }
            Statement::If(arms, otherwise) => {
                for (condition, body) in arms {
                    if self.is_chosen(condition, body)? {
                        return self.inner(body, BTreeMap::new());
                    }
                }
                return self.inner(otherwise, BTreeMap::new());
            }
            Statement::While(condition, body) => {
                while self.truth(condition)? {
                    self.step()?;
                    match self.inner(body, BTreeMap::new())? {
                        Flow::Next => {}
                        Flow::Break => break,
                        flow @ Flow::Return(_) => return Ok(flow),
                    }
                }
            }
            Statement::Count(name, [first, last, step], body) => {
                let numbers = [self.number(first)?, self.number(last)?, self.number(step)?];
                let [mut number, last, step] = numbers;
                if step == 0 {
                    return Err(self.unknown());
                }
                while if step > 0 {
                    number <= last
                } else {
                    number >= last
                } {
                    let variables = BTreeMap::from([(name.clone(), Value::Number(number))]);
                    match self.repeated(body, variables)? {
                        Flow::Next => {}
                        Flow::Break => break,
                        flow @ Flow::Return(_) => return Ok(flow),
                    }
                    number = number.checked_add(step).ok_or_else(|| self.unknown())?;
                }
            }
            Statement::Each(names, list, body) => return self.each(names, list, body),
            Statement::Do(body) => return self.inner(body, BTreeMap::new()),
            Statement::Return(values) => return Ok(Flow::Return(self.all(values)?)),
            Statement::Break => return Ok(Flow::Break),
        }
        Ok(Flow::Next)
    }

    fn repeated(&mut self, body: &Block, variables: BTreeMap<String, Value>) -> Run<Flow> {
        self.step()?;
        self.inner(body, variables)
    }

    /// `for index, name in ipairs(list) do`
    fn each(&mut self, names: &[String], list: &Expression, body: &Block) -> Run<Flow> {
        let Expression::Call(function, arguments) = list else {
            return Err(self.unknown());
        };
        let is_ipairs = matches!(self.value(function)?, Value::Library("ipairs"));
        let table = match arguments.as_slice() {
            [table] if is_ipairs && names.len() <= 2 => self.value(table)?,
            _ => return Err(self.unknown()),
        };
        let Value::Table(table) = table else {
            return Err(self.error());
        };
        let mut index = 0;
        // The list may change on the way.
        while let Some(value) = table.borrow().list.get(index).cloned() {
            index += 1;
            let number = i64::try_from(index).map_err(|_| self.unknown())?;
            let values = [Value::Number(number), value];
            let variables = names.iter().cloned().zip(values).collect();
            match self.repeated(body, variables)? {
                Flow::Next => {}
                Flow::Break => break,
                flow @ Flow::Return(_) => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    /// Whether a condition holds. Where it asks which of two processes this is, the one that was forked
    /// does its part first, and the other goes on.
    fn is_chosen(&mut self, condition: &Expression, body: &Block) -> Run<bool> {
        let Expression::Binary(operator, left, right) = condition else {
            return self.truth(condition);
        };
        let is_comparison = matches!(*operator, "==" | ">" | "<" | "~=");
        if !is_comparison || !matches!(self.value(left)?, Value::Process) {
            return self.truth(condition);
        }
        match (*operator, self.value(right)?) {
            ("==", Value::Number(0)) => {
                if self.is_child {
                    return Err(self.unknown());
                }
                let scopes = self.scopes.clone();
                self.is_child = true;
                let result = self.inner(body, BTreeMap::new());
                self.is_child = false;
                self.scopes = scopes;
                match result {
                    // It has become another program, whose end nobody waits for but `posix.wait`.
                    Err(Stop::Return(_)) => Ok(false),
                    Err(stop @ (Stop::Unknown(_) | Stop::Failed(_))) => Err(stop),
                    _ => Err(self.unknown()),
                }
            }
            (">", Value::Number(0)) => Ok(true),
            ("==", Value::Number(-1)) | ("<", Value::Number(0)) => Ok(false),
            _ => Err(self.unknown()),
        }
    }

    fn assign(&mut self, place: &Expression, value: Value) -> Run<()> {
        match place {
            Expression::Name(name) => {
                let inner = self.scopes.iter_mut().rev();
                let mut holders = inner.filter(|scope| scope.contains_key(name));
                let holder = match holders.next() {
                    Some(holder) => Some(holder),
                    None => self.scopes.first_mut(),
                };
                if let Some(holder) = holder {
                    holder.insert(name.clone(), value);
                }
                Ok(())
            }
            Expression::Index(table, key) => {
                let Value::Table(table) = self.value(table)? else {
                    return Err(self.unknown());
                };
                let key = self.value(key)?;
                let mut table = table.borrow_mut();
                match key {
                    Value::Text(key) => {
                        table.fields.insert(key, value);
                    }
                    Value::Number(number) => {
                        let index = usize::try_from(number)
                            .ok()
                            .and_then(|index| index.checked_sub(1));
                        match index {
                            _ if matches!(value, Value::Nil) => return Err(self.unknown()),
                            Some(index) if index < table.list.len() => table.list[index] = value,
                            Some(index) if index == table.list.len() => table.list.push(value),
                            _ => return Err(self.unknown()),
                        }
                    }
                    _ => return Err(self.unknown()),
                }
                Ok(())
            }
            _ => Err(self.unknown()),
        }
    }
}
