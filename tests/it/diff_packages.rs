//! Packages: what `imgasm diff` and `imgasm build --sbom` say about their databases, compared with
//! `rpm` itself.

use imgasm_testkit::need;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::example::{assert_success, copy_inputs, imgasm};
use imgasm_block::Digest;
use serde_json::Value;

const FOLDER: &str = "/var/lib/rpm";

/// Runs Debian's rpm on a root; gives what it prints.
fn rpm(root: &Path, args: &[&str]) -> String {
    let output = Command::new("rpm")
        .arg("--root")
        .arg(root)
        .args(["--dbpath", FOLDER])
        .args(args)
        .output()
        .unwrap();
    assert_success(&output);
    String::from_utf8(output.stdout).unwrap()
}

/// How many regular files the root filesystem of a folder has: `/boot/efi` is another one.
fn regular_files(folder: &Path) -> usize {
    let find = Command::new("find")
        .arg(folder)
        .args(["-type", "f"])
        .output();
    let find = find.unwrap();
    assert_success(&find);
    String::from_utf8_lossy(&find.stdout).lines().count()
}

/// A package without files.
fn package(folder: &Path, name: &str, version: &str, epoch: u32) -> String {
    let mut builder = rpm::PackageBuilder::new(name, version, "MIT", "noarch", "a test");
    builder.release("4.fc39~1+a");
    if epoch > 0 {
        builder.epoch(epoch);
    }
    let path = folder.join(format!("{name}-{version}.rpm"));
    builder.build().unwrap().write_file(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The recipe `NAME.toml` in a folder, of a root filesystem with these packages.
fn recipe(folder: &Path, name: &str, packages: &[(&str, &str, u32)]) -> std::path::PathBuf {
    let root = folder.join(name);
    let copied = Command::new("cp")
        .arg("-R")
        .arg(folder.join("rootfs"))
        .arg(&root)
        .output()
        .unwrap();
    assert_success(&copied);
    fs::create_dir_all(root.join("var/lib/rpm")).unwrap();
    rpm(&root, &["--initdb"]);
    for (package_name, version, epoch) in packages {
        let file = package(folder, package_name, version, *epoch);
        rpm(&root, &["-i", "--nodeps", "--noscripts", &file]);
    }
    let text = format!("name = \"disk\"\nbase = {{ rootfs = \"{name}\" }}\n");
    fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    root
}

fn inputs() -> Option<tempfile::TempDir> {
    if !need::tools(&["rpm"]) {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    copy_inputs(folder.path());
    Some(folder)
}

fn run(folder: &Path, args: &[&str]) -> Output {
    imgasm()
        .args(args)
        .current_dir(folder)
        .env("IMGASM_CACHE", folder.join("cache"))
        .output()
        .unwrap()
}

/// What a report says about packages: name, before, after.
fn packages(report: &Value) -> Vec<[String; 3]> {
    let paths = report["filesystems"][0]["paths"].as_array().unwrap().iter();
    let meanings = paths.flat_map(|path| path["meanings"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let rows = meanings.map(|m| ["name", "old", "new"].map(|key| text(&m[key])));
    rows.filter(|[name, ..]| name.starts_with("package"))
        .collect()
}

#[test]
fn packages_of_rpm_are_told_as_added_removed_and_updated() {
    let Some(folder) = inputs() else { return };
    let at = folder.path();
    let old = [("kept", "1", 0), ("gone", "2", 0), ("updated", "1.0", 3)];
    let old_root = recipe(at, "old", &old);
    let new = [("kept", "1", 0), ("updated", "1.1", 3), ("added", "7", 0)];
    let new_root = recipe(at, "new", &new);
    let diff = |form: &[&str]| {
        let output = run(at, &[&["diff", "old.toml", "new.toml"], form].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };

    // What rpm says about the two roots, as sets of rows.
    let query = "package %{name} %{arch}|%|epoch?{%{epoch}:}:{}|%{version}-%{release}\\n";
    let rows = |root: &Path| -> BTreeSet<String> {
        let said = rpm(root, &["-qa", "--qf", query]);
        said.lines().map(str::to_owned).collect()
    };
    let (before, after) = (rows(&old_root), rows(&new_root));
    assert_eq!((before.len(), after.len()), (3, 3));
    let report: Value = serde_json::from_str(&diff(&["--json"])).unwrap();
    let told = packages(&report);
    let side = |index: usize| -> BTreeSet<String> {
        let there = told.iter().filter(|row| row[index] != "none");
        there
            .map(|row| format!("{}|{}", row[0], row[index]))
            .collect()
    };
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a - b;
    assert_eq!(side(1), only(&before, &after));
    assert_eq!(side(2), only(&after, &before));
    assert_eq!(told.len(), 3, "{told:?}");

    let line = "package updated noarch 3:1.0-4.fc39~1+a -> 3:1.1-4.fc39~1+a";
    for form in [&[][..], &["--markdown"]] {
        let text = diff(form);
        assert!(text.contains(line), "{text}");
    }
    diff(&["--html", "page.html"]);
    let page = fs::read_to_string(at.join("page.html")).unwrap();
    assert!(
        page.contains("<dt>package updated noarch</dt><dd><del>3:1.0-4.fc39~1+a</del>"),
        "{page}"
    );
}

#[test]
fn a_database_that_cannot_be_read_is_told_as_such() {
    let Some(folder) = inputs() else { return };
    let at = folder.path();
    recipe(at, "old", &[("one", "1", 0), ("two", "1", 0)]);
    let new_root = recipe(at, "new", &[]);
    fs::write(new_root.join("var/lib/rpm/rpmdb.sqlite"), "no database").unwrap();
    let output = run(at, &["diff", "--json", "old.toml", "new.toml"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["error"], Value::Null);
    let told = packages(&report);
    let [[name, old, new]] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!((name.as_str(), old.as_str()), ("packages", "2"));
    assert!(
        new.starts_with("cannot be read: /var/lib/rpm/rpmdb.sqlite: "),
        "{new}"
    );
}

#[test]
fn a_bill_of_materials_lists_what_rpm_lists() {
    let Some(folder) = inputs() else { return };
    let at = folder.path();
    let installed = [("plain", "1.2", 0), ("libstdc++", "13.2", 1)];
    let root = recipe(at, "disk", &installed);
    // Before rpm is asked, which leaves files of its own.
    let regular_files = regular_files(&root);
    let build = |output: &str, sbom: &str| {
        let output = run(
            at,
            &["build", "-f", "disk.toml", "-o", output, "--sbom", sbom],
        );
        assert_success(&output);
        fs::read(at.join(sbom)).unwrap()
    };
    let text = build("out", "sbom.json");
    assert_eq!(build("again", "again.json"), text);
    let document: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(document["bomFormat"], "CycloneDX");
    assert_eq!(document["specVersion"], "1.5");
    assert_eq!(document["metadata"]["component"]["name"], "disk");
    assert_eq!(document["metadata"]["timestamp"], Value::Null);
    let all = document["components"].as_array().unwrap();
    let components = all.iter().filter(|c| c["type"] == "library");
    let listed: BTreeSet<String> = components
        .clone()
        .map(|c| {
            format!(
                "{} {}",
                c["name"].as_str().unwrap(),
                c["version"].as_str().unwrap()
            )
        })
        .collect();
    let query = "%{name} %|epoch?{%{epoch}:}:{}|%{version}-%{release}\\n";
    let said = rpm(&root, &["-qa", "--qf", query]);
    let said: BTreeSet<String> = said.lines().map(str::to_owned).collect();
    assert_eq!((listed.len(), &listed), (2, &said));
    let urls: Vec<&str> = components.map(|c| c["purl"].as_str().unwrap()).collect();
    // By the rules of package URLs, `+` is percent-encoded, in names and in versions.
    assert_eq!(
        urls,
        [
            "pkg:rpm/amzn/libstdc%2B%2B@13.2-4.fc39~1%2Ba?arch=noarch&epoch=1",
            "pkg:rpm/amzn/plain@1.2-4.fc39~1%2Ba?arch=noarch",
        ]
    );

    // Every other component is a file of no package, as the kernel's own tools see it.
    let files = all.iter().filter(|c| c["type"] == "file");
    let release = files
        .clone()
        .find(|c| c["name"] == "/etc/os-release")
        .unwrap();
    let content = fs::read(root.join("etc/os-release")).unwrap();
    assert_eq!(release["hashes"][0]["alg"], "SHA-256");
    assert_eq!(
        release["hashes"][0]["content"],
        Digest::of(&content).to_string()
    );
    // The file below /boot/efi is in a partition that this fstab does not mount.
    assert_eq!(files.count(), regular_files - 1);

    // Without a database nothing is written.
    fs::remove_dir_all(root.join("var/lib/rpm")).unwrap();
    let args = [
        "build",
        "-f",
        "disk.toml",
        "-o",
        "none",
        "--sbom",
        "none.json",
    ];
    let output = run(at, &args);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("has no database of packages"), "{said}");
    assert!(!at.join("none").exists() && !at.join("none.json").exists());
}

#[test]
fn packages_of_debian_have_urls_of_their_kind() {
    let folder = tempfile::tempdir().unwrap();
    copy_inputs(folder.path());
    let root = folder.path().join("rootfs");
    fs::create_dir_all(root.join("var/lib/dpkg")).unwrap();
    let status = "Package: libstdc++6\nStatus: install ok installed\nArchitecture: amd64\n\
        Version: 1:12.2.0-14\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
    fs::write(root.join("var/lib/dpkg/status"), status).unwrap();
    fs::write(root.join("etc/os-release"), "ID=debian\n").unwrap();
    let recipe = "name = \"disk\"\nbase = { rootfs = \"rootfs\" }\n";
    fs::write(folder.path().join("disk.toml"), recipe).unwrap();
    let args = ["build", "-f", "disk.toml", "--sbom", "sbom.json"];
    assert_success(&run(folder.path(), &args));
    let document = fs::read(folder.path().join("sbom.json")).unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    let components = document["components"].as_array().unwrap().iter();
    let components: Vec<_> = components.filter(|one| one["type"] == "library").collect();
    assert_eq!(components.len(), 1);
    assert_eq!(components[0]["version"], "1:12.2.0-14");
    let url = "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14?arch=amd64";
    assert_eq!(components[0]["purl"], url);
}

/// A root filesystem with packages that have files and licences: two share a file, and one names its
/// files by way of a link.
fn with_files(at: &Path) -> std::path::PathBuf {
    let root = at.join("files");
    fs::create_dir_all(root.join("var/lib/rpm")).unwrap();
    fs::create_dir_all(root.join("usr/lib")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/os-release"), "ID=amzn\n").unwrap();
    std::os::unix::fs::symlink("usr/lib", root.join("lib")).unwrap();
    rpm(&root, &["--initdb"]);
    let shared = at.join("shared");
    fs::write(&shared, "shared\n").unwrap();
    fs::create_dir_all(root.join("boot/efi/EFI/BOOT")).unwrap();
    fs::write(root.join("boot/efi/EFI/BOOT/notes"), "of none\n").unwrap();
    for (name, licence, files) in [
        (
            "alpha",
            "MIT OR Apache-2.0",
            ["/lib/alpha.so", "/usr/share/common"],
        ),
        (
            "beta",
            "GPLv2+ and MIT",
            ["/usr/lib/beta.so", "/usr/share/common"],
        ),
        (
            "gamma",
            "MIT",
            ["/boot/efi/EFI/BOOT/BOOTX64.EFI", "/usr/share/gamma"],
        ),
    ] {
        let mut builder = rpm::PackageBuilder::new(name, "1", licence, "noarch", "a test");
        builder.release("1");
        for path in files {
            builder
                .with_file(&shared, rpm::FileOptions::new(path))
                .unwrap();
        }
        let file = at.join(format!("{name}.rpm"));
        builder.build().unwrap().write_file(&file).unwrap();
        let file = file.to_str().unwrap().to_owned();
        rpm(&root, &["-i", "--nodeps", "--noscripts", &file]);
    }
    // The files of gamma lie in two partitions.
    let text = "name = \"files\"\nbase = { rootfs = \"files\", size = \"200 MiB\" }\n\
                [[disk.partition]]\ntype = \"efi\"\nsize = \"40 MiB\"\nfilesystem = \"vfat\"\n\
                mount = \"/boot/efi\"\nlabel = \"EFI\"\n[[disk.partition]]\nfilesystem = \"ext4\"\n\
                mount = \"/\"\nlabel = \"ROOT\"\n";
    let fstab = "LABEL=ROOT / ext4 defaults 0 1\nLABEL=EFI /boot/efi vfat defaults 0 2\n";
    fs::write(root.join("etc/fstab"), fstab).unwrap();
    fs::write(at.join("files.toml"), text).unwrap();
    root
}

#[test]
fn both_forms_say_which_file_is_whose_and_under_which_licence() {
    let Some(folder) = inputs() else { return };
    let at = folder.path();
    let root = with_files(at);
    let args = ["--sbom", "sbom.json", "--sbom", "sbom.spdx.json"];
    let args = [&["build", "-f", "files.toml"], &args[..]].concat();
    assert_success(&run(at, &args));
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(at.join(name)).unwrap()).unwrap()
    };
    let bom = read("sbom.json");
    let package = |name: &str| {
        let mut all = bom["components"].as_array().unwrap().iter();
        all.find(|one| one["name"] == name).unwrap()
    };
    let names = |package: &Value| -> Vec<String> {
        let files = package["components"].as_array().unwrap().iter();
        files
            .map(|file| file["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let (alpha, beta) = (package("alpha"), package("beta"));
    assert_eq!(alpha["licenses"][0]["expression"], "MIT OR Apache-2.0");
    assert_eq!(beta["licenses"][0]["license"]["name"], "GPLv2+ and MIT");
    assert_eq!(names(alpha), ["/usr/lib/alpha.so", "/usr/share/common"]);
    assert_eq!(names(beta), ["/usr/lib/beta.so"]);
    let gamma = ["/usr/share/gamma", "/boot/efi/EFI/BOOT/BOOTX64.EFI"];
    assert_eq!(names(package("gamma")), gamma);
    let refs = bom["components"].as_array().unwrap().iter();
    let inner = refs
        .clone()
        .filter_map(|one| one["components"].as_array())
        .flatten();
    let refs: Vec<_> = refs
        .chain(inner)
        .map(|one| one["bom-ref"].to_string())
        .collect();
    assert_eq!(refs.iter().collect::<BTreeSet<_>>().len(), refs.len());

    let document = read("sbom.spdx.json");
    let packages = document["packages"].as_array().unwrap();
    let declared: Vec<&str> = packages
        .iter()
        .map(|package| package["licenseDeclared"].as_str().unwrap())
        .collect();
    assert_eq!(
        declared,
        ["NOASSERTION", "MIT OR Apache-2.0", "LicenseRef-0", "MIT"]
    );
    let extracted = &document["hasExtractedLicensingInfos"][0];
    assert_eq!(extracted["extractedText"], "GPLv2+ and MIT");
    let files = document["files"].as_array().unwrap();
    assert_eq!(files.len(), regular_files(&root));
    for file in files {
        let path = root.join(file["fileName"].as_str().unwrap());
        for (place, tool) in ["sha1sum", "sha256sum"].into_iter().enumerate() {
            let sum = Command::new(tool).arg(&path).output().unwrap();
            let sum = String::from_utf8(sum.stdout).unwrap();
            let stated = file["checksums"][place]["checksumValue"].as_str();
            assert_eq!(stated, sum.split(' ').next(), "{}", path.display());
        }
    }
    // Each file is contained in one package, the image's own among them.
    let relations = document["relationships"].as_array().unwrap().iter();
    let contained = relations.filter(|one| {
        let to = one["relatedSpdxElement"].as_str().unwrap();
        one["relationshipType"] == "CONTAINS" && to.starts_with("SPDXRef-File-")
    });
    assert_eq!(contained.count(), files.len());
}
