use std::time::Duration;

use strowger_clock::Timestamp;

use super::*;

const MUFASA: &str = "Mufasa";

fn rfc7616_login() -> Login {
    Login { username: MUFASA.into(), password: "Circle of Life".into() }
}

/// The examples of RFC 7616 §3.9.1: same nonce and cnonce, two algorithms.
#[test]
fn rfc7616_examples() {
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let get = Method::Other("GET".into());
    for (algorithm, response) in [
        (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
        (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let mut challenge =
            Challenge::new("http-auth@example.org", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", algorithm);
        challenge.opaque = Some("FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS".into());
        let credentials = answer(&challenge, &rfc7616_login(), &get, "/dir/index.html", b"", cnonce, 1);
        assert_eq!(credentials.response, response);
        let read = Credentials::parse(&credentials.to_string()).unwrap();
        assert_eq!(read, credentials);
        let ha1 = Ha1::from_password(algorithm, MUFASA, &challenge.realm, "Circle of Life");
        assert!(read.verify(&ha1, &get, b""));
        assert!(!read.verify(&ha1, &Method::Invite, b""));
        assert!(!read.verify(&Ha1::from_password(algorithm, MUFASA, &challenge.realm, "circle of life"), &get, b""));
    }
}

/// RFC 2617 §3.5's example is the same computation with other values.
#[test]
fn rfc2617_example() {
    let challenge = Challenge::parse(
        r#"Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#,
    )
    .unwrap();
    let login = Login { username: MUFASA.into(), password: "Circle Of Life".into() };
    let get = Method::Other("GET".into());
    let credentials = answer(&challenge, &login, &get, "/dir/index.html", b"", "0a4f113b", 1);
    assert_eq!(credentials.response, "6629fae49393a05397450978507c4ef1");
}

#[test]
fn every_variant_is_verified_and_bound_to_what_it_covers() {
    let login = Login { username: "alice".into(), password: "secret".into() };
    for algorithm in Algorithm::STRONGEST_FIRST {
        for session in [false, true] {
            for qop in [vec![], vec![Qop::Auth], vec![Qop::AuthInt], vec![Qop::AuthInt, Qop::Auth]] {
                let challenge =
                    Challenge { session, qop: qop.clone(), ..Challenge::new("example.test", "n", algorithm) };
                assert_eq!(Challenge::parse(&challenge.to_string()).unwrap(), challenge);
                let made = answer(&challenge, &login, &Method::Register, "sip:example.test", b"body", "c", 7);
                let read = Credentials::parse(&made.to_string()).unwrap();
                let ha1 = Ha1::from_password(algorithm, "alice", "example.test", "secret");
                assert!(read.verify(&ha1, &Method::Register, b"body"), "{algorithm:?} {session} {qop:?}");
                let covers_body = read.qop == Some(Qop::AuthInt);
                assert_eq!(read.verify(&ha1, &Method::Register, b"other"), !covers_body);
                assert!(!Credentials { uri: "sip:example.org".into(), ..read.clone() }.verify(
                    &ha1,
                    &Method::Register,
                    b"body"
                ));
                assert!(!Credentials { nonce: "m".into(), ..read.clone() }.verify(&ha1, &Method::Register, b"body"));
            }
        }
    }
}

#[test]
fn an_ha1_of_another_algorithm_or_length_verifies_nothing() {
    let md5 = Ha1::from_password(Algorithm::Md5, "alice", "r", "p");
    assert_eq!(Ha1::from_hex(Algorithm::Md5, md5.as_hex()), Some(md5.clone()));
    assert_eq!(Ha1::from_hex(Algorithm::Sha256, md5.as_hex()), None);
    let challenge = Challenge::new("r", "n", Algorithm::Sha256);
    let login = Login { username: "alice".into(), password: "p".into() };
    assert!(!answer(&challenge, &login, &Method::Invite, "sip:r", b"", "c", 1).verify(&md5, &Method::Invite, b""));
    assert!(!format!("{md5:?}").contains(md5.as_hex()));
}

#[test]
fn the_strongest_challenge_is_chosen_and_offers_go_strongest_first() {
    let offers = Challenge::offers("r", "n", &[Algorithm::Md5, Algorithm::Sha256], true);
    assert_eq!(offers.iter().map(|offer| offer.algorithm).collect::<Vec<_>>(), [Algorithm::Sha256, Algorithm::Md5]);
    assert!(offers.iter().all(|offer| offer.stale));
    let values: Vec<String> = offers.iter().rev().map(ToString::to_string).collect();
    let unknown = ["Basic realm=\"r\"", "Digest realm=\"r\", nonce=\"n\", algorithm=AKAv1-MD5"];
    let best = strongest(unknown.into_iter().chain(values.iter().map(String::as_str))).unwrap();
    assert_eq!(best.algorithm, Algorithm::Sha256);
    assert_eq!(strongest(unknown), None);
}

#[test]
fn ill_formed_values_are_refused() {
    for (value, error) in [
        ("Basic QWxh", DigestError::Scheme),
        ("Digest", DigestError::Scheme),
        ("Digest username", DigestError::Syntax),
        ("Digest username=\"a", DigestError::Syntax),
        ("Digest realm=\"a\", realm=\"b\"", DigestError::Syntax),
        ("Digest realm=\"r\"", DigestError::Missing("username")),
        ("Digest username=\"a\", algorithm=MD4", DigestError::Algorithm),
        ("Digest username=\"a\", qop=none", DigestError::Qop),
        ("Digest username=\"a\", qop=auth", DigestError::Missing("nc")),
        ("Digest username=\"a\", qop=auth, nc=00000001", DigestError::Missing("cnonce")),
        ("Digest username=\"a\", qop=auth, nc=1", DigestError::NonceCount),
        ("Digest username=\"a\", qop=auth, nc=+0000001", DigestError::NonceCount),
        ("Digest username=\"a\", algorithm=SHA-256-sess", DigestError::Missing("cnonce")),
    ] {
        assert_eq!(Credentials::parse(value), Err(error), "{value}");
    }
    let many = |count: usize| {
        let extra: Vec<String> = (0..count).map(|index| format!("x{index}=1")).collect();
        Challenge::parse(&format!("Digest realm=\"r\", nonce=\"n\", {}", extra.join(", ")))
    };
    assert!(many(30).is_ok());
    assert_eq!(many(31), Err(DigestError::Syntax));
}

#[test]
fn extended_user_names_are_read() {
    let value = "Digest username*=UTF-8''J%C3%A4s%C3%B8n, realm=\"r\", nonce=\"n\", uri=\"u\", response=\"0\"";
    assert_eq!(Credentials::parse(value).unwrap().username, "J\u{e4}s\u{f8}n");
}

/// RFC 4231 case 1 has a short key; ours is fixed at 32 octets, zero-padded, which HMAC does not tell apart.
#[test]
fn nonces_prove_themselves() {
    let key = NonceKey::new([7; 32]);
    let issued = Timestamp::from_unix_seconds(1_700_000_000);
    let validity = Duration::from_secs(60);
    let nonce = key.issue(issued, 42);
    assert_eq!(nonce.len(), 64);
    assert_eq!(key.check(&nonce, issued, validity), NonceState::Fresh(Nonce { issued, salt: 42 }));
    assert_eq!(key.check(&nonce, issued + validity, validity), NonceState::Fresh(Nonce { issued, salt: 42 }));
    assert_eq!(key.check(&nonce, issued + validity + Duration::from_nanos(1), validity), NonceState::Stale);
    let before = Timestamp::from_unix_seconds(1_699_999_999);
    assert_eq!(key.check(&nonce, before, validity), NonceState::Stale);
    assert_eq!(NonceKey::new([8; 32]).check(&nonce, issued, validity), NonceState::Foreign);
    for at in 0..nonce.len() {
        let mut forged = nonce.clone().into_bytes();
        forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
        assert_eq!(key.check(&String::from_utf8(forged).unwrap(), issued, validity), NonceState::Foreign);
    }
    assert_eq!(key.check("", issued, validity), NonceState::Foreign);
    assert_eq!(key.check(&"\u{e4}".repeat(32), issued, validity), NonceState::Foreign);
}

#[test]
fn a_count_is_accepted_once() {
    let nonce = |second, salt| Nonce { issued: Timestamp::from_unix_seconds(second), salt };
    let mut window = ReplayWindow::new(2);
    let first = nonce(1, 1);
    assert_eq!(window.accept(first, 0), Replay::Repeated);
    for (count, expected) in [
        (1, Replay::New),
        (1, Replay::Repeated),
        (3, Replay::New),
        (2, Replay::New),
        (2, Replay::Repeated),
        (3, Replay::Repeated),
        (67, Replay::New),
        (4, Replay::New),
        (3, Replay::Repeated),
        (2, Replay::Repeated),
        (u32::MAX, Replay::New),
        (u32::MAX, Replay::Repeated),
        (67, Replay::Repeated),
    ] {
        assert_eq!(window.accept(first, count), expected, "{count}");
    }
    // full: the oldest goes, and stays gone
    assert_eq!(window.accept(nonce(2, 1), 1), Replay::New);
    assert_eq!(window.len(), 2);
    assert_eq!(window.accept(nonce(3, 1), 1), Replay::New);
    assert_eq!(window.len(), 2);
    assert_eq!(window.accept(first, 1), Replay::Forgotten);
    assert_eq!(window.accept(nonce(1, 2), 1), Replay::Forgotten, "full, and older than all that are known");
    window.expire(Timestamp::from_unix_seconds(3));
    assert_eq!(window.len(), 1);
    assert_eq!(window.accept(nonce(2, 1), 2), Replay::Forgotten);
}
