//! What a template may look like, so that none takes long or more room than there is.

use std::collections::HashMap;
use std::thread;

use super::is_template;

/// The longest template, in bytes.
const LONGEST: usize = 128 << 10;

/// The longest expression or statement in it: the crate takes time in proportion to the square of the
/// operators.
const LONGEST_BLOCK: usize = 4 << 10;

/// A template that is no longer than this nests so little that any stack has room for it.
const SHORT: usize = 512;

/// How much stack each byte of a longer template may take: each can be an operator within the one before
/// it, and the crate reads, compiles and frees them by recursion.
const STACK_PER_BYTE: usize = 4 << 10;

/// Does something with a template, on a stack that is large enough for it.
pub(super) fn with_room<T: Send>(text: &str, act: impl FnOnce() -> T + Send) -> T {
    if text.len() <= SHORT || !is_template(text) {
        return act();
    }
    let room = text.len().min(LONGEST) * STACK_PER_BYTE;
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(room);
        let thread = thread.spawn_scoped(scope, act);
        let done = thread.expect("there is memory for a thread").join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// How many times as large as those that it was given a value may become in a template, at most.
const MOST_GROWTH: u64 = 1 << 10;

/// How many lists and tables a template may put within each other, one statement after the other.
const DEEPEST: u32 = 32;

/// What a name in a template stands for.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// How many of the values that the template was given are in it, at most.
    values: u64,
    /// How deep they are.
    depth: u32,
}

/// What a name that no statement has set stands for.
const GIVEN: Size = Size {
    values: 1,
    depth: 0,
};

/// What makes values grow in a template without end, if anything does: steps are counted, and what a list
/// holds is not. One that holds itself twice, and that one twice again, would be printed for ever.
fn growing(text: &str) -> Option<String> {
    let too_many =
        || Some("too many values are made of values that were made of others".to_owned());
    // What is set in a loop is gone with it, and with each of its rounds.
    let (mut scopes, mut loops) = (vec![HashMap::<String, Size>::new()], 0_u32);
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{%") {
        let block = &after[..block_len(after, "%}")];
        rest = &after[block.len()..];
        let block: String = unquoted(block).map(|(_, c)| c).collect();
        let mut words = words(&block);
        match words.next().unwrap_or_default() {
            "raw" => rest = rest.split_once("endraw").map_or("", |(_, after)| after),
            "for" if block.contains("recursive") => {
                return Some("loops cannot be `recursive`".to_owned());
            }
            keyword @ ("for" | "with" | "set") => {
                let (names, value) = match keyword {
                    "for" => block.split_once(" in ").unwrap_or_default(),
                    _ => block.split_once('=').unwrap_or_default(),
                };
                if keyword == "set" && loops > 0 && names.contains('.') {
                    let problem = "a value is made of others within a loop, again and again";
                    return Some(problem.to_owned());
                }
                let size = size_of(value, &scopes);
                if size.values > MOST_GROWTH || size.depth > DEEPEST {
                    return too_many();
                }
                if keyword != "set" {
                    scopes.push(HashMap::new());
                    loops += u32::from(keyword == "for");
                }
                if let Some(scope) = scopes.last_mut() {
                    // `with` can name several, each of which counts as all of them.
                    let names = if keyword == "with" { &block } else { names };
                    scope.extend(self::words(names).map(|name| (name.to_owned(), size)));
                }
            }
            keyword @ ("endfor" | "endwith") => {
                if scopes.len() > 1 {
                    scopes.pop();
                }
                loops = loops.saturating_sub(u32::from(keyword == "endfor"));
            }
            _ => {}
        }
    }
    None
}

/// How large the value of an expression is at most.
fn size_of(expression: &str, scopes: &[HashMap<String, Size>]) -> Size {
    let known = |name: &str| scopes.iter().rev().find_map(|scope| scope.get(name));
    let named = words(expression).map(|name| known(name).copied().unwrap_or(GIVEN));
    let all = named.fold(GIVEN, |all, one| Size {
        values: all.values.saturating_add(one.values),
        depth: all.depth.max(one.depth),
    });
    let is_made = expression.contains(['[', '{', '+', '*']) || expression.contains("dict");
    Size {
        // One of them was there before the first.
        values: all.values.saturating_sub(1).max(1),
        depth: all.depth + u32::from(is_made),
    }
}

/// The names in an expression.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}

/// What is too long in a template, if anything is.
pub(super) fn too_long(text: &str) -> Option<String> {
    let len = text.len();
    if len > LONGEST {
        return Some(format!(
            "a template has at most {LONGEST} bytes, and this one {len}"
        ));
    }
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        let block = match after.chars().next() {
            Some('{') => block_len(after, "}}"),
            Some('%') => block_len(after, "%}"),
            _ => 0,
        };
        if block > LONGEST_BLOCK {
            return Some(format!(
                "an expression has at most {LONGEST_BLOCK} bytes, and this one {block}"
            ));
        }
        rest = &after[block..];
    }
    growing(text)
}

/// Bytes up to the end of a block, which is not within quotes.
fn block_len(text: &str, end: &str) -> usize {
    let mut found = unquoted(text).filter(|(at, _)| text[*at..].starts_with(end));
    found.next().map_or(text.len(), |(at, _)| at)
}

/// The characters that are not within quotes, and where they are.
fn unquoted(text: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut quote, mut is_escaped) = (None, false);
    text.char_indices().filter(move |(_, c)| {
        match quote {
            None if !matches!(c, '"' | '\'') => return true,
            None => quote = Some(*c),
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if *c == '\\' => is_escaped = true,
            Some(open) if *c == open => quote = None,
            Some(_) => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_told_from_what_is_only_long() {
        let often = |statement: &str| statement.repeat(60);
        for ordinary in [
            often("{% for port in range(3) %}{{ port }}{% endfor %}"),
            often("{% for a in items | selectattr('a') %}{% set b = [a, a] %}{{ b }}{% endfor %}"),
            often("{% set x = y | default('[a, a, a] + of {many} words') %}"),
            often("{% if a in ['b', 'c'] %}{% set found = true %}{% endif %}"),
            often("{% with a = [b, c] %}{{ a }}{% endwith %}"),
            format!("{{% raw %}}{}{{% endraw %}}", often("{% set a = [a, a] %}")),
            often("{% set a %}text{% endset %}"),
        ] {
            assert_eq!(growing(&ordinary), None, "{ordinary:.99}");
        }
        for grows in [
            often("{% set a = [a, a] %}"),
            often("{%- set a = a + a -%}"),
            often("{% set a = [a] %}"),
            often("{% for a in [[a, a]] %}"),
            often("{% with a = dict(x=a, y=a) %}"),
            often("{% with b = a, a = [b, b] %}"),
            often("{% set a, b = [b, b], [a, a] %}"),
            often("{% set a = a | zip(a) %}"),
            "{% set a = [a, a] %}{% for b in c %}".repeat(60),
            "{% for x in y recursive %}{{ loop([x, x]) }}{% endfor %}".to_owned(),
        ] {
            assert!(growing(&grows).is_some(), "{grows:.99}");
        }
    }
}
