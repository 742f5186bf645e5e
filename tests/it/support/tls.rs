//! Certificates made now, and the servers that show them.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// A server with a certificate for `names`, and the store that trusts it.
pub fn identity(names: &[&str]) -> (TlsAcceptor, RootCertStore) {
    identity_with(names, |_| {})
}

/// As [`identity`], with something odd about the certificate.
pub fn identity_with(
    names: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> (TlsAcceptor, RootCertStore) {
    let (certificate, key, roots) = certificate(names, change);
    (acceptor(server(certificate, key)), roots)
}

/// As [`identity`], with something odd about the server.
pub fn server_with(change: impl FnOnce(&mut ServerConfig)) -> (TlsAcceptor, RootCertStore) {
    let (certificate, key, roots) = certificate(&["127.0.0.1"], |_| {});
    let mut config = server(certificate, key);
    change(&mut config);
    (acceptor(config), roots)
}

/// A server that wants to see a certificate of its clients too.
pub fn demanding() -> (TlsAcceptor, RootCertStore) {
    let (certificate, key, roots) = certificate(&["127.0.0.1"], |_| {});
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("roots"))
        .with_single_cert(vec![certificate], key)
        .expect("key and certificate belong together");
    (acceptor(config), roots)
}

fn certificate(
    names: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> (CertificateDer<'static>, PrivateKeyDer<'static>, RootCertStore) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("valid names");
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    (certificate, PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())), roots)
}

fn server(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("key and certificate belong together")
}

fn acceptor(config: ServerConfig) -> TlsAcceptor {
    TlsAcceptor::from(Arc::new(config))
}
