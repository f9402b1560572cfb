//! The cryptography of TLS, chosen once per process.

/// Makes ring the process' cryptography for TLS, where none was chosen yet. May be repeated.
///
/// HTTP clients of this process are built with TLS as soon as one of its rooms asks for it (the node does, for registries),
/// and panic without a choice. [`crate::Client::new`] makes it; call this before any other HTTP client is made.
pub fn install_tls_provider() {
    // Whoever chose first has chosen for all.
    drop(rustls::crypto::ring::default_provider().install_default());
}
