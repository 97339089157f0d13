//! Every parser of what comes from outside, with damaged files: an error or success, never a panic, a
//! hang, or more than 1 GiB of memory. The parsers are those of the fuzz targets.
//!
//! Partition tables, containers, recipes and overlays are in `mutation_inputs`, filesystems in
//! `mutation` of imgasm-disk, and each is here with its sound form at least.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;

use imgasm::filesystem::xfs::XfsOptions;
use imgasm::filesystem::{self, FilesystemKind, Identity};
use imgasm_block::{BlockDevice, ChunkMap, Delta, Digest, Hole, MemoryDevice};
use imgasm_container::{OutputFormat, write_file};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink};
use imgasm_fs::{Timestamp, WriteOptions};
use imgasm_guest::packages::rpm_file::RpmFile;
use imgasm_testkit::damage::damaged;
use imgasm_testkit::need;
use imgasm_testkit::rng::Rng;
use imgasm_testkit::sandbox;
use uuid::Uuid;

use crate::packages_database::{berkeley, ndb, ndb_indexes, package};

#[path = "../../fuzz/src/lib.rs"]
mod parsers;

/// Damaged files for each parser.
const COUNT: u64 = 150;

#[test]
fn every_parser_stands_damage() {
    if !need::tools(&["db5.3_load"]) {
        return;
    }
    for (name, parse) in parsers::PARSERS {
        let folder = tempfile::tempdir().unwrap();
        let seeds = seeds(name, folder.path());
        assert!(!seeds.is_empty(), "{name}");
        for (number, seed) in seeds.iter().enumerate() {
            parse(seed);
            fs::write(folder.path().join(format!("seed-{number}")), seed).unwrap();
        }
        sandbox::run(module_path!(), name, folder.path(), COUNT);
    }
}

#[test]
#[ignore = "the part of the other test that runs in a process of its own"]
fn cases() {
    let Some((subject, folder)) = sandbox::subject() else {
        return;
    };
    let mut known = parsers::PARSERS.iter();
    let (_, parse) = known.find(|(name, _)| *name == subject).unwrap();
    let seeds: Vec<Vec<u8>> = (0..)
        .map_while(|number| fs::read(folder.join(format!("seed-{number}"))).ok())
        .collect();
    sandbox::each(&folder, |seed| {
        let mut rng = Rng::new(seed);
        let sound = rng.pick(&seeds).clone();
        parse(&damaged(&mut rng, sound));
    });
}

#[test]
#[ignore = "writes what the fuzz targets begin with, to the folder IMGASM_CORPUS"]
fn corpus() {
    let corpus = std::env::var_os("IMGASM_CORPUS").expect("IMGASM_CORPUS names a folder");
    for (name, _) in parsers::PARSERS {
        let of_target = Path::new(&corpus).join(name);
        fs::create_dir_all(&of_target).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (number, seed) in seeds(name, folder.path()).iter().enumerate() {
            fs::write(of_target.join(format!("seed-{number}")), seed).unwrap();
        }
    }
}

/// The targets are a workspace of their own, which no other check builds.
#[test]
fn the_lock_of_the_fuzz_targets_has_what_the_crates_need() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| -> toml::Table {
        let text = fs::read_to_string(path).unwrap();
        toml::from_str(&text).unwrap()
    };
    let lock = read(&project.join("fuzz/Cargo.lock"));
    let crates = fs::read_dir(project.join("crates")).unwrap();
    let crates = crates.map(|entry| entry.unwrap().path());
    let mut missing = Vec::new();
    for folder in crates.chain([project.to_owned()]) {
        let manifest = read(&folder.join("Cargo.toml"));
        let name = &manifest["package"]["name"];
        let mut packages = lock["package"].as_array().unwrap().iter();
        let Some(locked) = packages.find(|package| package["name"] == *name) else {
            continue; // What talks to AWS is not a part of it.
        };
        let locked: BTreeSet<&str> = locked["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|dependency| dependency.as_str()?.split(' ').next())
            .collect();
        for (wanted, how) in manifest["dependencies"].as_table().unwrap() {
            let is_optional = how
                .get("optional")
                .is_some_and(|is| is.as_bool() == Some(true));
            if !is_optional && !locked.contains(wanted.as_str()) {
                missing.push(format!("{name}: {wanted}"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "{missing:?}: `cargo update --manifest-path fuzz/Cargo.toml imgasm`"
    );
}

/// Sound files for a parser.
fn seeds(parser: &str, folder: &Path) -> Vec<Vec<u8>> {
    let text = |text: &str| vec![text.as_bytes().to_vec()];
    match parser {
        "archive" => vec![archive(), zip_file()],
        "certificates" => text(CERTIFICATE),
        "chunk_map" => vec![chunk_map().encode()],
        "container" => containers(folder),
        "berkeley" => vec![berkeley(folder, &headers(folder))],
        "ndb" => vec![ndb(&headers(folder))],
        "ndb_indexes" => vec![ndb_indexes()],
        "sqlite" => vec![sqlite(folder)],
        "script" => scripts(),
        "rpm" => vec![package("one", 300), package("eleven", 3)],
        "undo" => vec![b"imgasm undo".to_vec()],
        "disk" => vec![parsers::packed(&disk())],
        "apply" | "filesystem" => filesystems(),
        "comps" => text(COMPS),
        "modules" => text(MODULES),
        "dpkg" => text(STATUS),
        "file_contexts" => text(CONTEXTS),
        "filelists" => text(FILELISTS),
        "guest" => GUEST.iter().map(|text| text.as_bytes().to_vec()).collect(),
        "keys" => text(KEY),
        "lock" => text(LOCK),
        "manifest" => text(MANIFEST),
        "meta" => text(META),
        "mirrors" => [text(METALINK), text("https://a.example/x\n# no\n")].concat(),
        "origin" => text(ORIGIN),
        "overlay" => text("[[step]]\nwrite = { path = '/a', content = '{{ b }}' }\n"),
        "policy" => text("[[allow]]\npaths = ['/var/log/**']\nreason = 'x'\n"),
        "primary" => text(PRIMARY),
        "recipe" => text("name = 'x'\nbase = { file = 'a.raw', sha256 = '00' }\n"),
        "repomd" => text(REPOMD),
        "updateinfo" => text(UPDATEINFO),
        other => panic!("no file for {other}"),
    }
}

fn zip_file() -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
    writer.add_directory("etc", options).unwrap();
    writer.start_file("etc/a", options).unwrap();
    writer.write_all(&b"hello ".repeat(50)).unwrap();
    writer.add_symlink("etc/b", "a", options).unwrap();
    writer.finish().unwrap().into_inner()
}

fn archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(5);
    let attributes = [("SCHILY.xattr.user.a", &b"value"[..])];
    builder.append_pax_extensions(attributes).unwrap();
    builder
        .append_data(&mut header, "etc/a", &b"hello"[..])
        .unwrap();
    let long = format!("usr/{}/b", "long".repeat(50));
    builder
        .append_data(&mut header, long, &b"hello"[..])
        .unwrap();
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Symlink);
    builder.append_link(&mut header, "etc/c", "a").unwrap();
    header.set_entry_type(tar::EntryType::Link);
    builder.append_link(&mut header, "etc/d", "etc/a").unwrap();
    builder.into_inner().unwrap()
}

/// The scripts that the shell's own tests are about, and one in Lua, each behind its interpreter.
fn scripts() -> Vec<Vec<u8>> {
    let all =
        include_str!("../../crates/imgasm-guest/src/packages/install/shell/tests/scriptlets.txt");
    let mut scripts: Vec<Vec<u8>> = all
        .split("%% ")
        .filter_map(|script| script.split_once('\n'))
        .map(|(_, script)| format!("\u{1}{script}").into_bytes())
        .collect();
    scripts.push(format!("\u{2}{LUA}").into_bytes());
    scripts
}

const LUA: &str = r#"local path = "/etc/a.conf"
local st = posix.stat(path)
if st and st.type == "regular" then
  local status = os.rename(path, path .. ".rpmmoved")
  for i = 1, 3 do if not status then posix.symlink(path, "/etc/b" .. i) end end
end
for _, name in ipairs({ "a", 'b' }) do posix.mkdir("/var/" .. string.gsub(name, "^(%w+)$", "%1x")) end
"#;

/// A disk of some chunks.
fn disk() -> Vec<u8> {
    let mut bytes = vec![0; 3 << 19];
    bytes[..8].copy_from_slice(b"bootcode");
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes[446..462].copy_from_slice(&[0, 0, 2, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 0, 8, 0, 0]);
    bytes[2 << 19] = 7;
    bytes
}

/// Small filesystems of our own making, with some of everything in them.
fn filesystems() -> Vec<Vec<u8>> {
    let now = Timestamp {
        seconds: 1_700_000_000,
        nanoseconds: 0,
    };
    let path = |path: &str| ImagePath::parse(path).unwrap();
    let plain = Attributes::default();
    let kinds = [
        (FilesystemKind::Ext4, 16 << 20),
        (FilesystemKind::Xfs, 300 << 20),
        (FilesystemKind::Vfat, 1 << 20),
    ];
    let made = kinds.map(|(kind, len)| {
        let device: Arc<dyn BlockDevice> = Arc::new(Delta::new(Arc::new(Hole::new(len))));
        let identity = Identity {
            uuid: Uuid::from_bytes([3; 16]),
            hash_seed: [4; 16],
        };
        let options = (kind, &XfsOptions::default());
        filesystem::make(&device, options, "seed", identity, now).unwrap();
        let seed = [5; 16];
        let mut fs =
            imgasm_disk::open_writable(device.clone(), WriteOptions { now, seed }).unwrap();
        let mut editor = Editor::new(&mut *fs);
        editor.mkdir_all(&path("/etc/many"), plain).unwrap();
        for number in 0..60 {
            let name = path(&format!("/etc/many/{number}-{}", "name".repeat(8)));
            let content = b"content ".repeat(number);
            editor
                .write(&name, LastLink::Follow, &content, plain)
                .unwrap();
        }
        if kind != FilesystemKind::Vfat {
            editor.symlink(&path("/etc/link"), b"many").unwrap();
            let long = b"long/".repeat(100);
            editor.symlink(&path("/etc/long"), &long).unwrap();
            let name = path("/etc/many/with");
            editor.write(&name, LastLink::Follow, b"", plain).unwrap();
            editor
                .set_xattr(&name, LastLink::Follow, b"user.a", Some(&[7; 300]))
                .unwrap();
            editor.hard_link(&path("/etc/again"), &name).unwrap();
        }
        fs.flush().unwrap();
        drop(fs);
        let mut image = vec![0; usize::try_from(len).unwrap()];
        device.read_at(0, &mut image).unwrap();
        parsers::packed(&image)
    });
    made.into()
}

fn chunk_map() -> ChunkMap {
    ChunkMap::compute(&MemoryDevice::new(disk())).unwrap()
}

fn containers(folder: &Path) -> Vec<Vec<u8>> {
    let device = Arc::new(MemoryDevice::new(disk()));
    let formats = [
        "raw.gz",
        "raw.zst",
        "raw.xz",
        "qcow2",
        "vmdk",
        "vhd",
        "vhd-fixed",
    ];
    let written = formats.map(|name| {
        let format: OutputFormat = name.parse().unwrap();
        let path = folder.join(name);
        let output = imgasm_block::Output::create(&path).unwrap();
        write_file(&device, &chunk_map(), format, output, &|_, _| {}).unwrap();
        let bytes = fs::read(path).unwrap();
        // The compressed ones are as short as they can be.
        if name.starts_with("raw.") {
            bytes
        } else {
            parsers::packed(&bytes)
        }
    });
    written.into_iter().chain([archive()]).collect()
}

/// The headers of packages, as databases hold them.
fn headers(folder: &Path) -> Vec<Vec<u8>> {
    let header = |name: &str| {
        let bytes = package(name, 300);
        let path = folder.join(name);
        fs::write(&path, &bytes).unwrap();
        let rpm = RpmFile::open(&path, Digest::of(&bytes)).unwrap();
        rpm.header.bytes().to_vec()
    };
    ["one", "eleven"].map(header).into()
}

fn sqlite(folder: &Path) -> Vec<u8> {
    let path = folder.join("rpmdb.sqlite");
    let database = rusqlite::Connection::open(&path).unwrap();
    let table =
        "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)";
    database.execute(table, []).unwrap();
    for header in headers(folder) {
        let insert = "INSERT INTO Packages (blob) VALUES (?)";
        database.execute(insert, [header]).unwrap();
    }
    database.close().unwrap();
    fs::read(path).unwrap()
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIB5zCCAY6gAwIBAgIUUcnk4J7JzfSC/E0gDVMFCex8rhMwCgYIKoZIzj0EAwIw
NjELMAkGA1UEBhMCREUxEDAOBgNVBAoMB0V4YW1wbGUxFTATBgNVBAMMDEV4YW1w
bGUgUm9vdDAgFw0yNjExMjkxMTIyMDVaGA8yMTI2MTEwNTExMjIwNVowNjELMAkG
A1UEBhMCREUxEDAOBgNVBAoMB0V4YW1wbGUxFTATBgNVBAMMDEV4YW1wbGUgUm9v
dDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBWQZXvNVX38/TQNLAYb7R6C7qK9
2EJXlYKd2pVOgLdzOyZsuW5EngQvF4BdGAIW22a0dVEmZLK4PKbVjFljBhajeDB2
MB0GA1UdDgQWBBSFPZIR4e6o3r6rQJP1yJ04gZh3nDAfBgNVHSMEGDAWgBSFPZIR
4e6o3r6rQJP1yJ04gZh3nDAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwIC
BDATBgNVHSUEDDAKBggrBgEFBQcDATAKBggqhkjOPQQDAgNHADBEAiBQfaHN3k96
Vp0Q6xLhtjSX9WVOB0MiC8uFm0dPWA987QIgVU/ClczDyYlcFLW16rC/4OHlEpV7
kXXAUsCI9rVZGCU=
-----END CERTIFICATE-----
";

const COMPS: &str = "<comps><group><id>core</id><name>Core</name><packagelist>\
<packagereq type='mandatory'>bash</packagereq><packagereq type='optional'>vim</packagereq>\
</packagelist></group></comps>";

const MODULES: &str = "---\ndocument: modulemd\nversion: 2\ndata:\n  name: web\n  stream: \"1\"\n  \
version: 7\n  context: c1\n  arch: x86_64\n  dependencies:\n  - requires:\n      platform: [p1]\n      \
lib: [-9]\n  artifacts:\n    rpms: [web-0:1-1.x86_64]\n...\n---\ndocument: modulemd\nversion: 1\ndata:\n  \
name: lib\n  stream: a\n  version: 1\n...\n---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: \
web\n  stream: \"1\"\n  profiles: {}\n...\n";

const STATUS: &str = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\n\
Version: 1:5.2-2+b1\nDescription: a shell\n with a line\n .\n\nPackage: vim\nStatus: deinstall ok \
config-files\nVersion: 9\n";

const CONTEXTS: &str = "/.*\tsystem_u:object_r:default_t:s0\n\
/etc(/.*)?\t--\tsystem_u:object_r:etc_t:s0\n/usr/lib(64)?/.+\\.so(\\.[^/]*)*\t--\tsystem_u:object_r:\
lib_t:s0\n/proc/.*\t<<none>>\n[^/]+/(a|b){1,3}\t-d\tsystem_u:object_r:x_t:s0\n";

const FILELISTS: &str = "<filelists><package pkgid='a' name='b' arch='noarch'><version epoch='0' \
ver='1' rel='2'/><file>/usr/bin/a</file><file type='dir'>/usr/share/a</file></package></filelists>";

const GUEST: [&str; 5] = [
    "ID=amzn\nVERSION_ID=\"2023\"\nPRETTY_NAME='Amazon Linux'\n",
    "root:x:0:0:root:/root:/bin/sh\nec2-user:x:1000:1000::/home/ec2-user:/bin/bash\n",
    "UUID=0-1 / xfs defaults,noatime 1 1\nLABEL=data /data ext4 nofail,x-systemd.automount 0 2\n",
    "[Unit]\nAfter=network.target\nWants=%i.service\n[Service]\nExecStart=-/usr/bin/env A=${B} \\\n \
'c d'\nEnvironmentFile=-/etc/x\nEnvironment=\"A=b c\" D=${E}\n[Install]\nWantedBy=multi-user.target\n\
Alias=z.service\n",
    "#cloud-config\nusers:\n  - default\nmounts: [[a, b], [c]]\ndatasource: {Ec2: {max_wait: 5}}\n\
runcmd:\n - [sh, -c, \"x\"]\nset timeout=5\nmenuentry 'a' { linux /boot/vmlinuz root=UUID=0 }\n",
];

const LOCK: &str = "version = 1\nbase = '0000000000000000000000000000000000000000000000000000000000000000'\n\
wishes = '0000000000000000000000000000000000000000000000000000000000000000'\n";

const MANIFEST: &str = r#"{"imgasm_version":"0.2.0","name":"x","source_date_epoch":5,"base":{"name":"b",
"sha256":null,"digest":"0000000000000000000000000000000000000000000000000000000000000000","size":4096},
"recipe_sha256":"0000000000000000000000000000000000000000000000000000000000000000",
"variables":{"a":[1,{"b":0.5}]},"overlays":[],"image":{"file":"x.raw","size":4096,
"digest":"0000000000000000000000000000000000000000000000000000000000000000","partition_table":null},
"volumes":[],"changes":[{"path":"/a","overlay":"o","step":1,"kind":"write","type":"file","sha256":null}]}"#;

const META: &str = "[special]\n'/dev/null' = { type = 'char', major = 1, minor = 3 }\n\
[hard_links]\n'/a' = '/b'\n";

const METALINK: &str = "<metalink><files><file name='repomd.xml'><resources>\
<url protocol='https' preference='100'>https://a.example/repodata/repomd.xml</url></resources></file>\
</files></metalink>";

const ORIGIN: &str = r#"{"ami_id":"ami-0","name":"x","region":"us-east-1","snapshot_id":"snap-0",
"digest":"0000000000000000000000000000000000000000000000000000000000000000","architecture":"x86_64",
"root_device_name":"/dev/xvda","block_device_mappings":[],"tags":{"a":"b"}}"#;

const PRIMARY: &str = "<metadata packages='1'><package type='rpm'><name>a</name><arch>x86_64</arch>\
<version epoch='0' ver='1' rel='2'/><checksum type='sha256' pkgid='YES'>00</checksum>\
<size package='1' installed='2' archive='3'/><location href='a.rpm'/><format><rpm:provides>\
<rpm:entry name='a' flags='EQ' epoch='0' ver='1' rel='2'/></rpm:provides><rpm:requires>\
<rpm:entry name='(b if c)'/></rpm:requires><file>/usr/bin/a</file></format></package></metadata>";

const REPOMD: &str = "<repomd><revision>1</revision><data type='primary'><checksum type='sha256'>00\
</checksum><open-checksum type='sha256'>00</open-checksum><location href='repodata/primary.xml.gz'/>\
<size>1</size><open-size>2</open-size></data></repomd>";

const UPDATEINFO: &str = "<updates><update from='x' type='security'><id>A-1</id><severity>low</severity>\
<updated date='2025-01-02 03:04:05'/><description>x &amp; y</description><pkglist><collection short='c'>\
<name>C</name><module name='m' stream='1' version='2' context='c' arch='x86_64'/>\
<package name='a' arch='x86_64' epoch='0' version='2' release='1'><filename>a.rpm</filename>\
<reboot_suggested>True</reboot_suggested></package></collection></pkglist></update></updates>";

const KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawuAvhYJKwYBBAHaRw8BAQdAP9tuoq+rEA/weiIqSOnUwhMwbfyYZ2pafaea
ATIIOhm0F1Rlc3QgPHRlc3RAZXhhbXBsZS5vcmc+iJAEExYIADgWIQQi+wJtQ8bo
ZNECAyspp/G6vq130wUCawuAvgIbAwULCQgHAgYVCgkICwIEFgIDAQIeAQIXgAAK
CRApp/G6vq130yLgAP9fJEhI03YjjnRKb9+Adg8LGbqx60RTjm4iYfu0xMeVHwD9
FJM4OHZZXCachwMaXVmgXv7VQRAEsHJkGhxiaT4J/Qg=
=F/F9
-----END PGP PUBLIC KEY BLOCK-----
";
