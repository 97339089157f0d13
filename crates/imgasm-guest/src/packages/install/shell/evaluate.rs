//! Carrying the parts of a script out.

use std::collections::BTreeMap;

use super::ast::{AndOr, Command, Link, List, Pipeline, Stage, Word};
use super::io::{Input, Output};
use super::pattern::{cost, matches};
use super::{Dialect, MAX_CALLS, MAX_NESTED, Run, Shell, Stop, builtins};

impl Shell<'_, '_> {
    /// Commands one after the other; gives the status of the last.
    pub(super) fn list(&mut self, list: &List) -> Run {
        let mut status = 0;
        for command in list {
            status = self.and_or(command)?;
            self.status = status;
        }
        Ok(status)
    }

    fn and_or(&mut self, command: &AndOr) -> Run {
        let last = command.rest.len();
        let mut status = self.chained(&command.first, last == 0)?;
        for (index, (link, pipeline)) in command.rest.iter().enumerate() {
            self.status = status;
            if (status == 0) == (*link == Link::And) {
                status = self.chained(pipeline, index + 1 == last)?;
            }
        }
        Ok(status)
    }

    /// A pipeline of a chain; only the failure of the last one stops a script with `set -e`.
    fn chained(&mut self, pipeline: &Pipeline, is_last: bool) -> Run {
        let is_condition = !is_last || pipeline.is_negated;
        self.conditions += u32::from(is_condition);
        let result = self.pipeline(pipeline);
        self.conditions -= u32::from(is_condition);
        let status = result?;
        if status != 0 && self.stops_on_failure && self.conditions == 0 && !is_condition {
            return Err(Stop::Exit(status));
        }
        Ok(status)
    }

    /// A list whose failure is an answer.
    fn condition(&mut self, list: &List) -> Run<bool> {
        self.conditions += 1;
        let result = self.list(list);
        self.conditions -= 1;
        Ok(result? == 0)
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> Run {
        let outer = std::mem::replace(&mut self.text, pipeline.text.clone());
        let status = match pipeline.stages.as_slice() {
            [stage] => self.stage(stage),
            stages => self.piped(stages),
        };
        // A script that stops here is to say where.
        let status = status?;
        self.text = outer;
        Ok(if pipeline.is_negated {
            u8::from(status == 0)
        } else {
            status
        })
    }

    fn piped(&mut self, stages: &[Stage]) -> Run {
        let outer = self.descriptors.clone();
        let mut status = 0;
        for (index, stage) in stages.iter().enumerate() {
            let (output, buffer) = Output::pipe();
            if index + 1 < stages.len() {
                self.descriptors.output = output;
            } else {
                self.descriptors.output = outer.output.clone();
            }
            let result = self.isolated(|shell| shell.stage(stage));
            if result.is_err() {
                self.descriptors = outer;
                return result;
            }
            status = result?;
            self.descriptors.input = Input::new(buffer.take());
        }
        self.descriptors = outer;
        Ok(status)
    }

    fn stage(&mut self, stage: &Stage) -> Run {
        self.step()?;
        self.nested += 1;
        if self.nested > MAX_NESTED {
            return Err(self.unknown());
        }
        let result = self.unnested(stage);
        self.nested -= 1;
        result
    }

    fn unnested(&mut self, stage: &Stage) -> Run {
        if let Command::Simple(assignments, words) = &stage.command {
            return self.simple(assignments, words, stage);
        }
        let outer = self.descriptors.clone();
        let result = match self.redirect(&stage.redirections) {
            Ok(true) => self.compound(&stage.command),
            Ok(false) => Ok(1),
            Err(stop) => Err(stop),
        };
        self.descriptors = outer;
        result
    }

    fn compound(&mut self, command: &Command) -> Run {
        match command {
            Command::Simple(..) | Command::Opaque => Err(self.unknown()),
            Command::Group(list) => self.list(list),
            Command::Subshell(list) => self.subshell(list),
            Command::If(arms, otherwise) => {
                for (condition, body) in arms {
                    if self.condition(condition)? {
                        return self.list(body);
                    }
                }
                self.list(otherwise)
            }
            Command::For(name, words, body) => self.for_loop(name, words.as_deref(), body),
            Command::While(is_until, condition, body) => {
                self.while_loop(*is_until, condition, body)
            }
            Command::Case(word, arms) => {
                let text: Vec<_> = self.text(word)?.chars().collect();
                for (patterns, body) in arms {
                    for pattern in patterns {
                        let pattern = self.pattern(pattern)?;
                        self.spend(cost(&pattern, text.len()))?;
                        if matches(&pattern, &text) {
                            return self.list(body);
                        }
                    }
                }
                Ok(0)
            }
            Command::Function(name, body) => {
                self.functions.insert(name.clone(), body.clone());
                Ok(0)
            }
            Command::Test(_) if self.dialect != Dialect::Bash => Err(self.unknown()),
            Command::Test(words) => self.double_brackets(words),
        }
    }

    fn for_loop(&mut self, name: &str, words: Option<&[Word]>, body: &List) -> Run {
        let values = match words {
            Some(words) => self.arguments(words)?,
            None => self.arguments.clone(),
        };
        let mut status = 0;
        self.loops += 1;
        for value in values {
            self.assign(name, value)?;
            if let (new, true) = self.iteration(body)? {
                status = new;
            } else {
                status = 0;
                break;
            }
        }
        self.loops -= 1;
        Ok(status)
    }

    fn while_loop(&mut self, is_until: bool, condition: &List, body: &List) -> Run {
        let mut status = 0;
        self.loops += 1;
        while self.condition(condition)? != is_until {
            self.step()?;
            if let (new, true) = self.iteration(body)? {
                status = new;
            } else {
                status = 0;
                break;
            }
        }
        self.loops -= 1;
        Ok(status)
    }

    /// The body of a loop, once; gives its status and whether the loop goes on.
    fn iteration(&mut self, body: &List) -> Run<(u8, bool)> {
        match self.list(body) {
            Ok(status) => Ok((status, true)),
            Err(Stop::Break(1)) => Ok((0, false)),
            Err(Stop::Continue(1)) => Ok((0, true)),
            Err(Stop::Break(more)) => {
                self.loops -= 1;
                Err(Stop::Break(more - 1))
            }
            Err(Stop::Continue(more)) => {
                self.loops -= 1;
                Err(Stop::Continue(more - 1))
            }
            Err(stop) => Err(stop),
        }
    }

    fn simple(&mut self, assignments: &[(String, Word)], words: &[Word], stage: &Stage) -> Run {
        self.has_substituted = false;
        let arguments = self.arguments(words)?;
        let Some((program, arguments)) = arguments.split_first() else {
            let before = self.status;
            for (name, word) in assignments {
                let value = self.text(word)?;
                self.assign(name, value)?;
            }
            let outer = self.descriptors.clone();
            let is_done = self.redirect(&stage.redirections);
            self.descriptors = outer;
            // The status is that of the last command whose output was taken.
            let status = if self.has_substituted { self.status } else { 0 };
            self.status = before;
            return Ok(if is_done? { status } else { 1 });
        };
        let mut values = Vec::new();
        for (name, word) in assignments {
            values.push((name.clone(), self.text(word)?));
        }
        let outer = self.descriptors.clone();
        let result = match self.redirect(&stage.redirections) {
            Ok(true) => self.with_variables(values, program, arguments),
            Ok(false) if !self.nobody_hears() => Err(self.unknown()),
            Ok(false) => Ok(1),
            Err(stop) => Err(stop),
        };
        // `exec` with redirections alone keeps them, and what it cannot open ends the shell.
        if program != "exec" || !arguments.is_empty() {
            self.descriptors = outer;
        } else if !matches!(result, Ok(0)) {
            return Err(self.unknown());
        }
        result
    }

    /// A command with variables of its own.
    fn with_variables(
        &mut self,
        values: Vec<(String, String)>,
        program: &str,
        arguments: &[String],
    ) -> Run {
        if values.is_empty() {
            return self.command(program, arguments);
        }
        // For commands of the shell itself the shells do not agree on what is left behind.
        let is_own = builtins::is_special(program) || self.functions.contains_key(program);
        let sets_path = values.iter().any(|(name, _)| name == "PATH");
        if is_own || sets_path {
            return Err(self.unknown());
        }
        let before = self.variables.clone();
        for (name, value) in values {
            self.assign(&name, value)?;
        }
        let result = self.command(program, arguments);
        // `read` is to keep what it read, and is given no more than `IFS`.
        if program == "read" {
            match before.get("IFS") {
                Some(separators) => {
                    self.variables.insert("IFS".to_owned(), separators.clone());
                }
                None => {
                    self.variables.remove("IFS");
                }
            }
        } else {
            self.variables = before;
        }
        result
    }

    fn command(&mut self, program: &str, arguments: &[String]) -> Run {
        let Some(body) = self.functions.get(program).cloned() else {
            let status = self.builtin(program, arguments)?;
            // What it says of an error is not known in its words.
            if !self.nobody_hears() && !builtins::is_silent(program, status) {
                return Err(self.unknown());
            }
            return Ok(status);
        };
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return Err(self.unknown());
        }
        let outer = std::mem::replace(&mut self.arguments, arguments.to_vec());
        let loops = std::mem::take(&mut self.loops);
        self.hidden.push(BTreeMap::new());
        let result = self.stage(&body);
        for (name, value) in self.hidden.pop().unwrap_or_default() {
            match value {
                Some(value) => self.variables.insert(name, value),
                None => self.variables.remove(&name),
            };
        }
        self.arguments = outer;
        self.loops = loops;
        self.calls -= 1;
        match result {
            Err(Stop::Return(status)) => Ok(status),
            Err(Stop::Break(_) | Stop::Continue(_)) => Err(self.unknown()),
            result => result,
        }
    }

    /// Whether what commands say of errors is lost.
    fn nobody_hears(&self) -> bool {
        matches!(self.descriptors.errors, Output::Nowhere)
    }

    /// Gives a variable a value.
    pub(super) fn assign(&mut self, name: &str, value: String) -> Run<()> {
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        // With another path or root, commands would mean something else.
        if !is_name
            || matches!(
                name,
                "LD_PRELOAD" | "LD_LIBRARY_PATH" | "POSIXLY_CORRECT" | "BASH_ENV" | "ENV"
            )
        {
            return Err(self.unknown());
        }
        self.variables.insert(name.to_owned(), value);
        Ok(())
    }
}
