//! The map at the head of each `lib.rs` and `mod.rs` names the modules that are there, and none that
//! is not; and what `src/lib.rs` says about who imports from whom is true.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every `lib.rs` and `mod.rs` below `src` and the crates' `src`.
fn faces() -> Vec<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pending = vec![project.join("src")];
    for entry in fs::read_dir(project.join("crates")).unwrap() {
        pending.push(entry.unwrap().path().join("src"));
    }
    let mut found = Vec::new();
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            if path.is_dir() {
                pending.push(path);
            } else if name == "lib.rs" || name == "mod.rs" {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The lines of the map, without what makes them comments.
fn map(text: &str) -> Vec<&str> {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(str::trim).collect()
}

/// The names of modules in backticks: "`x`", "[`x`]", "[`mod@x`]", and of the function that a
/// module is named after, "[`x()`]".
fn names(text: &str) -> BTreeSet<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let names = quoted.map(|name| name.strip_prefix("mod@").unwrap_or(name));
    let names = names.map(|name| name.strip_suffix("()").unwrap_or(name));
    names.filter(|name| is_module_name(name)).collect()
}

fn is_module_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The modules that a file declares in files of their own.
fn modules(text: &str) -> BTreeSet<&str> {
    let declared = text.lines().filter_map(|line| {
        let line = line.strip_suffix(';')?;
        let line = match line.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
            Some(rest) => rest.trim_start(),
            None => line,
        };
        line.strip_prefix("mod ")
    });
    declared.filter(|name| *name != "tests").collect()
}

/// The heads of the items in the map's lists: everything before the first colon.
fn heads<'a>(map: &[&'a str]) -> Vec<&'a str> {
    let items = map.iter().filter_map(|line| line.strip_prefix("- "));
    let heads = items.filter_map(|item| item.split_once(": "));
    heads.map(|(head, _)| head).collect()
}

#[test]
fn each_map_names_the_modules_that_are_there() {
    let mut wrong = Vec::new();
    for path in faces() {
        let text = fs::read_to_string(&path).unwrap();
        let (map, modules) = (map(&text), modules(&text));
        let whole = map.join("\n");
        let named = names(&whole);
        for module in modules.difference(&named) {
            wrong.push(format!("{}: `{module}` is not in the map", path.display()));
        }
        let code = text.lines().filter(|line| !line.starts_with("//"));
        let code: String = code.collect();
        for head in heads(&map) {
            // An item may also be about a type, a macro or a function of the module.
            for name in names(head).difference(&modules) {
                let is_item = code.contains(name);
                if !is_item {
                    wrong.push(format!("{}: there is no `{name}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_map_of_the_library_says_who_imports_from_whom() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let text = fs::read_to_string(source.join("lib.rs")).unwrap();
    let order: Vec<String> = heads(&map(&text))
        .iter()
        .filter_map(|head| names(head).first().map(|name| (*name).to_owned()))
        .collect();
    assert!(order.len() > 10, "{order:?}");
    let mut wrong = Vec::new();
    for (index, module) in order.iter().enumerate() {
        for file in files_of(&source, module) {
            let text = fs::read_to_string(&file).unwrap();
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                for imported in line.split("crate::").skip(1) {
                    let end = imported.find(|c: char| !c.is_ascii_lowercase() && c != '_');
                    let imported = &imported[..end.unwrap_or(imported.len())];
                    let place = order.iter().position(|known| known == imported);
                    if place.is_some_and(|place| place > index) {
                        wrong.push(format!("{} imports from `{imported}`", file.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The files of a module: one, or a folder of them.
fn files_of(source: &Path, module: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![source.join(module)];
    let single = source.join(format!("{module}.rs"));
    if single.is_file() {
        files.push(single);
    }
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}
