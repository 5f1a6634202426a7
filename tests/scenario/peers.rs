//! Peers that do what a test tells them: a policy server, a router's policy client, a gateway, and a wire-tap on HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use strowger_cops::sip::{DecisionData, Phase};
use strowger_cops::{
    CLIENT_TYPE_PROVISIONING, CLIENT_TYPE_SIP, Command, Context, Decision, DecisionObject, Framer, MESSAGE_OCTETS_MAX,
    Message, Object, Op, ReportType, RequestType,
};
use strowger_pib::Row;
use strowger_pib::named::{self, NamedObject};
use strowger_sip::{Builder, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

use crate::world::SOON;

/// The scripted policy server's port, beside the real one's.
pub const PDP_PORT: u16 = 3289;
/// The scripted gateway's port, beside the real ones'.
pub const GATEWAY_PORT: u16 = 5074;
/// The wire-tap's port, beside the real OSP server's.
pub const TAP_PORT: u16 = 5046;

/// A COPS connection, decoded. Keep-alives are answered or taken in silence (RFC 2748 §3.10).
struct Wire {
    writer: OwnedWriteHalf,
    messages: mpsc::UnboundedReceiver<Message>,
}

impl Wire {
    fn new(stream: TcpStream) -> Wire {
        let (reader, writer) = stream.into_split();
        let (read, messages) = mpsc::unbounded_channel();
        tokio::spawn(Wire::read(reader, read));
        Wire { writer, messages }
    }

    async fn read(mut reader: OwnedReadHalf, read: mpsc::UnboundedSender<Message>) {
        let mut framer = Framer::new(MESSAGE_OCTETS_MAX);
        let mut buffer = vec![0; 65_536];
        loop {
            let count = reader.read(&mut buffer).await.unwrap_or(0);
            if count == 0 {
                return;
            }
            framer.push(&buffer[..count]);
            while let Some(frame) = framer.next().expect("COPS") {
                let message = Message::parse(&frame).expect("a COPS message");
                if message.op != Op::KeepAlive && read.send(message).is_err() {
                    return;
                }
            }
        }
    }

    async fn send(&mut self, message: &Message) {
        self.writer.write_all(&message.encode()).await.expect("a COPS connection");
    }

    async fn next(&mut self, what: &str) -> Message {
        let message = tokio::time::timeout(SOON, self.messages.recv()).await;
        message.unwrap_or_else(|_| panic!("no {what} came")).unwrap_or_else(|| panic!("closed instead of {what}"))
    }
}

/// A policy server that decides when and what the test says.
pub struct ScriptedPdp {
    listener: TcpListener,
    proxy: Option<Wire>,
}

/// A question of the proxy.
pub struct Question {
    /// What it is about.
    pub phase: Phase,
    /// The call's handle.
    pub handle: Bytes,
    /// The SIP message that it came with.
    pub sip: String,
}

impl ScriptedPdp {
    /// Listens beside the real one.
    pub async fn listen(ip: std::net::Ipv4Addr) -> ScriptedPdp {
        ScriptedPdp { listener: TcpListener::bind((ip, PDP_PORT)).await.expect("a port"), proxy: None }
    }

    /// Takes the proxy's connection: OPN is answered by CAT.
    pub async fn accept(&mut self) {
        let (stream, _) = tokio::time::timeout(SOON, self.listener.accept()).await.expect("a proxy").expect("TCP");
        let mut wire = Wire::new(stream);
        let open = wire.next("Client-Open").await;
        assert_eq!((open.op, open.client_type), (Op::ClientOpen, CLIENT_TYPE_SIP));
        assert!(open.pep_id().is_some_and(|id| !id.is_empty()), "{open:?}");
        let accept = Message::new(Op::ClientAccept, CLIENT_TYPE_SIP).with(Object::KeepAliveTimer(30));
        wire.send(&accept).await;
        self.proxy = Some(wire);
    }

    fn proxy(&mut self) -> &mut Wire {
        self.proxy.as_mut().expect("a proxy that is connected")
    }

    /// The next question, which must be about this phase.
    pub async fn question(&mut self, phase: Phase) -> Question {
        let request = self.proxy().next("REQ").await;
        assert_eq!(request.op, Op::Request, "{request:?}");
        let context = request.context().expect("a Context");
        assert_eq!(Phase::from_message_type(context.message_type), Some(phase), "{request:?}");
        let handle = request.handle().expect("a handle").clone();
        let sip = request.signaled_info().next().expect("the SIP message");
        Question { phase, handle, sip: String::from_utf8_lossy(sip).into_owned() }
    }

    /// Decides it.
    pub async fn decide(&mut self, question: &Question, command: Command, reason: &str) {
        let data = DecisionData { reason: reason.to_owned(), ..DecisionData::default() };
        let decision = Decision {
            context: question.phase.context(),
            command,
            flags: 0,
            data: vec![DecisionObject::ClientSpecific(data.encode())],
        };
        let message = Message::decision(CLIENT_TYPE_SIP, question.handle.clone(), true, &[decision]);
        self.proxy().send(&message).await;
    }

    /// Waits for the report on the last decision.
    pub async fn report(&mut self, handle: &Bytes) {
        let report = self.proxy().next("RPT").await;
        assert_eq!((report.op, report.report_type()), (Op::ReportState, Some(ReportType::Success)), "{report:?}");
        assert_eq!(report.handle(), Some(handle));
    }

    /// Waits for the end of the call's request state.
    pub async fn deletion(&mut self, handle: &Bytes) {
        let deletion = self.proxy().next("DRQ").await;
        assert_eq!((deletion.op, deletion.handle()), (Op::DeleteRequestState, Some(handle)), "{deletion:?}");
    }

    /// Admits the setup and sees it reported; gives the question.
    pub async fn admits(&mut self) -> Question {
        let setup = self.question(Phase::Setup).await;
        self.decide(&setup, Command::Install, "admitted").await;
        self.report(&setup.handle).await;
        setup
    }

    /// Confirms the teardown of a call and sees its state deleted.
    pub async fn tears_down(&mut self, handle: &Bytes) -> Question {
        let teardown = self.question(Phase::Teardown).await;
        assert_eq!(&teardown.handle, handle, "the same handle to the end");
        self.decide(&teardown, Command::Remove, "released").await;
        self.report(handle).await;
        self.deletion(handle).await;
        teardown
    }
}

/// A router's policy client: what it is told it tells the test; what it reports the test says.
pub struct ScriptedRouter {
    wire: Wire,
    handle: Bytes,
}

/// A decision for a router.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// The header's flag.
    pub solicited: bool,
    /// Names of rows and prefixes that go.
    pub removes: Vec<String>,
    /// Rows that come.
    pub installs: Vec<Row>,
}

impl ScriptedRouter {
    /// Opens and asks for its configuration; gives the base policy that it is told. It has not reported on it yet.
    pub async fn connect(pdp: SocketAddr, name: &str) -> (ScriptedRouter, Told) {
        let mut wire = Wire::new(TcpStream::connect(pdp).await.expect("a policy server"));
        let open = Message::new(Op::ClientOpen, CLIENT_TYPE_PROVISIONING).with(Object::PepId(name.to_owned()));
        wire.send(&open).await;
        let accept = wire.next("Client-Accept").await;
        assert_eq!((accept.op, accept.client_type), (Op::ClientAccept, CLIENT_TYPE_PROVISIONING), "{accept:?}");
        let handle = Bytes::from_static(b"\0\0\0\x01");
        let context = Context { request_type: RequestType::CONFIGURATION, message_type: 0 };
        let request = Message::new(Op::Request, CLIENT_TYPE_PROVISIONING)
            .with(Object::Handle(handle.clone()))
            .with(Object::Context(context));
        wire.send(&request).await;
        let mut router = ScriptedRouter { wire, handle };
        let base = router.decision().await;
        (router, base)
    }

    /// The same, and its base policy is reported as installed.
    pub async fn provisioned(pdp: SocketAddr, name: &str) -> ScriptedRouter {
        let (mut router, _) = ScriptedRouter::connect(pdp, name).await;
        router.report(ReportType::Success).await;
        router
    }

    /// The next decision.
    pub async fn decision(&mut self) -> Told {
        let message = self.wire.next("DEC").await;
        assert_eq!((message.op, message.handle()), (Op::Decision, Some(&self.handle)), "{message:?}");
        let mut told = Told { solicited: message.solicited, removes: Vec::new(), installs: Vec::new() };
        for decision in message.decisions() {
            let data = decision.named().cloned().unwrap_or_default();
            let objects = named::decode(&data).expect("named data");
            for (at, object) in objects.iter().enumerate() {
                match (decision.command, object, objects.get(at + 1)) {
                    (Command::Remove, NamedObject::Prid(name) | NamedObject::PrefixPrid(name), _) => {
                        told.removes.push(name.to_string());
                    }
                    (Command::Install, NamedObject::Prid(name), Some(NamedObject::Epd(values))) => {
                        told.installs.push(Row::from_values(name, values).expect("a row"));
                    }
                    _ => {}
                }
            }
        }
        told
    }

    /// Reports on the oldest decision that is not reported yet.
    pub async fn report(&mut self, report: ReportType) {
        let report = Message::report(CLIENT_TYPE_PROVISIONING, self.handle.clone(), report, true);
        self.wire.send(&report).await;
    }
}

/// Answers every INVITE with one final status, and shows it to the test.
pub struct ScriptedGateway {
    invites: mpsc::UnboundedReceiver<strowger_sip::Message>,
}

impl ScriptedGateway {
    /// Listens beside the real ones.
    pub async fn refusing(ip: std::net::Ipv4Addr, status: u16) -> ScriptedGateway {
        let socket = UdpSocket::bind((ip, GATEWAY_PORT)).await.expect("a port");
        let (seen, invites) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok((count, peer)) = socket.recv_from(&mut buffer).await {
                let message = strowger_sip::Message::parse(Bytes::copy_from_slice(&buffer[..count])).expect("SIP");
                if message.is_request() && message.method() == Method::Invite {
                    let response = Builder::response(&message, status, None).to_tag("scripted").build();
                    let _ = socket.send_to(response.as_bytes(), peer).await;
                    let _ = seen.send(message);
                }
            }
        });
        ScriptedGateway { invites }
    }

    /// The next INVITE.
    pub async fn invite(&mut self) -> strowger_sip::Message {
        tokio::time::timeout(SOON, self.invites.recv()).await.expect("an INVITE in time").expect("an INVITE")
    }
}

/// What went over the wire-tap towards the server, with the moment it came.
#[derive(Clone, Default)]
pub struct Overheard(Arc<Mutex<Vec<(Instant, String)>>>);

impl Overheard {
    /// Listens beside the real OSP server and passes everything on to it.
    pub async fn on(ip: std::net::Ipv4Addr) -> Overheard {
        let listener = TcpListener::bind((ip, TAP_PORT)).await.expect("a port");
        let overheard = Overheard::default();
        let hears = overheard.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect((ip, 5045)).await else { continue };
                tokio::spawn(hears.clone().pass(client, server));
            }
        });
        overheard
    }

    async fn pass(self, client: TcpStream, server: TcpStream) {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let mut buffer = vec![0; 65_536];
        // a request may come in pieces: they are put together by where the next one begins
        while let Ok(count) = from_client.read(&mut buffer).await {
            if count == 0 || to_server.write_all(&buffer[..count]).await.is_err() {
                return;
            }
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let mut all = self.0.lock().unwrap();
            match all.last_mut().filter(|_| !text.starts_with("POST ")) {
                Some((_, last)) => last.push_str(&text),
                None => all.push((Instant::now(), text)),
            }
        }
    }

    /// The charge messages of a transaction so far: when each came, and its XML.
    pub fn charges(&self, transaction: &str) -> Vec<(Instant, String)> {
        let path = format!("POST /charging/{transaction} ");
        let all = self.0.lock().unwrap();
        all.iter().filter(|(_, text)| text.starts_with(&path)).cloned().collect()
    }
}

/// How long a test holds something back, to see that it is held.
pub const HELD: Duration = Duration::from_millis(700);
