//! The authority, device certificates, and the enrollment protocol. Catches: a certificate for who did not prove possession or identity, one that
//! is believed after its time, a name that the field's client cannot read, a body that panics.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking, in its helpers too")]

use std::time::Duration;

use proptest::prelude::*;
use strowger_clock::Timestamp;
use strowger_enrollment::*;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_255_200);
const DAY: Duration = Duration::from_secs(86_400);

fn authority() -> Authority {
    Authority::create("Example", "Clearinghouse", NOW, DAY * 3650, [0xff; 16]).unwrap()
}

fn identity() -> DeviceIdentity {
    DeviceIdentity { customer: "1000".into(), device: "1".into() }
}

fn request() -> Vec<u8> {
    DeviceKey::generate(DeviceKeyKind::P256).unwrap().request("1000", "1").unwrap()
}

#[test]
fn a_device_is_known_by_its_certificate_while_it_holds() {
    let authority = authority();
    let issued = authority.issue(&request(), &identity(), NOW, DAY, [3; 16]).unwrap();
    let mut revocations = Revocations::default();
    let identify = |certificate: &[u8], now, revocations: &Revocations| {
        authority.identify(certificate, now, revocations).map(|shown| shown.identity)
    };
    let certificate = issued.certificate.as_slice();
    let second = Duration::from_secs(1);
    assert_eq!(identify(certificate, NOW, &revocations), Ok(identity()));
    assert_eq!(identify(certificate, NOW.saturating_sub(second), &revocations), Err(CertificateRefused::NotYetValid));
    assert_eq!(identify(certificate, (NOW + DAY).saturating_sub(second), &revocations), Ok(identity()));
    assert_eq!(identify(certificate, NOW + DAY, &revocations), Err(CertificateRefused::Expired));
    assert_eq!(identify(b"certificate", NOW, &revocations), Err(CertificateRefused::Malformed));
    assert_eq!(identify(authority.certificate(), NOW, &revocations), Err(CertificateRefused::NotADevice));
    let foreign = Authority::create("Example", "Clearinghouse", NOW, DAY, [1; 16]).unwrap();
    let theirs = foreign.issue(&request(), &identity(), NOW, DAY, [3; 16]).unwrap();
    assert_eq!(identify(&theirs.certificate, NOW, &revocations), Err(CertificateRefused::Foreign));

    assert!(revocations.revoke(issued.serial, NOW, issued.valid_until));
    assert_eq!(identify(certificate, NOW, &revocations), Err(CertificateRefused::Revoked));
    let list = authority.revocation_list(&revocations, 1, NOW, DAY).unwrap();
    let (_, list) = x509_parser::parse_x509_crl(&list).unwrap();
    assert_eq!(list.iter_revoked_certificates().next().unwrap().raw_serial(), issued.serial);
    // what expires by itself need not be remembered
    revocations.revoke([4; 16], NOW + DAY, NOW + DAY * 2);
    assert_eq!(revocations.len(), 1);
}

#[test]
fn a_connection_does_not_outlive_its_certificate() {
    let authority = authority();
    let issued = authority.issue(&request(), &identity(), NOW, DAY, [3; 16]).unwrap();
    let mut revocations = Revocations::default();
    let shown = authority.identify(&issued.certificate, NOW, &revocations).unwrap();
    assert_eq!(serial_and_expiry(&issued.certificate), Some((shown.serial, shown.valid_until)));
    assert_eq!(serial_and_expiry(b"certificate"), None);
    let second = Duration::from_secs(1);
    assert_eq!(shown.holds((NOW + DAY).saturating_sub(second), &revocations), Ok(()));
    assert_eq!(shown.holds(NOW + DAY, &revocations), Err(CertificateRefused::Expired));
    revocations.revoke(shown.serial, NOW, shown.valid_until);
    assert_eq!(shown.holds(NOW, &revocations), Err(CertificateRefused::Revoked));
}

#[test]
fn a_server_has_its_names_and_is_no_device() {
    let authority = authority();
    let names = ["127.0.0.1", "::1", "localhost"].map(str::to_owned);
    let server = authority.issue_server(&names, NOW, DAY, [3; 16]).unwrap();
    assert_eq!(
        authority.identify(&server.certificate, NOW, &Revocations::default()),
        Err(CertificateRefused::NotADevice)
    );
    let (_, certificate) = x509_parser::parse_x509_certificate(&server.certificate).unwrap();
    let alternative = certificate.subject_alternative_name().unwrap().unwrap().value;
    assert_eq!(alternative.general_names.len(), 3);
    assert_eq!(certificate.issuer().as_raw(), authority.subject());
    assert!(authority.issue_server(&["m\u{fc}ller".to_owned()], NOW, DAY, [3; 16]).is_err());
}

#[test]
fn an_authority_survives_being_kept() {
    let one = authority();
    let by_pem = Authority::from_pem(&one.key_pem(), &one.certificate_pem()).unwrap();
    let by_der = Authority::from_der(&one.key_pkcs8(), one.certificate()).unwrap();
    for again in [&by_pem, &by_der] {
        assert_eq!(again.certificate(), one.certificate());
        let issued = again.issue(&request(), &identity(), NOW, DAY, [3; 16]).unwrap();
        let shown = one.identify(&issued.certificate, NOW, &Revocations::default()).unwrap();
        assert_eq!((shown.identity, shown.serial), (identity(), issued.serial));
    }
    let other = authority();
    assert!(matches!(Authority::from_der(&one.key_pkcs8(), other.certificate()), Err(AuthorityError::Certificate(_))));
    let device = one.issue(&request(), &identity(), NOW, DAY, [3; 16]).unwrap().certificate;
    assert!(matches!(Authority::from_der(&one.key_pkcs8(), &device), Err(AuthorityError::Certificate(_))));
    assert!(Authority::from_pem("key", &one.certificate_pem()).is_err());
}

#[test]
fn every_name_is_a_printable_string() {
    const PRINTABLE_STRING: u32 = 19;
    let authority = authority();
    let issued = authority.issue(&request(), &identity(), NOW, DAY, [3; 16]).unwrap();
    for der in [authority.certificate(), &issued.certificate] {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
        for attribute in certificate.subject().iter_attributes().chain(certificate.issuer().iter_attributes()) {
            assert_eq!(attribute.attr_value().tag().0, PRINTABLE_STRING);
        }
    }
    for name in ["", "m\u{fc}ller", "a_b", "a@b", "a*", "a?", &"x".repeat(65)] {
        let created = Authority::create(name, "CA", NOW, DAY, [1; 16]);
        assert!(matches!(created, Err(AuthorityError::Name(_))), "{name:?}");
    }
    assert!(Authority::create(&"x".repeat(64), "A-Z a-z 0-9 '()+,-./:=", NOW, DAY, [1; 16]).is_ok());
}

#[test]
fn possession_is_proved() {
    let authority = authority();
    let issue = |request: &[u8]| authority.issue(request, &identity(), NOW, DAY, [3; 16]).map(drop);
    let good = request();
    assert_eq!(issue(&good), Ok(()));
    // the last octets are the signature
    let mut unsigned = good.clone();
    *unsigned.last_mut().unwrap() ^= 1;
    assert_eq!(issue(&unsigned), Err(RequestError::NoPossession));
    // another's key in the same request: the 65 octets of the point
    let other = request();
    let point = |der: &[u8]| der.windows(3).position(|window| window == [0x42, 0x00, 0x04]).unwrap() + 2;
    let mut stolen = good.clone();
    stolen[point(&good)..point(&good) + 65].copy_from_slice(&other[point(&other)..point(&other) + 65]);
    assert_eq!(issue(&stolen), Err(RequestError::NoPossession));
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(issue(&longer), Err(RequestError::Malformed));
    for end in 0..good.len() {
        assert!(issue(&good[..end]).is_err(), "cut at {end}");
    }
    assert_eq!(issue(&vec![0x30; MAX_REQUEST_OCTETS + 1]), Err(RequestError::TooLong));
}

fn record() -> DeviceRecord {
    DeviceRecord { identity: identity(), password: Some(Secret::new("s3cret")), status: DeviceStatus::Active }
}

fn enroll(password: &str) -> TepRequest {
    TepRequest::Enroll {
        nonce: "n1".into(),
        username: "anybody".into(),
        password: Secret::new(password),
        device: "1".into(),
        customer: "1000".into(),
        request: request(),
    }
}

#[test]
fn who_gets_a_certificate() {
    let authority = authority();
    let ask = |request: &TepRequest, record: Option<&DeviceRecord>, shown: Option<&DeviceIdentity>| {
        answer(&authority, request, record, shown, NOW, DAY, [3; 16]).map(|(answer, issued)| {
            if let Some(issued) = &issued {
                assert_eq!(issued.identity, identity());
            }
            matches!(answer, TepAnswer::Issued { .. })
        })
    };
    let device = record();
    assert_eq!(ask(&enroll("s3cret"), Some(&device), None), Ok(true));
    assert_eq!(ask(&enroll("s3cre"), Some(&device), None), Err(Refused::NotAuthenticated));
    assert_eq!(ask(&enroll(""), Some(&device), None), Err(Refused::NotAuthenticated));
    assert_eq!(ask(&enroll("s3cret"), None, None), Err(Refused::Unknown));
    let other = DeviceRecord { identity: DeviceIdentity { device: "2".into(), ..identity() }, ..record() };
    assert_eq!(ask(&enroll("s3cret"), Some(&other), None), Err(Refused::Unknown), "a record of another device");
    // renewal: the certificate it has is enough, another's is not
    assert_eq!(ask(&enroll(""), Some(&device), Some(&identity())), Ok(true));
    assert_eq!(ask(&enroll(""), Some(&device), Some(&other.identity)), Err(Refused::NotAuthenticated));
    let none = DeviceRecord { password: None, ..record() };
    assert_eq!(ask(&enroll(""), Some(&none), None), Err(Refused::NotAuthenticated), "no password is not an empty one");
    let blocked = DeviceRecord { status: DeviceStatus::Blocked, ..record() };
    assert_eq!(ask(&enroll("s3cret"), Some(&blocked), None), Err(Refused::Blocked));
    assert_eq!(
        ask(&enroll("wrong"), Some(&blocked), None),
        Err(Refused::NotAuthenticated),
        "status is not for strangers"
    );
    let pending = DeviceRecord { status: DeviceStatus::Pending, ..record() };
    assert_eq!(ask(&enroll("s3cret"), Some(&pending), None), Ok(false));
}

#[test]
fn bodies() {
    let request = enroll("p&=+% \u{e4}");
    let TepRequest::Enroll { request: der, .. } = &request else { panic!() };
    match TepRequest::parse(request.to_body().as_bytes()).unwrap() {
        TepRequest::Enroll { nonce, username, password, device, customer, request } => {
            assert_eq!((nonce.as_str(), username.as_str()), ("n1", "anybody"));
            assert_eq!((device.as_str(), customer.as_str()), ("1", "1000"));
            assert!(password.is("p&=+% \u{e4}"));
            assert_eq!(&request, der);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(TepRequest::parse(b"operation=getcacert\r\n\0"), Ok(TepRequest::AuthorityCertificate)));
    // base64 as it is, as the field's client sends it
    let raw = b"operation=request&nonce=&username=u&password=p&device=1&customer=1&request=+/8=\n";
    assert!(matches!(TepRequest::parse(raw), Ok(TepRequest::Enroll { request, .. }) if request == [0xfb, 0xff]));
    let fault = |body: &[u8]| TepRequest::parse(body).unwrap_err();
    assert_eq!(fault(b""), TepError::Missing("operation"));
    assert_eq!(fault(b"operation=other"), TepError::Operation);
    assert_eq!(fault(b"operation"), TepError::Malformed);
    assert_eq!(fault(b"operation=%g0"), TepError::Malformed);
    assert_eq!(fault(b"operation=%ff"), TepError::Malformed);
    assert_eq!(fault(b"operation=request&customer=1&request="), TepError::Missing("device"));
    assert_eq!(fault(b"operation=request&customer=1&device=1"), TepError::Missing("request"));
    assert_eq!(fault(b"operation=request&customer=1&device=1&request=***"), TepError::Invalid("request"));
    let padded = |octets: usize| format!("operation=getcacert&a={}", "x".repeat(octets));
    assert!(TepRequest::parse(padded(MAX_VALUE_OCTETS).as_bytes()).is_ok());
    assert_eq!(fault(padded(MAX_VALUE_OCTETS + 1).as_bytes()), TepError::TooLong);
    let fields = |count: usize| format!("operation=getcacert{}", "&a=".repeat(count - 1));
    assert!(TepRequest::parse(fields(16).as_bytes()).is_ok());
    assert_eq!(fault(fields(17).as_bytes()), TepError::TooLong);
    for answer in [
        TepAnswer::AuthorityCertificate { certificate: vec![0xfb, 0xff] },
        TepAnswer::Issued { nonce: "n".into(), certificate: vec![0xfb, 0xff, 0] },
        TepAnswer::Pending { nonce: String::new() },
        TepAnswer::refused(Some(&request)),
    ] {
        assert_eq!(TepAnswer::parse(answer.to_body().as_bytes()), Ok(answer));
    }
    assert!(!format!("{request:?}").contains("p&="), "a password is never printed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_body(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = TepRequest::parse(&bytes);
        let _ = TepAnswer::parse(&bytes);
    }

    #[test]
    fn any_form(text in "(operation|request|getcacert|=|&|%|2|b|status|cert|device|customer|1|\\+){0,40}") {
        let _ = TepRequest::parse(text.as_bytes());
        let _ = TepAnswer::parse(text.as_bytes());
    }
}

/// Requests changed one octet at a time: a refusal or a certificate for the same key, never a panic.
#[test]
fn mutated_requests() {
    let authority = authority();
    let good = request();
    for at in 0..good.len() {
        for change in [0x00, 0x01, 0x80, 0xff] {
            let mut changed = good.clone();
            changed[at] ^= change;
            let _ = authority.issue(&changed, &identity(), NOW, DAY, [3; 16]);
        }
    }
}
