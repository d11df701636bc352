//! Certificates of one test: an authority of its own, and what it issues.
//!
//! Owns keys, names and validity, as PEM files in a folder that goes with the test. Must not know who shows them to whom.

use crate::folder;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Somebody whose word is taken, or not.
pub struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Files that prove who their owner is.
pub struct Identity {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// When a certificate is good.
#[derive(Clone, Copy)]
pub enum Valid {
    /// Now.
    Now,
    /// Until long ago.
    Before,
    /// From a day that is far off.
    Later,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// If there is no room for its files.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Authorities of one name are taken for one.
        let name = format!("authority {:x}", fastrand::u64(..));
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("an authority can sign itself");
        let authority = Authority { folder: folder(), issuer };
        write(&authority.file(), &authority.issuer.pem());
        authority
    }

    /// Its own certificate: what `ca_file` wants.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// One for these names, now; in files that are called so.
    pub fn issue(&self, called: &str, names: &[&str]) -> Identity {
        self.issue_for(called, names, Valid::Now)
    }

    /// One that is good at another time.
    ///
    /// # Panics
    /// If a name is none.
    pub fn issue_for(&self, called: &str, names: &[&str], valid: Valid) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("these are names");
        params.distinguished_name.push(DnType::CommonName, called);
        match valid {
            Valid::Now => {}
            Valid::Before => params.not_after = date_time_ymd(2020, 1, 1),
            Valid::Later => params.not_before = date_time_ymd(3020, 1, 1),
        }
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("an authority can sign");
        let file = |end: &str| self.folder.path().join(format!("{called}.{end}"));
        let identity = Identity { cert: file("crt"), key: file("key") };
        write(&identity.cert, &certificate.pem());
        write(&identity.key, &key.serialize_pem());
        identity
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("there is randomness")
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("our folder");
}
