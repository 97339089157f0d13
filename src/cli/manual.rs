//! What the manual pages say beyond the arguments: exit status, environment, files and examples.

/// Commands for which something is said; all, if there are none.
type Commands = &'static [&'static str];

const ALL: Commands = &[];
/// Those that read a recipe.
const RECIPE: Commands = &[
    "check", "lock", "fetch", "build", "plan", "diff", "import", "gc", "verify", "boot",
];
/// Those that read an image, which may have to be unpacked.
const IMAGE: Commands = &[
    "build", "plan", "ls", "cat", "cp", "find", "tar", "diff", "inspect", "convert", "verify",
    "boot", "fetch",
];
/// Those that change an image where it lies.
const IN_PLACE: Commands = &["apply", "grow", "recover", "cp", "edit"];
const NETWORK: Commands = &["lock", "fetch", "import", "pull", "gc"];
const AWS: Commands = &["import", "pull", "gc", "fetch"];

/// The meanings of a status, for these commands.
const EXIT_STATUS: [(&str, &str, Commands); 5] = [
    ("0", "It is done, or there was nothing to do.", ALL),
    ("1", "The two sides differ.", &["diff"]),
    ("1", "Nothing was found.", &["find"]),
    (
        "1",
        "What was checked is not as it should be.",
        &["verify", "boot", "lock", "build"],
    ),
    (
        "2",
        "An error. The message says what is wrong and what to do about it; no output was written or changed. With several images in a recipe that is so for those that failed.",
        ALL,
    ),
];

const ENVIRONMENT: [(&str, &str, Commands); 12] = [
    (
        "SOURCE_DATE_EPOCH",
        "Seconds since 1970: the time of everything that is made or changed, unless the recipe says another. Without both it is the beginning of 2020.",
        &[
            "build", "plan", "apply", "grow", "cp", "edit", "diff", "verify",
        ],
    ),
    (
        "IMGASM_VAR_name",
        "The value of the variable name, as --set gives it. For a sensitive one it is the way, beside --set-file.",
        RECIPE,
    ),
    (
        "IMGASM_CACHE",
        "The folder of unpacked and fetched images, instead of $XDG_CACHE_HOME/imgasm or ~/.cache/imgasm.",
        IMAGE,
    ),
    (
        "CI",
        "If set, and neither false nor 0, images in the cache are compared with their digests as they are read. See --trust-cache.",
        IMAGE,
    ),
    (
        "VISUAL, EDITOR",
        "The editor, with arguments if need be.",
        &["edit"],
    ),
    (
        "http_proxy, https_proxy, all_proxy, no_proxy",
        "Proxies, as curl reads them.",
        NETWORK,
    ),
    (
        "AWS_PROFILE, AWS_ACCESS_KEY_ID, …",
        "Credentials, as the AWS command line reads them.",
        AWS,
    ),
    (
        "AWS_REGION, AWS_DEFAULT_REGION",
        "The region, unless --region gives it.",
        AWS,
    ),
    (
        "AWS_CA_BUNDLE",
        "A file of certificates that are trusted instead of the system's.",
        AWS,
    ),
    (
        "IMGASM_LOG",
        "What is logged, as in the crate tracing-subscriber: imgasm=debug.",
        ALL,
    ),
    (
        "TMPDIR",
        "The folder of temporary files, instead of /tmp: what an edit holds beyond its memory, and RPM's databases while they are changed.",
        ALL,
    ),
    ("NO_COLOR", "If set, nothing is coloured.", ALL),
];

const FILES: [(&str, &str, Commands); 6] = [
    (
        "imgasm.toml",
        "The recipe, looked for in this folder and those above it, unless -f names another.",
        RECIPE,
    ),
    (
        "imgasm.lock",
        "Beside the recipe: what its names of packages and images come to.",
        &["lock", "fetch", "build", "plan"],
    ),
    (
        "out/manifest.json",
        "What was built, from what, and with which digests.",
        &["build", "import", "verify", "diff", "boot"],
    ),
    (
        "overlay.toml",
        "In the folder of an overlay: its variables and steps.",
        &["build", "plan", "apply", "check"],
    ),
    (
        "IMAGE.imgasm-undo",
        "Beside an image that is being changed: how it was. If the change is interrupted, the next command takes it back.",
        IN_PLACE,
    ),
    (
        "~/.cache/imgasm",
        "Unpacked and fetched images. It can be removed at any time.",
        IMAGE,
    ),
];

/// A line, and what it does, by command.
const EXAMPLES: [(&str, &[(&str, &str)]); 26] = [
    (
        "init",
        &[
            (
                "imgasm init images/web",
                "Make a commented recipe and its overlays",
            ),
            (
                "imgasm init --template debian images/web",
                "The same for an image of Debian",
            ),
        ],
    ),
    (
        "check",
        &[
            (
                "imgasm check",
                "Check the recipe of this folder without opening its base",
            ),
            (
                "imgasm check --resolved",
                "Show the recipe with all that it extends, and the values of variables",
            ),
        ],
    ),
    (
        "lock",
        &[
            (
                "imgasm lock",
                "Write down what the names of packages come to",
            ),
            (
                "imgasm lock --check",
                "Fail if the lock is not that of the recipe",
            ),
        ],
    ),
    (
        "fetch",
        &[(
            "imgasm fetch",
            "Get the bases and packages that a build needs",
        )],
    ),
    (
        "build",
        &[
            (
                "imgasm build",
                "Build all images of the recipe of this folder into out/",
            ),
            (
                "imgasm build -f web/imgasm.toml -o images --set stage=prod",
                "Build another recipe with a variable set",
            ),
        ],
    ),
    (
        "plan",
        &[
            ("imgasm plan", "Show what a build would change in the base"),
            (
                "imgasm plan --markdown",
                "The same as a comment on a pull request",
            ),
        ],
    ),
    (
        "apply",
        &[(
            "imgasm apply disk.raw overlays/timezone --set timezone=Europe/Berlin",
            "Apply an overlay to an image where it lies",
        )],
    ),
    (
        "grow",
        &[(
            "imgasm grow disk.raw 20GiB",
            "Make a disk and its last filesystem larger",
        )],
    ),
    (
        "recover",
        &[(
            "imgasm recover disk.raw",
            "Take back a change that was interrupted",
        )],
    ),
    (
        "ls",
        &[
            ("imgasm ls -l disk.raw /etc", "List a folder of an image"),
            ("imgasm ls -R disk.qcow2", "List everything in it"),
        ],
    ),
    (
        "cat",
        &[(
            "imgasm cat disk.raw /etc/os-release",
            "Print a file of an image",
        )],
    ),
    (
        "cp",
        &[
            (
                "imgasm cp disk.raw:/etc/fstab .",
                "Take a file out of an image",
            ),
            ("imgasm cp motd disk.raw:/etc/motd", "Put one in"),
        ],
    ),
    (
        "edit",
        &[(
            "imgasm edit disk.raw /etc/fstab",
            "Edit a file of an image in your editor",
        )],
    ),
    (
        "find",
        &[
            (
                "imgasm find disk.raw /etc --name '*.conf'",
                "Find files by their names",
            ),
            (
                "imgasm find disk.raw --mode 4000",
                "Find what is set-user-ID",
            ),
        ],
    ),
    (
        "tar",
        &[(
            "imgasm tar disk.raw /etc",
            "Write a folder of an image as a tar file to the standard output",
        )],
    ),
    (
        "diff",
        &[
            (
                "imgasm diff --patch old.raw new.raw",
                "Show what differs, line by line in text files",
            ),
            (
                "imgasm diff --html page.html old.raw imgasm.toml",
                "Make a page of what a recipe would change in an image",
            ),
        ],
    ),
    (
        "inspect",
        &[(
            "imgasm inspect disk.vmdk",
            "Show partitions, filesystems and the system in an image",
        )],
    ),
    (
        "convert",
        &[(
            "imgasm convert disk.raw disk.qcow2",
            "Write an image in another format",
        )],
    ),
    (
        "verify",
        &[
            (
                "imgasm verify disk.raw",
                "Check an image: its filesystems, and whether it boots",
            ),
            (
                "imgasm verify out/web.raw -f imgasm.toml",
                "Check also what the recipe expects",
            ),
            ("imgasm verify", "Check all that a build has made"),
        ],
    ),
    (
        "boot",
        &[(
            "imgasm boot",
            "Start the built image in QEMU, and check what the recipe expects of it",
        )],
    ),
    (
        "schema",
        &[(
            "imgasm schema recipe",
            "Print what a recipe may have, for editors",
        )],
    ),
    (
        "completions",
        &[(
            "imgasm completions bash",
            "Print the completion script for a shell",
        )],
    ),
    ("man", &[("imgasm man -o man", "Write all manual pages")]),
    (
        "import",
        &[
            (
                "imgasm import --dry-run",
                "Show the requests that would make an AMI",
            ),
            (
                "imgasm import --via ebs",
                "Make an AMI block by block, without a bucket",
            ),
        ],
    ),
    (
        "pull",
        &[(
            "imgasm pull ami-0123456789abcdef0 -o base.raw",
            "Get the root disk of an AMI",
        )],
    ),
    (
        "gc",
        &[(
            "imgasm gc",
            "Show what interrupted imports have left behind",
        )],
    ),
];

type Entry = (&'static str, &'static str);

fn of(
    entries: &'static [(&'static str, &'static str, Commands)],
    name: Option<&str>,
) -> impl Iterator<Item = Entry> {
    let name = name.map(str::to_owned);
    let is_said = move |commands: Commands| {
        commands.is_empty() || name.as_deref().is_none_or(|name| commands.contains(&name))
    };
    let entries = entries
        .iter()
        .filter(move |(_, _, commands)| is_said(commands));
    entries.map(|(term, meaning, _)| (*term, *meaning))
}

/// The statuses of a command; of all of them without a name.
pub(super) fn exit_status(name: Option<&str>) -> impl Iterator<Item = Entry> {
    of(&EXIT_STATUS, name)
}

/// The variables of the environment that a command reads.
pub(super) fn environment(name: Option<&str>) -> impl Iterator<Item = Entry> {
    of(&ENVIRONMENT, name)
}

/// The files that a command reads and writes besides those that its arguments name.
pub(super) fn files(name: Option<&str>) -> impl Iterator<Item = Entry> {
    of(&FILES, name)
}

/// Lines that one can try; without a name those of the usual way from a recipe to an image.
pub(super) fn examples(name: Option<&str>) -> impl Iterator<Item = Entry> {
    let way = ["init", "plan", "build", "verify", "diff"];
    let name = name.map(str::to_owned);
    let examples = EXAMPLES
        .iter()
        .flat_map(move |(command, lines)| match &name {
            Some(name) if name == command => *lines,
            None if way.contains(command) => &lines[..1],
            _ => &[],
        });
    examples.copied()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, command};
    use super::*;

    #[test]
    fn every_command_has_examples_and_they_are_commands() {
        let command = command();
        for below in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            let name = below.get_name();
            if name == "help" {
                continue;
            }
            let lines: Vec<_> = examples(Some(name)).collect();
            assert!(!lines.is_empty(), "{name}");
            for (line, _) in lines {
                let words = line.split(' ').map(|word| word.trim_matches('\''));
                let parsed = Cli::try_parse_from(words);
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                assert!(line.starts_with(&format!("imgasm {name}")), "{line}");
            }
        }
    }

    #[test]
    fn what_is_said_is_about_commands() {
        let known: Vec<_> = EXAMPLES.iter().map(|(name, _)| *name).collect();
        let tables = [&EXIT_STATUS[..], &ENVIRONMENT, &FILES];
        let named = tables
            .into_iter()
            .flatten()
            .flat_map(|(_, _, commands)| *commands);
        for name in named {
            assert!(known.contains(name), "{name}");
        }
    }
}
