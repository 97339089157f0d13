//! The page of `imgasm diff --html`, looked at in Chromium if that is installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::example;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use imgasm_block::Digest;
use imgasm_testkit::images::sparse;
use imgasm_testkit::mount::Mounted;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

/// The DOM that Chromium makes from a page with an added script at its end, which the page's policy
/// must allow.
fn dom(folder: &Path, page: &str, script: &str) -> String {
    let path = folder.join("looked-at.html");
    let digest = BASE64_STANDARD.encode(Digest::of(script.as_bytes()).as_bytes());
    let allowed = format!("script-src &#x27;sha256-{digest}&#x27; ");
    let page = page.replace("script-src ", &allowed);
    let page = page.replace("</body>", &format!("<script>{script}</script></body>"));
    fs::write(&path, page).unwrap();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--disable-background-networking", "--dump-dom"])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .arg(format!("file://{}", path.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_page_is_whole_and_can_be_searched() {
    if !need::mounts(&["chromium", "mke2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, is_new) in [("old", false), ("new", true)] {
        let image = folder.path().join(name);
        sparse(&image, 16 << 20);
        run("mke2fs", ["-q", "-t", "ext4", image.to_str().unwrap()]);
        let mount = Mounted::new(&image, &folder.path().join("mount"), "loop");
        fs::create_dir_all(mount.path().join("etc/deep/er")).unwrap();
        let text = if is_new {
            "<b>new</b>\n"
        } else {
            "old & gone\n"
        };
        fs::write(mount.path().join("etc/deep/er/text"), text).unwrap();
        if is_new {
            fs::write(mount.path().join("added-<i>"), "").unwrap();
        }
    }
    let page = folder.path().join("page.html");
    let status = example::imgasm()
        .args(["diff", "old", "new", "--html", "page.html"])
        .current_dir(folder.path())
        .env("IMGASM_CACHE", folder.path().join("cache"))
        .output()
        .unwrap()
        .status;
    assert_eq!(status.code(), Some(1));
    let page = fs::read_to_string(page).unwrap();
    // One file: it loads nothing.
    assert!(!page.contains("src=") && !page.contains("href="), "{page}");

    let told = "document.title = [...document.querySelectorAll('.path')]\
        .map((p) => p.dataset.path + (p.checkVisibility() ? '' : ' hidden')).join(', ')";
    let title = |script: &str| {
        let dom = dom(folder.path(), &page, script);
        let start = dom.find("<title>").unwrap() + "<title>".len();
        dom[start..].split("</title>").next().unwrap().to_owned()
    };
    assert_eq!(title(told), "/added-&lt;i&gt;, /etc/deep/er/text");
    let search = "document.getElementById('search').value = 'DEEP';\
        document.querySelector('.filters').dispatchEvent(new Event('input'));";
    assert_eq!(
        title(&format!("{search}{told}")),
        "/added-&lt;i&gt; hidden, /etc/deep/er/text"
    );
    let choose = "document.querySelector('[value=changed]').click();";
    assert_eq!(
        title(&format!("{choose}{told}")),
        "/added-&lt;i&gt;, /etc/deep/er/text hidden"
    );
    let lines = "document.querySelectorAll('details').forEach((d) => d.open = true);\
        document.title = [...document.querySelectorAll('pre .added, pre .removed')]\
        .map((line) => line.innerText).join('|')";
    assert_eq!(title(lines), "-old &amp; gone|+&lt;b&gt;new&lt;/b&gt;");
    let map = "document.title = document.querySelectorAll('.map rect').length > 0 \
        && document.querySelector('.map').getBoundingClientRect().width > 300";
    assert_eq!(title(map), "true");
    let bands = "document.title = [...document.querySelectorAll('.bands svg')]\
        .every((band) => band.getBoundingClientRect().width > 0)";
    assert_eq!(title(bands), "true");
}
