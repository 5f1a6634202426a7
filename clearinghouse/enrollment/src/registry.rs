use std::time::Duration;

use strowger_clock::Timestamp;

use crate::authority::{Authority, DeviceIdentity, Issued, RequestError};
use crate::tep::{TepAnswer, TepRequest};

/// A password: never printed, compared in constant time.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    pub fn new(secret: impl Into<String>) -> Secret {
        Secret(secret.into())
    }

    /// Whether it is this one. Lengths may be told apart by time, contents may not.
    pub fn is(&self, offered: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), offered.as_bytes()).is_ok()
    }

    /// The password itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Whether a device may have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceStatus {
    /// Yes.
    Active,
    /// Someone has to decide first: the device is told to ask again.
    Pending,
    /// No.
    Blocked,
}

/// What the registry knows about a device.
#[derive(Clone, Debug)]
pub struct DeviceRecord {
    /// Customer and device number.
    pub identity: DeviceIdentity,
    /// For enrollment; none when the device may only renew with the certificate that it has.
    pub password: Option<Secret>,
    /// Whether it may.
    pub status: DeviceStatus,
}

/// Why an enrollment was refused; for the operator's log, the device only learns that it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such device.
    #[error("device is not registered")]
    Unknown,
    /// The password is wrong or none is set, and no valid certificate was shown.
    #[error("device did not prove who it is")]
    NotAuthenticated,
    /// The device is blocked.
    #[error("device is blocked")]
    Blocked,
    /// The request itself.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Answers an enrollment request.
///
/// `record` is what the registry holds for the customer and device that the request names; `shown` is who the TLS client certificate says
/// the device is (see [`Authority::identify`]): a device renews with it and needs no password. `serial` is random. The second value is the
/// certificate to keep before the answer leaves.
///
/// # Errors
/// [`Refused`] when no certificate is given; [`TepAnswer::refused`] is what to send.
pub fn answer(
    authority: &Authority,
    request: &TepRequest,
    record: Option<&DeviceRecord>,
    shown: Option<&DeviceIdentity>,
    now: Timestamp,
    validity: Duration,
    serial: [u8; 16],
) -> Result<(TepAnswer, Option<Issued>), Refused> {
    let enroll = match request {
        TepRequest::AuthorityCertificate => {
            return Ok((TepAnswer::AuthorityCertificate { certificate: authority.certificate().to_vec() }, None));
        }
        TepRequest::Enroll { nonce, password, customer, device, request, .. } => {
            (nonce, password, customer, device, request)
        }
    };
    let (nonce, password, customer, device, pkcs10) = enroll;
    let record = record
        .filter(|record| record.identity.customer == *customer && record.identity.device == *device)
        .ok_or(Refused::Unknown)?;
    let by_password = record.password.as_ref().is_some_and(|secret| secret.is(password.reveal()));
    let by_certificate = shown.is_some_and(|identity| *identity == record.identity);
    if !by_password && !by_certificate {
        return Err(Refused::NotAuthenticated);
    }
    match record.status {
        DeviceStatus::Blocked => Err(Refused::Blocked),
        DeviceStatus::Pending => Ok((TepAnswer::Pending { nonce: nonce.clone() }, None)),
        DeviceStatus::Active => {
            let issued = authority.issue(pkcs10, &record.identity, now, validity, serial)?;
            Ok((TepAnswer::Issued { nonce: nonce.clone(), certificate: issued.certificate.clone() }, Some(issued)))
        }
    }
}
