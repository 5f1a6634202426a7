//! HTTPS and device certificates. Would catch: a server that the authority does not vouch for and is believed, a certificate that speaks for
//! another device, after its revocation, or from another authority, a handshake that keeps a connection.
#![allow(clippy::unwrap_used)] // tests: helpers outside #[test] functions too

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use strowger_clearinghouse_client::{
    ANSWER_TIMEOUT, ClientIdentity, DeviceCredentials, DeviceKeyKind, EnrollError, OspClient, OspClientError, Tls,
    enroll, enroll_with_tls,
};
use strowger_clearinghouse_server::{
    BoundHttp, Clearinghouse, ClearinghouseConfig, HANDSHAKE_TIMEOUT, RevokeError, serve,
};
use strowger_osp::{AuthorizationRequest, Base64, CapabilitiesIndication, Typed};
use strowger_store::{Page, Sqlite};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

const CONFIG: &str = r#"
[[customers]]
id = "1000"
opening_balance = "1000"
[[customers]]
id = "2000"
[[devices]]
id = "1001"
customer = "1000"
enrollment_password = "let me in"
[[devices]]
id = "1002"
customer = "1000"
enrollment_password = "me, too"
[[devices]]
id = "2001"
customer = "2000"
address = "127.0.0.1:5070"
[[routes]]
prefix = "1212"
device = "2001"
sell_per_minute = "0.03"
cost_per_minute = "0.015"
"#;

struct House {
    house: Arc<Clearinghouse>,
    http: String,
    https: String,
    folder: PathBuf,
    shutdown: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

impl House {
    async fn start(name: &str) -> House {
        let folder = std::env::temp_dir().join(format!("strowger-tls-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        House::open(folder).await
    }

    async fn open(folder: PathBuf) -> House {
        let config: ClearinghouseConfig = toml::from_str(CONFIG).unwrap();
        let store = Arc::new(Sqlite::open(&folder.join("store.db")).unwrap());
        let listen = ["http://127.0.0.1:0/osp".to_owned(), "https://127.0.0.1:0/osp".to_owned()];
        let bound = BoundHttp::bind(&listen).await.unwrap();
        let [http, https] = bound.urls().try_into().unwrap();
        assert!(http.starts_with("http://") && https.starts_with("https://"), "{http} {https}");
        let house = Clearinghouse::open(config, store).await.unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(Arc::clone(&house), bound, shutdown.clone()));
        House { house, http, https, folder, shutdown, server }
    }

    async fn restart(self) -> House {
        self.shutdown.cancel();
        self.server.await.unwrap();
        drop(self.house);
        House::open(self.folder).await
    }

    fn finish(self) {
        self.shutdown.cancel();
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    /// The device's credentials, by a first enrollment that knows the authority's fingerprint.
    async fn enroll(&self, device: &str, password: &str, kind: DeviceKeyKind) -> DeviceCredentials {
        let tls = Tls::pinned(&self.house.authority_fingerprint()).unwrap();
        enroll_with_tls(&self.https, "1000", device, password, kind, &tls).await.unwrap()
    }

    fn client(&self, device: &str, tls: &Tls) -> OspClient {
        let identity = ClientIdentity { customer_id: "1000".into(), device_id: device.into() };
        OspClient::with_tls(vec![&self.https], identity, ANSWER_TIMEOUT, tls).unwrap()
    }

    /// What is in the audit about `what`, newest first, when there are `count` entries: a client may learn that its handshake failed before the
    /// server has written it down.
    async fn audited(&self, what: &str, count: usize) -> Vec<String> {
        let begun = std::time::Instant::now();
        loop {
            let entries = self.house.audit(Page::newest(100)).await.unwrap();
            let details: Vec<_> = entries.into_iter().filter(|entry| entry.what == what).map(|e| e.detail).collect();
            if details.len() >= count || begun.elapsed() > Duration::from_secs(10) {
                assert_eq!(details.len(), count, "{what}: {details:?}");
                return details;
            }
        }
    }
}

fn request() -> AuthorizationRequest {
    AuthorizationRequest {
        call_ids: vec![Base64(b"call-1".to_vec())],
        source_info: vec![Typed::new("e164", "14048724799")],
        destination_info: vec![Typed::new("e164", "12125550100")],
        ..AuthorizationRequest::default()
    }
}

/// The status by which the clearinghouse refused; 200 when it did not.
async fn status(client: &OspClient) -> u16 {
    match client.authorize(request()).await {
        Ok(_) => 200,
        Err(OspClientError::Refused(status)) => status.code,
        Err(error) => panic!("{error}"),
    }
}

/// Why there was no answer at all.
async fn unreachable(client: &OspClient) -> String {
    match client.indicate_capabilities(CapabilitiesIndication::default()).await {
        Err(error @ OspClientError::Unreachable { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_binds_its_device() {
    let house = House::start("binds").await;
    for kind in [DeviceKeyKind::P256, DeviceKeyKind::Rsa2048] {
        let tls = house.enroll("1001", "let me in", kind).await.tls().unwrap();
        assert_eq!(status(&house.client("1001", &tls)).await, 200, "{kind:?}");
        assert_eq!(status(&house.client("1002", &tls)).await, 401, "another device than the certificate's");
    }
    assert_eq!(house.audited("certificate-of-another", 2).await, ["1000/1001 asks as 1000/1002"; 2]);
    // certificates are optional: who shows none is known by what it says
    let anonymous = Tls::trusting(&strowger_enrollment::to_pem(house.house.authority_certificate())).unwrap();
    assert_eq!(status(&house.client("1002", &anonymous)).await, 200);
    house.finish();
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_on_open_and_new_connections_and_after_a_restart() {
    let house = House::start("revoked").await;
    let credentials = house.enroll("1001", "let me in", DeviceKeyKind::P256).await;
    let tls = credentials.tls().unwrap();
    let open = house.client("1001", &tls);
    assert_eq!(status(&open).await, 200);
    let unknown = house.house.revoke_certificate("00").await;
    assert_eq!(unknown, Err(RevokeError::Unknown("00".into())));
    let serial = house.house.certificates().await.unwrap()[0].serial.clone();
    house.house.revoke_certificate(&serial).await.unwrap();
    house.house.revoke_certificate(&serial).await.unwrap();
    assert_eq!(house.audited("certificate-revoked", 1).await, [format!("1000/1001: {serial}")], "once");

    let why = unreachable(&open).await;
    assert!(why.contains("403") && why.contains("revoked"), "the connection was kept open: {why}");
    let why = unreachable(&house.client("1001", &tls)).await;
    assert!(why.to_lowercase().contains("revoked"), "a new connection: {why}");
    // nor does it renew
    let renewed = enroll_with_tls(&house.https, "1000", "1001", "", DeviceKeyKind::P256, &tls).await;
    assert!(matches!(renewed, Err(EnrollError::Transport { .. })), "{renewed:?}");

    let house = house.restart().await;
    let why = unreachable(&house.client("1001", &tls)).await;
    assert!(why.to_lowercase().contains("revoked"), "after a restart: {why}");
    house.audited("certificate-refused", 4).await;
    // another certificate of the same device is another certificate
    let again = house.enroll("1001", "let me in", DeviceKeyKind::P256).await.tls().unwrap();
    assert_eq!(status(&house.client("1001", &again)).await, 200);
    assert_eq!(house.house.revoke_device("1001").await, Ok(1));
    assert_eq!(house.house.revoke_device("1001").await, Ok(0));
    house.finish();
}

#[tokio::test]
async fn another_authority_is_believed_by_neither_side() {
    let house = House::start("foreign").await;
    let other = House::start("foreign-other").await;
    let foreign = other.enroll("1001", "let me in", DeviceKeyKind::P256).await;
    // the client does not believe the server …
    let why = unreachable(&house.client("1001", &foreign.tls().unwrap())).await;
    assert!(why.contains("invalid peer certificate"), "{why}");
    let pinned = Tls::pinned(&other.house.authority_fingerprint()).unwrap();
    let enrolled = enroll_with_tls(&house.https, "1000", "1001", "let me in", DeviceKeyKind::P256, &pinned).await;
    assert!(matches!(enrolled, Err(EnrollError::Transport { .. })), "{enrolled:?}");
    assert_eq!(house.house.certificates().await.unwrap(), [], "the password went nowhere");
    house.audited("certificate-refused", 0).await;
    // … and when it does, the server does not believe the client
    let careless = Tls::insecure().with_device(&foreign.certificate_pem, &foreign.key_pem).unwrap();
    unreachable(&house.client("1001", &careless)).await;
    assert!(house.audited("certificate-refused", 1).await[0].contains("UnknownIssuer"));
    // a certificate needs its key
    let own = house.enroll("1001", "let me in", DeviceKeyKind::P256).await;
    let mixed = Tls::insecure().with_device(&own.certificate_pem, &foreign.key_pem).unwrap();
    let identity = ClientIdentity { customer_id: "1000".into(), device_id: "1001".into() };
    assert!(OspClient::with_tls(vec![&house.https], identity, ANSWER_TIMEOUT, &mixed).is_err());
    house.finish();
    other.finish();
}

#[tokio::test]
async fn enrollment_first_and_renewal() {
    let house = House::start("renewal").await;
    let kind = DeviceKeyKind::P256;
    let ask =
        async |password: &str, tls: &Tls| enroll_with_tls(&house.https, "1000", "1001", password, kind, tls).await;
    let plain = enroll(&house.https, "1000", "1001", "let me in", kind).await;
    assert!(plain.unwrap_err().to_string().contains("https:// needs the authority's certificate"));
    assert!(matches!(ask("wrong", &Tls::insecure()).await, Err(EnrollError::Refused(_))));
    let first = ask("let me in", &Tls::insecure()).await.unwrap();
    // what a device has vouches for it: no password
    let folder = house.folder.join("device");
    first.write(&folder).unwrap();
    let second = ask("", &Tls::read(&folder).unwrap()).await.unwrap();
    assert_ne!(first.certificate_pem, second.certificate_pem);
    assert_eq!(first.authority_pem, second.authority_pem);
    // a device of the same customer is not this one
    let sibling = house.enroll("1002", "me, too", kind).await.tls().unwrap();
    assert!(matches!(ask("", &sibling).await, Err(EnrollError::Refused(_))));
    // plain HTTP beside it still serves
    assert!(enroll(&house.http, "1000", "1001", "let me in", kind).await.is_ok());
    house.finish();
}

/// TLS 1.2 and 1.3, each with the device's certificate, and never a resumed session: that would pass by the list of revocations.
#[tokio::test]
async fn both_versions_and_no_resumption() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{HandshakeKind, version};
    let house = House::start("versions").await;
    let device = house.enroll("1001", "let me in", DeviceKeyKind::P256).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(house.house.authority_certificate().to_vec())).unwrap();
    let roots = Arc::new(roots);
    for protocol in [&version::TLS12, &version::TLS13] {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = CertificateDer::from_pem_slice(device.certificate_pem.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(device.key_pem.as_bytes()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[protocol])
            .unwrap()
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(vec![certificate], key)
            .unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        for host in ["127.0.0.1", "localhost", "127.0.0.1"] {
            let address = house.https.trim_start_matches("https://").trim_end_matches("/osp").to_owned();
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let mut stream = connector.connect(ServerName::try_from(host).unwrap(), stream).await.unwrap();
            let request = b"GET /osp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 405"), "{}", String::from_utf8_lossy(&answer));
            let connection = stream.get_ref().1;
            assert_eq!(connection.protocol_version(), Some(protocol.version));
            assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
    house.finish();
}

#[tokio::test(start_paused = true)]
async fn a_handshake_ends_in_time() {
    let house = House::start("handshake").await;
    let address = house.https.trim_start_matches("https://").trim_end_matches("/osp").to_owned();
    let begun = tokio::time::Instant::now();
    let mut silent = tokio::net::TcpStream::connect(address).await.unwrap();
    // neither a handshake nor an end: the server closes
    let mut answer = Vec::new();
    let read = tokio::time::timeout(HANDSHAKE_TIMEOUT * 2, silent.read_to_end(&mut answer)).await;
    assert_eq!(read.unwrap().unwrap(), 0);
    assert!(begun.elapsed() >= HANDSHAKE_TIMEOUT - Duration::from_millis(500), "{:?}", begun.elapsed());
    house.finish();
}
