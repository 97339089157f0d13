//! `imgasm import`: whose credentials, and which way to AWS.

use crate::support::aws;
use crate::support::example;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::aws::{is_one_error, make_small, python, refused, said, succeed};
use crate::support::aws_server::{BUCKET, REGION, Script, Server};
use crate::support::aws_steps::{built, is_right};

const AMI: &str = "ami_name = \"ecs {{ timestamp }}\"\n";

/// A proxy in front of a server; see `tests/aws/proxy.py`.
struct Proxy {
    /// Held for as long as it is to serve.
    _script: Script,
    address: String,
}

impl Proxy {
    fn start(server: &Server, dir: &Path) -> Self {
        let port = server.url().rsplit_once(':').unwrap().1.to_owned();
        let (script, port) = Script::start(
            Command::new(python().unwrap())
                .arg(example::project().join("tests/aws/proxy.py"))
                .arg(port)
                .arg(dir),
        );
        Self {
            _script: script,
            address: format!("127.0.0.1:{port}"),
        }
    }
}

fn small() -> Option<(tempfile::TempDir, Server)> {
    let (dir, server) = built(AMI)?;
    make_small(dir.path());
    succeed(&mut server.command(dir.path(), "build"));
    Some((dir, server))
}

#[test]
fn a_proxy_with_a_password_is_asked_and_its_password_told_to_nobody() {
    let Some((dir, server)) = small() else { return };
    let dir = dir.path();
    let proxy = Proxy::start(&server, dir);
    let mut import = server.import(dir, "ebs");
    import
        // Only the proxy knows such a host.
        .env("AWS_ENDPOINT_URL", "http://aws.invalid")
        .env(
            "HTTP_PROXY",
            format!("http://user:word-of-the-test@{}", proxy.address),
        )
        .env("IMGASM_LOG", "trace");
    let output = import.output().unwrap();
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    let log = fs::read_to_string(dir.join("proxy.log")).unwrap();
    // `user:word-of-the-test`
    let encoded = "dXNlcjp3b3JkLW9mLXRoZS10ZXN0";
    assert!(
        log.lines()
            .all(|line| line.contains(" http://aws.invalid/") && line.ends_with(encoded)),
        "{log}"
    );
    assert!(
        !told.contains("word-of-the-test") && !told.contains(encoded),
        "{told}"
    );
    is_right(&server, dir, &String::from_utf8(output.stdout).unwrap());
}

#[test]
fn through_a_tunnel_the_services_have_their_own_names() {
    let Some((dir, server)) = small() else { return };
    let dir = dir.path();
    let proxy = Proxy::start(&server, dir);
    for via in ["ebs", "s3"] {
        let mut import = server.import(dir, via);
        import
            .args(["--force"])
            .env_remove("AWS_ENDPOINT_URL")
            .env("HTTPS_PROXY", format!("http://{}", proxy.address))
            .env("SSL_CERT_FILE", dir.join("ca.pem"))
            .env("SOURCE_DATE_EPOCH", via.len().to_string());
        let id = succeed(&mut import);
        is_right(&server, dir, &id);
    }
    let log = fs::read_to_string(dir.join("proxy.log")).unwrap();
    for host in ["sts", "ec2", "ebs", "images.s3"] {
        let wanted = format!("CONNECT {host}.{REGION}.amazonaws.com:443 -");
        assert!(log.lines().any(|line| line == wanted), "{wanted}: {log}");
    }
}

#[test]
fn the_authorities_of_a_bundle_are_trusted_and_no_others() {
    let Some((dir, server)) = small() else { return };
    let dir = dir.path();
    let proxy = Proxy::start(&server, dir);
    let import = |bundle: &str| {
        let mut import = server.import(dir, "ebs");
        import
            .env_remove("AWS_ENDPOINT_URL")
            .env("HTTPS_PROXY", format!("http://{}", proxy.address))
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("AWS_CA_BUNDLE", dir.join(bundle));
        import
    };
    is_right(&server, dir, &succeed(&mut import("ca.pem")));
    fs::write(dir.join("broken.pem"), "no certificate\n").unwrap();
    let half = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(dir.join("half.pem"), half).unwrap();
    for bundle in ["broken.pem", "half.pem", "nowhere.pem"] {
        is_one_error(
            &refused(&mut import(bundle)),
            &["AWS_CA_BUNDLE", bundle, "PEM"],
        );
    }
    // Another authority than that of the certificate.
    let other = tempfile::tempdir().unwrap();
    let _other = Proxy::start(&server, other.path());
    fs::copy(other.path().join("ca.pem"), dir.join("other.pem")).unwrap();
    is_one_error(&refused(&mut import("other.pem")), &["no answer"]);
}

#[test]
fn no_proxy_is_honoured_and_a_dead_proxy_is_named() {
    let Some((dir, server)) = small() else { return };
    let dir = dir.path();
    let import = || {
        let mut import = server.import(dir, "ebs");
        import.env("HTTP_PROXY", "http://127.0.0.1:1");
        import
    };
    is_one_error(&refused(&mut import()), &["no answer", "HTTPS_PROXY"]);
    let id = succeed(import().env("NO_PROXY", "localhost,127.0.0.1"));
    is_right(&server, dir, &id);
}

#[test]
fn a_role_of_a_profile_is_assumed_and_no_secret_is_told() {
    let Some((dir, server)) = built(AMI) else {
        return;
    };
    let dir = dir.path();
    fs::create_dir(dir.join(".aws")).unwrap();
    fs::write(
        dir.join(".aws/config"),
        "[profile images]\nrole_arn = arn:aws:iam::123456789012:role/images\n\
         source_profile = people\nregion = us-east-1\n",
    )
    .unwrap();
    fs::write(
        dir.join(".aws/credentials"),
        "[people]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n\
         aws_secret_access_key = secret-of-the-test\n",
    )
    .unwrap();
    let mut import = aws::command(dir, "import");
    import
        .args(["-vv", "--bucket", BUCKET])
        .env("AWS_PROFILE", "images")
        .env("AWS_ENDPOINT_URL", server.url())
        .env("IMGASM_LOG", "trace");
    let output = import.output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(server.count("AssumeRole"), 1);
    let Value::Array(mut secrets) = server.tell("secrets", &Value::Null) else {
        panic!("the secrets are a list");
    };
    assert_eq!(secrets.len(), 2, "those of the role's session");
    secrets.push(json!("secret-of-the-test"));
    let manifest = fs::read_to_string(dir.join("out/manifest.json")).unwrap();
    for secret in &secrets {
        let secret = secret.as_str().unwrap();
        assert!(
            !said.contains(secret) && !manifest.contains(secret),
            "{secret}: {said}"
        );
    }
    is_right(&server, dir, &String::from_utf8(output.stdout).unwrap());
}

#[test]
fn a_profile_that_is_named_counts_before_the_environment() {
    let Some((dir, server)) = small() else { return };
    let dir = dir.path();
    fs::create_dir(dir.join(".aws")).unwrap();
    fs::write(
        dir.join(".aws/config"),
        "[profile people]\nregion = eu-west-1\naws_access_key_id = AKIAPROFILE\n\
         aws_secret_access_key = secret-of-the-profile\n",
    )
    .unwrap();
    // The environment has keys and a region.
    let import = |profile: &str| {
        let mut import = server.import(dir, "ebs");
        import.args(["--profile", profile]);
        import
    };
    let told = refused(&mut import("nobody"));
    is_one_error(&told, &["nobody"]);
    succeed(&mut import("people"));
    let log = server.log();
    let last = log.iter().rfind(|it| it["operation"] == "RegisterImage");
    let last = last.unwrap();
    assert_eq!(
        (&last["region"], &last["key"]),
        (&json!("eu-west-1"), &json!("AKIAPROFILE"))
    );
}

#[test]
fn the_account_is_shown_and_must_be_that_of_the_recipe() {
    let Some((dir, server)) = built(&format!("{AMI}account = \"210987654321\"\n")) else {
        return;
    };
    let dir = dir.path();
    make_small(dir);
    succeed(&mut server.command(dir, "build"));
    let before = server.log().len();
    let told = refused(&mut server.import(dir, "ebs"));
    is_one_error(&told, &["210987654321", "123456789012", "--profile"]);
    let log = server.log();
    let asked: Vec<_> = log[before..].iter().map(|it| &it["operation"]).collect();
    assert_eq!(asked, ["GetCallerIdentity"]);
    let recipe = dir.join("imgasm.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, text.replace("210987654321", "123456789012")).unwrap();
    succeed(&mut server.command(dir, "build"));
    let output = server.import(dir, "ebs").output().unwrap();
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("123456789012 as arn:aws:"), "{told}");
}
