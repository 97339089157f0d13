//! Scripts put together at random, each from a seed of its own.
//!
//! `IMGASM_SCRIPTS=1000-9999 cargo test -p imgasm-guest --lib generated` tries other seeds.

use super::{COMMANDS, compare, real_root, scriptlets};
use imgasm_testkit::rng::Rng;

/// The seeds of a usual run.
const SEEDS: std::ops::Range<u64> = 0..500;

/// The beginnings of what is refused in generated scripts, each for its reason.
const REFUSED: [&str; 9] = [
    // A folder that hands its group on to folders.
    "mkdir /etc/app.d/folder",
    // A link with a slash behind it.
    "rm -rf /opt/current/",
    "! rm -rf /opt/current/",
    // A file with several names, of which one is replaced.
    "sed -i ",
    // Words about an error that a file or pipe is given.
    "echo x > /none/x",
    "cat < /none",
    // A loop without an end.
    ":",
    // Folders that are made under another umask.
    "systemctl ",
    // A trap that is set within a loop or a function.
    "trap ",
];

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("IMGASM_SCRIPTS") else {
        return SEEDS;
    };
    let (first, last) = text.split_once('-').unwrap();
    first.parse().unwrap()..last.parse::<u64>().unwrap() + 1
}

/// A command of one line.
fn single(rng: &mut Rng) -> &'static str {
    loop {
        let command = *rng.pick(COMMANDS);
        if !command.contains(['\n', '#']) {
            return command;
        }
    }
}

/// A command, or a script of one of the kinds that has one: bodies without any are an error.
fn any(rng: &mut Rng) -> &'static str {
    if rng.chance(40) {
        let all = scriptlets();
        let text = all[rng.index(all.len())].2.trim_end();
        if !text.starts_with('#') {
            return text;
        }
    }
    COMMANDS[rng.index(COMMANDS.len())]
}

/// A script of several commands in each other and one after the other.
fn generate(rng: &mut Rng) -> String {
    let mut script = String::new();
    for _ in 0..=rng.index(3) {
        let further = match rng.index(14) {
            0 => format!(
                "if {}; then\n  {}\nelse\n  {}\nfi\n",
                single(rng),
                any(rng),
                any(rng)
            ),
            1 => format!(
                "{{ {}; }} && {{ {}; }} || {{ {}; }}\n",
                single(rng),
                single(rng),
                single(rng)
            ),
            2 => format!("for i in 1 2; do\n{}\ndone\n", any(rng)),
            3 => format!("({})\n", single(rng)),
            4 => format!("fun() {{\n{}\n}}\nfun 1 2\n", any(rng)),
            5 => format!(
                "case $1 in\n1) {} ;;\n*) {}\nesac\n",
                single(rng),
                single(rng)
            ),
            6 => format!("{} || :\n", single(rng)),
            7 => format!(
                "if ! {}; then {}; fi >/dev/null 2>&1\n",
                single(rng),
                single(rng)
            ),
            8 => format!("got=$({}) && echo \"<$got>\" > /var/got\n", single(rng)),
            9 => format!("{{ {}; }} 2>/dev/null | cat > /var/piped\n", single(rng)),
            10 => format!("set -e\n{}\nset +e\n", any(rng)),
            11 => format!("while :; do\n{}\nbreak\ndone\n", any(rng)),
            _ => format!("{}\n", any(rng)),
        };
        script.push_str(&further);
    }
    script
}

#[test]
fn generated_scripts_leave_what_a_real_shell_leaves() {
    let Some(root) = real_root() else { return };
    let (mut carried_out, mut refused, mut wrong) = (0, Vec::new(), Vec::new());
    let scripts = COMMANDS.iter().map(|command| format!("{command}\n"));
    let generated = seeds().map(|seed| generate(&mut Rng::new(seed)));
    for script in scripts.chain(generated) {
        match compare(root.path(), &script, &["1"]) {
            Ok(None) => carried_out += 1,
            Ok(Some(statement)) => refused.push(statement),
            Err(difference) => wrong.push(difference),
        }
    }
    eprintln!(
        "{carried_out} carried out, {} refused, {} wrong",
        refused.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n----\n"));
    let is_listed = |statement: &&String| REFUSED.iter().any(|one| statement.starts_with(one));
    let (listed, others): (Vec<_>, Vec<_>) = refused.iter().partition(is_listed);
    assert!(others.is_empty(), "refused: {others:?}");
    assert!(
        listed.len() * 20 < carried_out,
        "{} are refused",
        listed.len()
    );
}
