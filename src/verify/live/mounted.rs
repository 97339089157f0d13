//! What is mounted in the machine.

use serde::Serialize;

use super::Seen;

/// A line of `/proc/self/mountinfo` (kernel documentation, filesystems/proc, section 3.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mounted {
    /// Where.
    pub point: String,
    /// What, by its name on the machine.
    pub source: String,
    /// The numbers of its device, `MAJOR:MINOR`.
    #[serde(skip)]
    pub device: String,
    /// The kind of filesystem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The options of the mount and of the filesystem.
    pub options: Vec<String>,
}

/// What a probe saw mounted, in the order of the mounts: a later one hides those below it.
#[must_use]
pub fn mounted(seen: &Seen) -> Vec<Mounted> {
    let table = seen.text("mountinfo").unwrap_or_default();
    table.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Mounted> {
    let (first, second) = line.split_once(" - ")?;
    let fields: Vec<_> = first.split(' ').collect();
    let [_, _, device, _, point, options, ..] = fields[..] else {
        return None;
    };
    let mut rest = second.split(' ');
    let kind = rest.next()?;
    let source = rest.next()?;
    let of_filesystem = rest.next().unwrap_or_default();
    let options = options.split(',').chain(of_filesystem.split(','));
    Some(Mounted {
        point: unescaped(point),
        source: unescaped(source),
        device: device.to_owned(),
        kind: kind.to_owned(),
        options: options.map(str::to_owned).collect(),
    })
}

/// A name with what the kernel writes as three octal digits: space, tab, newline, `#` and backslash.
fn unescaped(name: &str) -> String {
    const ESCAPES: [(&str, &str); 5] = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\043", "#"),
        ("\\134", "\\"),
    ];
    let replace = |name: String, (escape, plain): &(&str, &str)| name.replace(escape, plain);
    ESCAPES.iter().fold(name.to_owned(), replace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel() {
        let line =
            "36 35 259:3 / /mnt/a\\040b rw,noatime master:1 - ext4 /dev/nvme1n1 rw,errors=continue";
        let mounted = parse(line).unwrap();
        assert_eq!(mounted.point, "/mnt/a b");
        assert_eq!(
            (&*mounted.source, &*mounted.device),
            ("/dev/nvme1n1", "259:3")
        );
        assert_eq!(mounted.options, ["rw", "noatime", "rw", "errors=continue"]);
        assert_eq!(parse("36 35 98:0 / /mnt"), None);
    }
}
