//! Scripts that wait for the first boot.
//!
//! They lie in a queue below `/usr/libexec/firstboot/packages`, each with the command by which RPM
//! would run it, and a service runs them once, in order, before the services of the system start.
//! One that fails makes the service fail, stays in the folder `failed`, and does not run again.

use std::fmt::Write;

use super::super::Error;
use crate::files::{list, write_of_root};
use crate::services::{self, Wish};
use crate::{Init, known_path};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink};

/// Where they lie.
const FOLDER: &str = "/usr/libexec/firstboot/packages";
/// The service that runs them.
const SERVICE: &str = "firstboot-packages";
/// The longest part of a file's name that tells the package.
const MAX_NAME: usize = 200;

/// A script that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The package and the moment.
    pub(super) name: String,
    /// The program that runs it, with its own arguments.
    pub(super) program: Vec<Vec<u8>>,
    /// The script, if there is more than the program.
    pub(super) body: Option<Vec<u8>>,
    /// The arguments that RPM gives it.
    pub(super) arguments: Vec<String>,
    /// What RPM gives it to read.
    pub(super) input: Vec<u8>,
    /// The paths that its package is installed below, if it is relocatable.
    pub(super) prefixes: Vec<Vec<u8>>,
}

/// Adds scripts to the queue, and makes sure that it is worked off.
pub(super) fn install(editor: &mut Editor<'_>, scripts: &[Waiting]) -> Result<(), Error> {
    let Some(first) = scripts.first() else {
        return Ok(());
    };
    let init = Init::detect(editor.fs())?.ok_or_else(|| Error::NoInit {
        script: first.name.clone(),
    })?;
    let folder = known_path(FOLDER);
    let (queue, bodies) = (folder.child(b"queue"), folder.child(b"scripts"));
    for folder in [&queue, &bodies] {
        editor.mkdir_all(folder, Attributes::default())?;
    }
    let waiting = list(editor.fs(), &queue)?;
    let numbers = waiting.iter().filter_map(|(name, _)| number(name));
    let mut next = numbers.max().unwrap_or(0);
    for script in scripts {
        next = next.saturating_add(1);
        let name = format!("{next:06}-{}", plain(&script.name));
        let body = bodies.child(name.as_bytes());
        if let Some(text) = &script.body {
            write(editor, &body, text, 0o700)?;
        }
        let mut input = None;
        if !script.input.is_empty() {
            let path = bodies.child(format!("{name}.input").as_bytes());
            write(editor, &path, &script.input, 0o600)?;
            input = Some(path);
        }
        let command = command(script, &body, input.as_ref());
        write(editor, &queue.child(name.as_bytes()), &command, 0o600)?;
    }
    let run = folder.child(b"run");
    let service = match init {
        Init::Systemd => {
            let unit = known_path("/etc/systemd/system").child(unit_name().as_bytes());
            let text = unit_text(&run);
            write(editor, &unit, text.as_bytes(), 0o644)?;
            unit_name()
        }
        Init::Upstart | Init::Sysv => {
            let path = services::sysv::script_path(editor.fs(), SERVICE)?;
            let text = init_script(&run);
            write(editor, &path, text.as_bytes(), 0o755)?;
            SERVICE.to_owned()
        }
    };
    write(editor, &run, runner(init).as_bytes(), 0o755)?;
    services::set(editor, &service, Wish::Enabled)?;
    Ok(())
}

fn unit_name() -> String {
    format!("{SERVICE}.service")
}

/// The number that the name of a waiting script begins with.
fn number(name: &[u8]) -> Option<u32> {
    let digits = name.split(|&byte| byte == b'-').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A name with nothing in it that means something to a shell or a path.
fn plain(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+~^-".contains(c);
    let name = name.chars();
    name.map(|c| if is_plain(c) { c } else { '_' })
        .take(MAX_NAME)
        .collect()
}

/// The command that runs a script, for a shell.
fn command(script: &Waiting, body: &ImagePath, input: Option<&ImagePath>) -> Vec<u8> {
    let mut text = Vec::new();
    for (number, prefix) in script.prefixes.iter().enumerate() {
        let numbered = format!("RPM_INSTALL_PREFIX{number}");
        let name = (number == 0).then(|| "RPM_INSTALL_PREFIX".to_owned());
        for name in name.into_iter().chain([numbered]) {
            text.extend_from_slice(format!("export {name}=").as_bytes());
            quote(&mut text, prefix);
            text.push(b'\n');
        }
    }
    text.extend_from_slice(b"exec");
    let mut words: Vec<_> = script.program.iter().map(Vec::as_slice).collect();
    // A program alone is given nothing.
    if script.body.is_some() {
        words.push(body.as_bytes());
        words.extend(script.arguments.iter().map(String::as_bytes));
    }
    for word in words {
        text.push(b' ');
        quote(&mut text, word);
    }
    if let Some(input) = input {
        text.extend_from_slice(b" <");
        quote(&mut text, input.as_bytes());
    }
    text.push(b'\n');
    text
}

/// Adds a word for a shell, whatever is in it.
fn quote(text: &mut Vec<u8>, word: &[u8]) {
    text.push(b'\'');
    for &byte in word {
        if byte == b'\'' {
            text.extend_from_slice(b"'\\''");
        } else {
            text.push(byte);
        }
    }
    text.push(b'\'');
}

fn write(
    editor: &mut Editor<'_>,
    path: &ImagePath,
    content: &[u8],
    mode: u16,
) -> Result<(), Error> {
    Ok(write_of_root(editor, path, LastLink::Keep, content, mode)?)
}

/// The unit. Before `sysinit.target` is before every service that does not ask to be earlier still.
/// A script that hangs must not keep the machine from booting for ever.
fn unit_text(run: &ImagePath) -> String {
    format!(
        "[Unit]\n\
         Description=Scripts of packages that wait for the first boot\n\
         DefaultDependencies=no\n\
         ConditionDirectoryNotEmpty={FOLDER}/queue\n\
         After=local-fs.target systemd-sysusers.service systemd-tmpfiles-setup.service\n\
         Before=sysinit.target shutdown.target\n\
         Conflicts=shutdown.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={run}\n\
         TimeoutStartSec=15min\n\
         StandardOutput=journal+console\n\
         StandardError=journal+console\n\
         \n\
         [Install]\n\
         WantedBy=sysinit.target\n"
    )
}

fn init_script(run: &ImagePath) -> String {
    format!(
        "#!/bin/sh\n\
         #\n\
         # chkconfig: 2345 00 99\n\
         # description: runs the scripts of packages that wait for the first boot\n\
         ### BEGIN INIT INFO\n\
         # Provides: {SERVICE}\n\
         # Required-Start:\n\
         # Required-Stop:\n\
         # Default-Start: 2 3 4 5\n\
         # Default-Stop: 0 1 6\n\
         # Short-Description: runs scripts of packages once\n\
         ### END INIT INFO\n\
         \n\
         case \"$1\" in\n\
         start)\n    \
             exec {run}\n    \
             ;;\n\
         esac\n"
    )
}

/// What works the queue off. Scripts have the folder, the mask and the path that RPM gives them.
/// `systemctl` leaves running services alone, as on an image: a script that waited for a
/// service would wait for itself.
fn runner(init: Init) -> String {
    let mut text = format!(
        "#!/bin/sh\n\
         # Runs the scripts of packages that wait for the first boot, in order. Each runs once: those\n\
         # that fail are put aside.\n\
         here={FOLDER}\n\
         PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/X11R6/bin\n\
         export PATH\n\
         umask 022\n\
         cd / || exit 1\n\
         failed=0\n\
         for script in \"$here\"/queue/*; do\n    \
             [ -e \"$script\" ] || continue\n    \
             name=${{script##*/}}\n    \
             package=${{name#*-}}\n    \
             echo \"%${{name##*.}} of ${{package%.*}}\"\n    \
             SYSTEMD_OFFLINE=1 sh \"$script\" </dev/null\n    \
             status=$?\n    \
             if [ \"$status\" -eq 0 ]; then\n        \
                 rm -f \"$script\" \"$here/scripts/$name\" \"$here/scripts/$name.input\"\n        \
                 continue\n    \
             fi\n    \
             echo \"$name failed with the status $status\" >&2\n    \
             failed=1\n    \
             mkdir -p \"$here/failed\"\n    \
             mv \"$script\" \"$here/failed/$name\"\n\
         done\n\
         if [ \"$failed\" -eq 0 ] && [ ! -e \"$here/failed\" ]; then\n    \
             rm -rf \"$here\"\n"
    );
    let links = match init {
        Init::Systemd => format!(
            "    rm -f /etc/systemd/system/sysinit.target.wants/{unit} /etc/systemd/system/{unit}\n",
            unit = unit_name()
        ),
        Init::Upstart | Init::Sysv => format!(
            "    rm -f /etc/rc.d/rc[0-6].d/[SK][0-9][0-9]{SERVICE} \\\n        \
             /etc/rc[0-6].d/[SK][0-9][0-9]{SERVICE} /etc/init.d/{SERVICE}\n"
        ),
    };
    text.push_str(&links);
    text.push_str("fi\n");
    if init == Init::Systemd {
        text.push_str(
            "# What the scripts have enabled starts in this boot, too.\n\
             systemctl daemon-reload && systemctl --no-block start default.target\n",
        );
    }
    let _ = writeln!(text, "exit \"$failed\"");
    text
}
