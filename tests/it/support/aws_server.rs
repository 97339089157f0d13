//! The test server, and what is asked of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};

use super::aws::{command, python};
use super::example::project;

pub const REGION: &str = "us-east-1";
pub const BUCKET: &str = "images";

/// A server of its own for one test. It ends with this value.
pub struct Server {
    port: u16,
}

/// The process that servers are forked from, and that ends with this one.
struct Nursery {
    /// Ends when `stdin` closes.
    _child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

static NURSERY: OnceLock<Mutex<Nursery>> = OnceLock::new();

impl Nursery {
    fn start(python: &Path) -> Self {
        let mut child = Command::new(python)
            .arg(project().join("tests/aws/server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .env_remove("AWS_ENDPOINT_URL")
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take().unwrap(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            _child: child,
        }
    }

    /// The port of a new server.
    fn server(&mut self) -> u16 {
        self.stdin.write_all(b"\n").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().parse().expect("the server prints its port")
    }
}

/// A script of `tests/aws` that serves until this is dropped.
pub struct Script {
    child: Child,
    /// The script ends when this closes.
    stdin: Option<ChildStdin>,
}

impl Script {
    /// Starts it; gives the line that it prints when it is ready.
    pub fn start(command: &mut Command) -> (Self, String) {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let stdin = child.stdin.take();
        (Self { child, stdin }, line.trim().to_owned())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a server with the bucket [`BUCKET`]; `None` if there is no Python for it.
    pub fn start() -> Option<Self> {
        let python = python()?;
        let nursery = NURSERY.get_or_init(|| Mutex::new(Nursery::start(&python)));
        let port = nursery.lock().unwrap().server();
        let server = Self { port };
        server.make_bucket(BUCKET, REGION);
        Some(server)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A command of imgasm in `dir` that talks to this server.
    pub fn command(&self, dir: &Path, name: &str) -> Command {
        let mut command = command(dir, name);
        command
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
            .env("AWS_REGION", REGION)
            .env("AWS_ENDPOINT_URL", self.url());
        command
    }

    /// An import of what is built in `dir`.
    pub fn import(&self, dir: &Path, via: &str) -> Command {
        let mut command = self.command(dir, "import");
        command.args(["--via", via, "--bucket", BUCKET]);
        command
    }

    /// A clean-up of all that was left behind, however young it is.
    pub fn gc(&self, dir: &Path) -> Command {
        let mut command = self.command(dir, "gc");
        command.args(["--older-than", "0"]);
        command
    }

    pub fn make_bucket(&self, name: &str, region: &str) {
        let body = if region == "us-east-1" {
            String::new()
        } else {
            format!(
                "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint>\
                 </CreateBucketConfiguration>"
            )
        };
        self.put(name, region, body.as_bytes());
    }

    /// Puts a bucket, or `BUCKET/KEY`, into S3.
    pub fn put(&self, name: &str, region: &str, body: &[u8]) {
        let scope = format!("AKIAIOSFODNN7EXAMPLE/20260101/{region}/s3/aws4_request");
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
        self.http("PUT", &format!("/{name}"), &authorization, body);
    }

    /// Tells or asks the server something for the tests.
    pub fn tell(&self, name: &str, value: &Value) -> Value {
        let answer = self.http(
            "POST",
            &format!("/_test/{name}"),
            "",
            value.to_string().as_bytes(),
        );
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{name}: {answer}"))
    }

    /// What was asked of a service since the last time.
    pub fn log(&self) -> Vec<Value> {
        let Value::Array(log) = self.tell("log", &Value::Null) else {
            panic!("the log is a list");
        };
        log
    }

    /// How often an operation was asked for.
    pub fn count(&self, operation: &str) -> usize {
        let log = self.log();
        log.iter().filter(|it| it["operation"] == operation).count()
    }

    pub fn describe_image(&self, region: &str, id: &str) -> Value {
        self.tell("image", &json!({"region": region, "id": id}))
    }

    /// A snapshot's volume as a file.
    pub fn read_back(&self, snapshot: &str, path: &Path) {
        let wanted = json!({"region": REGION, "id": snapshot, "path": path});
        self.tell("snapshot", &wanted);
    }

    /// Fails if a request was sent that the real services would not have taken.
    pub fn assert_no_violations(&self) {
        let violations = self.tell("violations", &Value::Null);
        assert_eq!(violations, json!([]));
    }

    /// Sends a request; gives the whole answer, which is none if the server ends.
    fn exchange(&self, request: &[u8]) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(request)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn http(&self, method: &str, path: &str, authorization: &str, body: &[u8]) -> String {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Authorization: {authorization}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = self.exchange(&[head.as_bytes(), body].concat()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200"),
            "{method} {path}: {answer}"
        );
        body.to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let end = b"POST /_test/end HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n\r\nnull";
        // It has no time to answer.
        let _ = self.exchange(end);
    }
}
