//! Getting files from where repositories are.
//!
//! - `http`: from servers.
//! - [`resume`]: large ones, which go on where they stopped.
//!
//! What is got is bounded: whoever asks says how many bytes it may have.

mod http;
pub mod resume;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::{Error, Result};
use imgasm_block::{Digest, Output};
use resume::{Refusal, Remote, Stream};

/// Bytes moved at a time.
const CHUNK: usize = 128 << 10;
/// How often something is asked for where the server, or the way to it, failed.
const ATTEMPTS: u32 = 3;
/// How long it is waited before something is asked for again; then twice as long.
const PAUSE: Duration = Duration::from_millis(300);

/// The proxies that servers are asked through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For what is at `http:`.
    pub http: Option<String>,
    /// For what is at `https:`.
    pub https: Option<String>,
    /// The hosts that are asked directly, with commas between them.
    pub except: Option<String>,
}

/// Gets files. Of servers it asks nothing but what it is told to.
#[derive(Debug, Default)]
pub struct Transport {
    client: OnceLock<http::Client>,
    proxies: Proxies,
    files: Files,
}

/// Opens a file of this host.
type Open = dyn Fn(&Path) -> io::Result<File> + Send + Sync;

/// How the file of this host at a `file:` URL is opened.
struct Files(Box<Open>);

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Files")
    }
}

impl Default for Files {
    /// Any file can be opened.
    fn default() -> Self {
        Self(Box::new(|path| File::open(path)))
    }
}

/// Why a file could not be had.
struct Failure {
    error: Error,
    /// Whether another attempt is worth it.
    may_pass: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            may_pass: false,
        }
    }
}

impl Transport {
    /// One that asks servers through these proxies, and has the files of this host opened by `open`, which
    /// says whether they may be: the URLs come from repositories.
    pub fn new(
        proxies: Proxies,
        open: impl Fn(&Path) -> io::Result<File> + Send + Sync + 'static,
    ) -> Self {
        Self {
            client: OnceLock::new(),
            proxies,
            files: Files(Box::new(open)),
        }
    }

    /// Opens the file at a URL and gives it to `take`, again if the way to it failed.
    fn with<T>(
        &self,
        url: &str,
        mut take: impl FnMut(&mut dyn Read) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut attempt = 1;
        loop {
            let opened = self.open(url);
            let failure = match opened.and_then(|mut reader| take(reader.as_mut())) {
                Ok(taken) => return Ok(taken),
                Err(failure) => failure,
            };
            if !failure.may_pass || attempt == ATTEMPTS {
                return Err(failure.error);
            }
            std::thread::sleep(PAUSE * attempt);
            attempt += 1;
        }
    }

    fn open(&self, url: &str) -> Result<Box<dyn Read>, Failure> {
        if let Some(path) = local(url) {
            let file = self.files.0(&path).map_err(|error| failed(url, error))?;
            return Ok(Box::new(file));
        }
        let opened = self.ask(url, 0).map_err(|refusal| Failure {
            error: failed(url, refusal.problem),
            may_pass: refusal.may_pass,
        })?;
        Ok(opened.reader)
    }

    /// Asks a server for a file, from this byte on.
    fn ask(&self, url: &str, from: u64) -> Result<Stream, Refusal> {
        let client = if let Some(client) = self.client.get() {
            client
        } else {
            let client = http::Client::new(&self.proxies);
            let client = client.map_err(|problem| Refusal {
                problem,
                may_pass: false,
            })?;
            self.client.get_or_init(|| client)
        };
        client.open(url, from)
    }

    /// The file at a URL of a server.
    pub fn remote<'t>(&'t self, url: &'t str) -> impl Remote + 't {
        OnServer {
            transport: self,
            url,
        }
    }

    /// The bytes of a file, of which there may be `limit`.
    pub fn read(&self, url: &str, limit: u64) -> Result<Vec<u8>> {
        self.with(url, |reader| {
            let mut bytes = Vec::new();
            let read = reader.take(limit.saturating_add(1)).read_to_end(&mut bytes);
            read.map_err(|error| interrupted(url, error))?;
            if bytes.len() as u64 > limit {
                return Err(failed(url, format!("it has more than {limit} bytes")).into());
            }
            Ok(bytes)
        })
    }

    /// Writes a file of which digest and size are known to a file on the host, which appears when
    /// it is whole.
    pub fn download(&self, url: &str, wanted: Digest, size: u64, target: &Path) -> Result<()> {
        self.with(url, |reader| copy(reader, url, wanted, size, target))
    }
}

/// A file on a server that speaks HTTP.
struct OnServer<'t> {
    transport: &'t Transport,
    url: &'t str,
}

impl Remote for OnServer<'_> {
    fn url(&self) -> &str {
        self.url
    }

    fn open(&self, from: u64) -> Result<Stream, Refusal> {
        self.transport.ask(self.url, from)
    }
}

fn copy(
    reader: &mut dyn Read,
    url: &str,
    wanted: Digest,
    size: u64,
    target: &Path,
) -> Result<(), Failure> {
    let host = |source| Error::Host {
        path: target.to_owned(),
        source,
    };
    let output = Output::create(target).map_err(|error| host(io::Error::other(error)))?;
    let mut file = output.file();
    let mut reader = reader.take(size.saturating_add(1));
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut total = 0_u64;
    loop {
        let count = reader
            .read(&mut chunk)
            .map_err(|error| interrupted(url, error))?;
        if count == 0 {
            break;
        }
        hasher.update(&chunk[..count]);
        file.write_all(&chunk[..count]).map_err(host)?;
        total += count as u64;
    }
    if total != size {
        let problem = if total > size {
            format!("it has more than the {size} bytes that its repository announces")
        } else {
            format!("it has {total} bytes, and its repository announces {size}")
        };
        return Err(failed(url, problem).into());
    }
    let found = Digest::finish(hasher);
    if found != wanted {
        let url = url.to_owned();
        return Err(Failure::from(Error::OtherFile { url, wanted, found }));
    }
    let committed = output.commit();
    Ok(committed.map_err(|error| host(io::Error::other(error)))?)
}

/// That a file came to an end too early.
fn interrupted(url: &str, error: io::Error) -> Failure {
    Failure {
        error: failed(url, error),
        may_pass: local(url).is_none(),
    }
}

fn failed(url: &str, problem: impl std::fmt::Display) -> Error {
    Error::Fetch {
        url: url.to_owned(),
        problem: problem.to_string(),
    }
}

/// The path of a URL that names a file of this host.
pub fn local(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("file:")?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    Some(path.strip_prefix("localhost/").map_or_else(
        || PathBuf::from(path),
        |path| PathBuf::from(format!("/{path}")),
    ))
}

fn hex(digit: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(digit & 15)])
}

/// A path below a URL. What a URL cannot have is encoded, but for files of this host.
pub fn join(base: &str, path: &str) -> String {
    let base = base.trim_end_matches('/');
    if path.starts_with("http:") || path.starts_with("https:") {
        return path.to_owned();
    }
    let mut url = format!("{base}/");
    for byte in path.trim_start_matches('/').bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~/%!$&'()*+,;=:@".contains(&byte);
        if is_plain || base.starts_with("file:") {
            url.push(char::from(byte));
        } else {
            url.extend(['%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        assert_eq!(join("http://x/a/", "b/c^1.rpm"), "http://x/a/b/c%5E1.rpm");
        assert_eq!(join("file:/r", "b/c^1.rpm"), "file:/r/b/c^1.rpm");
        assert_eq!(local("file:///r/x"), Some("/r/x".into()));
        assert_eq!(local("file:/r/x"), Some("/r/x".into()));
        assert_eq!(local("file://localhost/r"), Some("/r".into()));
        assert_eq!(local("https://r/x"), None);
    }
}
