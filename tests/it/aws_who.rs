//! Who asks AWS, by which credentials, and whether they, the role and the keys can be used: found and
//! shown before anything is made.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use imgasm_testkit::need;
use serde_json::{Value, json};

use crate::support::aws::{self, is_one_error, make_small, refused, said, succeed};
use crate::support::aws_server::{BUCKET, REGION, Server};
use crate::support::aws_steps::built;

const AMI: &str = "ami_name = \"who {{ timestamp }}\"\n";

fn small(ami: &str) -> Option<(tempfile::TempDir, Server)> {
    let (dir, server) = built(ami)?;
    make_small(dir.path());
    succeed(&mut server.command(dir.path(), "build"));
    Some((dir, server))
}

/// Gives the user of `dir` profiles.
fn profiles(dir: &Path, config: &str) {
    fs::create_dir_all(dir.join(".aws")).unwrap();
    fs::write(dir.join(".aws/config"), config).unwrap();
}

/// An import with no credentials but those of the profiles.
fn by_profile(server: &Server, dir: &Path, profile: &str) -> Command {
    let mut import = aws::command(dir, "import");
    import
        .args(["--via", "ebs", "--bucket", BUCKET, "--profile", profile])
        .env("AWS_ENDPOINT_URL", server.url());
    import
}

/// Runs a command on a terminal on which somebody writes a line.
fn on_a_terminal(command: &Command, line: &str) -> Output {
    let mut words = vec![command.get_program().to_owned()];
    words.extend(command.get_args().map(ToOwned::to_owned));
    let words: Vec<String> = words
        .iter()
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let mut script = Command::new("script");
    script
        .args([
            "--quiet",
            "--return",
            "--command",
            &words.join(" "),
            "/dev/null",
        ])
        .current_dir(command.get_current_dir().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let mut child = script.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(line.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    output
}

const WITH_CODE: &str = "[profile images]\nrole_arn = arn:aws:iam::123456789012:role/images\n\
    source_profile = people\nmfa_serial = arn:aws:iam::123456789012:mfa/me\nregion = us-east-1\n\
    [profile people]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n\
    aws_secret_access_key = secret-of-the-test\n";

#[test]
fn a_role_that_wants_a_code_is_asked_for_on_a_terminal() {
    if !need::tools(&["script"]) {
        return;
    }
    let Some((dir, server)) = small(AMI) else {
        return;
    };
    let dir = dir.path();
    profiles(dir, WITH_CODE);
    server.tell("settings", &json!({"code": "123456"}));
    // Where nobody can be asked, that is the error.
    let told = refused(&mut by_profile(&server, dir, "images"));
    is_one_error(
        &told,
        &["images", "mfa/me", "terminal", "export-credentials"],
    );
    assert_eq!(server.count("AssumeRole"), 0);

    let output = on_a_terminal(&by_profile(&server, dir, "images"), "123456\n");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("mfa/me"), "{shown}");
    let log = server.log();
    let mut asked = log.iter().filter(|it| it["operation"] == "AssumeRole");
    let parameters = &asked.next().unwrap()["parameters"];
    assert_eq!(parameters["TokenCode"], "123456");
    assert_eq!(
        parameters["SerialNumber"],
        "arn:aws:iam::123456789012:mfa/me"
    );
    assert!(asked.next().is_none(), "one code, one session");

    let output = on_a_terminal(&by_profile(&server, dir, "images"), "000000\n");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{shown}");
    assert!(shown.contains("invalid MFA"), "{shown}");
}

#[test]
fn a_session_of_aws_login_is_used() {
    let Some((dir, server)) = small(AMI) else {
        return;
    };
    let dir = dir.path();
    profiles(
        dir,
        "[profile console]\nlogin_session = arn:aws:iam::123456789012:user/me\n\
         region = us-east-1\n",
    );
    // The AWS CLI keeps the session: what stands for it here says how it was asked.
    let bin = dir.join("bin");
    fs::create_dir(&bin).unwrap();
    let cli = |script: &str| {
        fs::write(bin.join("aws"), format!("#!/bin/sh\n{script}\n")).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(bin.join("aws"), mode).unwrap();
        let mut import = by_profile(&server, dir, "console");
        let path = std::env::var("PATH").unwrap();
        import.env("PATH", format!("{}:{path}", bin.display()));
        import
    };
    let told = refused(&mut cli("echo 'the session has ended' >&2; exit 255"));
    is_one_error(
        &told,
        &["no credentials", "the session has ended", "aws login"],
    );
    let given = json!({
        "Version": 1, "AccessKeyId": "ASIALOGIN", "SecretAccessKey": "secret-of-the-session",
        "SessionToken": "token-of-the-session", "Expiration": "2099-01-01T00:00:00Z",
    });
    succeed(&mut cli(&format!(
        "printf '%s\\n' \"$@\" > asked; echo '{given}'"
    )));
    let asked = fs::read_to_string(dir.join("asked")).unwrap();
    let expected = "configure\nexport-credentials\n--profile\nconsole\n--format\nprocess\n";
    assert_eq!(asked, expected);
    let log = server.log();
    let last = log.iter().rfind(|it| it["operation"] == "RegisterImage");
    assert_eq!(last.unwrap()["key"], "ASIALOGIN");
}

#[test]
fn requests_without_encryption_are_warned_of() {
    let Some((dir, server)) = small(AMI) else {
        return;
    };
    let dir = dir.path();
    // Another name of this machine, which does not say that it is this one.
    let elsewhere = server.url().replace("127.0.0.1", "0.0.0.0");
    let warned = |import: &mut Command| {
        let output = import.output().unwrap();
        let told = said(&output);
        assert!(output.status.success(), "{told}");
        told.contains("without encryption")
    };
    assert!(!warned(&mut server.import(dir, "ebs")));
    assert!(warned(
        server
            .import(dir, "ebs")
            .env("AWS_ENDPOINT_URL", &elsewhere)
    ));
    assert!(warned(
        server
            .import(dir, "ebs")
            .env("AWS_ENDPOINT_URL_EC2", &elsewhere)
    ));
    assert!(warned(
        server
            .import(dir, "ebs")
            .args(["--endpoint-url", &elsewhere])
    ));
}

#[test]
fn the_alias_of_the_account_is_shown() {
    let Some((dir, server)) = small(AMI) else {
        return;
    };
    let dir = dir.path();
    server.tell("settings", &json!({"aliases": ["production"]}));
    let told = said(&server.import(dir, "ebs").output().unwrap());
    assert!(told.contains("123456789012 (production) as arn:"), "{told}");
    // Whoever may not ask for it does without.
    let denied = "AccessDenied: not you";
    server.tell("faults", &json!([{"service": "iam", "kind": denied}]));
    let told = said(&server.import(dir, "ebs").output().unwrap());
    assert!(told.contains("123456789012 as arn:"), "{told}");
}

/// An import that must fail before it has sent a byte.
fn refused_early(server: &Server, dir: &Path, words: &[&str]) {
    let before = server.log().len();
    is_one_error(&refused(&mut server.import(dir, "s3")), words);
    for request in &server.log()[before..] {
        let operation = request["operation"].as_str().unwrap();
        let only_looks = ["Describe", "Get", "List", "Head", "Simulate"];
        assert!(
            only_looks
                .iter()
                .any(|prefix| operation.starts_with(prefix)),
            "{operation}"
        );
    }
}

#[test]
fn a_role_that_the_import_service_cannot_take_is_found_early() {
    let Some((dir, server)) = small(AMI) else {
        return;
    };
    let dir = dir.path();
    let trust = |principal: &str, id: &str| {
        json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": principal}, "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:Externalid": id}},
        }]})
    };
    for (settings, words) in [
        (json!({"roles": []}), &["vmimport", "does not exist"][..]),
        (
            json!({"roles": ["vmimport"], "trust": trust("ec2.amazonaws.com", "vmimport")}),
            &["does not trust vmie.amazonaws.com"],
        ),
        (
            json!({"trust": trust("vmie.amazonaws.com", "other")}),
            &["external id \"other\""],
        ),
        (
            json!({"trust": null, "decisions": {"s3:GetObject": "explicitDeny"}}),
            &["denies it s3:GetObject on arn:aws:s3:::", "vmimport"],
        ),
    ] {
        server.tell("settings", &settings);
        refused_early(&server, dir, words);
    }
    // A policy of the bucket may allow what the role's own do not speak of.
    let lacking = json!({"s3:ListBucket": "implicitDeny", "ec2:CopySnapshot": "implicitDeny"});
    server.tell("settings", &json!({"decisions": lacking}));
    let output = server.import(dir, "s3").output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    let words = "do not allow it s3:ListBucket on arn:aws:s3:::";
    assert!(
        said.contains(words) && said.contains("ec2:CopySnapshot on *"),
        "{said}"
    );
    // Whoever may not look has to believe that it is right.
    let denied = "AccessDenied: not you";
    server.tell("faults", &json!([{"service": "iam", "kind": denied}]));
    succeed(&mut server.import(dir, "s3"));
}

#[test]
fn a_key_that_cannot_be_used_is_found_early() {
    let ami = format!(
        "{AMI}s3_kms_key_id = \"alias/objects\"\nami_regions = [\"eu-west-1\"]\n\
         region_kms_key_ids = {{ eu-west-1 = \"alias/copies\" }}\n"
    );
    let Some((dir, server)) = small(&ami) else {
        return;
    };
    let dir = dir.path();
    for (key, region) in [("alias/objects", REGION), ("alias/copies", "eu-west-1")] {
        for (state, word) in [
            ("PendingDeletion", "cancel-key-deletion"),
            ("Disabled", "describe-key"),
            ("missing", "there is no such key"),
        ] {
            server.tell("settings", &json!({"keys": {key: state}}));
            refused_early(&server, dir, &[key, region, word]);
        }
    }
    server.tell("settings", &json!({"keys": {}}));
    succeed(&mut server.import(dir, "s3"));
    assert_eq!(server.tell("violations", &Value::Null), json!([]));
}
