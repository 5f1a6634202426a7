//! The client against a server that fails in every way, and Debian's OSP client against the same server. Catches: usage that is lost, a call
//! that waits for a dead server, an answer or token of ours that the field's client does not take.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking, in its helpers too")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use strowger_clearinghouse_client::*;
use strowger_enrollment::{DeviceStatus, Revocations};
use strowger_osp::{AuthorizationRequest, Base64, Role, Typed, UsageIndication};
use strowger_token::{Check, Verifier, VerifyingKey};
use support::{Fault, Mini, now};

const QUICK: Duration = Duration::from_millis(300);

fn client(servers: &[&Arc<Mini>]) -> OspClient {
    let urls: Vec<String> = servers.iter().map(|server| server.url()).collect();
    let identity = ClientIdentity { customer_id: "1000".into(), device_id: "1".into() };
    OspClient::with_timeout(urls, identity, QUICK).unwrap()
}

fn request() -> AuthorizationRequest {
    AuthorizationRequest {
        call_ids: vec![Base64(b"call-1".to_vec())],
        source_info: vec![Typed::new("e164", "14048724799")],
        destination_info: vec![Typed::new("e164", "12125550100")],
        ..AuthorizationRequest::default()
    }
}

#[tokio::test]
async fn authorization_and_its_tokens() {
    let server = Mini::start().await;
    let answer = client(&[&server]).authorize(request()).await.unwrap();
    assert_eq!(answer.destinations.len(), 2);
    let verifier = Verifier::new(vec![VerifyingKey::from_certificate(server.authority.certificate()).unwrap()]);
    for (rank, destination) in answer.destinations.iter().enumerate() {
        let token = verifier.verify(&destination.tokens[0].0).unwrap();
        let mut check = Check::new(format!("gw{rank}"));
        assert_eq!(check.check(&token, now(), "12125550100", b"call-1"), Ok(()));
    }
}

#[tokio::test]
async fn faults_are_told_apart() {
    let server = Mini::start().await;
    let client = client(&[&server]);
    type Expected = fn(&OspClientError) -> bool;
    let cases: [(Fault, Expected); 7] = [
        (Fault::Hang, |e| matches!(e, OspClientError::Unreachable { error: TransportError::TimedOut(_), .. })),
        (Fault::Close, |e| matches!(e, OspClientError::Unreachable { error: TransportError::Connection(_), .. })),
        (Fault::HttpStatus(404), |e| {
            matches!(e, OspClientError::Unreachable { error: TransportError::Status(404, _), .. })
        }),
        (Fault::Garbage, |e| matches!(e, OspClientError::Malformed { .. })),
        (Fault::OtherMessage, |e| matches!(e, OspClientError::Mismatch(_))),
        (Fault::OspStatus(404), |e| {
            matches!(e, OspClientError::Refused(status) if status.code == 404) && !e.is_transient()
        }),
        (Fault::OspStatus(503), |e| {
            matches!(e, OspClientError::Refused(status) if status.code == 503) && e.is_transient()
        }),
    ];
    for (fault, expected) in cases {
        server.fail(&[fault]);
        let error = client.authorize(request()).await.unwrap_err();
        assert!(expected(&error), "{fault:?}: {error}");
    }
    assert!(client.authorize(request()).await.is_ok(), "and it recovers");
}

#[tokio::test]
async fn the_next_server_is_asked_and_remembered() {
    for fault in [Fault::Hang, Fault::Close, Fault::HttpStatus(503), Fault::Garbage, Fault::OspStatus(503)] {
        let (first, second) = (Mini::start().await, Mini::start().await);
        let client = client(&[&first, &second]);
        first.fail(&[fault]);
        assert!(client.authorize(request()).await.is_ok(), "{fault:?}");
        assert!(client.authorize(request()).await.is_ok(), "{fault:?}");
        assert_eq!((*first.requests.lock().unwrap(), *second.requests.lock().unwrap()), (1, 2), "{fault:?}");
    }
    // A refusal is an answer: nobody else is asked.
    let (first, second) = (Mini::start().await, Mini::start().await);
    first.fail(&[Fault::OspStatus(403)]);
    assert!(client(&[&first, &second]).authorize(request()).await.is_err());
    assert_eq!(*second.requests.lock().unwrap(), 0);
}

fn usage(transaction: u64) -> UsageIndication {
    UsageIndication::new(Role::Source, transaction, b"call-1".to_vec())
}

#[tokio::test]
async fn usage_is_sent_until_it_is_taken() {
    let server = Mini::start().await;
    server.fail(&[Fault::Close, Fault::OspStatus(500)]);
    let reporter = UsageReporter::spawn(client(&[&server]));
    for transaction in 1..=20 {
        reporter.report(usage(transaction)).unwrap();
    }
    let counts = reporter.drain(Duration::from_secs(20)).await;
    assert_eq!((counts.delivered, counts.queued, counts.refused, counts.overflowed), (20, 0, 0, 0));
    assert!(counts.retries >= 2);
    let mut arrived: Vec<u64> = server.usages.lock().unwrap().iter().map(|usage| usage.transaction_id).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, (1..=20).collect::<Vec<_>>());
    let first = server.usages.lock().unwrap()[0].clone();
    assert_eq!((first.customer_id.as_deref(), first.device_id.as_deref()), (Some("1000"), Some("1")));
    assert!(first.timestamp.is_some());
}

#[tokio::test]
async fn what_is_not_confirmed_is_sent_again_and_what_is_refused_is_not() {
    let server = Mini::start().await;
    server.fail(&[Fault::Half]);
    let client = client(&[&server]);
    let statuses = client.report(vec![usage(1), usage(2)]).await.unwrap();
    assert_eq!(statuses.iter().map(|status| status.code).collect::<Vec<_>>(), [200, 510]);
    server.fail(&[Fault::OspStatus(400)]);
    let reporter = UsageReporter::spawn(client);
    reporter.report(usage(3)).unwrap();
    let counts = reporter.drain(Duration::from_secs(20)).await;
    assert_eq!((counts.delivered, counts.refused, counts.retries), (0, 1, 0));
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let server = Mini::start().await;
    server.fail(&[Fault::Hang; 100]);
    let reporter = UsageReporter::with_capacity(client(&[&server]), 2);
    assert!(reporter.report(usage(1)).is_ok());
    assert!(reporter.report(usage(2)).is_ok());
    let back = reporter.report(usage(3)).unwrap_err();
    assert_eq!(back.0.transaction_id, 3);
    assert_eq!((reporter.counts().queued, reporter.counts().overflowed), (2, 1));
}

#[test]
fn urls() {
    let new = |urls: Vec<&str>| {
        OspClient::new(urls, ClientIdentity { customer_id: String::new(), device_id: String::new() }).map(drop)
    };
    assert!(new(vec!["http://127.0.0.1:5045/osp", "http://[::1]/osp"]).is_ok());
    assert_eq!(new(vec![]), Err(UrlError::None));
    assert!(matches!(new(vec!["https://127.0.0.1/osp"]), Err(UrlError::NoTrust(_))));
    assert!(matches!(new(vec!["ftp://127.0.0.1/osp"]), Err(UrlError::Scheme(_))));
    for bad in ["", "/osp", "127.0.0.1:5045", "http://", "http:///osp", "not a url"] {
        assert!(matches!(new(vec![bad]), Err(UrlError::Malformed(_))), "{bad:?}");
    }
    let tep = |url: &str| Url::parse(url).unwrap().for_enrollment().to_string();
    assert_eq!(tep("http://h:1/osp"), "http://h:1/tep");
    assert_eq!(tep("http://h:1/enroll"), "http://h:1/enroll");
}

#[tokio::test]
async fn enrollment() {
    let server = Mini::start().await;
    let enroll = |password: &'static str, kind| {
        let url = server.url();
        async move { enroll(&url, "1000", "1", password, kind).await }
    };
    let credentials = enroll("s3cret/+&=", DeviceKeyKind::P256).await.unwrap();
    let (_, certificate) = x509_pem(&credentials.certificate_pem);
    let who = server.authority.identify(&certificate, now(), &Revocations::default()).unwrap().identity;
    assert_eq!((who.customer.as_str(), who.device.as_str()), ("1000", "1"));
    assert!(matches!(enroll("wrong", DeviceKeyKind::P256).await, Err(EnrollError::Refused(2))));
    server.record.lock().unwrap().status = DeviceStatus::Pending;
    assert!(matches!(enroll("s3cret/+&=", DeviceKeyKind::P256).await, Err(EnrollError::Pending)));
}

fn x509_pem(pem: &str) -> (String, Vec<u8>) {
    use base64::Engine as _;
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    (pem.to_owned(), base64::engine::general_purpose::STANDARD.decode(body).unwrap())
}

/// Debian's OSP client enrolls by our client, then makes full calls and sends every element. Skipped where it is not installed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fields_client() {
    if !Path::new("/usr/bin/osptest").exists() {
        eprintln!("osptest is not installed (apt-get install osptoolkit): our answers were not shown to it");
        return;
    }
    let server = Mini::start().await;
    let credentials = enroll(&server.url(), "1000", "1", "s3cret/+&=", DeviceKeyKind::Rsa2048).await.unwrap();
    let directory = std::env::temp_dir().join(format!("strowger-osptest-{}", std::process::id()));
    credentials.write(&directory).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/osptest.sh");
    let (url, into) = (server.url(), directory.clone());
    let output =
        tokio::task::spawn_blocking(move || Command::new(script).arg(url).arg(into).output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("full-calls: ok") && said.contains("every-element: ok"), "{said}");
    let usages = server.usages.lock().unwrap().len();
    assert_eq!(usages, 12, "ten calls, and two reports with every element");
    std::fs::remove_dir_all(directory).unwrap();
}
