//! Scripts in Lua, by what they leave behind.

use super::super::{Given, Interpreter, Spent, Stopped, run};
use imgasm_fs::Timestamp;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink};
use imgasm_testkit::memory_fs::MemoryFs;

fn carry_out(script: &str) -> (Result<u8, Stopped>, String) {
    let mut fs = MemoryFs::new();
    let mut editor = Editor::new(&mut fs);
    for (path, content) in [("/a/b/c", "x"), ("/a/e/", ""), ("/f", "ff")] {
        let plain = ImagePath::parse(path.trim_end_matches('/')).unwrap();
        if path.ends_with('/') {
            editor.mkdir_all(&plain, Attributes::default()).unwrap();
        } else {
            let folder = plain.parent().unwrap();
            editor.mkdir_all(&folder, Attributes::default()).unwrap();
            let content = content.as_bytes();
            editor
                .write(&plain, LastLink::Keep, content, Attributes::default())
                .unwrap();
        }
    }
    let given = Given {
        arguments: vec!["2".to_owned()],
        ..Given::default()
    };
    let status = run(
        script,
        Interpreter::Lua,
        given,
        &mut editor,
        Timestamp::default(),
        &Spent::default(),
        &mut Vec::new(),
    );
    (status, fs.dump())
}

fn paths(script: &str) -> Vec<String> {
    let (status, dump) = carry_out(script);
    assert!(matches!(status, Ok(0)), "{script}: {status:?}");
    dump.lines().map(str::to_owned).collect()
}

#[test]
fn what_is_not_known_is_not_guessed() {
    for script in [
        "posix.chown('/f', 1, 1)",
        "os.getenv('HOME')",
        "string.rep('a', 5)",
        "frobnicate()",
        "posix.exec('/bin/true')",
        "pid = posix.fork()\nif pid == 0 then posix.unlink('/f') end",
        "pid = posix.fork()\nif pid == 0 then posix.exec('curl') end\nx = pid + 1",
        "rpm.execute()",
        "rpm.execute('true') end",
        "if posix.access('/a', 'q') then end",
        "if arg[2] == '2' then end",
        "local s = posix.stat('/f')\nif s.mtime > 5 then end",
        "if os.execute('true') then end",
        "x = 1.5",
        "goto done",
        "local x <close> = 1",
        "for k, v in pairs({}) do end",
        "while true do end",
        "f = function() return f() end f()",
        "local s = ('x'):rep(5)",
        "x = 'a' while true do x = x .. x end",
        "break",
        "io.open('/f')",
    ] {
        let (status, _) = carry_out(script);
        assert!(
            matches!(status, Err(Stopped::Unknown(_))),
            "{script}: {status:?}"
        );
    }
    for deep in [
        "if posix.access('/a') then ",
        "(",
        "{",
        "not ",
        "x = - ",
        "a .. ",
    ] {
        let script = format!("x = {}", deep.repeat(10_000));
        let (status, _) = carry_out(&script);
        assert!(matches!(status, Err(Stopped::Unknown(_))), "{deep}");
    }
}

#[test]
fn an_error_ends_a_script_badly() {
    for script in [
        "error('no')",
        "assert(posix.stat('/none'))",
        "local x = nil .. 'a'",
        "x = nil\ny = x.y\n",
    ] {
        let (status, _) = carry_out(script);
        assert!(!matches!(status, Ok(0)), "{script}");
    }
    let script = "x = posix.stat('/none')\nif x.type == 'link' then end";
    assert!(matches!(carry_out(script).0, Ok(1)));
}

#[test]
fn a_folder_makes_way() {
    let script = r#"
        local path = "/a/b"
        local st = posix.stat(path)
        if st and st.type == "directory" then
          local status = os.rename(path, path .. ".rpmmoved")
          if not status then
            local suffix = 0
            while not status do
              suffix = suffix + 1
              status = os.rename(path .. ".rpmmoved", path .. ".rpmmoved." .. suffix)
            end
            os.rename(path, path .. ".rpmmoved")
          end
        end"#;
    let found = paths(script).join("\n");
    assert!(
        found.contains("/a/b.rpmmoved/c") && !found.contains("/a/b/c"),
        "{found}"
    );
}
