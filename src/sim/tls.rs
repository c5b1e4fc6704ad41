//! A certificate authority of the simulator's own, made anew at every start, and the server certificate it signs.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::config::SimError;
use super::streams;

/// What a TLS listener needs, and what its clients need to trust it.
#[derive(Clone)]
pub(crate) struct TlsIdentity {
    pub(crate) config: Arc<ServerConfig>,
    /// The authority's certificate, PEM.
    pub(crate) ca_pem: String,
}

/// Makes authority and certificate for `localhost`, `127.0.0.1` and `::1`.
pub(crate) fn make_identity() -> Result<TlsIdentity, SimError> {
    let failed = |error: &dyn std::fmt::Display| SimError::Certificate(error.to_string());
    let (issuer, ca_pem) = make_authority().map_err(|error| failed(&error))?;
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let params = CertificateParams::new(names).map_err(|error| failed(&error))?;
    let leaf = params.signed_by(&key, &issuer).map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .map_err(|error| failed(&error))?;
    config.alpn_protocols = vec![streams::H2.to_vec(), b"http/1.1".to_vec()];
    Ok(TlsIdentity { config: Arc::new(config), ca_pem })
}

fn make_authority() -> Result<(Issuer<'static, KeyPair>, String), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "carteiro sim");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), pem))
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsIdentity")
    }
}
