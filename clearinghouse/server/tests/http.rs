//! HTTP as such. Would catch: an answer that the OSP Toolkit refuses, a connection that a bad client keeps, a body without end.
#![allow(clippy::unwrap_used)] // tests: helpers outside #[test] functions too

mod harness;

use harness::Harness;
use strowger_clearinghouse_server::{BindError, BoundHttp, MAXIMUM_BODY_OCTETS};
use strowger_osp::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn raw(harness: &Harness, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(harness.address()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn paths_and_methods() {
    let harness = Harness::start("paths").await;
    assert_eq!(harness.post("/other", vec![]).await.0, 404);
    assert_eq!(harness.post("/osp/x", vec![]).await.0, 404);
    let (status, headers, _) = harness.send(http::Method::GET, "/osp", vec![]).await;
    assert_eq!((status, headers["allow"].to_str().unwrap()), (405, "POST"));
    harness.finish();
}

#[tokio::test]
async fn unreadable_messages_get_their_status() {
    let harness = Harness::start("unreadable").await;
    assert_eq!(harness.post("/osp", b"not xml".to_vec()).await.0, 400);
    assert_eq!(harness.post("/osp", vec![]).await.0, 400);
    let bomb = b"<!DOCTYPE m [<!ENTITY a 'aaaa'>]><Message messageId='1'>&a;</Message>".to_vec();
    assert_eq!(harness.post("/osp", bomb).await.0, 400);
    // readable as far as who asked what: the OSP answer says what is wrong
    let incomplete =
        b"<Message messageId='1'><UsageIndication componentId='2'><Role>source</Role></UsageIndication></Message>";
    let (status, _, body) = harness.post("/osp", incomplete.to_vec()).await;
    assert_eq!(status, 200);
    let answer = Message::parse(&body).unwrap();
    assert_eq!(
        (answer.components[0].component_id.as_str(), answer.components[0].body.status().unwrap().code),
        ("2", 400)
    );
    let critical = b"<Message messageId='1'><Teleport componentId='2' critical='true'/></Message>";
    assert_eq!(harness.post("/osp", critical.to_vec()).await.0, 400);
    harness.finish();
}

#[tokio::test]
async fn bodies_just_inside_and_just_outside() {
    let harness = Harness::start("bodies").await;
    assert_eq!(harness.post("/osp", vec![b' '; MAXIMUM_BODY_OCTETS]).await.0, 400);
    assert_eq!(harness.post("/osp", vec![b' '; MAXIMUM_BODY_OCTETS + 1]).await.0, 413);
    harness.finish();
}

#[tokio::test]
async fn what_the_toolkit_sends_is_answered_as_it_wants() {
    let harness = Harness::start("toolkit").await;
    let body = "<?xml version='1.0'?><Message messageId='1'><CapabilitiesIndication componentId='1'>\
                <CustomerId critical='False'>\n1000</CustomerId><DeviceId critical='False'>1001\n</DeviceId></CapabilitiesIndication></Message>";
    let head =
        format!("POST /osp HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\ncontent-type: text/plain\r\n", body.len());
    let answer = raw(&harness, format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let lower = answer.to_lowercase();
    assert!(lower.contains("\r\ncontent-type: text/plain\r\n") && lower.contains("\r\ncontent-length: "), "{answer}");
    assert!(!lower.contains("transfer-encoding"), "{answer}");
    assert!(answer.contains("<Code>200</Code>"), "{answer}");
    // two requests on one connection
    let keep = format!("{head}\r\n{body}{head}Connection: close\r\n\r\n{body}");
    assert_eq!(raw(&harness, keep.as_bytes()).await.matches("HTTP/1.1 200").count(), 2);
    harness.finish();
}

#[tokio::test]
async fn garbage_ends_the_connection_and_nothing_else() {
    let harness = Harness::start("garbage").await;
    assert!(raw(&harness, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    assert_eq!(harness.authorize("12125550100").await.status.code, 200);
    harness.finish();
}

#[tokio::test]
async fn a_taken_port_is_one_clear_sentence() {
    let harness = Harness::start("taken").await;
    let error = BoundHttp::bind(&[format!("http://{}/osp", harness.address())]).await.err().unwrap();
    assert!(matches!(error, BindError::Address { .. }));
    assert!(error.to_string().contains("choose another port"), "{error}");
    harness.finish();
}
