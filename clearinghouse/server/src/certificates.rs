//! Device certificates: who is believed, and revocation.

use crate::Clearinghouse;
use strowger_enrollment::{CertificateRefused, Revocations, Shown, serial_and_expiry};
use strowger_store::{AuditRecord, CertificateRecord, Record, StoreError};

/// Why a certificate is not revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// No certificate has this serial number.
    #[error("there is no certificate with the serial number {0:?}")]
    Unknown(String),
    /// As many as are remembered are revoked already.
    #[error("too many certificates are revoked")]
    TooMany,
    /// It cannot be kept. The certificate may be refused until the next start all the same.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Clearinghouse {
    /// Revokes a certificate by its serial number, hexadecimal as in [`Clearinghouse::certificates`]: from now on, and again after a restart,
    /// new connections with it are refused and requests on open ones, too. Revoked before: nothing changes.
    pub async fn revoke_certificate(&self, serial: &str) -> Result<(), RevokeError> {
        let known = self.certificates().await?.into_iter().find(|known| known.serial.eq_ignore_ascii_case(serial));
        let certificate = known.ok_or_else(|| RevokeError::Unknown(serial.to_owned()))?;
        self.revoke(certificate).await
    }

    /// Revokes every certificate of a device, and says how many that were.
    pub async fn revoke_device(&self, device: &str) -> Result<usize, RevokeError> {
        let mut revoked = 0;
        for certificate in self.certificates().await? {
            if certificate.device == device && certificate.revoked_at_unix_nanos.is_none() {
                self.revoke(certificate).await?;
                revoked += 1;
            }
        }
        Ok(revoked)
    }

    async fn revoke(&self, mut certificate: CertificateRecord) -> Result<(), RevokeError> {
        if certificate.revoked_at_unix_nanos.is_some() {
            return Ok(());
        }
        let now = self.timestamp();
        let unknown = || RevokeError::Unknown(certificate.serial.clone());
        let (serial, valid_until) = serial_and_expiry(&certificate.der).ok_or_else(unknown)?;
        let slot = self.store.reserve()?;
        if !self.books().revocations.revoke(serial, now, valid_until) {
            return Err(RevokeError::TooMany);
        }
        certificate.revoked_at_unix_nanos = Some(now.unix_nanos());
        let audit = AuditRecord {
            sequence: 0,
            at_unix_nanos: now.unix_nanos(),
            what: "certificate-revoked".into(),
            transaction: None,
            detail: format!("{}/{}: {}", certificate.customer, certificate.device, certificate.serial),
        };
        Ok(slot.commit(vec![Record::Certificate(certificate), Record::Audit(audit)]).await?)
    }

    /// Who shows this certificate (DER), when it is to be believed now.
    pub(crate) fn recognize(&self, certificate: &[u8]) -> Result<Shown, CertificateRefused> {
        // the signature is verified before the books are looked into
        let shown = self.authority.identify(certificate, self.timestamp(), &Revocations::default())?;
        self.still_holds(&shown).map(|()| shown)
    }

    /// Whether the certificate that a connection was opened with is to be believed still.
    pub(crate) fn still_holds(&self, shown: &Shown) -> Result<(), CertificateRefused> {
        shown.holds(self.timestamp(), &self.books().revocations)
    }

    /// Keeps in the audit what a peer did, as far as peers do not cause too much. A store that does not take it is no reason to answer otherwise.
    pub(crate) async fn note(&self, what: &str, detail: String) {
        let entry = self.books().audit(self.timestamp(), what, None, detail);
        let (Some(entry), Ok(slot)) = (entry, self.store.reserve()) else { return };
        if let Err(error) = slot.commit(vec![entry]).await {
            tracing::error!(%error, what, "an audit entry cannot be kept");
        }
    }
}
