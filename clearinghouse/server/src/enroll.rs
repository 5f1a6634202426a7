//! Enrollment: `POST /tep`.

use crate::{Clearinghouse, Peer};
use std::time::Duration;
use strowger_enrollment::{DeviceIdentity, DeviceRecord, DeviceStatus, Secret, TepAnswer, TepRequest, answer};
use strowger_store::{AuditRecord, CertificateRecord, Record};

/// How long a device's certificate is valid.
const DEVICE_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

impl Clearinghouse {
    /// Answers a form body with a form body. A certificate is kept before it is given away.
    pub async fn enroll(&self, body: &[u8], peer: &Peer) -> String {
        let request = match TepRequest::parse(body) {
            Ok(request) => request,
            Err(error) => {
                tracing::info!(%error, "an enrollment request is refused");
                return TepAnswer::refused(None).to_body();
            }
        };
        let identity =
            |customer: &str, device: &str| DeviceIdentity { customer: customer.into(), device: device.into() };
        let record = match &request {
            TepRequest::Enroll { device, .. } => self.config.device(device).map(|known| DeviceRecord {
                identity: identity(&known.customer, &known.id),
                password: known.enrollment_password.as_ref().map(Secret::new),
                status: if known.enabled { DeviceStatus::Active } else { DeviceStatus::Blocked },
            }),
            TepRequest::AuthorityCertificate => None,
        };
        let shown = peer.certified.as_ref().map(|(customer, device)| identity(customer, device));
        let now = self.timestamp();
        let mut serial = [0; 16];
        self.books().random.fill(&mut serial);
        let answered = answer(&self.authority, &request, record.as_ref(), shown.as_ref(), now, DEVICE_VALIDITY, serial);
        let (answer, issued) = match answered {
            Ok(answered) => answered,
            Err(why) => {
                tracing::info!(%why, "an enrollment request is refused");
                return TepAnswer::refused(Some(&request)).to_body();
            }
        };
        if let Some(issued) = issued {
            let certificate = CertificateRecord {
                serial: issued.serial.iter().map(|octet| format!("{octet:02x}")).collect(),
                customer: issued.identity.customer.clone(),
                device: issued.identity.device.clone(),
                der: issued.certificate,
                issued_at_unix_nanos: now.unix_nanos(),
                revoked_at_unix_nanos: None,
            };
            let audit = AuditRecord {
                sequence: 0,
                at_unix_nanos: now.unix_nanos(),
                what: "certificate-issued".into(),
                transaction: None,
                detail: format!("{}/{}: {}", certificate.customer, certificate.device, certificate.serial),
            };
            let kept = match self.store.reserve() {
                Ok(slot) => slot.commit(vec![Record::Certificate(certificate), Record::Audit(audit)]).await,
                Err(error) => Err(error),
            };
            if let Err(error) = kept {
                tracing::error!(%error, "a certificate was issued and cannot be kept: it is not given away");
                return TepAnswer::refused(Some(&request)).to_body();
            }
        }
        answer.to_body()
    }
}
