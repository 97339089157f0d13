//! Recipes: what is read, and what is said about one that is wrong.

use std::fs;
use std::path::Path;

use crate::support::overlay::{apply, image, text};
use imgasm::config::{ByteSize, Source};
use imgasm::config::{Epoch, Setting, Values};
use imgasm::recipe::volume::Content;
use imgasm::recipe::{Base, Options, Recipe};
use insta::assert_snapshot;
use tempfile::TempDir;

/// A folder with a recipe and an overlay `clock` that has a variable `zone`.
fn folder(recipe: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("imgasm.toml"), recipe).unwrap();
    let overlay = folder.path().join("clock");
    fs::create_dir(&overlay).unwrap();
    let toml = "[variables]\nzone = 'UTC'\n[[step]]\n\
                append_line = { path = '/zone', line = '{{ zone }}' }\n";
    fs::write(overlay.join("overlay.toml"), toml).unwrap();
    folder
}

fn load(folder: &Path, set: &[(&str, &str)]) -> Result<Recipe, String> {
    let set = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let values = Values {
        set: set.collect(),
        ..Values::default()
    };
    let options = Options {
        values,
        ..Options::default()
    };
    let recipe = Recipe::load(&folder.join("imgasm.toml"), &options);
    recipe.map_err(|e| e.to_string().replace(&format!("{}/", folder.display()), ""))
}

const START: &str = "name = 'web'\nbase = { file = 'base.raw.gz' }\n";

/// The message about a recipe that continues [`START`] with this.
fn error(rest: &str) -> String {
    let folder = folder(&format!("{START}{rest}"));
    load(folder.path(), &[]).unwrap_err()
}

#[test]
fn everything() {
    let digest = "a".repeat(64);
    let folder = folder(&format!(
        "name = 'web-{{{{ version }}}}'
         description = 'a web server'
         base = {{ file = 'base.raw', sha256 = '{digest}', partition = 1 }}
         disk_size = '8GiB'
         source_date_epoch = 1700000000
         overlays = ['clock', {{ path = './clock/', variables = {{ zone = 'Etc/{{{{ version }}}}' }} }}]
         [variables]
         version = 7
         zone = {{ default = 'Europe/Berlin', help = 'a zone' }}
         [[volume]]
         device_name = '/dev/xvdcy'
         volume_size = 20
         volume_type = 'gp2'
         filesystem = 'ext4'
         label = 'docker'
         mount = '/data/'
         options = 'defaults,noatime'
         [[volume]]
         device_name = '/dev/xvdcz'
         volume_size = '22 GiB'
         delete_on_termination = false
         [[volume]]
         device_name = '/dev/sdb'
         no_device = true
        "
    ));
    let recipe = load(folder.path(), &[("version", "9")]).unwrap();
    assert_eq!(recipe.name, "web-9");
    assert_eq!(recipe.disk_size, Some(ByteSize(8 << 30)));
    assert_eq!(recipe.source_date_epoch, 1_700_000_000);
    let Base::File {
        path,
        sha256,
        partition,
        ..
    } = &recipe.base
    else {
        panic!("{:?}", recipe.base);
    };
    assert_eq!(path, &folder.path().join("base.raw"));
    assert_eq!(sha256.unwrap().to_string(), digest);
    assert_eq!(*partition, Some(1));
    let zones: Vec<_> = recipe
        .overlays
        .iter()
        .map(|o| o.variables.get("zone").unwrap())
        .collect();
    assert_eq!(zones[0].to_string(), "Europe/Berlin");
    assert_eq!(zones[1].to_string(), "Etc/9");
    let [data, docker, none] = recipe.volumes.as_slice() else {
        panic!("{:?}", recipe.volumes);
    };
    let Content::Filesystem(filesystem) = &data.content else {
        panic!("{data:?}");
    };
    assert_eq!(filesystem.size.bytes(), 20 << 30);
    assert_eq!(filesystem.mount.as_ref().unwrap().as_str(), "/data");
    assert!(data.settings.delete_on_termination && !docker.settings.delete_on_termination);
    assert!(matches!(docker.content, Content::Empty { size } if size.gib() == 22));
    assert_eq!(none.content, Content::None);
}

#[test]
fn recipes_share_overlays_and_a_rootfs() {
    let folder = folder(START);
    let inner = folder.path().join("web");
    fs::create_dir(&inner).unwrap();
    let absolute = folder.path().join("clock").display().to_string();
    let text = format!(
        "name = 'web'\nbase = {{ rootfs = '../rootfs' }}\noverlays = ['../clock', '{absolute}']\n"
    );
    fs::write(inner.join("imgasm.toml"), text).unwrap();
    // What is above it belongs to its project only if a mark says so.
    let error = load(&inner, &[]).unwrap_err();
    assert!(
        error.contains("lies outside of") && error.contains("--allow-outside"),
        "{error}"
    );
    fs::write(folder.path().join("imgasm.root"), "").unwrap();
    let recipe = load(&inner, &[]).unwrap();
    let names: Vec<_> = recipe.overlays.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["../clock", &absolute]);
    assert_eq!(recipe.overlay_digests[0], recipe.overlay_digests[1]);
    assert!(matches!(recipe.base, Base::Rootfs { path, .. } if path == inner.join("../rootfs")));
}

/// A recipe in which every key that is not a string comes from a variable.
const TYPED: &str = "name = 'web'
base = { file = 'base.raw', partition = '{{ partition }}' }
sparsify = '{{ sparsify }}'
source_date_epoch = '{{ epoch }}'
overlays = [{ path = 'typed', variables = { port = '{{ port }}', ports = '{{ ports }}' } }]
[variables]
partition = 3
sparsify = true
epoch = 1600000000
port = 8080
ports = [80, 443]
";

const TYPED_OVERLAY: &str = "[variables]
port = 1
ports = []
ratio = 0.5
limits = { default = { soft = 1 } }
debug = false
[[step]]
write = { path = '/number', content = '{{ port }}' }
[[step]]
write = { path = '/text', content = 'debug={{ debug }} {{ ports }} {{ ratio }} {{ limits.soft }}' }
[[step]]
set = { path = '/x.json', key = 'port', value = '{{ port }}' }
[[step]]
set = { path = '/x.json', key = 'ports', value = '{{ ports }}' }
[[step]]
set = { path = '/x.json', key = 'debug', value = '{{ debug }}' }
[[step]]
set = { path = '/x.json', key = 'limits', value = '{{ limits }}' }
[[step]]
set = { path = '/x.json', key = 'next', value = '{{ port + 1 }}' }
[[step]]
set = { path = '/x.json', key = 'name', value = 'p{{ port }}' }
";

#[test]
fn what_is_exactly_a_variable_keeps_its_type() {
    let folder = folder(TYPED);
    let typed = folder.path().join("typed");
    fs::create_dir(&typed).unwrap();
    fs::write(typed.join("overlay.toml"), TYPED_OVERLAY).unwrap();
    let recipe = load(folder.path(), &[]).unwrap();
    assert_eq!(recipe.base.partition(), Some(3));
    assert!(recipe.sparsify);
    assert_eq!(recipe.source_date_epoch, 1_600_000_000);
    let ports = Setting::List(vec![Setting::Integer(80), Setting::Integer(443)]);
    assert_eq!(recipe.overlays[0].variables.get("ports"), Some(&ports));

    let mut fs = image(&[]);
    apply(&mut fs, &[&recipe.overlays[0]]).unwrap();
    assert_eq!(text(&fs, "/number"), "8080");
    assert_eq!(text(&fs, "/text"), "debug=false [80, 443] 0.5 1");
    let json: serde_json::Value = serde_json::from_str(&text(&fs, "/x.json")).unwrap();
    let expected = serde_json::json!({
        "port": 8080, "ports": [80, 443], "debug": false, "limits": { "soft": 1 },
        "next": 8081, "name": "p8080",
    });
    assert_eq!(json, expected);

    let set = [("sparsify", "false"), ("ports", "[22]"), ("epoch", "7")];
    let recipe = load(folder.path(), &set).unwrap();
    assert!(!recipe.sparsify);
    assert_eq!(recipe.source_date_epoch, 7);
    let ports = Setting::List(vec![Setting::Integer(22)]);
    assert_eq!(recipe.overlays[0].variables.get("ports"), Some(&ports));
}

#[test]
fn a_value_of_another_kind_is_an_error_with_its_place() {
    for (set, problem) in [
        (("sparsify", "maybe"), "\"maybe\" is not true or false"),
        (("epoch", "soon"), "\"soon\" is not a whole number"),
        (("ports", "22"), "\"22\" is not a list"),
    ] {
        let folder = folder(TYPED);
        let error = load(folder.path(), &[set]).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
    let folder = folder(&format!(
        "{START}sparsify = '{{{{ n }}}}'\n[variables]\nn = 3\n"
    ));
    let error = load(folder.path(), &[]).unwrap_err();
    assert!(
        error.contains("integer `3`") && error.contains("imgasm.toml:3:12"),
        "{error}"
    );
    let folder = self::folder(&format!(
        "{START}overlays = [{{ path = 'o', variables = {{ n = 'many' }} }}]\n"
    ));
    fs::create_dir(folder.path().join("o")).unwrap();
    fs::write(folder.path().join("o/overlay.toml"), "[variables]\nn = 3\n").unwrap();
    let error = load(folder.path(), &[]).unwrap_err();
    assert!(
        error.contains("the variable `n`: \"many\" is not a whole number"),
        "{error}"
    );
    assert!(error.contains("imgasm.toml:3:"), "{error}");
}

#[test]
fn a_time_of_its_own_is_not_before_1970() {
    let error = error("source_date_epoch = -5\n");
    assert!(
        error.contains("-5 is not a number of seconds since 1970"),
        "{error}"
    );
    assert!(error.contains("imgasm.toml:3:21"), "{error}");
}

#[test]
fn the_time_never_comes_from_the_clock() {
    let folder = folder(START);
    let path = folder.path().join("imgasm.toml");
    let load = |epoch: Option<&str>| {
        let source_date_epoch = epoch.map(|epoch| epoch.parse().unwrap());
        let options = Options {
            source_date_epoch,
            ..Options::default()
        };
        Recipe::load(&path, &options).map(|recipe| recipe.source_date_epoch)
    };
    assert_eq!(load(None).unwrap(), Epoch::DEFAULT.seconds());
    assert_eq!(load(Some("5")).unwrap(), 5);
    fs::write(&path, format!("source_date_epoch = 6\n{START}")).unwrap();
    assert_eq!(load(Some("5")).unwrap(), 6);
}

#[test]
fn the_digest_depends_on_the_inputs_only() {
    let recipe = format!("{START}overlays = ['clock']\n[variables]\nzone = 'UTC'\n");
    let (one, other) = (folder(&recipe), folder(&recipe));
    let digest = |folder: &TempDir, set: &[(&str, &str)]| load(folder.path(), set).unwrap().digest;
    let reference = digest(&one, &[]);
    assert_eq!(digest(&other, &[]), reference);
    assert_ne!(digest(&other, &[("zone", "CET")]), reference);
    fs::create_dir(other.path().join("clock/files")).unwrap();
    assert_ne!(digest(&other, &[]), reference);
    let overlay = one.path().join("clock/overlay.toml");
    let before = load(one.path(), &[]).unwrap().overlay_digests[0];
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&overlay, permissions).unwrap();
    assert_eq!(load(one.path(), &[]).unwrap().overlay_digests[0], before);
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&overlay, permissions).unwrap();
    assert_ne!(load(one.path(), &[]).unwrap().overlay_digests[0], before);
}

#[test]
fn keys_and_types() {
    assert_snapshot!(error("overlay = ['clock']\n"), @r#"
    unknown key `overlay`
     --> imgasm.toml:3:1
      |
    3 | overlay = ['clock']
      | ^^^^^^^
      |
      = help: did you mean `overlays`?
    "#);
    assert_snapshot!(error("disk_size = '8G'\n"), @r#"
    "8G" is not a size; write a whole number with B, KiB, MiB, GiB or TiB
     --> imgasm.toml:3:13
      |
    3 | disk_size = '8G'
      |             ^^^^
    "#);
    assert_snapshot!(error("overlays = [{ paht = 'clock' }]\n"), @r#"
    unknown key `paht`
     --> imgasm.toml:3:15
      |
    3 | overlays = [{ paht = 'clock' }]
      |               ^^^^
      |
      = help: did you mean `path`?
    "#);
    assert_snapshot!(error("overlays = ['clok']\n"), @r#"
    there is no overlay at clok
     --> imgasm.toml:3:13
      |
    3 | overlays = ['clok']
      |             ^^^^^^
      |
      = help: an overlay is a folder with an overlay.toml, relative to the recipe
    "#);
    assert_snapshot!(error("overlays = [{ path = 'clock', variables = { zoen = 'UTC' } }]\n"), @r#"
    the overlay has no variable `zoen`
     --> imgasm.toml:3:45
      |
    3 | overlays = [{ path = 'clock', variables = { zoen = 'UTC' } }]
      |                                             ^^^^
      |
      = help: did you mean `zone`?
    "#);
    assert_snapshot!(error("overlays = [{ path = 'clock', variables = { zone = [] } }]\n"), @r#"
    the variable `zone`: [] is not text
     --> imgasm.toml:3:45
      |
    3 | overlays = [{ path = 'clock', variables = { zone = [] } }]
      |                                             ^^^^
    "#);
}

#[test]
fn bases_and_names() {
    for (recipe, message) in [
        ("name = 'a'\n", "the key `base` is missing"),
        (
            "name = 'a'\nbase = {}\n",
            "a base needs a `file` (a disk image) or a `rootfs` (a folder or a tar file)",
        ),
        (
            "name = 'a'\nbase = { file = 'a', rootfs = 'b' }\n",
            "a base is either a `file` or a `rootfs`",
        ),
        (
            "name = 'a'\nbase = { file = 'a', sha256 = 'abc' }\n",
            "\"abc\" is not a SHA-256 digest",
        ),
        (
            "name = '../a'\nbase = { file = 'a' }\n",
            "\"../a\" cannot be the name of an image",
        ),
        (
            "name = ''\nbase = { file = 'a' }\n",
            "\"\" cannot be the name of an image",
        ),
        (
            "name = '{{ x }}'\nbase = { file = 'a' }\n",
            "the variable `x` is not defined",
        ),
        ("name = 'a'\nname = 'b'\n", "duplicate key"),
    ] {
        let folder = folder(recipe);
        let error = load(folder.path(), &[]).unwrap_err();
        assert!(error.starts_with(message), "{recipe}: {error}");
        assert!(error.contains("--> imgasm.toml:"), "{error}");
    }
}

#[test]
fn variables_from_outside() {
    let folder = folder(&format!(
        "{START}[variables]\nsize = 3\nflag = true\nzone = 'UTC'\n"
    ));
    let load = |name, value| load(folder.path(), &[(name, value)]);
    assert_snapshot!(load("zoen", "CET").unwrap_err(), @"variable `zoen`: not declared; did you mean `zone`?");
    assert_snapshot!(load("size", "many").unwrap_err(), @r#"variable `size`: "many" is not a whole number"#);
    assert_snapshot!(load("flag", "yes").unwrap_err(), @r#"variable `flag`: "yes" is not true or false"#);
    assert_eq!(
        load("flag", "false")
            .unwrap()
            .variables
            .get("flag")
            .unwrap()
            .to_string(),
        "false"
    );
}

#[test]
fn volumes() {
    let one = "[[volume]]\ndevice_name = '/dev/xvdcy'\nvolume_size = 1\nfilesystem = 'ext4'\n\
               label = 'docker'\nmount = '/data'\n";
    assert_snapshot!(error(&one.replace("docker", "a-label-that-is-too-long")), @r#"
    the label "a-label-that-is-too-long" has 24 bytes, and one of ext4 has 16 at most
     --> imgasm.toml:3:1
      |
    3 | [[volume]]
      | ^^^^^^^^^^
    "#);
    for (volume, message) in [
        (one.replace("'docker'", "'a b'"), "\"a b\" is not a label"),
        (
            one.replace("volume_size = 1\n", ""),
            "`volume_size` is missing",
        ),
        (
            one.replace("= 1\n", "= '512MiB'\n"),
            "the size of a volume is a whole number of GiB",
        ),
        (
            one.replace("= 1\n", "= 0\n"),
            "the size of a volume is a whole number of GiB",
        ),
        (
            one.replace("= 1\n", "= 99999999999999\n"),
            "99999999999999 GiB is too large",
        ),
        (one.replace("'ext4'", "'ext3'"), "`ext3` is not known here"),
        (
            one.replace("label = 'docker'\n", ""),
            "a `filesystem` needs a `label`",
        ),
        (
            one.replace("filesystem = 'ext4'\n", ""),
            "`label` needs a `filesystem`",
        ),
        (
            one.replace("/data", "data"),
            "\"data\" is not a mount point",
        ),
        (
            one.replace("/dev/xvdcy", "xvdcy"),
            "\"xvdcy\" is not a device name",
        ),
        (
            format!("{one}volume_type = 'io2'\n"),
            "a `io2` volume needs `iops`",
        ),
        (
            format!("{one}volume_type = 'gp2'\niops = 3\n"),
            "a `gp2` volume takes no `iops`",
        ),
        (
            format!("{one}no_device = true\n"),
            "`volume_size` makes no sense with `no_device`",
        ),
        (
            format!("{one}kms_key_id = 'x'\n"),
            "`kms_key_id` needs `encrypted = true`",
        ),
        (
            format!("{one}{one}"),
            "/dev/xvdcy is the device of another volume already",
        ),
        (
            format!("{one}{}", one.replace("cy", "cz")),
            "`docker` is the label of another volume",
        ),
        (
            format!(
                "{one}{}",
                one.replace("cy", "cz").replace("docker", "other")
            ),
            "/data is mounted from another volume already",
        ),
    ] {
        let error = error(&volume);
        assert!(error.starts_with(message), "{error}");
        assert!(error.contains("--> imgasm.toml:"), "{error}");
    }
}

#[test]
fn hostile_input_is_an_error() {
    let deep = format!("a = {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("imgasm.toml");
    let big = "#".repeat(5 << 20);
    for content in [
        &b"\xff\xfe"[..],
        b"\0",
        deep.as_bytes(),
        big.as_bytes(),
        b"",
        b"=",
        b"name",
    ] {
        fs::write(&path, content).unwrap();
        assert!(load(folder.path(), &[]).is_err());
    }
    let none = Recipe::load(&folder.path().join("none.toml"), &Options::default());
    assert!(none.is_err());
    let source = Source::new("memory", START);
    assert!(Recipe::from_source(source, Path::new(""), &Options::default()).is_ok());
}

#[test]
fn a_variable_that_nothing_uses_is_warned_of() {
    let folder = folder(&format!(
        "{START}description = '{{{{ stage }}}}'\noverlays = ['o']\n\
         [variables]\nstage = 'a'\nin_ami = 'b'\nzone = 'c'\ntimzone = 'd'\n\
         [ami]\nami_name = 'web {{{{ in_ami }}}}'\n"
    ));
    fs::create_dir(folder.path().join("o")).unwrap();
    let overlay = "[variables]\nzone = 'UTC'\ntimezone = 'UTC'\n";
    fs::write(folder.path().join("o/overlay.toml"), overlay).unwrap();
    let recipe = load(folder.path(), &[]).unwrap();
    let warnings: Vec<_> = recipe
        .warnings
        .iter()
        .map(|warning| (warning.message(), warning.hint(), warning.position()))
        .collect();
    let expected = (
        "nothing uses the variable `timzone`",
        Some("did you mean `timezone`?"),
        (9, 1),
    );
    assert_eq!(warnings, [expected]);
}
