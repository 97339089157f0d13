//! Asking servers, over HTTP and with TLS.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

use super::Proxies;

/// How long a server may take to be reached, and to send the next bytes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a server may send us elsewhere.
const MAX_REDIRECTS: u32 = 10;

/// Why a server did not give a file.
#[derive(Debug)]
pub(super) struct Refusal {
    /// In words.
    pub(super) problem: String,
    /// Whether the same request may succeed later.
    pub(super) may_pass: bool,
}

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

    /// Opens a file.
    pub(super) fn open(&self, url: &str) -> Result<Box<dyn Read>, Refusal> {
        let agent = if url.starts_with("https:") {
            &self.secure
        } else {
            &self.plain
        };
        let response = agent.get(url).call().map_err(|error| Refusal {
            may_pass: may_pass(&error),
            problem: match error {
                ureq::Error::StatusCode(404) => "the server has no such file".to_owned(),
                error => error.to_string(),
            },
        })?;
        Ok(Box::new(response.into_body().into_reader()))
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
