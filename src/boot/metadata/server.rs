//! The metadata service: HTTP like EC2's (EC2 User Guide, "Use the Instance Metadata Service").
//!
//! A request carries a session token, which a `PUT` returns, or none if the image's AMI allows that.
//! A `PUT` that came through a proxy is refused. The hop limit of answers is not imitated, because
//! QEMU's network cannot set it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Instance;
use super::tree;

/// The most bytes of a request's head.
const HEAD_LIMIT: u64 = 16 << 10;

/// The most requests that are remembered, and the most tokens that are valid at a time.
const MEMORY_LIMIT: usize = 10_000;

/// How long a client may take for its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest that a token is valid, in seconds.
const LONGEST_TOKEN: u64 = 21_600;

/// A request from the machine, with the status of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// The method and the path.
    pub request: String,
    /// Whether it had a session token, valid or not.
    pub has_token: bool,
    /// The status of the answer.
    pub status: u16,
}

/// The running service.
pub struct Server {
    state: Arc<State>,
}

struct State {
    tree: BTreeMap<String, Vec<u8>>,
    requires_token: bool,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    tokens: HashMap<String, Instant>,
    count: u64,
    requests: Vec<Request>,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn of(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: reason(status).as_bytes().to_vec(),
        }
    }

    fn found(body: Vec<u8>) -> Self {
        Self {
            body,
            ..Self::of(200)
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        _ => "Method Not Allowed",
    }
}

/// A request as it was sent.
struct Head {
    method: String,
    path: String,
    /// By lower-case name.
    headers: HashMap<String, String>,
}

impl Server {
    /// Serves an instance's metadata through these connections.
    pub fn start(streams: Receiver<UnixStream>, instance: &Instance) -> io::Result<Self> {
        let state = Arc::new(State {
            tree: tree::paths(instance),
            requires_token: instance.requires_token,
            sessions: Mutex::default(),
        });
        let shared = state.clone();
        let named = thread::Builder::new().name("metadata".to_owned());
        named.spawn(move || {
            for stream in streams {
                let state = shared.clone();
                thread::spawn(move || {
                    if let Err(error) = state.serve(stream) {
                        tracing::debug!("the metadata service: {error}");
                    }
                });
            }
        })?;
        Ok(Self { state })
    }

    /// What was asked, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.state.sessions().requests.clone()
    }
}

impl State {
    fn sessions(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one request and ends the connection.
    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let Some(head) = read_head(&stream)? else {
            return Ok(());
        };
        let answer = self.answer(&head);
        let mut sessions = self.sessions();
        if sessions.requests.len() < MEMORY_LIMIT {
            sessions.requests.push(Request {
                request: format!("{} {}", head.method, head.path),
                has_token: head.headers.contains_key("x-aws-ec2-metadata-token"),
                status: answer.status,
            });
        }
        drop(sessions);
        let mut bytes = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: text/plain\r\nServer: EC2ws\r\n\
             Connection: close\r\nContent-Length: {}\r\n",
            answer.status,
            reason(answer.status),
            answer.body.len()
        )
        .into_bytes();
        for (name, value) in &answer.headers {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        bytes.extend(b"\r\n");
        if head.method != "HEAD" {
            bytes.extend(&answer.body);
        }
        stream.write_all(&bytes)
    }

    fn answer(&self, head: &Head) -> Answer {
        match head.method.as_str() {
            "PUT" if head.path == "/latest/api/token" => self.new_token(head),
            "GET" | "HEAD" => {
                if self.is_allowed(head) {
                    self.look_up(&head.path)
                } else {
                    Answer::of(401)
                }
            }
            _ => Answer::of(405),
        }
    }

    fn new_token(&self, head: &Head) -> Answer {
        const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
        if head.headers.contains_key("x-forwarded-for") {
            return Answer::of(403);
        }
        let seconds = head.headers.get(TTL).and_then(|text| text.parse().ok());
        let Some(seconds) = seconds.filter(|seconds| (1..=LONGEST_TOKEN).contains(seconds)) else {
            return Answer::of(400);
        };
        let mut sessions = self.sessions();
        let now = Instant::now();
        sessions.tokens.retain(|_, end| *end > now);
        if sessions.tokens.len() >= MEMORY_LIMIT {
            return Answer::of(403);
        }
        sessions.count += 1;
        let token = format!("AQAEAimgasm-boot-{:038}==", sessions.count);
        let end = now + Duration::from_secs(seconds);
        sessions.tokens.insert(token.clone(), end);
        Answer {
            headers: vec![("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", seconds.to_string())],
            ..Answer::found(token.into_bytes())
        }
    }

    fn is_allowed(&self, head: &Head) -> bool {
        match head.headers.get("x-aws-ec2-metadata-token") {
            None => !self.requires_token,
            Some(token) => {
                let sessions = self.sessions();
                let end = sessions.tokens.get(token);
                end.is_some_and(|end| *end > Instant::now())
            }
        }
    }

    fn look_up(&self, path: &str) -> Answer {
        let path = path.split('?').next().unwrap_or_default();
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let Some(version) = parts.next() else {
            return Answer::found(b"1.0\n2021-03-23\nlatest".to_vec());
        };
        if !is_version(version) {
            return Answer::of(404);
        }
        let rest: Vec<_> = parts.collect();
        let rest = rest.join("/");
        if let Some(content) = self.tree.get(&rest) {
            return Answer::found(content.clone());
        }
        let folder = if rest.is_empty() {
            rest
        } else {
            format!("{rest}/")
        };
        let mut names: Vec<String> = Vec::new();
        for path in self
            .tree
            .keys()
            .filter_map(|path| path.strip_prefix(&folder))
        {
            let name = match path.split_once('/') {
                Some((name, _)) => format!("{name}/"),
                None => path.to_owned(),
            };
            if names
                .last()
                .is_some_and(|last| name.strip_suffix('/') == Some(last))
            {
                names.pop();
            }
            if names.last() != Some(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Answer::of(404);
        }
        Answer::found(names.join("\n").into_bytes())
    }
}

/// Whether a part of a path is a version: `latest`, `1.0`, or a day.
fn is_version(text: &str) -> bool {
    let is_day = text.len() == 10
        && text.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    text == "latest" || text == "1.0" || is_day
}

fn read_head(stream: &UnixStream) -> io::Result<Option<Head>> {
    let mut reader = BufReader::new(stream.take(HEAD_LIMIT));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = HashMap::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    Ok(Some(Head {
        method,
        path,
        headers,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgasm_guest::Arch;

    fn state(requires_token: bool) -> State {
        let instance = Instance {
            name: "web".to_owned(),
            region: "eu-west-1".to_owned(),
            arch: Arch::X86_64,
            devices: vec!["/dev/xvda".to_owned(), "/dev/xvdcy".to_owned()],
            user_data: Some(b"#!/bin/sh\n".to_vec()),
            ssh_key: Some("ssh-ed25519 AAAA me".to_owned()),
            requires_token,
            has_tpm: false,
            now: 0,
        };
        State {
            tree: tree::paths(&instance),
            requires_token,
            sessions: Mutex::default(),
        }
    }

    fn ask(state: &State, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let headers = headers.iter();
        let answer = state.answer(&Head {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        });
        let body = String::from_utf8(answer.body).unwrap();
        (answer.status, body)
    }

    #[test]
    fn folders_and_files() {
        let state = state(false);
        let get = |path: &str| ask(&state, "GET", path, &[]);
        assert_eq!(get("/latest").1, "dynamic/\nmeta-data/\nuser-data");
        assert_eq!(get("/latest/user-data").1, "#!/bin/sh\n");
        assert_eq!(
            get("/2021-03-23/meta-data/block-device-mapping/").1,
            "ami\nebs1\nroot"
        );
        assert_eq!(get("/latest/meta-data/placement/region").1, "eu-west-1");
        assert_eq!(
            get("/latest/meta-data/iam/security-credentials/").1,
            "imgasm-boot"
        );
        // As EC2 lists keys: with their number and name, which is where cloud-init looks for them.
        let folders = get("/latest/meta-data/").1;
        let keys = folders
            .lines()
            .filter(|name| name.starts_with("public-keys"));
        assert_eq!(keys.collect::<Vec<_>>(), ["public-keys/"]);
        assert_eq!(get("/latest/meta-data/public-keys/").1, "0=imgasm-boot");
        assert_eq!(get("/latest/meta-data/public-keys/0/").1, "openssh-key");
        let key = get("/latest/meta-data/public-keys/0/openssh-key").1;
        assert_eq!(key, "ssh-ed25519 AAAA me");
        assert_eq!(get("/latest/meta-data/nope").0, 404);
        assert_eq!(get("/nope/meta-data").0, 404);
        assert_eq!(ask(&state, "POST", "/latest", &[]).0, 405);
        let (_, document) = get("/latest/dynamic/instance-identity/document");
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!(document["pendingTime"], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn tokens() {
        const TOKEN: &str = "x-aws-ec2-metadata-token";
        const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
        let state = state(true);
        let put = |headers: &[(&str, &str)]| ask(&state, "PUT", "/latest/api/token", headers);
        for wrong in ["0", "21601", "x"] {
            assert_eq!(put(&[(TTL, wrong)]).0, 400, "{wrong}");
        }
        assert_eq!(put(&[]).0, 400);
        assert_eq!(put(&[(TTL, "60"), ("x-forwarded-for", "10.0.0.1")]).0, 403);
        let (status, token) = put(&[(TTL, "60")]);
        assert_eq!(status, 200);
        let get = |headers: &[(&str, &str)]| ask(&state, "GET", "/latest/user-data", headers).0;
        assert_eq!(get(&[(TOKEN, &token)]), 200);
        assert_eq!(get(&[(TOKEN, "made up")]), 401);
        assert_eq!(get(&[]), 401);
    }
}
