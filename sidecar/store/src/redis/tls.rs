//! TLS to Redis.
//!
//! Owns the files it takes, whom we believe, and the words for what goes wrong (a sentence each, with what to do). Must
//! not know Redis.
//!
//! The files are read anew for each connection: certificates are renewed while a sidecar lives. As long as they say the
//! same, what was made of them is kept, and with it the tickets that make the next handshake short.

use rustls::client::ClientConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, RootCertStore};
use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What to do about a server that does not behave as one with TLS.
pub(super) const NO_TLS: &str = "does it speak TLS on this port? Write redis:// if it does not";

/// What TLS is made of: PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities that the server's certificate must come from. None: those that the system knows.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, and those between it and its authority, if the server asks for one.
    pub cert_file: Option<PathBuf>,
    /// The key of our certificate.
    pub key_file: Option<PathBuf>,
}

impl TlsFiles {
    /// The name of the first setting that is there.
    pub(super) fn first_named(&self) -> Option<&'static str> {
        let files =
            [("ca_file", &self.ca_file), ("cert_file", &self.cert_file), ("key_file", &self.key_file)];
        files.into_iter().find_map(|(name, file)| file.as_ref().map(|_| name))
    }

    fn read(&self) -> Result<Contents, String> {
        let identity = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Some((bytes("cert_file", cert)?, bytes("key_file", key)?)),
            (None, None) => None,
            (Some(_), None) => return Err("redis.cert_file needs its key: name it in redis.key_file".into()),
            (None, Some(_)) => {
                return Err("redis.key_file needs its certificate: name it in redis.cert_file".into());
            }
        };
        let authorities = match &self.ca_file {
            Some(path) => certificates(&bytes("ca_file", path)?)
                .map_err(|why| format!("redis.ca_file: {} {why}", path.display()))?,
            // `SSL_CERT_FILE` and `SSL_CERT_DIR` say where they are, if they are elsewhere.
            None => rustls_native_certs::load_native_certs().certs,
        };
        Ok(Contents { authorities, identity })
    }
}

fn bytes(name: &str, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("redis.{name}: {}: {error}", path.display()))
}

/// What stood in the files.
#[derive(PartialEq, Eq)]
struct Contents {
    /// Those of `ca_file`, or those that the system trusts.
    authorities: Vec<CertificateDer<'static>>,
    /// Certificate and key.
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Makes handshakes.
pub(super) struct Tls {
    files: TlsFiles,
    made: Option<(Contents, Arc<ClientConfig>)>,
}

impl Tls {
    pub(super) fn new(files: TlsFiles) -> Tls {
        Tls { files, made: None }
    }

    /// For the next handshake, with what the files say now.
    pub(super) fn ready(&mut self) -> Result<Handshake, String> {
        let now = self.files.read()?;
        let config = match self.made.take() {
            Some((then, config)) if then == now => config,
            _ => Arc::new(self.make(&now)?),
        };
        self.made = Some((now, config.clone()));
        Ok(Handshake { config, files: self.files.clone() })
    }

    fn make(&self, contents: &Contents) -> Result<ClientConfig, String> {
        let authorities = match &self.files.ca_file {
            Some(_) => named_authorities(&contents.authorities)
                .map_err(|why| self.about("ca_file", &self.files.ca_file, &why))?,
            None => known_authorities(&contents.authorities)?,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS can not be set up: {error}"))?
            .with_root_certificates(authorities);
        let Some((cert, key)) = &contents.identity else { return Ok(config.with_no_client_auth()) };
        let chain = certificates(cert).map_err(|why| self.about("cert_file", &self.files.cert_file, &why))?;
        let key = private_key(key).map_err(|why| self.about("key_file", &self.files.key_file, &why))?;
        config.with_client_auth_cert(chain, key).map_err(|error| {
            let why =
                format!("is not the key of redis.cert_file, or of a kind that is not supported ({error})");
            self.about("key_file", &self.files.key_file, &why)
        })
    }

    fn about(&self, name: &str, path: &Option<PathBuf>, why: &str) -> String {
        let path = path.as_deref().unwrap_or(Path::new(""));
        format!("redis.{name}: {} {why}", path.display())
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("holds no certificate; it is to be PEM (-----BEGIN CERTIFICATE-----)".into()),
        Err(error) => Err(format!("is not understood: {error}")),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| match String::from_utf8_lossy(pem).contains("ENCRYPTED") {
        true => "is encrypted, and there is nobody to ask for its passphrase: store it decrypted".into(),
        false => "holds no private key; it is to be PEM (-----BEGIN PRIVATE KEY-----)".into(),
    })
}

fn named_authorities(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store
            .add(certificate.clone())
            .map_err(|error| format!("holds a certificate that is not understood: {error}"))?;
    }
    Ok(store)
}

/// Those that the system trusts: one or the other may be of a kind that is not understood.
fn known_authorities(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let (understood, _) = store.add_parsable_certificates(certificates.iter().cloned());
    match understood {
        0 => Err("this system knows no authorities of certificates: name Redis' own in redis.ca_file, \
                  or install the package ca-certificates"
            .into()),
        _ => Ok(store),
    }
}

/// A handshake that can begin.
pub(super) struct Handshake {
    config: Arc<ClientConfig>,
    files: TlsFiles,
}

impl Handshake {
    /// Over this connection, with a server that must prove that it is `host`. Why not, if it fails.
    pub(super) async fn over(&self, stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            format!("{host} is neither a name nor an address, so no certificate can be for it")
        })?;
        TlsConnector::from(self.config.clone()).connect(name, stream).await.map_err(|error| {
            match inner(&error) {
                Some(error) => self.words(error, host),
                None => format!("Redis ended the connection in the TLS handshake ({error}): {NO_TLS}"),
            }
        })
    }

    /// What a failure after the handshake has to do with it. With TLS 1.3 a server refuses our certificate, or that there is
    /// none, only then.
    pub(super) fn afterthought(&self, error: &redis::RedisError, host: &str) -> Option<String> {
        let cause = error.source()?.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>();
        let cause = cause.and_then(|cause| inner(cause.as_ref().downcast_ref()?));
        if let Some(cause) = cause {
            return Some(self.words(cause, host));
        }
        (error.is_io_error() && self.files.cert_file.is_none()).then(|| {
            format!(
                "Redis ended the connection after the TLS handshake ({error}): {}",
                self.asked_for_certificate()
            )
        })
    }

    fn words(&self, error: &rustls::Error, host: &str) -> String {
        match error {
            rustls::Error::InvalidCertificate(wrong) => self.about_theirs(wrong, host),
            rustls::Error::AlertReceived(alert) => self.about_ours(*alert),
            rustls::Error::InvalidMessage(_) => {
                "what answers is not TLS: write redis:// if this Redis is plain, or give its TLS port".into()
            }
            rustls::Error::PeerIncompatible(_) => {
                format!(
                    "Redis offers no TLS that is spoken here ({error}): let its tls-protocols have TLSv1.2 or TLSv1.3"
                )
            }
            _ => format!("the TLS handshake failed: {error}"),
        }
    }

    /// The server's certificate is not taken.
    fn about_theirs(&self, wrong: &CertificateError, host: &str) -> String {
        match wrong {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => match &self.files.ca_file {
                Some(path) => format!(
                    "Redis' certificate is not from an authority in {}: put the one that signed it into redis.ca_file",
                    path.display()
                ),
                None => "Redis' certificate is from an authority that this system does not know: name that one in redis.ca_file".into(),
            },
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("Redis' certificate has expired ({wrong}): renew it, or set the clock of this host")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("Redis' certificate is not valid yet ({wrong}): set the clock of this host, or of whoever issued it")
            }
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => format!(
                "Redis' certificate is for no name at all, so not for {host}: have one issued with that as subjectAltName (a common name does not count)"
            ),
            CertificateError::NotValidForNameContext { presented, .. } => format!(
                "Redis' certificate is for {}, not for {host}: use a name that it is for in redis.url, or have one issued for this",
                presented.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", ")
            ),
            CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                "Redis' certificate is that of an authority, not of a server: have one issued by it, without CA:TRUE".into()
            }
            _ => format!("Redis' certificate is not taken: {wrong}"),
        }
    }

    /// Our certificate is not taken, or missed.
    fn about_ours(&self, alert: AlertDescription) -> String {
        let Some(ours) = self.files.cert_file.as_ref().map(|path| path.display()) else {
            return match alert {
                AlertDescription::ProtocolVersion => {
                    "Redis speaks no TLS that is spoken here: let its tls-protocols have TLSv1.2 or TLSv1.3"
                        .into()
                }
                _ => format!("Redis ended the TLS handshake ({alert:?}): {}", self.asked_for_certificate()),
            };
        };
        match alert {
            // OpenSSL says the second if it knows another authority of that name.
            AlertDescription::UnknownCA | AlertDescription::DecryptError => format!(
                "Redis does not know the authority that signed {ours}: use one from an authority in its tls-ca-cert-file"
            ),
            AlertDescription::CertificateExpired => format!("Redis says that {ours} has expired: renew it"),
            _ => format!(
                "Redis ended the TLS handshake ({alert:?}); most likely it does not like {ours}: its log says why"
            ),
        }
    }

    fn asked_for_certificate(&self) -> &'static str {
        "most likely it asks clients for a certificate: name ours in redis.cert_file and redis.key_file"
    }
}

/// What TLS itself says, if the error comes from there.
fn inner(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// A name that a certificate is for: the crate writes `DnsName("redis.example")`, `IpAddress(127.0.0.1)`.
fn bare(name: &str) -> &str {
    let inside = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inside.unwrap_or(name).trim_matches('"')
}
