//! The console over real sockets, with a clearinghouse and its store behind it. Would catch: money shown wrongly, a number shown in full where it
//! must not be, a page that is skipped or given twice, a limit that does not hold, an error that is no sentence, a console that changes something.
#![allow(clippy::unwrap_used, clippy::expect_used)] // tests: helpers outside #[test] functions too

mod harness;

use harness::{Harness, get, request, talk};
use serde_json::{Value, json};
use std::time::Duration;
use strowger_console::{Console, MAXIMUM_CONNECTIONS, MAXIMUM_HEAD_OCTETS, MAXIMUM_HEADERS, Sources};
use strowger_osp::Role;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_call_is_seen_from_its_authorization_to_its_record() {
    let harness = Harness::start("seen").await;
    let transaction = harness.authorize("12125550100").await;
    let number = transaction.to_string();

    let (_, accounts) = harness.json("/api/v1/accounts").await;
    let caller = accounts["accounts"].as_array().unwrap().iter().find(|a| a["name"] == "1000").unwrap();
    assert_eq!((&caller["posted"], &caller["posted_nanos"]), (&json!("10.00"), &json!(10_000_000_000_i64)));
    assert_eq!((&caller["pending_debits"], &caller["pending_debits_nanos"]), (&json!("0.30"), &json!(300_000_000)));
    assert_eq!((&caller["available"], &caller["available_nanos"]), (&json!("9.70"), &json!(9_700_000_000_i64)));
    let zero = json!([{"currency": "USD", "posted": "0.00", "posted_nanos": 0, "pending": "0.00", "pending_nanos": 0}]);
    assert_eq!(accounts["sums"], zero);

    // numbers are hidden while the call runs
    let (_, calls) = harness.json("/api/v1/calls/open").await;
    assert_eq!((&calls["open"], &calls["calls"][0]["bill"]), (&json!(1), &Value::Null));
    let call = &calls["calls"][0];
    assert_eq!((&call["transaction"], &call["called"]), (&json!(number), &json!("1212555xxxx")));
    assert_eq!(call["calling"], "1404555xxxx");
    let gateways: Vec<_> = call["gateways"].as_array().unwrap().iter().map(|gateway| &gateway["device"]).collect();
    assert_eq!(gateways, ["2002", "2001"], "the cheaper one first");
    for path in ["/api/v1/calls/open", "/api/v1/authorizations", "/api/v1/status"] {
        let text = harness.text(path).await;
        assert!(!text.contains("12125550100") && !text.contains("14045550199"), "{path}: {text}");
    }

    // its bill: silent, running, stopped
    let path = format!("/api/v1/bill/{number}");
    assert_eq!(
        harness.json(&path).await.1,
        json!({"transaction": number, "state": "silent", "total": null, "seconds": 0})
    );
    let not_yet = harness.json(&format!("/api/v1/cdrs/{number}")).await;
    assert_eq!(not_yet, (404, json!({"error": "the call is not settled yet: it has no record"})));
    harness.charge_per_second(transaction, "0.0005");
    harness.pass(Duration::from_secs(60));
    let running = json!({"transaction": number, "state": "running", "seconds": 60,
        "total": {"amount": "0.03", "nanos": 30_000_000, "currency": "USD"}});
    assert_eq!(harness.json(&path).await.1, running);
    assert_eq!(harness.json("/api/v1/calls/open").await.1["calls"][0]["bill"], running);
    harness.stop_charging(transaction);
    assert_eq!(harness.json(&path).await.1["state"], "stopped");

    harness.report(Role::Source, "1000", "1001", transaction, 60).await;
    harness.report(Role::Destination, "2000", "2002", transaction, 61).await;
    let settled = json!({"transaction": number, "state": "settled", "seconds": 60, "outcome": "posted",
        "total": {"amount": "0.02", "nanos": 20_000_000, "currency": "USD"}});
    assert_eq!(harness.json(&path).await.1, settled);
    assert_eq!(harness.json("/api/v1/calls/open").await.1, json!({"calls": [], "open": 0, "next": null}));

    // and are shown in full where bills are made
    let (_, cdrs) = harness.json("/api/v1/cdrs").await;
    let cdr = &cdrs["cdrs"][0];
    assert_eq!((&cdr["called"], &cdr["calling"]), (&json!("12125550100"), &json!("14045550199")));
    assert_eq!((&cdr["state"], &cdr["rated_seconds"], &cdr["cause"]), (&json!("matched"), &json!(60), &json!(16)));
    assert_eq!((&cdr["source_seconds"], &cdr["destination_seconds"]), (&json!(60), &json!(61)));
    assert_eq!((&cdr["sell"]["amount"], &cdr["cost"]["amount"]), (&json!("0.02"), &json!("0.01")));
    assert!(cdr.get("usage").is_none() && cdrs["next"].is_null());
    let (_, cdr) = harness.json(&format!("/api/v1/cdrs/{number}")).await;
    let reports: Vec<_> =
        cdr["usage"].as_array().unwrap().iter().map(|r| (&r["role"], &r["duration_seconds"])).collect();
    assert_eq!(reports, [(&json!("source"), &json!(60)), (&json!("destination"), &json!(61))]);
    assert!(cdr["usage"][0]["xml"].as_str().unwrap().contains("UsageIndication"), "{cdr}");

    let (_, transfers) = harness.json("/api/v1/transfers").await;
    let transfers = transfers["transfers"].as_array().unwrap();
    let of_the_call: Vec<_> = transfers.iter().filter(|t| t["transaction"] == json!(number)).collect();
    let kinds: Vec<_> = of_the_call.iter().map(|t| t["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"pending") && kinds.contains(&"post"), "{kinds:?}");
    let reserved = of_the_call.iter().find(|t| t["kind"] == "pending").unwrap();
    assert_eq!((&reserved["debit_name"], &reserved["amount"]), (&json!("1000"), &json!("0.30")));

    let (status, proof) = harness.json("/api/v1/prove").await;
    assert_eq!((status, &proof["ok"], &proof["sums"]), (200, &json!(true), &zero));
    assert_eq!(proof["transfers"], transfers.len());
    harness.finish().await;
}

#[tokio::test]
async fn pages_give_every_entry_once() {
    let harness = Harness::start("pages").await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.insert(0, harness.authorize("12125550100").await.to_string());
    }
    let numbers = |page: &Value, name: &str| -> Vec<String> {
        page[name].as_array().unwrap().iter().map(|e| e["transaction"].as_str().unwrap().to_owned()).collect()
    };
    for (path, name, newest_first) in
        [("/api/v1/authorizations", "authorizations", true), ("/api/v1/calls/open", "calls", false)]
    {
        let (mut seen, mut after) = (Vec::new(), String::new());
        for expected_entries in [2, 2, 1] {
            let (_, page) = harness.json(&format!("{path}?limit=2&after={after}")).await;
            let entries = numbers(&page, name);
            assert_eq!(entries.len(), expected_entries);
            seen.extend(entries);
            assert_eq!(page["next"].is_null(), expected_entries < 2);
            after = page["next"].as_str().unwrap_or_default().to_owned();
        }
        if !newest_first {
            seen.reverse();
        }
        assert_eq!(seen, expected, "{path}");
    }
    let (_, first) = harness.json("/api/v1/transfers?limit=1").await;
    let newest = first["transfers"][0]["sequence"].as_u64().unwrap();
    let (_, second) =
        harness.json(&format!("/api/v1/transfers?limit=1&after={}", first["next"].as_str().unwrap())).await;
    assert_eq!(second["transfers"][0]["sequence"], newest - 1);
    harness.finish().await;
}

#[tokio::test]
async fn every_refusal_is_a_sentence_with_its_status() {
    let harness = Harness::start("refusals").await;
    for (path, status, error) in [
        ("/api/v1/transfers?limit=1000", 200, ""),
        ("/api/v1/transfers?limit=1001", 400, "limit is a number from 1 to 1000"),
        ("/api/v1/transfers?limit=1", 200, ""),
        ("/api/v1/transfers?limit=0", 400, "limit is a number from 1 to 1000"),
        ("/api/v1/cdrs?limit=-1", 400, "limit is a number from 1 to 1000"),
        ("/api/v1/cdrs?limit=&after=", 200, ""),
        ("/api/v1/cdrs?after=yesterday", 400, "after is the number that next was"),
        ("/api/v1/audit?before=3", 400, "the parameters are limit and after, each once"),
        ("/api/v1/audit?limit=1&limit=2", 400, "the parameters are limit and after, each once"),
        ("/api/v1/cdrs/1", 404, "there is no call of this number"),
        ("/api/v1/cdrs/x", 400, "a transaction is a number"),
        ("/api/v1/cdrs/%ff", 400, "a transaction is a number"),
        ("/api/v1/bill/18446744073709551615", 404, "there is no call of this number"),
        ("/api/v1/bill/18446744073709551616", 400, "a transaction is a number"),
        ("/api/v2/status", 404, "there is nothing here; / names the endpoints"),
        ("/api/v1/", 404, "there is nothing here; / names the endpoints"),
    ] {
        let (found, body) = harness.json(path).await;
        assert_eq!((found, body["error"].as_str().unwrap_or_default()), (status, error), "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer =
            request(harness.address, &format!("{method} /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        assert_eq!(answer.json()["error"], "the console is read with GET");
    }
    let answer =
        request(harness.address, "HEAD /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    for body in ["Content-Length: 2\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"] {
        let answer =
            request(harness.address, &format!("GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n{body}")).await;
        assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    }
    let answer =
        request(harness.address, "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(answer.status, 200, "no octets are no body");
    harness.finish().await;
}

#[tokio::test]
async fn a_web_page_elsewhere_cannot_read_the_books_through_its_own_name() {
    let harness = Harness::start("names").await;
    for (host, status) in [
        ("127.0.0.1:8080", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8080", 200),
        ("evil.example.test", 403),
        ("localhost.evil.example.test:8080", 403),
        ("127.0.0.1.evil.example.test", 403),
        ("@", 403),
        ("", 403),
    ] {
        let answer = request(harness.address, &format!("GET /api/v1/cdrs HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{host:?}");
    }
    let answer = request(
        harness.address,
        "GET /api/v1/cdrs HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example.test\r\n\r\n",
    )
    .await;
    assert_eq!(
        (answer.header("access-control-allow-origin"), answer.header("cache-control")),
        (None, Some("no-store"))
    );
    harness.finish().await;
}

#[tokio::test]
async fn gauges_of_any_role_are_shown() {
    let harness = Harness::start("gauges").await;
    let (_, status) = harness.json("/api/v1/status").await;
    assert_eq!(status["roles"], json!(["clearinghouse", "console", "gateway", "policy", "proxy"]));
    assert_eq!(status["addresses"], json!(["proxy udp://127.0.0.1:5060", "policy cops://127.0.0.1:3288"]));
    assert_eq!(status["clearinghouse"]["customers"], 2);
    let proxy = json!({"role": "proxy", "instance": "proxy", "metrics": {"calls_now": 3, "requests": u64::MAX}});
    assert!(status["gauges"].as_array().unwrap().contains(&proxy), "{status}");
    let answer = get(harness.address, "/metrics").await;
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    for line in [
        "strowger_proxy_calls_now{instance=\"proxy\"} 3",
        "strowger_proxy_requests{instance=\"proxy\"} 18446744073709551615",
        "strowger_gateway_calls_now{instance=\"2001\"} 1",
        "strowger_gateway_calls_now{instance=\"2002\"} 2",
        "strowger_clearinghouse_open_calls{instance=\"clearinghouse\"} 0",
        "strowger_clearinghouse_sum_posted_nanos{instance=\"clearinghouse\",currency=\"USD\"} 0",
    ] {
        assert!(answer.body.lines().any(|found| found == line), "{line} is not in\n{}", answer.body);
    }
    harness.finish().await;
}

#[tokio::test]
async fn the_page_names_the_endpoints_and_each_is_there() {
    let harness = Harness::start("page").await;
    let page = get(harness.address, "/").await;
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let links: Vec<_> = page.body.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(links.len(), 11, "{links:?}");
    for link in links {
        assert_eq!(get(harness.address, link).await.status, 200, "{link}");
    }
    harness.finish().await;
}

#[tokio::test]
async fn without_a_clearinghouse_the_rest_is_there() {
    let bound = Console::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, shutdown) = (bound.local_address(), CancellationToken::new());
    let server = tokio::spawn(bound.serve(Sources::default(), shutdown.clone()));
    let status = get(address, "/api/v1/status").await.json();
    assert_eq!((&status["roles"], &status["clearinghouse"]), (&json!(["console"]), &Value::Null));
    assert_eq!(get(address, "/metrics").await.status, 200);
    for path in ["accounts", "transfers", "cdrs", "cdrs/1", "authorizations", "calls/open", "audit", "bill/1", "prove"]
    {
        let answer = get(address, &format!("/api/v1/{path}")).await;
        let error = json!({"error": "the clearinghouse does not run in this process"});
        assert_eq!((answer.status, answer.json()), (404, error), "{path}");
    }
    shutdown.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_taken_port_is_one_sentence() {
    let bound = Console::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = Console::bind(bound.local_address()).await.unwrap_err().to_string();
    let start = format!("console: cannot listen on {}: ", bound.local_address());
    assert!(error.starts_with(&start) && error.contains("choose another port") && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn heads_have_a_limit() {
    let harness = Harness::start("heads").await;
    let with = |headers: usize| {
        let headers: String = (0..headers - 1).map(|at| format!("X-{at}: x\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
    };
    assert_eq!(request(harness.address, &with(MAXIMUM_HEADERS)).await.status, 200);
    assert_eq!(request(harness.address, &with(MAXIMUM_HEADERS + 1)).await.status, 431);
    let long = |octets: usize| format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(octets));
    let inside = long(MAXIMUM_HEAD_OCTETS - 1024);
    assert_eq!(request(harness.address, &inside).await.status, 200);
    // what is not read of a head too large may reset the connection before its answer is seen
    let outside = harness::try_request(harness.address, &long(MAXIMUM_HEAD_OCTETS + 1024)).await;
    assert!(outside.as_ref().is_none_or(|answer| answer.status == 431), "{outside:?}");
    // and the console goes on
    assert_eq!(get(harness.address, "/").await.status, 200);
    harness.finish().await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let harness = Harness::start("connections").await;
    let mut open = Vec::new();
    for _ in 0..MAXIMUM_CONNECTIONS {
        let mut stream = TcpStream::connect(harness.address).await.unwrap();
        // asked and answered, so that it is known to be served
        let answer = talk(&mut stream, "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(answer.status, 404);
        open.push(stream);
    }
    let answer = request(harness.address, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
    assert!(answer.json()["error"].as_str().unwrap().contains("connections at once"));
    // one leaves, the next is served: as soon as the console has seen it go
    let mut leaving = open.pop().unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut leaving).await.unwrap();
    assert_eq!(leaving.read(&mut [0; 16]).await.unwrap(), 0);
    let mut tries = 0;
    while get(harness.address, "/").await.status != 200 {
        tries += 1;
        assert!(tries < 1000, "its place stays taken");
    }
    harness.finish().await;
}

#[tokio::test]
async fn arbitrary_octets_end_their_connection_and_nothing_else() {
    let harness = Harness::start("octets").await;
    let mut random = strowger_clock::Random::from_seed(8080);
    let whole =
        b"GET /api/v1/cdrs?limit=2&after=7 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nConnection: close\r\n\r\n";
    for _ in 0..200 {
        let mut octets = whole.to_vec();
        for _ in 0..1 + random.below(4) {
            let at = usize::try_from(random.below(octets.len() as u64)).unwrap();
            octets[at] = random.next_u32().to_le_bytes()[0];
        }
        let stream = TcpStream::connect(harness.address).await.unwrap();
        harness::send_and_drain(stream, &octets).await;
    }
    assert_eq!(get(harness.address, "/api/v1/status").await.status, 200);
    harness.finish().await;
}
