//! Registration and digest: RFC 3261 §10.2, §22.

use strowger_simulation::Link;
use strowger_sip::digest::{Algorithm, Challenge, Credentials, Ha1};
use strowger_sip::{Builder, Header, Message, Method};
use strowger_transaction::{Target, Transport};

use super::world::{World, address, call_to};
use crate::{Login, Register, UserAgentEvent as Told};

fn registration(password: &str) -> Register {
    Register {
        registrar: "sip:example.test".to_owned(),
        aor: "sip:alice@example.test".to_owned(),
        target: Target::new(Transport::Udp, address(2)),
        expires_seconds: 600,
        login: Some(Login { username: "alice".to_owned(), password: password.to_owned() }),
    }
}

/// Challenges with both algorithms, MD5 first; accepts `secret`, whose nonce it calls stale once when asked to.
fn registrar(stale_once: bool) -> impl FnMut(&Message) -> Vec<Message> {
    let mut nonces = 0;
    let mut stale_left = stale_once;
    move |request| {
        let given = request.header(Header::Authorization).and_then(|value| Credentials::parse(value).ok());
        let good = given.as_ref().is_some_and(|given| {
            assert_eq!(given.algorithm, Algorithm::Sha256, "the strongest offered is used");
            let ha1 = Ha1::from_password(given.algorithm, "alice", "example.test", "secret");
            given.verify(&ha1, &request.method(), request.body())
        });
        if good && !stale_left {
            let expires = request.header(Header::Expires).unwrap_or("0").to_owned();
            let contact =
                format!("{};expires={expires}", request.header(Header::Contact).unwrap().split(";e").next().unwrap());
            return vec![Builder::response(request, 200, None).to_tag("r").header(Header::Contact, &contact).build()];
        }
        let stale = good;
        stale_left &= !good;
        nonces += 1;
        let nonce = format!("nonce{nonces}");
        let mut response = Builder::response(request, 401, None).to_tag("r");
        for challenge in Challenge::offers("example.test", &nonce, &[Algorithm::Md5, Algorithm::Sha256], stale) {
            response = response.header(Header::WwwAuthenticate, &challenge.to_string());
        }
        vec![response.build()]
    }
}

#[test]
fn registers_with_digest_refreshes_and_unregisters() {
    for stale_once in [false, true] {
        let mut world = World::new(1, Link::PERFECT, Transport::Udp);
        let alice = world.agent(1);
        let server = world.script(2, registrar(stale_once));
        let id = world.act(alice, |agent, now, layer| agent.register(now, layer, registration("secret")).unwrap());
        world.run_ms(100);
        let granted = |world: &World| {
            world.events(alice).iter().filter(|e| matches!(e, Told::Registered { expires_seconds: 600, .. })).count()
        };
        assert_eq!(granted(&world), 1, "{:?}", world.events(alice));
        world.run_ms(539_000);
        assert_eq!(granted(&world), 1);
        world.run_ms(2_000);
        assert_eq!(granted(&world), 2);
        world.act(alice, |agent, now, layer| agent.unregister(now, layer, id).unwrap());
        world.settle(&[alice]);
        assert!(world.net.node(alice).has(|e| matches!(e, Told::Unregistered { .. })));
        // one Call-ID, growing CSeq (§10.2.4)
        let seen = world.net.node(server).seen();
        let sequences: Vec<_> = seen.iter().map(|m| m.cseq().unwrap().number).collect();
        assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
        assert!(seen.iter().all(|m| m.call_id() == seen[0].call_id()));
    }
}

#[test]
fn a_wrong_password_is_tried_once() {
    let mut world = World::new(2, Link::PERFECT, Transport::Udp);
    let alice = world.agent(1);
    let server = world.script(2, registrar(false));
    world.act(alice, |agent, now, layer| agent.register(now, layer, registration("wrong")).unwrap());
    world.settle(&[alice]);
    assert_eq!(world.net.node(server).seen().len(), 2);
    assert!(world.net.node(alice).has(|e| matches!(e, Told::RegistrationFailed { status: 401, retrying: false, .. })));
}

#[test]
fn an_interval_too_brief_is_raised_once() {
    let mut world = World::new(3, Link::PERFECT, Transport::Udp);
    let alice = world.agent(1);
    world.script(2, |request| {
        let asked: u32 = request.header(Header::Expires).unwrap().parse().unwrap();
        let response = if asked == 0 || asked >= 3600 {
            Builder::response(request, 200, None).to_tag("r").header(Header::Expires, &asked.to_string())
        } else {
            Builder::response(request, 423, None).to_tag("r").header(Header::MinExpires, "3600")
        };
        vec![response.build()]
    });
    let id = world.act(alice, |agent, now, layer| agent.register(now, layer, registration("secret")).unwrap());
    world.run_ms(100);
    assert!(world.net.node(alice).has(|e| matches!(e, Told::Registered { expires_seconds: 3600, .. })));
    world.act(alice, |agent, now, layer| agent.unregister(now, layer, id).unwrap());
    world.settle(&[alice]);
}

#[test]
fn a_refresh_that_fails_is_tried_again() {
    let mut world = World::new(4, Link::PERFECT, Transport::Udp);
    let alice = world.agent(1);
    world.script(2, |request| {
        vec![Builder::response(request, 200, None).to_tag("r").header(Header::Expires, "600").build()]
    });
    let id = world.act(alice, |agent, now, layer| agent.register(now, layer, registration("secret")).unwrap());
    world.run_ms(100);
    world.net.set_link(address(1), address(2), Link::CUT);
    world.run_ms(600_000);
    assert!(world.net.node(alice).has(|e| matches!(e, Told::RegistrationFailed { status: 408, retrying: true, .. })));
    world.net.set_link(address(1), address(2), Link::PERFECT);
    world.run_ms(120_000);
    let granted = world.events(alice).iter().filter(|e| matches!(e, Told::Registered { .. })).count();
    assert!(granted >= 2);
    let _ = id;
}

#[test]
fn an_invite_is_sent_again_with_credentials_and_its_ack_has_them_too() {
    let mut world = World::new(5, Link::PERFECT, Transport::Udp);
    let alice = world.agent(1);
    let proxy = world.script(2, |request| match (request.is_request(), request.method()) {
        (true, Method::Invite) if request.header(Header::ProxyAuthorization).is_none() => {
            let challenge = Challenge::new("example.test", "n1", Algorithm::Md5).to_string();
            vec![
                Builder::response(request, 407, None).to_tag("p").header(Header::ProxyAuthenticate, &challenge).build(),
            ]
        }
        (true, Method::Invite) => vec![
            Builder::response(request, 200, None)
                .to_tag("b")
                .header(Header::Contact, "<sip:bob@10.0.0.2>")
                .header(Header::RecordRoute, "<sip:10.0.0.2;lr>")
                .body("application/sdp", b"answer")
                .build(),
        ],
        (true, Method::Bye) => vec![Builder::response(request, 200, None).build()],
        _ => Vec::new(),
    });
    let mut invite = call_to(2, Transport::Udp, Some("offer"));
    invite.login = Some(Login { username: "alice".to_owned(), password: "secret".to_owned() });
    let a = world.act(alice, |agent, now, layer| agent.invite(now, layer, invite).unwrap());
    world.run_ms(100);
    assert!(world.net.node(alice).has(|e| matches!(e, Told::Answered { .. })), "{:?}", world.events(alice));
    let ack = world.net.node(proxy).seen().iter().find(|m| m.is_request() && m.method() == Method::Ack).unwrap();
    assert!(ack.header(Header::ProxyAuthorization).is_some());
    assert_eq!(ack.header(Header::Route), Some("<sip:10.0.0.2;lr>"));
    assert_eq!(ack.request_uri(), "sip:bob@10.0.0.2");
    world.act(alice, |agent, now, layer| agent.hang_up(now, layer, a, None).unwrap());
    world.settle(&[alice]);
}
