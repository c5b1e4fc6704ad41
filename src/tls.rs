//! TLS for everyone who opens connections: one crypto provider for the process, and one client configuration
//! made of the public authorities plus the operator's own.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read or is not PEM.
    #[error("cannot read the certificates in {}: {problem}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// Makes ring the process' crypto provider. Call it once, first thing; a second call changes nothing.
pub fn install_default() {
    // An error only says that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Certificates of a PEM file.
///
/// # Errors
/// If the file cannot be read, is not PEM, or holds no certificate.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |problem: String| TlsError::CaFile { path: path.to_owned(), problem };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| fail(error.to_string()))?;
    if certificates.is_empty() {
        return Err(fail(
            "it holds no certificate: it must begin with -----BEGIN CERTIFICATE-----".to_owned(),
        ));
    }
    Ok(certificates)
}

/// A client configuration that trusts the public authorities and those of `ca_file`.
///
/// # Errors
/// If `ca_file` cannot be read or one of its certificates cannot be an authority.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    install_default();
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|error| TlsError::CaFile { path: path.to_owned(), problem: error.to_string() })?;
        }
    }
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_authority_is_read_and_what_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let refusal = || client_config(Some(&path)).unwrap_err().to_string();
        assert!(refusal().contains("cannot read the certificates in"));
        std::fs::write(&path, "nothing").unwrap();
        assert!(refusal().contains("it holds no certificate"), "{}", refusal());
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&path, own.cert.pem()).unwrap();
        client_config(Some(&path)).unwrap();
        client_config(None).unwrap();
    }
}
