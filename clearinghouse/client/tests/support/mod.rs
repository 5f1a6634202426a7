//! A clearinghouse of a hundred lines: real HTTP, real tokens, no books. It stands in for the server role, so that the client can be tested
//! against every way in which a server can fail.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use strowger_clock::Timestamp;
use strowger_enrollment::{Authority, DeviceIdentity, DeviceRecord, DeviceStatus, Secret, TepAnswer, TepRequest};
use strowger_osp::*;
use strowger_token::{Signer, TokenInfo};

/// What the server does with the next requests, first to last; afterwards it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Hang,
    Close,
    HttpStatus(u16),
    Garbage,
    OtherMessage,
    OspStatus(u16),
    /// Confirms the first component only.
    Half,
}

pub struct Mini {
    pub address: SocketAddr,
    pub authority: Authority,
    signer: Signer,
    pub faults: Mutex<Vec<Fault>>,
    pub usages: Mutex<Vec<UsageIndication>>,
    pub requests: Mutex<usize>,
    pub record: Mutex<DeviceRecord>,
}

pub fn now() -> Timestamp {
    Timestamp::from_unix_seconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}

impl Mini {
    pub async fn start() -> Arc<Mini> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let day = Duration::from_secs(86_400);
        let authority =
            Authority::create("Example", "Clearinghouse", now().saturating_sub(day), day * 10, [1; 16]).unwrap();
        let signer = Signer::from_pkcs8(&authority.key_pkcs8(), authority.certificate()).unwrap();
        let identity = DeviceIdentity { customer: "1000".into(), device: "1".into() };
        let record = DeviceRecord { identity, password: Some(Secret::new("s3cret/+&=")), status: DeviceStatus::Active };
        let mini = Arc::new(Mini {
            address: listener.local_addr().unwrap(),
            authority,
            signer,
            faults: Mutex::default(),
            usages: Mutex::default(),
            requests: Mutex::default(),
            record: Mutex::new(record),
        });
        let server = Arc::clone(&mini);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mini = Arc::clone(&server);
                let service = service_fn(move |request| {
                    let mini = Arc::clone(&mini);
                    async move { mini.answer(request).await }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        mini
    }

    pub fn url(&self) -> String {
        format!("http://{}/osp", self.address)
    }

    pub fn fail(&self, faults: &[Fault]) {
        *self.faults.lock().unwrap() = faults.iter().rev().copied().collect();
    }

    async fn answer(&self, request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, std::io::Error> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
        let ok = |body: String| {
            Ok(http::Response::builder()
                .header("content-type", "text/plain")
                .body(Full::new(Bytes::from(body)))
                .unwrap())
        };
        if path == "/tep" {
            return ok(self.enroll(&body).to_body());
        }
        *self.requests.lock().unwrap() += 1;
        let fault = self.faults.lock().unwrap().pop();
        match fault {
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Close) => Err(std::io::Error::other("closed on purpose")),
            Some(Fault::HttpStatus(status)) => {
                Ok(http::Response::builder().status(status).body(Full::new(Bytes::from("no"))).unwrap())
            }
            Some(Fault::Garbage) => ok("<html>".into()),
            _ => {
                let message = Message::parse(&body).unwrap();
                let mut answer =
                    message.answer(message.components.iter().filter_map(|c| self.component(c, fault)).collect());
                match fault {
                    Some(Fault::OtherMessage) => answer.message_id.push('x'),
                    Some(Fault::Half) => answer.components.truncate(1),
                    _ => {}
                }
                ok(answer.to_xml())
            }
        }
    }

    fn enroll(&self, body: &[u8]) -> TepAnswer {
        let request = TepRequest::parse(body).unwrap();
        let record = self.record.lock().unwrap().clone();
        let day = Duration::from_secs(86_400);
        let answer = strowger_enrollment::answer(&self.authority, &request, Some(&record), None, now(), day, [9; 16]);
        answer.map_or_else(|_| TepAnswer::refused(Some(&request)), |(answer, _)| answer)
    }

    fn component(&self, component: &Component, fault: Option<Fault>) -> Option<Component> {
        if let Some(Fault::OspStatus(code)) = fault {
            return component.reply(Status::of(code), now());
        }
        let mut answer = component.reply(Status::success(), now())?;
        match (&component.body, &mut answer.body) {
            (Body::AuthorizationRequest(request), Body::AuthorizationResponse(response)) => {
                response.transaction_id = Some(4_785_098_287_068_543_017);
                response.destinations = (0..2).map(|rank| self.destination(request, rank)).collect();
            }
            (Body::UsageIndication(usage), _) => self.usages.lock().unwrap().push(usage.clone()),
            _ => {}
        }
        Some(answer)
    }

    fn destination(&self, request: &AuthorizationRequest, rank: usize) -> Destination {
        let (valid_after, valid_until) =
            (now().saturating_sub(Duration::from_secs(300)), now() + Duration::from_secs(300));
        let call_id = request.call_id_for(rank).unwrap().clone();
        let token = TokenInfo {
            calling: request.calling().unwrap().value.clone(),
            called: request.called().unwrap().value.clone(),
            call_id: call_id.0.clone(),
            valid_after,
            valid_until,
            transaction_id: 4_785_098_287_068_543_017,
            granted_seconds: 14_400,
            gateway: format!("gw{rank}"),
            nonce: format!("n{rank}"),
        };
        Destination {
            source_info: vec![request.calling().unwrap().clone()],
            destination_info: vec![request.called().unwrap().clone()],
            signal_address: Some(format!("[127.0.0.1]:{}", 5070 + 2 * rank)),
            destination_alternates: vec![Typed::new(alternate::NETWORK, "example")],
            tokens: vec![Base64(self.signer.sign(&token).unwrap())],
            valid_after: Some(valid_after),
            valid_until: Some(valid_until),
            usage_details: vec![UsageDetail {
                service: Some(Service::default()),
                amount: Some(14_400),
                increment: Some(1),
                unit: Some("s".into()),
                ..UsageDetail::default()
            }],
            call_id: Some(call_id),
            signaling_protocol: Some("sip".into()),
            osp_version: Some("2.1.1".into()),
            ..Destination::default()
        }
    }
}
