//! How the page of `imgasm diff --html` looks in Chromium: on a telephone, a tablet and a desk, light
//! and dark, with everything unfolded.
//!
//! `IMGASM_PAGES=FOLDER` keeps the pages and their pictures.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use imgasm::diff::render::html;
use imgasm::diff::{
    ContentChange, FieldChange, FileSystemReport, PartitionChange, PathChange, PathChangeKind,
    PathChanges, PathState, RawChange, Report,
};
use imgasm_block::Digest;
use imgasm_fs::FileType;
use imgasm_fs::path::ImagePath;
use imgasm_testkit::need;

/// Columns on the screen.
const WIDTHS: [u32; 3] = [380, 800, 1280];

fn field(name: &str, old: Option<&str>, new: Option<&str>) -> FieldChange {
    FieldChange {
        name: name.to_owned(),
        old: old.map(str::to_owned),
        new: new.map(str::to_owned),
    }
}

fn state(size: u64) -> PathState {
    PathState {
        file_type: FileType::Regular,
        permissions: 0o644,
        uid: 0,
        gid: 0,
        size,
        device: None,
        target: None,
        xattrs: BTreeMap::from([(
            b"security.selinux".to_vec(),
            b"system_u:object_r:etc_t:s0\0".to_vec(),
        )]),
        hard_link_to: None,
        modified: None,
    }
}

fn path(name: &str, kind: PathChangeKind) -> PathChange {
    let is_new = kind == PathChangeKind::Added;
    let is_gone = kind == PathChangeKind::Removed;
    PathChange {
        path: ImagePath::parse(name).unwrap(),
        kind,
        old: (!is_new).then(|| state(7_404_544)),
        new: (!is_gone).then(|| state(10_485_760)),
        content: Some(ContentChange {
            old: (!is_new).then(|| Digest::of(name.as_bytes())),
            new: (!is_gone).then(|| Digest::of(b"new")),
            hunks: None,
            is_hidden: false,
        }),
        meanings: Vec::new(),
    }
}

const HUNKS: &str = "@@ -1,3 +1,4 @@
 # /etc/ssh/sshd_config
-PermitRootLogin yes
+PermitRootLogin no
+AllowUsers ec2-user\t# a line that is so long that it does not fit on a telephone, nor on a small window beside another one, and not at all on paper
 Port 22
@@ -40,2 +41,1 @@
-UseDNS yes
 X11Forwarding no
\\ No newline at end of file
";

/// Paths of all kinds, with names that are hard to set.
fn paths() -> PathChanges {
    let mut paths = PathChanges::default();
    let mut database = path("/var/lib/rpm/rpmdb.sqlite", PathChangeKind::Changed);
    database.meanings = (0..30)
        .map(|n| match n % 3 {
            0 => field(
                &format!("package library-number-{n} x86_64"),
                None,
                Some("2:1.0.2k-24.amzn2.0.7"),
            ),
            1 => field(
                &format!("package tool-{n} noarch"),
                Some("20240101.git1234567-3.amzn2023"),
                Some("20250909.git7654321-1.amzn2023"),
            ),
            _ => field(&format!("package gone-{n} x86_64"), Some("1.2-3"), None),
        })
        .collect();
    let mut users = path("/etc/passwd", PathChangeKind::Changed);
    users.meanings = vec![
        field(
            "user deploy",
            None,
            Some("uid 1001, gid 1001, home /home/deploy, shell /bin/bash"),
        ),
        field(
            "user ec2-user",
            Some("uid 1000, gid 1000, home /home/ec2-user, shell /bin/bash"),
            Some("uid 1000, gid 1000, home /home/ec2-user, shell /sbin/nologin"),
        ),
    ];
    let mut service = path(
        "/etc/systemd/system/multi-user.target.wants/docker.service",
        PathChangeKind::Added,
    );
    service.meanings = vec![field(
        "service docker.service",
        None,
        Some("wanted by multi-user.target"),
    )];
    let mut masked = path("/etc/systemd/system/postfix.service", PathChangeKind::Added);
    masked.meanings = vec![field("service postfix.service", None, Some("masked"))];
    let mut secret = path("/etc/shadow", PathChangeKind::Changed);
    secret.content.as_mut().unwrap().is_hidden = true;
    let mut text = path("/etc/ssh/sshd_config", PathChangeKind::Changed);
    text.content.as_mut().unwrap().hunks = Some(HUNKS.to_owned());
    let renamed = PathChangeKind::Renamed {
        from: ImagePath::parse("/usr/share/doc/a-package-of-a-rather-long-name-1.0.0/README.md")
            .unwrap(),
        with_parent: false,
    };
    let long = format!(
        "/opt/{}/{}.json",
        "Wide".repeat(50),
        "without-a-place-to-break_".repeat(9)
    );
    for change in [
        path(
            "/boot/vmlinuz-6.1.112-122.189.amzn2023.x86_64",
            PathChangeKind::Removed,
        ),
        path(
            "/boot/vmlinuz-6.1.141-155.222.amzn2023.x86_64",
            PathChangeKind::Added,
        ),
        users,
        secret,
        text,
        service,
        masked,
        path(&long, PathChangeKind::Added),
        path(
            "/usr/share/doc/a-package-of-a-rather-long-name-1.0.1/README.md",
            renamed,
        ),
        path("/usr/lib/modules/gone.ko.xz", PathChangeKind::Removed),
        database,
    ] {
        paths.push(&change);
    }
    paths
}

/// A report with everything that can be in one.
fn report() -> Report {
    let len = 30_u64 << 30;
    Report {
        disk_len: len,
        changed: vec![
            0..512,
            1 << 20..2 << 20,
            700 << 20..900 << 20,
            9 << 30..11 << 30,
        ],
        layout: [
            ("partition 1", 12 << 20..len - (1 << 20)),
            ("partition 14", 1 << 20..5 << 20),
            ("partition 127", 5 << 20..6 << 20),
            ("partition 128", 6 << 20..12 << 20),
        ]
        .map(|(name, range)| (name.to_owned(), range))
        .into(),
        record: vec![field(
            "image.digest",
            Some(&"ab".repeat(32)),
            Some(&"cd".repeat(32)),
        )],
        disk: vec![
            field("size", Some("8589934592"), Some("32212254720")),
            field("boot_code", Some(&"12".repeat(32)), None),
        ],
        partitions: vec![PartitionChange {
            number: 1,
            fields: vec![field("last_lba", Some("16777182"), Some("62914526"))],
        }],
        filesystems: vec![FileSystemReport {
            partition: Some(1),
            fields: vec![field(
                "features",
                Some("has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg"),
                Some(
                    "has_journal ext_attr dir_index filetype extent 64bit flex_bg sparse_super large_file huge_file metadata_csum",
                ),
            )],
            paths: paths(),
            structure_bytes: 1_234_567,
        }],
        raw: vec![RawChange {
            region: "partition 14".to_owned(),
            range: 1 << 20..2 << 20,
            bytes: 1 << 20,
        }],
        origins: BTreeMap::from([(
            "/etc/ssh/sshd_config".to_owned(),
            "overlay `hardening`, step 3 (edit)".to_owned(),
        )]),
    }
}

/// What is wrong with a page in a frame, in words: something that lies outside, a label on another
/// one, lines with gaps, text that cannot be read.
const LOOK: &str = r#"
const look = (frame) => {
  const doc = frame.contentDocument, win = frame.contentWindow, wrong = [];
  const width = doc.documentElement.clientWidth;
  const say = (what, element) => {
    const name = (element?.textContent ?? "").trim().slice(0, 40);
    wrong.push(`${frame.width}: ${what} <${element?.tagName ?? ""} ${element?.getAttribute("class") ?? ""}> ${name}`);
  };
  if (doc.documentElement.scrollWidth > width) say(`scrolls to ${doc.documentElement.scrollWidth}`);
  const shown = [...doc.body.querySelectorAll("*")].filter((e) => e.checkVisibility());
  if (shown.length < 100) say("is empty");
  for (const element of shown) {
    // A long line in a hunk scrolls by itself; what is in a drawing is looked at below.
    if (element.closest("pre span") || element.closest("svg svg, svg text, svg rect, title")) continue;
    const box = element.getBoundingClientRect();
    if (box.width > 0 && (box.right > width + .5 || box.left < -.5)) say("sticks out", element);
  }
  const labels = [...doc.querySelectorAll(".bands text")];
  const boxes = labels.map((label) => label.getBoundingClientRect());
  boxes.forEach((box, i) => {
    const band = labels[i].parentElement.querySelector("rect").getBoundingClientRect();
    if (box.left < band.left || box.right > band.right) say("label outside its band", labels[i]);
    boxes.slice(i + 1).forEach((other, j) => {
      if (box.left < other.right && other.left < box.right) say("labels collide", labels[i + 1 + j]);
    });
  });
  if (labels.length === 0) say("no band has a label");
  for (const pre of doc.querySelectorAll("pre")) {
    const lines = [...pre.querySelectorAll("span")].map((line) => line.getBoundingClientRect());
    const size = parseFloat(win.getComputedStyle(pre).fontSize);
    lines.slice(1).forEach((line, i) => {
      if (line.top - lines[i].top > 1.7 * size) say("lines with gaps", pre);
    });
  }
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const luminance = () => {
    const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].map((value) => {
      const part = value / 255;
      return part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
    });
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const fill = (colour) => { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); };
  for (const element of shown) {
    const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "");
    if (!says || element.closest("svg")) continue;
    const around = [];
    for (let e = element; e; e = e.parentElement) around.unshift(e);
    fill("white");
    around.forEach((e) => fill(win.getComputedStyle(e).backgroundColor));
    const below = luminance();
    fill(win.getComputedStyle(element).color);
    const above = luminance();
    const contrast = (Math.max(below, above) + .05) / (Math.min(below, above) + .05);
    if (contrast < 4.5) say(`contrast ${contrast.toFixed(2)}`, element);
  }
  return wrong;
};
addEventListener("load", () => {
  const wrong = [];
  for (const frame of document.querySelectorAll("iframe")) {
    const doc = frame.contentDocument;
    wrong.push(...look(frame));
    doc.getElementById("unfold").click();
    if ([...doc.querySelectorAll(".tree details")].some((entry) => !entry.open)) wrong.push("not unfolded");
    doc.querySelectorAll("details.more").forEach((entry) => { entry.open = true; });
    wrong.push(...look(frame));
    const press = (key, target) => target.dispatchEvent(new frame.contentWindow.KeyboardEvent("keydown", { key, bubbles: true }));
    press("/", doc.body);
    if (doc.activeElement?.id !== "search") wrong.push("/ does not search");
    const search = doc.getElementById("search");
    search.value = "SSHD";
    search.dispatchEvent(new Event("input", { bubbles: true }));
    const found = doc.getElementById("found").value;
    if (found !== "1 of 11 paths") wrong.push(`found ${found}`);
    press("Escape", search);
    if (doc.getElementById("found").value !== "") wrong.push("Escape does not end the search");
    press("e", doc.body);
    if ([...doc.querySelectorAll(".tree details")].some((entry) => entry.open)) wrong.push("e does not fold");
    frame.contentWindow.dispatchEvent(new Event("beforeprint"));
    if (doc.querySelector("details:not([open])")) wrong.push("something is folded on paper");
    const print = [...doc.styleSheets[0].cssRules].some((rule) => rule.media?.mediaText === "print");
    if (!print) wrong.push("no style for paper");
  }
  document.title = wrong.slice(0, 20).join("\n") || "all is well";
});
"#;

/// A page with the page in a frame of each width; Chromium's own windows are not that narrow.
fn frames(page: &str, folder: &Path) -> PathBuf {
    let escaped = page.replace('&', "&amp;").replace('"', "&quot;");
    let frames = WIDTHS.map(|width| {
        format!(
            "<iframe width={width} height=3000 style=\"border:0\" srcdoc=\"{escaped}\"></iframe>"
        )
    });
    let host = format!(
        "<!doctype html><meta charset=utf-8><meta name=color-scheme content=\"light dark\">\
         <title>?</title><script>{LOOK}</script>{}",
        frames.concat()
    );
    let path = folder.join("frames.html");
    fs::write(&path, host).unwrap();
    path
}

fn chromium(folder: &Path, page: &Path, args: &[&str]) -> String {
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--disable-background-networking", "--hide-scrollbars"])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .args(args)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn nothing_overflows_collides_or_is_too_pale() {
    if !need::tools(&["chromium"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let page = html::render(
        &report(),
        "out/production-ecs-optimised-amazon-linux-2023-with-a-long-name-20250101.raw",
        "imgasm.toml",
    );
    let framed = frames(&page, folder.path());
    for (scheme, setting) in [("light", 1), ("dark", 0)] {
        let setting = format!("--blink-settings=preferredColorScheme={setting}");
        let dom = chromium(folder.path(), &framed, &[&setting, "--dump-dom"]);
        let title = dom
            .split("<title>")
            .nth(1)
            .and_then(|rest| rest.split("</title>").next());
        assert_eq!(title, Some("all is well"), "{scheme}");
        let Some(kept) = std::env::var_os("IMGASM_PAGES").map(PathBuf::from) else {
            continue;
        };
        fs::write(kept.join("page.html"), &page).unwrap();
        for width in WIDTHS {
            let picture = kept.join(format!("{scheme}-{width}.png"));
            let one = kept.join(format!("frame-{width}.html"));
            let escaped = page.replace('&', "&amp;").replace('"', "&quot;");
            let frame = format!(
                "<!doctype html><meta charset=utf-8><meta name=color-scheme content=\"light dark\"><body style=\"margin:0\"><iframe width={width} height=4000 style=\"border:0\" srcdoc=\"{escaped}\"></iframe><script>onload = () => document.querySelector('iframe').contentDocument.querySelectorAll('.path').forEach((it) => it.open = /sshd|shadow|rpmdb/.test(it.dataset.path))</script>"
            );
            fs::write(&one, frame).unwrap();
            let picture = format!("--screenshot={}", picture.display());
            let size = format!("--window-size={},4000", width.max(500));
            chromium(folder.path(), &one, &[&setting, &picture, &size]);
        }
        let paper = format!("--print-to-pdf={}", kept.join("paper.pdf").display());
        chromium(
            folder.path(),
            &kept.join("page.html"),
            &[&paper, "--no-pdf-header-footer"],
        );
    }
}

#[test]
fn the_top_says_it_in_words() {
    let page = html::render(&report(), "old", "new");
    for words in [
        "<dt>Kernel</dt><dd>6.1.112-122.189.amzn2023.x86_64 → 6.1.141-155.222.amzn2023.x86_64",
        "<dt>Packages</dt><dd>10 new, 10 gone, 10 changed",
        "<summary>18 more</summary>",
        "<dt>Users</dt><dd>1 new, 1 changed",
        "<dt>Services</dt><dd>1 turned on, 1 changed",
        "<dt>Files</dt><dd>4 added, 4 changed, 1 renamed, 2 removed",
        "the lines of 1 are not shown, as they hold secrets",
        "<dt>Disk</dt><dd>8 GiB → 30 GiB",
        "changed (hidden): lines that hold a secret",
        "<del title=\"7,404,544 bytes\">7.0 MiB</del>",
        "by overlay `hardening`, step 3 (edit)",
        // Tabs of a text stay tabs.
        "AllowUsers ec2-user\t# a line",
    ] {
        assert!(page.contains(words), "{words}");
    }
    // What a change means stands before digests.
    let (meaning, digest) = (
        page.find("<dt>user deploy</dt>"),
        page.find("<dt>sha256</dt>"),
    );
    assert!(meaning.is_some() && digest.is_some());
    let own = page.find("data-path=\"&#x2f;etc&#x2f;passwd\"").unwrap();
    let rest = &page[own..];
    assert!(rest.find("<dt>user deploy</dt>") < rest.find("<dt>sha256</dt>"));
    // Nothing but the page's own script runs, and no text of an image is a script.
    assert!(!page.contains(" onload") && !page.contains(" onclick") && !page.contains("style=\""));
}
