//! Damaged inputs other than filesystems: partition tables, compressed and wrapped disks, recipes
//! and overlays. They give an error or success; never a panic, a hang, or more than 1 GiB of
//! memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use imgasm::config::{Source, Values};
use imgasm::overlay::OverlayFile;
use imgasm::recipe::{Options, Recipe};
use imgasm_block::{BlockDevice, Delta, FileDevice, MemoryDevice};
use imgasm_container::Cache;
use imgasm_disk::Disk;
use imgasm_testkit::command::run;
use imgasm_testkit::content::{Content, Style};
use imgasm_testkit::mutate::{Places, damage, reseal_gpt};
use imgasm_testkit::need;
use imgasm_testkit::rng::Rng;
use imgasm_testkit::sandbox::{self, Outcome};

#[test]
fn gpt() {
    if !need::tools(&["sgdisk"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the image");
    let image = folder.path().join("image");
    run(Command::new("truncate").args(["-s", "4M"]).arg(&image));
    run(Command::new("sgdisk")
        .args(["-n", "1:4096:0", "-n", "128:2048:4095", "-t", "128:ef02"])
        .arg(&image));
    sandbox::run(module_path!(), "gpt", folder.path(), 3000);
}

#[test]
fn containers() {
    let tools = ["qemu-img", "gzip", "xz", "zstd", "bzip2", "tar"];
    if !need::tools(&tools) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the images");
    let disk = Content {
        seed: 5,
        size: 400_000,
        style: Style::Gappy,
    };
    std::fs::write(folder.path().join("disk.raw"), disk.bytes()).expect("room for it");
    let scripts = [
        "truncate -s 3M disk.raw",
        "qemu-img convert -f raw -O qcow2 disk.raw qcow2",
        "qemu-img convert -f raw -O qcow2 -c -o cluster_size=4096 disk.raw qcow2-packed",
        "qemu-img convert -f raw -O vmdk -o subformat=streamOptimized disk.raw vmdk",
        "qemu-img convert -f raw -O vpc disk.raw vhd",
        "qemu-img convert -f raw -O vhdx disk.raw vhdx",
        "gzip -c disk.raw >gz",
        "xz -c disk.raw >xz",
        "zstd -qc disk.raw >zst",
        "bzip2 -c disk.raw >bz2",
        "tar cf tar disk.raw",
    ];
    for script in scripts {
        run(Command::new("sh")
            .args(["-ec", script])
            .current_dir(folder.path()));
    }
    sandbox::run(module_path!(), "containers", folder.path(), 1200);
}

#[test]
fn recipes() {
    let folder = tempfile::tempdir().expect("a folder for overlays");
    sandbox::run(module_path!(), "recipes", folder.path(), 4000);
}

#[test]
fn overlays() {
    let folder = tempfile::tempdir().expect("a folder for overlays");
    sandbox::run(module_path!(), "overlays", folder.path(), 4000);
}

#[test]
#[ignore = "the part of the other tests that runs in a process of its own"]
fn cases() {
    let Some((subject, folder)) = sandbox::subject() else {
        return;
    };
    match subject.as_str() {
        "gpt" => {
            let bytes = std::fs::read(folder.join("image")).expect("the parent made it");
            let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(bytes));
            let places = Places::of_device(&device).expect("a device in memory does not fail");
            sandbox::cases(&folder, |seed| gpt_case(seed, &device, &places));
        }
        "containers" => sandbox::cases(&folder, |seed| container_case(seed, &folder)),
        "recipes" => sandbox::cases(&folder, |seed| recipe_case(seed, &folder)),
        "overlays" => sandbox::cases(&folder, |seed| overlay_case(seed, &folder)),
        other => panic!("no subject {other}"),
    }
}

fn gpt_case(seed: u64, sound: &Arc<dyn BlockDevice>, places: &Places) -> Outcome {
    let mut rng = Rng::new(seed);
    let len = sound.len() + 512 * rng.magnitude(12);
    let delta: Arc<dyn BlockDevice> = Arc::new(Delta::grown(Arc::clone(sound), len));
    damage(&mut rng, &*delta, places).expect("a device in memory does not fail");
    if rng.chance(70) {
        reseal_gpt(&*delta).expect("a device in memory does not fail");
    }
    let Ok(mut disk) = Disk::open(delta) else {
        return Outcome::Refused;
    };
    for place in disk.places() {
        let _ = disk.range(place);
        let _ = disk.slice(place);
        let _ = disk.probe(place);
        let _ = disk.open_filesystem(place);
    }
    let _ = disk.root(None);
    if disk.table().is_err() || disk.grow(Some(1)).is_err() {
        return Outcome::Failed;
    }
    Outcome::Accepted
}

fn container_case(seed: u64, folder: &Path) -> Outcome {
    const NAMES: [&str; 10] = [
        "qcow2",
        "qcow2-packed",
        "vmdk",
        "vhd",
        "vhdx",
        "gz",
        "xz",
        "zst",
        "bz2",
        "tar",
    ];
    let mut rng = Rng::new(seed);
    let name = *rng.pick(&NAMES);
    let damaged = folder.join(format!("damaged-{name}"));
    std::fs::copy(folder.join(name), &damaged).expect("room for a copy");
    {
        let device = FileDevice::open_writable(&damaged).expect("just made");
        let places = Places::of_device(&device).expect("it can be read");
        damage(&mut rng, &device, &places).expect("it can be written");
        if rng.chance(10) {
            let len = rng.range(0..device.len());
            device.file().set_len(len).expect("it can be cut");
        }
    }
    let Ok(image) = Cache::new(&folder.join("cache")).open(&damaged, &|_, _| {}) else {
        return Outcome::Refused;
    };
    let device = image.device;
    let mut buffer = vec![0; 1 << 16];
    let mut at = 0;
    let mut failed = false;
    for _ in 0..300 {
        let Ok(Some(data)) = device.next_data(at) else {
            break;
        };
        let left = device
            .len()
            .saturating_sub(data.start)
            .min(buffer.len() as u64);
        let len = usize::try_from(left).expect("at most the buffer");
        failed |= device.read_at(data.start, &mut buffer[..len]).is_err();
        at = data.start + left.max(1);
    }
    for _ in 0..5 {
        let at = rng.range(0..device.len().max(1));
        let left = device.len().saturating_sub(at).min(buffer.len() as u64);
        let len = usize::try_from(left).expect("at most the buffer");
        failed |= device.read_at(at, &mut buffer[..len]).is_err();
    }
    if failed {
        Outcome::Failed
    } else {
        Outcome::Accepted
    }
}

const RECIPE: &str = r#"name = "web-{{ stage }}"
description = "A server"
base = { file = "base.raw.gz", sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", partition = 1 }
disk_size = "12 GiB"
source_date_epoch = 1500000000
overlays = []

[variables]
stage = { default = "test", help = "where it runs" }
count = { default = 3 }
"#;

const OVERLAY: &str = r#"description = "All sorts of things"

[variables]
timezone = { default = "US/Eastern", help = "a zone" }

[files]
"/usr/bin/*" = { mode = "0755", owner = "root" }

[[step]]
write = { path = "/etc/clock", content = 'ZONE="{{ timezone }}"', mode = "0644", owner = "root", group = "0" }
when = { init = "sysv" }
[[step]]
append_line = { path = "/etc/fstab", line = "LABEL=docker /data ext4 defaults 0 0" }
[[step]]
edit = { path = "/etc/cloud/cloud.cfg", pattern = '^repo_(upgrade|update): (\w+)$', replacement = "repo_$1: none", count = 1 }
[[step]]
set = { path = "/etc/a.yaml", key = "a.b", value = "c", format = "yaml" }
[[step]]
remove = { path = "/var/log/**/*.log", missing_ok = true }
[[step]]
mknod = { path = "/dev/null", type = "char", major = 1, minor = 3, mode = "0666" }
[[step]]
xattr = { path = "/bin/ping", name = "security.capability", value_base64 = "AQAAAgAgAAAAAAAAAAAAAAAAAAA=" }
[[step]]
symlink = { path = "/etc/localtime", target = "/usr/share/zoneinfo/{{ timezone }}", must_exist = true }
"#;

fn recipe_case(seed: u64, folder: &Path) -> Outcome {
    let text = damaged_text(&mut Rng::new(seed), RECIPE);
    let values = Values {
        set: vec![("stage".to_owned(), "live".to_owned())],
        ..Values::default()
    };
    let options = Options {
        values,
        ..Options::default()
    };
    match Recipe::from_source(Source::new("imgasm.toml", &text), folder, &options) {
        Ok(_) => Outcome::Accepted,
        Err(error) => {
            // Messages point into the text, which is where a wrong span would panic.
            assert!(!error.to_string().is_empty());
            Outcome::Refused
        }
    }
}

fn overlay_case(seed: u64, folder: &Path) -> Outcome {
    let folder: PathBuf = folder.join("overlay");
    std::fs::create_dir_all(&folder).expect("room for a folder");
    let text = damaged_text(&mut Rng::new(seed), OVERLAY);
    std::fs::write(folder.join("overlay.toml"), text).expect("room for a text");
    let read = OverlayFile::read("damaged", &folder);
    match read.and_then(|overlay| overlay.resolve(|_| None)) {
        Ok(_) => Outcome::Accepted,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            Outcome::Refused
        }
    }
}

/// Changes a text in one to three places: cut, doubled, exchanged, or with something odd inserted.
fn damaged_text(rng: &mut Rng, text: &str) -> String {
    const ODD: [&str; 18] = [
        "\"",
        "'''",
        "{{",
        "}}",
        "{% for a in range(9999999) %}",
        "{% endfor %}",
        "\\",
        "[[",
        "= ",
        "-1",
        "99999999999999999999",
        "\u{1f600}",
        "\u{0}",
        "\r\n",
        "(((((((",
        "[a-z]{1000}{1000}",
        "[[step]]\n",
        "../../",
    ];
    let mut letters: Vec<char> = text.chars().collect();
    for _ in 0..rng.range(1..4) {
        let at = rng.index(letters.len());
        let end = (at + 1 + rng.index(30)).min(letters.len());
        match rng.range(0..5) {
            0 => drop(letters.drain(at..end)),
            1 => {
                let piece = letters[at..end].to_vec();
                let to = rng.index(letters.len());
                letters.splice(to..to, piece);
            }
            2 => letters[at] = *rng.pick(&['"', ' ', '\n', '=', '0', '{', '}', '[', ']', 'é', '.']),
            _ => {
                letters.splice(at..at, rng.pick(&ODD).chars());
            }
        }
    }
    letters.into_iter().collect()
}
