//! A script that runs once, when the machine first boots.
//!
//! The script lies in `/usr/libexec/firstboot`, where policies let services run programs, and is
//! started in the way of the guest's init: by a one-shot unit, an upstart job, or an init script.
//! When the script succeeds, it and what starts it are removed; when it fails, it runs again at the
//! next boot.

use super::files::write_of_root;
use super::services::{self, Wish};
use super::{Init, known_path};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes, Editor, LastLink};

const DIRECTORY: &str = "/usr/libexec/firstboot";

/// Why a script could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name cannot be part of the name of a service.
    #[error("{0:?} is not a name for a first-boot script: letters, digits, `-` and `_` only")]
    InvalidName(String),
    /// Without `#!` the kernel does not know which program runs it.
    #[error("the first-boot script {0} does not begin with `#!`")]
    NoInterpreter(String),
    /// No known init system would start it.
    #[error("the image has no init system that could start a script")]
    NoInit,
    /// The service could not be turned on.
    #[error(transparent)]
    Service(#[from] services::Error),
    /// The image could not be read or written.
    #[error(transparent)]
    Tree(#[from] tree::Error),
}

/// Installs `script`, with its `#!` line, to run once under the service name `firstboot-NAME`.
pub fn install(editor: &mut Editor<'_>, name: &str, script: &[u8]) -> Result<(), Error> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.is_empty() || name.starts_with('-') || !name.bytes().all(valid) {
        return Err(Error::InvalidName(name.to_owned()));
    }
    if !script.starts_with(b"#!") {
        return Err(Error::NoInterpreter(name.to_owned()));
    }
    let init = Init::detect(editor.fs())?.ok_or(Error::NoInit)?;
    let service = format!("firstboot-{name}");
    let program = known_path(DIRECTORY).child(name.as_bytes());
    editor.mkdir_all(&known_path(DIRECTORY), Attributes::default())?;
    write(editor, &program, script, 0o755)?;
    match init {
        Init::Systemd => {
            let path =
                known_path("/etc/systemd/system").child(format!("{service}.service").as_bytes());
            write(editor, &path, unit(&service, &program).as_bytes(), 0o644)?;
            services::set(editor, &service, Wish::Enabled)?;
        }
        Init::Upstart => {
            let path = known_path("/etc/init").child(format!("{service}.conf").as_bytes());
            write(editor, &path, job(&service, &program).as_bytes(), 0o644)?;
        }
        Init::Sysv => {
            let path = services::sysv::script_path(editor.fs(), &service)?;
            write(
                editor,
                &path,
                init_script(&service, &program).as_bytes(),
                0o755,
            )?;
            services::set(editor, &service, Wish::Enabled)?;
        }
    }
    Ok(())
}

fn write(editor: &mut Editor<'_>, path: &ImagePath, content: &[u8], mode: u16) -> tree::Result<()> {
    write_of_root(editor, path, LastLink::Follow, content, mode)
}

/// Not ordered after `cloud-final.service`: in some releases that waits for `multi-user.target`,
/// which would wait for this unit.
fn unit(service: &str, program: &ImagePath) -> String {
    format!(
        "[Unit]\n\
         Description=First boot: {program}\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         ConditionPathExists={program}\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={program}\n\
         ExecStartPost=/bin/rm -f {program} /etc/systemd/system/multi-user.target.wants/{service}.service /etc/systemd/system/{service}.service\n\
         StandardOutput=journal+console\n\
         StandardError=journal+console\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

fn job(service: &str, program: &ImagePath) -> String {
    format!(
        "description \"First boot: {program}\"\n\
         start on stopped rc RUNLEVEL=[2345]\n\
         task\n\
         console output\n\
         script\n    \
             {program}\n    \
             rm -f {program} /etc/init/{service}.conf\n\
         end script\n"
    )
}

fn init_script(service: &str, program: &ImagePath) -> String {
    format!(
        "#!/bin/sh\n\
         #\n\
         # chkconfig: 2345 99 01\n\
         # description: runs {program} once\n\
         ### BEGIN INIT INFO\n\
         # Provides: {service}\n\
         # Required-Start: $remote_fs\n\
         # Required-Stop:\n\
         # Default-Start: 2 3 4 5\n\
         # Default-Stop: 0 1 6\n\
         # Short-Description: runs {program} once\n\
         ### END INIT INFO\n\
         \n\
         case \"$1\" in\n\
         start)\n    \
             {program} || exit 1\n    \
             rm -f {program} /etc/rc.d/rc[0-6].d/[SK][0-9][0-9]{service} \\\n        \
                 /etc/rc[0-6].d/[SK][0-9][0-9]{service} /etc/init.d/{service}\n    \
             ;;\n\
         esac\n"
    )
}
