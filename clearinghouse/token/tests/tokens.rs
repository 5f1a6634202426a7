//! Tokens made, believed, attacked. Catches: a token that another implementation does not read, and one that admits a call it was not given for.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking, in its helpers too")]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use strowger_clock::Timestamp;
use strowger_enrollment::Authority;
use strowger_token::*;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_255_200);

fn authority(name: &str) -> Authority {
    Authority::create("Example", name, NOW, Duration::from_secs(86_400), [7; 16]).unwrap()
}

fn signer(authority: &Authority) -> Signer {
    Signer::from_pkcs8(&authority.key_pkcs8(), authority.certificate()).unwrap()
}

fn verifier(authority: &Authority) -> Verifier {
    Verifier::new(vec![VerifyingKey::from_certificate(authority.certificate()).unwrap()])
}

fn info() -> TokenInfo {
    TokenInfo {
        calling: "14048724799".into(),
        called: "12125550100".into(),
        call_id: b"3c26700c9d5c-call@192.0.2.1".to_vec(),
        valid_after: NOW.saturating_sub(Duration::from_secs(300)),
        valid_until: NOW + Duration::from_secs(300),
        transaction_id: 4_785_098_287_068_543_017,
        granted_seconds: 14_400,
        gateway: "gw1".into(),
        nonce: "x1".into(),
    }
}

#[test]
fn what_is_signed_is_read_again_and_small() {
    let authority = authority("CA");
    let token = signer(&authority).sign(&info()).unwrap();
    assert_eq!(verifier(&authority).verify(&token), Ok(info()));
    assert!(token.len() < 420, "{} octets do not fit a UDP INVITE beside SDP", token.len());
}

/// A second implementation, when the machine has it: the signature is one, and the content is what we meant.
#[test]
fn openssl_agrees() {
    let authority = authority("CA");
    let token = signer(&authority).sign(&info()).unwrap();
    let certificate = std::env::temp_dir().join(format!("strowger-token-{}.pem", std::process::id()));
    std::fs::File::create(&certificate).unwrap().write_all(authority.certificate_pem().as_bytes()).unwrap();
    let child = Command::new("openssl")
        .args(["cms", "-verify", "-inform", "DER", "-binary", "-noverify", "-nointern", "-certfile"])
        .arg(&certificate)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("openssl is not installed: the second opinion on token signatures was not asked for");
        return;
    };
    child.stdin.take().unwrap().write_all(&token).unwrap();
    let output = child.wait_with_output().unwrap();
    std::fs::remove_file(&certificate).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), info().to_ascii().unwrap());
}

/// Made with `openssl cms -sign`: with signed attributes, and with RSA.
#[test]
fn tokens_of_another_implementation_are_read() {
    let key = |certificate: &[u8]| VerifyingKey::from_certificate(certificate).unwrap();
    let cases: [(&str, &[u8], &[u8]); 2] = [
        ("EC with attributes", include_bytes!("data/ec-ca.der"), include_bytes!("data/ec-attributes.der")),
        ("RSA with certificate", include_bytes!("data/rsa-ca.der"), include_bytes!("data/rsa-certificate.der")),
    ];
    for (what, certificate, token) in cases {
        let read = Verifier::new(vec![key(certificate)]).verify(token);
        assert_eq!(read.unwrap().called, "12125550100", "{what}");
        let mut forged = token.to_vec();
        let at = token.windows(7).position(|window| window == b"1212555").unwrap();
        forged[at] = b'9';
        assert_eq!(Verifier::new(vec![key(certificate)]).verify(&forged), Err(TokenError::Forged), "{what}");
    }
    // An embedded certificate is no reason to trust.
    let other = Verifier::new(vec![key(include_bytes!("data/ec-ca.der"))]);
    assert_eq!(other.verify(include_bytes!("data/rsa-certificate.der")), Err(TokenError::Algorithm));
}

#[test]
fn no_other_authority_no_change_no_cut() {
    let ours = authority("CA");
    let token = signer(&ours).sign(&info()).unwrap();
    let verifier = verifier(&ours);
    // the same names, another key
    let foreign = signer(&authority("CA")).sign(&info()).unwrap();
    assert_eq!(verifier.verify(&foreign), Err(TokenError::Forged));
    assert_eq!(Verifier::default().verify(&token), Err(TokenError::Algorithm), "no key, no belief");
    for end in 0..token.len() {
        assert!(verifier.verify(&token[..end]).is_err(), "cut at {end}");
    }
    let mut longer = token.clone();
    longer.push(0);
    assert!(verifier.verify(&longer).is_err(), "octets after the end");
    for at in 0..token.len() {
        for bit in 0..8 {
            let mut changed = token.clone();
            changed[at] ^= 1 << bit;
            match verifier.verify(&changed) {
                Err(_) => {}
                // Names and version numbers around the signature are not signed; what is believed is.
                Ok(read) => assert_eq!(read, info(), "octet {at} bit {bit}"),
            }
        }
    }
    assert_eq!(verifier.verify(&vec![0x30; MAX_TOKEN_OCTETS + 1]), Err(TokenError::TooLong));
}

#[test]
fn key_and_certificate_belong_together() {
    let (one, other) = (authority("CA"), authority("CA"));
    assert_eq!(Signer::from_pkcs8(&one.key_pkcs8(), other.certificate()).unwrap_err(), KeyError::Mismatch);
    assert_eq!(Signer::from_pkcs8(b"key", one.certificate()).unwrap_err(), KeyError::PrivateKey);
    assert_eq!(Signer::from_pkcs8(&one.key_pkcs8(), b"certificate").unwrap_err(), KeyError::Certificate);
}

type Case<'a> = (&'a str, Timestamp, &'a str, &'a [u8], &'a str, Result<(), Refusal>);

#[test]
fn only_the_call_it_was_given_for() {
    let second = Duration::from_secs(1);
    let token = info();
    let (start, end) = (token.valid_after, token.valid_until);
    let number = token.called.as_str();
    let id = token.call_id.as_slice();
    let cases: &[Case<'_>] = &[
        ("as given", NOW, number, id, "gw1", Ok(())),
        ("with a plus", NOW, "+12125550100", id, "gw1", Ok(())),
        ("first second", start, number, id, "gw1", Ok(())),
        ("just before", start.saturating_sub(second), number, id, "gw1", Err(Refusal::NotYetValid)),
        ("last second", end.saturating_sub(second), number, id, "gw1", Ok(())),
        ("expired", end, number, id, "gw1", Err(Refusal::Expired)),
        ("other gateway", NOW, number, id, "gw2", Err(Refusal::WrongGateway)),
        ("prefix of the gateway", NOW, number, id, "gw", Err(Refusal::WrongGateway)),
        ("other number", NOW, "12125550101", id, "gw1", Err(Refusal::WrongNumber)),
        ("longer number", NOW, "121255501001", id, "gw1", Err(Refusal::WrongNumber)),
        ("other call", NOW, number, b"other", "gw1", Err(Refusal::WrongCall)),
        ("prefix of the call id", NOW, number, &id[..5], "gw1", Err(Refusal::WrongCall)),
        ("empty call id", NOW, number, b"", "gw1", Err(Refusal::WrongCall)),
    ];
    for (what, now, called, call_id, gateway, expected) in cases {
        let mut check = Check::new(*gateway);
        assert_eq!(check.check(&token, *now, called, call_id), *expected, "{what}");
        assert_eq!(check.remembered(), usize::from(expected.is_ok()), "{what}: only a used token is remembered");
    }
}

#[test]
fn once_and_no_longer_remembered_than_needed() {
    let mut check = Check::with_capacity("gw1", 2);
    let named = |nonce: &str| TokenInfo { nonce: nonce.into(), ..info() };
    let mut admit = |token: &TokenInfo, now| {
        let outcome = check.check(token, now, "12125550100", &info().call_id);
        (outcome, check.remembered())
    };
    assert_eq!(admit(&named("a"), NOW), (Ok(()), 1));
    assert_eq!(admit(&named("a"), NOW), (Err(Refusal::Replayed), 1));
    assert_eq!(admit(&named("b"), NOW), (Ok(()), 2));
    assert_eq!(admit(&named("c"), NOW), (Err(Refusal::TooMany), 2), "one beyond the memory");
    let later = info().valid_until;
    assert_eq!(admit(&named("a"), later), (Err(Refusal::Expired), 0), "expired tokens are forgotten, and refused");
    let fresh = TokenInfo { valid_until: later + Duration::from_secs(60), ..named("d") };
    assert_eq!(admit(&fresh, later), (Ok(()), 1));
}

#[test]
fn fields_in_pairs() {
    let with_gateway = |octets: usize| TokenInfo { gateway: "g".repeat(octets), ..info() }.to_ascii().map(drop);
    assert_eq!(with_gateway(MAX_FIELD_OCTETS), Ok(()));
    assert_eq!(with_gateway(MAX_FIELD_OCTETS + 1), Err(FormatError::FieldTooLong('s')));
    let with_call_id = |octets: usize| TokenInfo { call_id: vec![1; octets], ..info() }.to_ascii().map(drop);
    assert_eq!(with_call_id(147), Ok(()));
    assert_eq!(with_call_id(148), Err(FormatError::FieldTooLong('i')));
    let full = "x".repeat(MAX_FIELD_OCTETS);
    let [calling, called, gateway, nonce] = [(); 4].map(|()| full.clone());
    let long = TokenInfo { calling, called, gateway, nonce, call_id: vec![1; 147], ..info() };
    assert_eq!(long.to_ascii(), Err(FormatError::ContentTooLong));
    for unfit in ["a\nA=999999", "ä", "\0"] {
        let injected = TokenInfo { calling: unfit.into(), ..info() };
        assert_eq!(injected.to_ascii(), Err(FormatError::Unprintable('c')), "{unfit:?}");
    }
}

#[test]
fn content_faults() {
    let good = info().to_ascii().unwrap();
    let read = |text: &str| TokenInfo::from_ascii(text.as_bytes());
    assert_eq!(read(&good), Ok(info()));
    assert_eq!(read(&good.replace('\n', "\r\n")), Ok(info()));
    assert_eq!(read(&format!("r=1\nU=2\n{good}")), Ok(info()), "fields we have no use for");
    for key in ['V', 'c', 'C', 'i', 'a', 'u', 'I', 'A', 's', 'n'] {
        let others = good.lines().filter(|line| !line.starts_with(key));
        let without: String = others.map(|line| format!("{line}\n")).collect();
        assert_eq!(read(&without), Err(FormatError::Missing(key)));
        let line = good.lines().find(|line| line.starts_with(key)).unwrap();
        assert_eq!(read(&format!("{good}{line}\n")), Err(FormatError::Twice(key)));
    }
    for (from, to, key) in
        [("V=1", "V=2", 'V'), ("A=14400", "A=-1", 'A'), ("I=4", "I=x", 'I'), ("a=2", "a=x", 'a'), ("i=M", "i=*", 'i')]
    {
        assert_eq!(read(&good.replace(from, to)), Err(FormatError::Invalid(key)));
    }
    assert_eq!(read("<TokenInfo/>"), Err(FormatError::NotAscii));
    assert_eq!(read(&"x=1\n".repeat(250)), Err(FormatError::ContentTooLong));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_octets(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Verifier::default().verify(&bytes);
        let _ = TokenInfo::from_ascii(&bytes);
    }

    #[test]
    fn content_round_trip(
        calling in "[0-9]{1,15}", gateway in "[!-~]{0,40}", nonce in "[a-zA-Z0-9]{1,20}",
        call_id in prop::collection::vec(any::<u8>(), 0..120),
        transaction_id in any::<u64>(), granted_seconds in any::<u32>(), until in 0_u32..,
    ) {
        let valid_until = Timestamp::from_unix_seconds(until.into());
        let token = TokenInfo { calling, gateway, nonce, call_id, transaction_id, granted_seconds, valid_until, ..info() };
        let text = token.to_ascii().unwrap();
        prop_assert_eq!(TokenInfo::from_ascii(text.as_bytes()), Ok(token));
    }
}
