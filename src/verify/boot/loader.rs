//! The boot loader's configuration, and whether what it names is there.
//!
//! It reads those of GRUB (its manual, "Commands"), of GRUB Legacy (`menu.lst`), and entries of the
//! Boot Loader Specification: all name the kernel and the initial RAM disk by a word and a path.

use std::collections::HashMap;

use super::super::{Error, Findings};
use super::mounts::has_separate_boot;
use super::reader::Reader;
use super::{Device, Machine};
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::glob::Pattern;
use imgasm_fs::tree::{self, glob};

const CONFIGURATIONS: [&str; 4] = [
    "/boot/grub2/grub.cfg",
    "/boot/grub/{grub.cfg,menu.lst,grub.conf}",
    "/boot/efi/EFI/*/grub.cfg",
    "/boot/loader/entries/*.conf",
];

/// What a configuration names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    kernels: Vec<String>,
    initial_disks: Vec<String>,
    roots: Vec<String>,
}

pub(super) fn check(machine: &Machine<'_>, reader: &Reader<'_>) -> Result<Findings, Error> {
    let mut files = Vec::new();
    for pattern in CONFIGURATIONS {
        files.extend(glob(machine.root, &Pattern::parse(pattern)?)?);
    }
    let is_separate = has_separate_boot(machine)?;
    if files.is_empty() {
        if is_separate {
            return Ok(Findings::skipped("/boot is a filesystem of its own"));
        }
        let mut findings = Findings::default();
        findings.warning("there is no configuration of a boot loader below /boot");
        return Ok(findings);
    }
    let mut findings = Findings::default();
    let mut named_any = false;
    let mut known: HashMap<String, bool> = HashMap::new();
    for file in &files {
        let text = reader.read(file)?;
        let named = parse(&String::from_utf8_lossy(&text));
        named_any |= !named.kernels.is_empty();
        for (what, paths) in [
            ("kernel", &named.kernels),
            ("initial RAM disk", &named.initial_disks),
        ] {
            for path in paths {
                if is_separate {
                    continue;
                }
                let is_there = match known.get(path) {
                    Some(is_there) => *is_there,
                    None => is_there(machine.root, path)?,
                };
                known.insert(path.clone(), is_there);
                if !is_there {
                    findings.problem(format!("{file}: the {what} {path} does not exist"));
                }
            }
        }
        for root in &named.roots {
            if let Device::Missing = machine.device(root) {
                findings.problem(format!("{file}: no filesystem of the machine is {root}"));
            }
        }
    }
    if !named_any {
        findings.problem("the boot loader's configuration names no kernel".to_owned());
    }
    Ok(findings)
}

/// Whether a path of the configuration leads to something: in the root, or below `/boot`, as if
/// that were a filesystem of its own.
fn is_there(fs: &dyn FileSystem, path: &str) -> Result<bool, Error> {
    for candidate in [path.to_owned(), format!("/boot{path}")] {
        if tree::exists(fs, &ImagePath::parse(&candidate)?)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn parse(text: &str) -> Named {
    let mut named = Named::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("linux" | "linux16" | "linuxefi" | "kernel") => {
                named.kernels.extend(words.next().and_then(plain_path));
                named.roots.extend(root_device(words));
            }
            Some("initrd" | "initrd16" | "initrdefi") => {
                named.initial_disks.extend(words.filter_map(plain_path));
            }
            Some("options") => named.roots.extend(root_device(words)),
            _ => {}
        }
    }
    named
}

/// A path without the device before it; `None` if it contains variables of the loader.
fn plain_path(word: &str) -> Option<String> {
    let path = match word.split_once(')') {
        Some((device, path)) if device.starts_with('(') => path,
        _ => word,
    };
    (path.starts_with('/') && !path.contains('$')).then(|| path.to_owned())
}

fn root_device<'a>(words: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut words = words;
    words
        .find_map(|word| word.strip_prefix("root="))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_languages_are_read() {
        let legacy = "default=0\ntitle A\nroot (hd0,0)\nkernel /boot/vmlinuz-1 root=LABEL=/ ro\ninitrd /boot/initramfs-1.img\n";
        let named = parse(legacy);
        assert_eq!(named.kernels, ["/boot/vmlinuz-1"]);
        assert_eq!(named.initial_disks, ["/boot/initramfs-1.img"]);
        assert_eq!(named.roots, ["LABEL=/"]);
        let grub2 = "menuentry 'A' {\n\tlinux\t($root)/boot/vmlinuz-2 root=UUID=ab ro\n\tinitrd /a.img /b.img\n}\n";
        let named = parse(grub2);
        assert_eq!(named.kernels, ["/boot/vmlinuz-2"]);
        assert_eq!(named.initial_disks, ["/a.img", "/b.img"]);
        let entry = "title A\nlinux /boot/vmlinuz-3\ninitrd /boot/i $tuned_initrd\noptions root=UUID=cd $kernelopts\n";
        let named = parse(entry);
        assert_eq!(named.initial_disks, ["/boot/i"]);
        assert_eq!(named.roots, ["UUID=cd"]);
    }
}
