//! The OSP client that is in the field (Debian: osptoolkit) against the whole clearinghouse, over HTTP and over HTTPS with the device's own
//! certificate. Would catch: an answer, a token, a certificate or a handshake of ours that it does not take. Skipped where it is not installed.
#![allow(clippy::unwrap_used)] // tests: helpers outside #[test] functions too

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use strowger_clearinghouse_client::{DeviceKeyKind, Tls, enroll_with_tls};
use strowger_clearinghouse_server::{BoundHttp, Clearinghouse, ClearinghouseConfig, serve};
use strowger_store::{Page, Sqlite};
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
id = "2001"
customer = "2000"
address = "127.0.0.1:5070"
[[devices]]
id = "2002"
customer = "2000"
address = "127.0.0.1:5072"
[[routes]]
prefix = "1212"
device = "2001"
sell_per_minute = "0.03"
cost_per_minute = "0.015"
[[routes]]
prefix = "1212"
device = "2002"
sell_per_minute = "0.02"
cost_per_minute = "0.01"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fields_client_over_http_and_https() {
    if !Path::new("/usr/bin/osptest").exists() {
        eprintln!("osptest is not installed (apt-get install osptoolkit): our answers were not shown to it");
        return;
    }
    let folder = std::env::temp_dir().join(format!("strowger-server-osptest-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let config: ClearinghouseConfig = toml::from_str(CONFIG).unwrap();
    let listen = ["http://127.0.0.1:0/osp".to_owned(), "https://127.0.0.1:0/osp".to_owned()];
    let bound = BoundHttp::bind(&listen).await.unwrap();
    let urls = bound.urls();
    let store = Arc::new(Sqlite::open(&folder.join("store.db")).unwrap());
    let house = Clearinghouse::open(config, store).await.unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve(Arc::clone(&house), bound, shutdown.clone()));

    // the field's client loads RSA keys only
    let kind = DeviceKeyKind::Rsa2048;
    let credentials = enroll_with_tls(&urls[1], "1000", "1001", "let me in", kind, &Tls::insecure()).await.unwrap();
    // all at once: the client sleeps more than it works
    let run = |url: &str, name: &str, environment: &'static [(&str, &str)]| {
        let device = folder.join(name);
        credentials.write(&device).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/osptest.sh");
        let mut command = Command::new(script);
        command.arg(url).arg(device).envs(environment.iter().copied());
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let plain = run(&urls[0], "http", &[]);
    let secure = run(&urls[1], "https", &[]);
    let pretended = run(&urls[1], "pretended", &[("CALLS", "1"), ("CUSTOMER", "2000"), ("DEVICE", "2002")]);
    for (url, output) in [(&urls[0], plain.await.unwrap()), (&urls[1], secure.await.unwrap())] {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{url}: {said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("full-calls: ok") && said.contains("every-element: ok"), "{url}: {said}");
    }
    // over TLS it shows its certificate: with another device's name it gets nothing
    let output = pretended.await.unwrap();
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let audit = house.audit(Page::newest(100)).await.unwrap();
    let refused: Vec<_> = audit.iter().filter(|entry| entry.what == "certificate-of-another").collect();
    assert!(!refused.is_empty() && refused.iter().all(|entry| entry.detail == "1000/1001 asks as 2000/2002"));

    let authorized = house.authorizations(Page::newest(100)).await.unwrap();
    assert_eq!(authorized.len(), 22, "twice ten calls, and one with every element");
    for call in &authorized {
        assert!(!house.usage_reports(call.call.transaction).await.unwrap().is_empty());
    }
    house.prove().unwrap();
    shutdown.cancel();
    server.await.unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}
