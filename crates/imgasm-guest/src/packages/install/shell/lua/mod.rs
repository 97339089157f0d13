//! Scripts in the Lua that RPM has built in, carried out on the image.
//!
//! Numbers are whole, tables are lists or records, functions see what is global; what a script does
//! with files and programs is done as the shell around does it. A process that is forked must become
//! another program at once, so that it can be carried out before its parent goes on.
//!
//! - [`tokens`], [`ast`], [`parser`]: a script, taken apart.
//! - [`value`]: what it computes with.
//! - [`statements`], [`expressions`]: carrying it out.
//! - [`library`]: what RPM and Lua bring along.

mod ast;
mod expressions;
mod library;
mod parser;
mod statements;
#[cfg(test)]
mod tests;
mod tokens;
mod value;

use std::collections::BTreeMap;

use super::{Run, Shell, Stop};
use ast::Block;
use statements::Flow;
use value::Value;

/// Carries out a script; only an error ends one badly.
pub(super) fn run(shell: &mut Shell<'_, '_>, script: &str) -> Run {
    let text = script.trim().lines().next().unwrap_or_default();
    text.clone_into(&mut shell.text);
    let block: Block = parser::parse(script).ok_or_else(|| shell.unknown())?;
    let instances = shell.arguments.first().and_then(|count| count.parse().ok());
    let argument = instances.map_or(Value::Unsure, Value::Instances);
    let arguments = Value::table(vec![Value::Unsure, argument], BTreeMap::new());
    let mut lua = Lua {
        shell,
        scopes: vec![BTreeMap::from([("arg".to_owned(), arguments)])],
        is_child: false,
        calls: 0,
    };
    match lua.block(&block) {
        Ok(Flow::Next | Flow::Return(_)) => Ok(0),
        // Outside a loop.
        Ok(Flow::Break) => Err(lua.shell.unknown()),
        Err(Stop::Exit(status)) => Ok(status),
        Err(stop) => Err(stop),
    }
}

/// The state of a script.
struct Lua<'s, 'a, 'fs> {
    shell: &'s mut Shell<'a, 'fs>,
    /// Variables, those of the outermost block first; those that are global are among these.
    scopes: Vec<BTreeMap<String, Value>>,
    /// Whether this is the process that was forked.
    is_child: bool,
    calls: u32,
}

impl Lua<'_, '_, '_> {
    /// Something is not known.
    fn unknown(&self) -> Stop {
        self.shell.unknown()
    }

    /// An error of the script, by which it ends.
    #[allow(clippy::unused_self, reason = "called in a row with methods")]
    fn error(&self) -> Stop {
        Stop::Exit(1)
    }
}
