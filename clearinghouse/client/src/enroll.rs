use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use strowger_enrollment::{
    AuthorityError, DeviceKey, DeviceKeyKind, MAX_BODY_OCTETS, Secret, TepAnswer, TepError, TepRequest, to_pem,
};

use crate::http::{Poster, TransportError, Url, UrlError};
use crate::tls::{Tls, TlsError};

const TIMEOUT: Duration = Duration::from_secs(10);

/// What a device needs to be one: all PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceCredentials {
    /// Private key, PKCS#8.
    pub key_pem: String,
    /// The device's certificate.
    pub certificate_pem: String,
    /// The authority's certificate.
    pub authority_pem: String,
}

impl std::fmt::Debug for DeviceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceCredentials").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

impl DeviceCredentials {
    /// Writes the files that OSP clients look for in their directory: `pkey.pem` (readable by the owner alone), `localcert.pem`,
    /// `cacert_0.pem`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        write_private(&directory.join("pkey.pem"), &self.key_pem)?;
        std::fs::write(directory.join("localcert.pem"), &self.certificate_pem)?;
        std::fs::write(directory.join("cacert_0.pem"), &self.authority_pem)
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// Why a device has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Keys or certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server gives another authority's certificate than the one believed.
    #[error("clearinghouse gives another authority's certificate than the one that is trusted")]
    Authority,
    /// The server could not be asked.
    #[error("enrollment at {url} failed: {error}")]
    Transport {
        /// Where.
        url: String,
        /// Why.
        error: TransportError,
    },
    /// The answer is not one.
    #[error(transparent)]
    Answer(#[from] TepError),
    /// Another answer than to what was asked.
    #[error("clearinghouse answered another enrollment request")]
    Mismatch,
    /// Someone has to decide; ask again later.
    #[error("enrollment is waiting for the clearinghouse's operator: try again later")]
    Pending,
    /// Refused.
    #[error("clearinghouse refused the enrollment (status {0}): check customer, device and password")]
    Refused(u32),
    /// The key could not be made.
    #[error(transparent)]
    Key(#[from] AuthorityError),
}

/// Obtains a certificate for a device: makes a key, fetches the authority's certificate, sends a certificate request.
///
/// `url` is the clearinghouse's (`http://host:port/osp` or `…/tep`). The password crosses the connection as it is: over plain HTTP only
/// within one machine, else [`enroll_with_tls`].
///
/// # Errors
/// See [`EnrollError`].
pub async fn enroll(
    url: &str,
    customer: &str,
    device: &str,
    password: &str,
    kind: DeviceKeyKind,
) -> Result<DeviceCredentials, EnrollError> {
    obtain(url, customer, device, password, kind, None).await
}

/// The same over `https://` as well. The authority's certificate must be the one that `tls` believes; a device that shows a certificate it has
/// (renewal) needs no password.
///
/// # Errors
/// See [`EnrollError`].
pub async fn enroll_with_tls(
    url: &str,
    customer: &str,
    device: &str,
    password: &str,
    kind: DeviceKeyKind,
    tls: &Tls,
) -> Result<DeviceCredentials, EnrollError> {
    obtain(url, customer, device, password, kind, Some(tls)).await
}

async fn obtain(
    url: &str,
    customer: &str,
    device: &str,
    password: &str,
    kind: DeviceKeyKind,
    tls: Option<&Tls>,
) -> Result<DeviceCredentials, EnrollError> {
    let url = Url::parse(url)?.usable(tls)?.for_enrollment();
    let poster = Poster::new(tls)?;
    let authority = match ask(&poster, &url, &TepRequest::AuthorityCertificate).await? {
        TepAnswer::AuthorityCertificate { certificate } => certificate,
        _ => return Err(EnrollError::Mismatch),
    };
    if tls.is_some_and(|tls| !tls.believes(&authority)) {
        return Err(EnrollError::Authority);
    }
    // An RSA key takes a while: not on the runtime's own threads.
    let key = tokio::task::spawn_blocking(move || DeviceKey::generate(kind))
        .await
        .map_err(|error| AuthorityError::Library(error.to_string()))??;
    let request = TepRequest::Enroll {
        nonce: String::new(),
        username: device.to_owned(),
        password: Secret::new(password),
        device: device.to_owned(),
        customer: customer.to_owned(),
        request: key.request(customer, device)?,
    };
    match ask(&poster, &url, &request).await? {
        TepAnswer::Issued { certificate, .. } => Ok(DeviceCredentials {
            key_pem: key.to_pem(),
            certificate_pem: to_pem(&certificate),
            authority_pem: to_pem(&authority),
        }),
        TepAnswer::Pending { .. } => Err(EnrollError::Pending),
        TepAnswer::Refused { status, .. } => Err(EnrollError::Refused(status)),
        TepAnswer::AuthorityCertificate { .. } => Err(EnrollError::Mismatch),
    }
}

async fn ask(poster: &Poster, url: &Url, request: &TepRequest) -> Result<TepAnswer, EnrollError> {
    let body = Bytes::from(request.to_body());
    let answer = poster
        .post(url, "application/x-www-form-urlencoded", body, TIMEOUT, MAX_BODY_OCTETS)
        .await
        .map_err(|error| EnrollError::Transport { url: url.to_string(), error })?;
    Ok(TepAnswer::parse(&answer)?)
}
