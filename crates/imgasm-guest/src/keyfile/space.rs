//! Files of `key value` lines: `sshd_config`, `login.defs`, `chrony.conf`.
//!
//! A line that begins with `Match` begins a block that reaches to the next such line, as in
//! `sshd_config(5)`.
//! A key without a block is one of the lines before the first. Keys are compared without regard to case,
//! as sshd does; no file has two that differ in that alone.

use super::{Error, Value, plain, push_line};

const NAME: &str = "a file of keys and values";

pub(super) fn set(text: &str, names: &[&str], value: &Value) -> Result<String, Error> {
    let (block, key) = match *names {
        [key] => (None, key),
        [block, key] => (Some(block), key),
        _ => {
            return Err(Error::Key {
                key: format!("{names:?}"),
                problem: "has more than a `Match` line and a name",
            });
        }
    };
    if key.contains(char::is_whitespace) || key.starts_with('#') || is_same(key, "Match") {
        return Err(Error::Key {
            key: format!("{key:?}"),
            problem: "cannot begin a line of a setting",
        });
    }
    let values = match value {
        Value::Array(values) => values.iter().map(|value| plain(NAME, value)).collect(),
        value => plain(NAME, value).map(|value| vec![value]),
    }?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Some((start, end)) = block_lines(&lines, block) else {
        let mut text = text.to_owned();
        let block = block.unwrap_or_default();
        if !is_block(block) {
            return Err(Error::Key {
                key: format!("{block:?}"),
                problem: "is no line that begins with `Match`",
            });
        }
        push_line(&mut text, block);
        for value in values {
            push_line(&mut text, &format!("    {key} {value}"));
        }
        return Ok(text);
    };
    let is_key = |line: &&str| split(line).is_some_and(|(found, _)| is_same(found, key));
    let found: Vec<&str> = lines[start..end].iter().copied().filter(is_key).collect();
    let is_set = found.len() == values.len()
        && found
            .iter()
            .zip(&values)
            .all(|(line, value)| split(line).is_some_and(|(_, v)| v == value));
    if is_set {
        return Ok(text.to_owned());
    }
    // In the place of the first line that sets it, or after the comment that shows how, or at the end.
    let first = (start..end).find(|&at| is_key(&lines[at]));
    let shown = (start..end)
        .rev()
        .find(|&at| is_shown(lines[at], key))
        .map(|at| at + 1);
    let last = (start..end)
        .rev()
        .find(|&at| !lines[at].trim().is_empty())
        .map(|at| at + 1);
    let at = first.or(shown).or(last).unwrap_or(start);
    let model = first.map_or_else(|| indent_of(&lines[start..end]), |at| leading(lines[at]));
    let mut text = String::with_capacity(text.len() + 80);
    for (number, line) in lines.iter().enumerate() {
        if number == at {
            insert(&mut text, model, key, &values);
        }
        if !((start..end).contains(&number) && is_key(line)) {
            text.push_str(line);
        }
    }
    if at == lines.len() {
        insert(&mut text, model, key, &values);
    }
    Ok(text)
}

fn insert(text: &mut String, indent: &str, key: &str, values: &[String]) {
    for value in values {
        push_line(text, &format!("{indent}{key} {value}"));
    }
}

/// The lines of a block without its first, or those before the first block.
fn block_lines(lines: &[&str], block: Option<&str>) -> Option<(usize, usize)> {
    let start = match block {
        None => 0,
        Some(block) => lines.iter().position(|line| is_same_block(line, block))? + 1,
    };
    let next = lines[start..].iter().position(|line| is_block(line));
    Some((start, next.map_or(lines.len(), |next| start + next)))
}

fn is_block(line: &str) -> bool {
    split(line).is_some_and(|(key, _)| is_same(key, "Match"))
}

fn is_same_block(line: &str, block: &str) -> bool {
    is_block(line) && line.split_whitespace().eq(block.split_whitespace())
}

/// Key and value of a line that sets something.
fn split(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', '!', ';', '%']) {
        return None;
    }
    let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    Some((key, value.trim_start()))
}

/// Whether a comment shows how the key is set.
fn is_shown(line: &str, key: &str) -> bool {
    let shown = line.trim().strip_prefix('#');
    shown.is_some_and(|shown| {
        let word = shown.split_whitespace().next().unwrap_or_default();
        !shown.starts_with(char::is_whitespace) && is_same(word, key)
    })
}

fn is_same(key: &str, other: &str) -> bool {
    key.eq_ignore_ascii_case(other)
}

/// What lines begin with.
fn indent_of<'l>(lines: &[&'l str]) -> &'l str {
    lines
        .iter()
        .find(|line| split(line).is_some())
        .map_or("", |line| leading(line))
}

fn leading(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSHD: &str = "# A comment.\nPort 22\n#PermitRootLogin yes\n#X11Forwarding no\nAcceptEnv LANG\n\
                        AcceptEnv LC_*\n\nMatch User git\n    X11Forwarding no\nMatch all\n    Banner none\n";

    fn with(text: &str, names: &[&str], value: &str) -> String {
        let value: Value = format!("x = {value}").parse::<toml::Table>().unwrap()["x"].clone();
        let set = set(text, names, &value).unwrap();
        assert_eq!(super::set(&set, names, &value).unwrap(), set, "twice");
        set
    }

    #[test]
    fn a_key_stands_where_it_stood_or_was_shown() {
        assert_eq!(
            with(SSHD, &["port"], "2222"),
            SSHD.replace("Port 22\n", "port 2222\n")
        );
        assert_eq!(with(SSHD, &["Port"], "22"), SSHD);
        let shown = "#PermitRootLogin yes\n";
        let expected = SSHD.replace(shown, "#PermitRootLogin yes\nPermitRootLogin no\n");
        assert_eq!(with(SSHD, &["PermitRootLogin"], "'no'"), expected);
        let expected = SSHD.replace("LC_*\n", "LC_*\nUseDNS no\n");
        assert_eq!(with(SSHD, &["UseDNS"], "'no'"), expected);
        assert_eq!(with("", &["UseDNS"], "'no'"), "UseDNS no\n");
        assert_eq!(with("a 1", &["b"], "2"), "a 1\nb 2\n");
    }

    #[test]
    fn several_values_are_several_lines() {
        let expected = SSHD.replace("AcceptEnv LC_*\n", "").replace("LANG", "A");
        assert_eq!(with(SSHD, &["AcceptEnv"], "'A'"), expected);
        let expected = SSHD.replace(
            "AcceptEnv LANG\nAcceptEnv LC_*\n",
            "AcceptEnv A\nAcceptEnv B\n",
        );
        assert_eq!(with(SSHD, &["AcceptEnv"], "['A', 'B']"), expected);
    }

    #[test]
    fn blocks_are_apart() {
        let expected = SSHD.replace("    X11Forwarding no", "    X11Forwarding yes");
        assert_eq!(
            with(SSHD, &["Match User git", "X11Forwarding"], "'yes'"),
            expected
        );
        let expected = SSHD.replace(
            "#X11Forwarding no\n",
            "#X11Forwarding no\nX11Forwarding yes\n",
        );
        assert_eq!(with(SSHD, &["X11Forwarding"], "'yes'"), expected);
        let expected = format!("{SSHD}Match Group sftp\n    ForceCommand internal-sftp\n");
        assert_eq!(
            with(
                SSHD,
                &["Match Group sftp", "ForceCommand"],
                "'internal-sftp'"
            ),
            expected
        );
        let expected = SSHD.replace("    Banner none\n", "    Banner none\n    Port 1\n");
        assert_eq!(with(SSHD, &["Match  all", "Port"], "1"), expected);
    }

    #[test]
    fn what_cannot_be_a_line_is_refused() {
        for names in [
            &["a b"][..],
            &["#a"],
            &["Match"],
            &["User git", "Port"],
            &["a", "b", "c"],
        ] {
            assert!(set(SSHD, names, &Value::Integer(1)).is_err(), "{names:?}");
        }
    }
}
