//! The steps `sysctl`, `kernel_args`, `locale`, `systemd_dropin`.

use crate::support::overlay::{apply_twice, image};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink, read_file};
use imgasm_testkit::memory_fs::MemoryFs;

const SYSTEMD: &[(&str, &str)] = &[
    ("/sbin/init", "->../usr/lib/systemd/systemd"),
    ("/usr/lib/systemd/systemd", "ELF"),
    ("/etc/os-release", "ID=amzn\nVERSION_ID=2023\n"),
    ("/etc/systemd/system/", ""),
    (
        "/usr/lib/systemd/system/docker.service",
        "[Service]\nExecStart=/x\n",
    ),
    ("/usr/lib/sysctl.d/10-base.conf", "vm.swappiness = 60\n"),
    (
        "/etc/sysctl.d/99-last.conf",
        "# comment\nnet.core.somaxconn=128\n-kernel.x = 1\n",
    ),
];

fn text(fs: &MemoryFs, path: &str) -> String {
    let path = ImagePath::parse(path).unwrap();
    String::from_utf8(read_file(fs, &path, 10_000).unwrap()).unwrap()
}

/// What a step makes of an image: the file afterwards, or the error.
fn after(files: &[(&str, &str)], step: &str, path: &str) -> Result<String, String> {
    let mut fs = image(files);
    apply_twice(&mut fs, &format!("[[step]]\n{step}\n"), &[])?;
    Ok(text(&fs, path))
}

#[test]
fn parameters_of_the_kernel() {
    let own = "/etc/sysctl.d/90-imgasm.conf";
    let with = |step: &str| after(SYSTEMD, step, own);
    assert_eq!(
        with("sysctl = { key = \"vm.max_map_count\", value = 262144 }").unwrap(),
        "vm.max_map_count = 262144\n"
    );
    assert_eq!(
        with("sysctl = { key = \"vm.swappiness\", value = \"1\" }").unwrap(),
        "vm.swappiness = 1\n"
    );
    // A later file counts, unless it says the same.
    let error = with("sysctl = { key = \"net.core.somaxconn\", value = 4096 }").unwrap_err();
    assert!(
        error.contains("/etc/sysctl.d/99-last.conf") && error.contains("128"),
        "{error}"
    );
    let error = with("sysctl = { key = \"kernel/x\", value = 2 }").unwrap_err();
    assert!(error.contains("99-last.conf"), "{error}");
    with("sysctl = { key = \"net.core.somaxconn\", value = 128 }").unwrap();
    let step = "sysctl = { key = \"net.core.somaxconn\", value = 4096, path = \"/etc/sysctl.d/99-last.conf\" }";
    let changed = after(SYSTEMD, step, "/etc/sysctl.d/99-last.conf").unwrap();
    assert_eq!(
        changed,
        "# comment\nnet.core.somaxconn = 4096\n-kernel.x = 1\n"
    );
    for wrong in [
        "key = \"\", value = 1",
        "key = \"a=b\", value = 1",
        "key = \"a\", value = []",
    ] {
        with(&format!("sysctl = {{ {wrong} }}")).unwrap_err();
    }
}

const ENTRY: &str = "title Linux\nlinux /boot/vmlinuz-6\noptions root=LABEL=/ ro console=tty0 console=ttyS0,115200n8 quiet\n";
const DEFAULTS: &str = "GRUB_CMDLINE_LINUX=\"console=tty0 quiet\"\nGRUB_TIMEOUT=0\n";
const MENU: &str = "menuentry 'Linux' {\n\tlinux\t/boot/vmlinuz-6 root=UUID=1 ro  quiet\n\tinitrd /boot/initrd\n}\nmenuentry 'bare' {\n\tlinux /boot/vmlinuz-5\n}\n";

fn with_kernel<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [SYSTEMD, more].concat()
}

#[test]
fn arguments_of_the_kernel() {
    let entry = "/boot/loader/entries/a.conf";
    let files = with_kernel(&[
        (entry, ENTRY),
        ("/etc/default/grub", DEFAULTS),
        ("/etc/kernel/cmdline", "ro quiet\n"),
    ]);
    let step =
        "kernel_args = { add = [\"mitigations=off\", \"ro\"], remove = [\"quiet\", \"console\"] }";
    let expected = ENTRY.replace(
        "ro console=tty0 console=ttyS0,115200n8 quiet",
        "ro mitigations=off",
    );
    assert_eq!(after(&files, step, entry).unwrap(), expected);
    let expected = "GRUB_CMDLINE_LINUX=\"mitigations=off ro\"\nGRUB_TIMEOUT=0\n";
    assert_eq!(after(&files, step, "/etc/default/grub").unwrap(), expected);
    assert_eq!(
        after(&files, step, "/etc/kernel/cmdline").unwrap(),
        "ro mitigations=off\n"
    );
    // One value of a name, and one exact argument.
    let step = "kernel_args = { add = [\"console=hvc0\"] }";
    let expected = ENTRY.replace(
        "console=tty0 console=ttyS0,115200n8 quiet",
        "quiet console=hvc0",
    );
    assert_eq!(after(&files, step, entry).unwrap(), expected);
    let step = "kernel_args = { remove = [\"console=tty0\"] }";
    assert_eq!(
        after(&files, step, entry).unwrap(),
        ENTRY.replace("console=tty0 ", "")
    );

    let files = with_kernel(&[("/boot/grub/grub.cfg", MENU)]);
    let step = "kernel_args = { add = [\"nosmt\"], remove = [\"quiet\"] }";
    let expected = MENU
        .replace("root=UUID=1 ro  quiet", "root=UUID=1 ro nosmt")
        .replace("/boot/vmlinuz-5\n", "/boot/vmlinuz-5 nosmt\n");
    assert_eq!(
        after(&files, step, "/boot/grub/grub.cfg").unwrap(),
        expected
    );

    let step = "kernel_args = { add = [\"a\"] }";
    assert!(
        after(SYSTEMD, step, entry)
            .unwrap_err()
            .contains("starts a kernel")
    );
    let files = with_kernel(&[(entry, "linux /k\noptions $kernelopts\n")]);
    assert!(
        after(&files, step, entry)
            .unwrap_err()
            .contains("environment of GRUB")
    );
    let step = "kernel_args = { add = [\"a b\"] }";
    assert!(
        after(&files, step, entry)
            .unwrap_err()
            .contains("no argument")
    );
}

#[test]
fn languages() {
    let step = |lang: &str| format!("locale = {{ lang = \"{lang}\" }}");
    let files = with_kernel(&[
        ("/usr/lib/locale/C.utf8/", ""),
        ("/usr/lib/locale/de_DE.utf8/", ""),
        ("/etc/locale.conf", "LANG=\"C.UTF-8\"\nLC_TIME=C\n"),
    ]);
    let locale = "/etc/locale.conf";
    assert_eq!(
        after(&files, &step("de_DE.UTF-8"), locale).unwrap(),
        "LANG=\"de_DE.UTF-8\"\nLC_TIME=C\n"
    );
    assert_eq!(after(SYSTEMD, &step("C"), locale).unwrap(), "LANG=C\n");
    for wrong in ["fr_FR.UTF-8", "../../etc", ""] {
        assert!(
            after(&files, &step(wrong), locale)
                .unwrap_err()
                .contains("no locale"),
            "{wrong}"
        );
    }
    let debian = [
        ("/sbin/init", "->/lib/systemd/systemd"),
        ("/lib/systemd/systemd", "ELF"),
        ("/etc/os-release", "ID=debian\n"),
        ("/usr/lib/locale/locale-archive", "x"),
    ];
    assert_eq!(
        after(&debian, &step("en_US.UTF-8"), "/etc/default/locale").unwrap(),
        "LANG=en_US.UTF-8\n"
    );
}

/// A file is changed where the step says, whatever else is in it.
#[test]
fn bytes_that_are_not_utf_8_stay() {
    let cases = [
        (
            "sysctl = { key = 'a.b', value = 2, path = '/etc/sysctl.d/99-last.conf' }",
            "/etc/sysctl.d/99-last.conf",
            &b"# caf\xe9\r\nc.d = 1\r\na.b = 1\n# \xf4\x8f\xbe\x80 \xff"[..],
            &b"# caf\xe9\r\nc.d = 1\r\na.b = 2\n# \xf4\x8f\xbe\x80 \xff"[..],
        ),
        (
            "kernel_args = { add = ['b'] }",
            "/etc/kernel/cmdline",
            b"caf\xe9 quiet",
            b"caf\xe9 quiet b",
        ),
        (
            "kernel_args = { add = ['b'] }",
            "/boot/loader/entries/a.conf",
            b"title caf\xe9\noptions ro\n",
            b"title caf\xe9\noptions ro b\n",
        ),
        (
            "kernel_args = { add = ['b'] }",
            "/etc/default/grub",
            b"# caf\xe9\nGRUB_CMDLINE_LINUX=\"a\"\n",
            b"# caf\xe9\nGRUB_CMDLINE_LINUX=\"a b\"\n",
        ),
        (
            "locale = { lang = 'C.UTF-8' }",
            "/etc/locale.conf",
            b"# caf\xe9\nLANG=en_US.UTF-8\n",
            b"# caf\xe9\nLANG=C.UTF-8\n",
        ),
        (
            "timezone = { zone = 'UTC' }",
            "/etc/sysconfig/clock",
            b"# caf\xe9\nZONE=\"x\"\nUTC=true\n",
            b"# caf\xe9\nZONE=\"UTC\"\nUTC=true\n",
        ),
    ];
    for (step, path, before, expected) in cases {
        let mut fs = image(&with_kernel(&[
            ("/boot/loader/entries/a.conf", ENTRY),
            ("/usr/share/zoneinfo/UTC", "TZif"),
            ("/usr/lib/locale/C.utf8/", ""),
        ]));
        let file = ImagePath::parse(path).unwrap();
        let mut editor = Editor::new(&mut fs);
        let above = file.parent().unwrap();
        editor.mkdir_all(&above, Attributes::default()).unwrap();
        editor
            .write(&file, LastLink::Keep, before, Attributes::default())
            .unwrap();
        apply_twice(&mut fs, &format!("[[step]]\n{step}\n"), &[]).unwrap();
        let after = read_file(&fs, &file, 10_000).unwrap();
        let shown = after.escape_ascii();
        assert_eq!(after, expected, "{step} {path}: {shown}");
    }
}

#[test]
fn settings_of_a_unit() {
    let step = |keys: &str| format!("systemd_dropin = {{ {keys} }}");
    let content = "content = \"[Service]\\nLimitNOFILE=65536\\n\"";
    let path = "/etc/systemd/system/docker.service.d/50-imgasm.conf";
    let written = after(
        SYSTEMD,
        &step(&format!("unit = \"docker.service\", {content}")),
        path,
    );
    assert_eq!(written.unwrap(), "[Service]\nLimitNOFILE=65536\n");
    let path = "/etc/systemd/system/docker.service.d/limits.conf";
    let keys = format!("unit = \"docker.service\", name = \"limits\", {content}");
    after(SYSTEMD, &step(&keys), path).unwrap();
    for (keys, words) in [
        (format!("unit = \"none.service\", {content}"), "none"),
        (format!("unit = \"docker\", {content}"), "with its suffix"),
        (
            "unit = \"docker.service\", content = \"LimitNOFILE=1\"".to_owned(),
            "no section",
        ),
        (
            format!("unit = \"docker.service\", name = \"a/b\", {content}"),
            "that of a file",
        ),
    ] {
        let error = after(SYSTEMD, &step(&keys), path).unwrap_err();
        assert!(error.contains(words), "{keys}: {error}");
    }
    let mut fs = image(SYSTEMD);
    let keys = format!("unit = \"none.service\", missing_ok = true, {content}");
    apply_twice(&mut fs, &format!("[[step]]\n{}\n", step(&keys)), &[]).unwrap();
}
