//! Asking servers, over HTTP and with TLS.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

use super::Proxies;
use super::resume::{Refusal, Stream};

/// How long a server may take to be reached, and to send the next bytes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a server may send us elsewhere.
const MAX_REDIRECTS: u32 = 10;

/// Asks servers for files.
#[derive(Debug)]
pub(super) struct Client {
    /// For `http:`.
    plain: Agent,
    /// For `https:`.
    secure: Agent,
}

impl Client {
    /// One that trusts the certificates that the host trusts.
    pub(super) fn new(proxies: &Proxies) -> Result<Self, String> {
        let native = rustls_native_certs::load_native_certs();
        let roots = native.certs.iter();
        let roots = roots.map(|certificate| Certificate::from_der(certificate).to_owned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots.collect())))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let agent = |proxy: Option<&String>| {
            let proxy = proxy.map(|url| proxy_at(url, proxies.except.as_deref()));
            let proxy = proxy.transpose().map_err(|error| {
                // The URL may hold a password.
                format!("the proxy that the environment names cannot be used: {error}")
            })?;
            let config = Agent::config_builder()
                .proxy(proxy)
                .tls_config(tls.clone())
                .max_redirects(MAX_REDIRECTS)
                .timeout_connect(Some(PATIENCE))
                .timeout_recv_response(Some(PATIENCE))
                .timeout_per_read(Some(PATIENCE))
                .user_agent(concat!("imgasm/", env!("CARGO_PKG_VERSION")))
                .accept_encoding("identity")
                .build();
            Ok::<_, String>(config.new_agent())
        };
        Ok(Self {
            plain: agent(proxies.http.as_ref())?,
            secure: agent(proxies.https.as_ref())?,
        })
    }

    /// Opens a file, if the server can from a byte that is not its first.
    pub(super) fn open(&self, url: &str, from: u64) -> Result<Stream, Refusal> {
        let agent = if url.starts_with("https:") {
            &self.secure
        } else {
            &self.plain
        };
        let request = agent.get(url);
        let request = match from {
            0 => request,
            from => request.header("Range", format!("bytes={from}-")),
        };
        let response = match request.call() {
            // There is no such byte, so all may be there; the digest knows.
            Err(ureq::Error::StatusCode(416)) if from > 0 => {
                return Ok(Stream {
                    reader: Box::new(io::empty()),
                    start: from,
                    len: None,
                });
            }
            Err(error) => return Err(refusal(&error)),
            Ok(response) => response,
        };
        let header = |name| response.headers().get(name)?.to_str().ok();
        let (start, len) = if response.status().as_u16() == 206 {
            let range = header("content-range").and_then(content_range);
            range.ok_or_else(|| Refusal {
                problem: "the server does not say which part of it it sends".to_owned(),
                may_pass: false,
            })?
        } else {
            let len = header("content-length").and_then(|len| len.parse().ok());
            (0, len)
        };
        Ok(Stream {
            reader: Box::new(Steady::new(response.into_body().into_reader(), PERIOD)),
            start,
            len,
        })
    }
}

/// The first byte and the length of the whole, of a header like `bytes 7-9/10`.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, len) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, len.trim().parse().ok()))
}

fn refusal(error: &ureq::Error) -> Refusal {
    Refusal {
        may_pass: may_pass(error),
        problem: match error {
            ureq::Error::StatusCode(404) => "the server has no such file".to_owned(),
            error => error.to_string(),
        },
    }
}

/// The proxy at a URL; the hosts of a list with commas are asked without it. As in curl, a name stands
/// for all names below it, too.
fn proxy_at(url: &str, except: Option<&str>) -> Result<Proxy, ureq::Error> {
    let proxy = Proxy::new(url)?;
    let mut builder = Proxy::builder(proxy.protocol())
        .host(proxy.host())
        .port(proxy.port())
        .resolve_target(proxy.resolve_target());
    if let Some(name) = proxy.username() {
        builder = builder.username(name);
    }
    if let Some(password) = proxy.password() {
        builder = builder.password(password);
    }
    let hosts = except.unwrap_or_default().split(',').map(str::trim);
    for host in hosts.filter(|host| !host.is_empty()) {
        builder = builder.no_proxy(host);
        if !host.starts_with(['*', '.']) {
            builder = builder.no_proxy(&format!("*.{host}"));
        }
    }
    builder.build()
}

fn may_pass(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::StatusCode(status) => *status >= 500 || *status == 429,
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => true,
        _ => false,
    }
}

/// How long a server may be slow.
const PERIOD: Duration = Duration::from_secs(30);
/// The fewest bytes that must come in this time, which are 1000 a second.
const FEWEST_BYTES: usize = 30_000;

/// What a server sends, as long as it does not take forever.
struct Steady<R> {
    inner: R,
    period: Duration,
    began: Instant,
    bytes: usize,
}

impl<R> Steady<R> {
    fn new(inner: R, period: Duration) -> Self {
        Self {
            inner,
            period,
            began: Instant::now(),
            bytes: 0,
        }
    }
}

impl<R: Read> Read for Steady<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        self.bytes += count;
        if count > 0 && self.began.elapsed() >= self.period {
            if self.bytes < FEWEST_BYTES {
                let seconds = self.period.as_secs();
                let problem = format!("in {seconds} s only {} bytes came", self.bytes);
                return Err(io::Error::new(io::ErrorKind::TimedOut, problem));
            }
            (self.began, self.bytes) = (Instant::now(), 0);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at a time, and pauses between.
    struct Drip(usize);

    impl Read for Drip {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_millis(2));
            Ok(buf.len().min(self.0))
        }
    }

    #[test]
    fn a_slow_server_is_not_waited_for() {
        let read = |step: usize| {
            let steady = Steady::new(Drip(step), Duration::from_millis(20));
            io::copy(&mut steady.take(1 << 20), &mut io::sink())
        };
        assert_eq!(read(1).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(read(FEWEST_BYTES).unwrap(), 1 << 20);
    }
}
