//! RPM packages made on the spot, and an image that they are installed into.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::example;
use imgasm_testkit::command::{output, run, text};
use imgasm_testkit::image::Kind;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::scratch;

/// The tools that make packages and images and look at them.
pub const TOOLS: [&str; 4] = ["rpm", "rpmbuild", "mke2fs", "e2fsck"];

/// Where RPM's database is; Debian's rpm would look elsewhere by itself.
pub const DATABASE: &str = "/var/lib/rpm";

/// An image with a small system in it, and a folder beside it.
pub struct Lab {
    folder: TempDir,
    /// Packages made so far, to give each a folder of its own.
    made: std::cell::Cell<usize>,
}

/// What the small system has beside RPM's database.
const SYSTEM: [(&str, &str); 8] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:2:2::/:/bin/sh\n",
    ),
    ("etc/group", "root:x:0:\ndaemon:x:2:\n"),
    ("etc/shadow", "root:*:1::::::\ndaemon:*:1::::::\n"),
    ("etc/gshadow", "root:::\ndaemon:::\n"),
    (
        "etc/login.defs",
        "SYS_UID_MIN 100\nSYS_UID_MAX 999\nSYS_GID_MIN 100\nSYS_GID_MAX 999\n",
    ),
    ("etc/os-release", "ID=amzn\nVERSION_ID=2023\n"),
    (
        "usr/lib/systemd/system-preset/90-default.preset",
        "enable web.service\ndisable *\n",
    ),
    ("etc/systemd/system/.keep", ""),
];

impl Lab {
    /// An ext4 image whose database is in SQLite, empty.
    pub fn new() -> Self {
        let lab = Self {
            folder: scratch::folder(),
            made: std::cell::Cell::new(0),
        };
        let image = lab.image();
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        run(Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-F"])
            .arg(&image));
        lab.edit(|root| {
            for (path, content) in SYSTEM {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            // An ELF file for x86_64, as far as anybody looks.
            fs::create_dir(root.join("sbin")).unwrap();
            let mut program = b"\x7fELF\x02\x01".to_vec();
            program.resize(18, 0);
            program.extend([62, 0]);
            fs::write(root.join("sbin/init"), program).unwrap();
            rpm(root, &["--initdb"]);
        });
        lab
    }

    /// The image.
    pub fn image(&self) -> PathBuf {
        self.folder.path().join("disk.raw")
    }

    /// The bytes of the image.
    pub fn bytes(&self) -> Vec<u8> {
        fs::read(self.image()).unwrap()
    }

    /// Changes the image through the kernel.
    pub fn edit<T>(&self, change: impl FnOnce(&Path) -> T) -> T {
        let mount = Mount::new(&self.image(), Kind::Ext, Access::ReadWrite);
        let result = change(mount.path());
        mount.finish().unwrap();
        result
    }

    /// Looks at the image through the kernel, after `e2fsck` has looked at it.
    pub fn look<T>(&self, look: impl FnOnce(&Path) -> T) -> T {
        run(Command::new("e2fsck").arg("-fn").arg(self.image()));
        self.edit(look)
    }

    /// Builds a package with Debian's rpmbuild from a spec without its preamble, for no
    /// architecture.
    pub fn rpmbuild(&self, name: &str, version: &str, spec: &str) -> PathBuf {
        let top = self.fresh();
        let path = top.join("x.spec");
        let preamble = format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: a test\nLicense: MIT\n\
             BuildArch: noarch\nAutoReqProv: no\n"
        );
        fs::write(&path, format!("{preamble}{spec}")).unwrap();
        let mut command = Command::new("rpmbuild");
        command
            .arg("--define")
            .arg(format!("_topdir {}", top.display()))
            .args(["--define", "_build_id_links none", "-bb"])
            .arg(&path);
        run(&mut command);
        top.join(format!("RPMS/noarch/{name}-{version}-1.noarch.rpm"))
    }

    /// Writes a package that the crate's builder made.
    pub fn built(&self, package: &rpm::Package) -> PathBuf {
        let path = self.fresh().join("x.rpm");
        package.write_file(&path).unwrap();
        path
    }

    /// A folder of its own.
    pub fn fresh(&self) -> PathBuf {
        self.made.set(self.made.get() + 1);
        let folder = self.folder.path().join(format!("p{}", self.made.get()));
        fs::create_dir(&folder).unwrap();
        folder
    }

    /// Installs packages with `imgasm apply`, each with these further keys; gives what went
    /// wrong, without the names of temporary folders.
    pub fn install(&self, packages: &[(&Path, &str)]) -> Result<(), String> {
        let overlay = self.fresh();
        let mut list = Vec::new();
        for (index, (path, keys)) in packages.iter().enumerate() {
            fs::copy(path, overlay.join(format!("{index}.rpm"))).unwrap();
            let digest = hex::encode(Sha256::digest(fs::read(path).unwrap()));
            let digest = if keys.contains("sha256") {
                String::new()
            } else {
                format!(", sha256 = \"{digest}\"")
            };
            list.push(format!("{{ path = \"{index}.rpm\"{digest}{keys} }}"));
        }
        let step = format!("[[step]]\npackage = [{}]\n", list.join(", "));
        fs::write(overlay.join("overlay.toml"), step).unwrap();
        self.apply(&overlay)
    }

    /// Applies an overlay with `imgasm apply`.
    pub fn apply(&self, overlay: &Path) -> Result<(), String> {
        let before = self.bytes();
        let mut command = example::imgasm();
        command
            .arg("apply")
            .arg(self.image())
            .arg(overlay)
            .env("SOURCE_DATE_EPOCH", "1700000000");
        let result = output(&mut command);
        if result.status.success() {
            return Ok(());
        }
        assert_eq!(result.status.code(), Some(2), "{}", text(&result));
        assert!(
            self.bytes() == before,
            "an error must leave the image alone"
        );
        let said = String::from_utf8(result.stderr).unwrap();
        Err(said.replace(&format!("{}/", overlay.display()), ""))
    }

    /// What Debian's rpm says about the image; it must succeed.
    pub fn rpm(&self, args: &[&str]) -> String {
        self.look(|root| rpm(root, args))
    }
}

/// Runs Debian's rpm on a root; gives what it prints.
pub fn rpm(root: &Path, args: &[&str]) -> String {
    let result = rpm_output(root, args);
    assert!(result.status.success(), "rpm {args:?}: {}", text(&result));
    String::from_utf8(result.stdout).unwrap()
}

/// Runs Debian's rpm on a root, whatever comes of it.
pub fn rpm_output(root: &Path, args: &[&str]) -> std::process::Output {
    let mut command = Command::new("rpm");
    command
        .arg("--root")
        .arg(root)
        .args(["--dbpath", DATABASE])
        .args(args);
    output(&mut command)
}
