//! The way to the services: TLS by rustls and ring, which build with cc alone; proxies as the
//! environment has them; the authorities of the system, or those of a file.

use std::fs;
use std::path::Path;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::{Error, Result};

/// How requests are sent.
pub(super) struct Transport {
    context: TlsContext,
}

impl Transport {
    /// `authorities` is a file of certificates, as `AWS_CA_BUNDLE` names one: these are trusted then,
    /// and not the system's.
    pub(super) fn new(authorities: Option<&Path>) -> Result<Self> {
        let trusted = match authorities {
            Some(path) => TrustStore::empty().with_pem_certificate(certificates(path)?),
            None => TrustStore::default(),
        };
        let context = TlsContext::builder().with_trust_store(trusted).build();
        let context = context.map_err(|error| Error::Network {
            doing: "prepare TLS".to_owned(),
            message: error.to_string(),
        })?;
        Ok(Self { context })
    }

    /// For the SDK's clients.
    pub(super) fn client(&self) -> SharedHttpClient {
        let context = self.context.clone();
        Builder::new().build_with_connector_fn(move |settings, components| {
            connector(&context, settings.cloned(), components)
        })
    }

    /// For a request that no client of the SDK makes.
    pub(super) fn connector(&self) -> SharedHttpConnector {
        SharedHttpConnector::new(connector(&self.context, None, None))
    }
}

fn connector(
    context: &TlsContext,
    settings: Option<HttpConnectorSettings>,
    components: Option<&RuntimeComponents>,
) -> Connector {
    let mut connector = Connector::builder()
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(context.clone());
    connector.set_connector_settings(settings);
    connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
    connector.build()
}

/// The certificates of a file, each of which can be trusted: the SDK would panic at one that cannot.
fn certificates(path: &Path) -> Result<Vec<u8>> {
    let failed = |problem: String| Error::Authorities {
        path: path.to_owned(),
        problem,
    };
    let pem = fs::read(path).map_err(|error| failed(error.to_string()))?;
    let mut all = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        all.add(certificate)
            .map_err(|error| failed(error.to_string()))?;
    }
    if all.is_empty() {
        return Err(failed("it has no certificate in PEM form".to_owned()));
    }
    Ok(pem)
}
