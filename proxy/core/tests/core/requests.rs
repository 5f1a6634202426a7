//! RFC 3261 §16.3 to §16.6: requests that are refused, spirals and loops, breadth.

use strowger_sip::{Header, Method};

use crate::script::{Raw, bob, response};
use crate::world::{Auto, World, address, config};

#[test]
fn what_a_request_is_refused_for() {
    let mut world = World::new(config());
    let peer = world.raw(30);
    type Case<'a> = (&'a str, Method, &'a str, &'a [(Header, &'a str)], u16);
    let cases: [Case<'_>; 11] = [
        ("unknown user", Method::Invite, "sip:nobody@example.test", &[], 404),
        ("not registered", Method::Invite, "sip:bob@example.test", &[], 480),
        ("not registered, no call", Method::Message, "sip:bob@example.test", &[], 480),
        ("foreign domain", Method::Invite, "sip:bob@elsewhere.test", &[], 403),
        ("a number, by a stranger", Method::Invite, "sip:+12125550100@example.test", &[], 403),
        ("a number, as tel", Method::Invite, "tel:+12125550100", &[], 403),
        ("no hops left", Method::Invite, "sip:bob@example.test", &[(Header::MaxForwards, "0")], 483),
        ("no hops left, foreign", Method::Options, "sip:bob@elsewhere.test", &[(Header::MaxForwards, "0")], 483),
        ("no breadth left", Method::Invite, "sip:bob@example.test", &[(Header::MaxBreadth, "0")], 440),
        ("unknown scheme", Method::Invite, "http://example.test/", &[], 416),
        ("a route of others", Method::Invite, "sip:bob@example.test", &[(Header::Route, "<sip:10.9.9.9;lr>")], 403),
    ];
    for (at, (what, method, uri, headers, status)) in cases.into_iter().enumerate() {
        let branch = format!("v{at}");
        let mut builder = Raw::new(method, uri, 30, &branch).build();
        for (name, value) in headers {
            builder = builder.header(*name, value);
        }
        let answer = world.ask_raw(peer, &builder.build());
        assert_eq!(answer.status(), Some(status), "{what}");
        assert!(answer.to().unwrap().tag().is_some(), "{what}");
    }
    world.settle();
}

#[test]
fn options_for_the_proxy_and_at_zero_hops() {
    let mut world = World::new(config());
    let peer = world.raw(30);
    let plain = Raw::new(Method::Options, "sip:example.test", 30, "op1").build().build();
    let answer = world.ask_raw(peer, &plain);
    assert_eq!(answer.status(), Some(200));
    assert!(answer.values(Header::Allow).any(|method| method == "INVITE"));
    let zero = Raw::new(Method::Options, "sip:bob@example.test", 30, "op2").build().header(Header::MaxForwards, "0");
    assert_eq!(world.ask_raw(peer, &zero.build()).status(), Some(200));
    world.settle();
}

#[test]
fn proxy_require_lists_what_is_not_supported() {
    let mut world = World::new(config());
    let peer = world.raw(30);
    let request =
        Raw::new(Method::Invite, "sip:bob@example.test", 30, "pr").build().header(Header::ProxyRequire, "x, y");
    let answer = world.ask_raw(peer, &request.build());
    let unsupported: Vec<_> = answer.values(Header::Unsupported).collect();
    assert_eq!((answer.status(), unsupported), (Some(420), vec!["x", "y"]));
    world.settle();
}

#[test]
fn a_user_of_ours_is_challenged_before_anything_is_told() {
    let mut world = World::new(config());
    let peer = world.raw(30);
    for (branch, uri) in [("u1", "sip:nobody@example.test"), ("u2", "sip:+12125550100@example.test"), ("u3", "tel:+1")]
    {
        let raw = Raw { from: "<sip:alice@example.test>;tag=1", ..Raw::new(Method::Invite, uri, 30, branch) };
        assert_eq!(world.ask_raw(peer, &raw.build().build()).status(), Some(407));
    }
    world.settle();
}

/// Two users whose contacts are each other's address of record at the proxy: a spiral is fine, a loop is not.
#[test]
fn a_loop_is_482_and_a_spiral_is_not() {
    let mut world = World::new(config());
    let phone = world.agent_by(
        12,
        "bob",
        strowger_transaction::Transport::Udp,
        Some(Auto { answer_after_ms: 10, hang_up_after_ms: Some(100), rejects: None }),
    );
    world.register(phone, "bob");
    let peer = world.raw(30);
    let proxy = address(1);
    // the request comes back from us with another Request-URI: as after a redirection upstream
    let loop_free = Raw::new(Method::Message, "sip:bob@example.test", 30, "sp1").build().build();
    assert_eq!(world.ask_raw(peer, &loop_free).status(), Some(405), "bob's phone takes no MESSAGE; it got there");
    let relay = world.raw(13);
    register_raw(&mut world, relay, "alice", "<sip:alice@10.0.0.13>");
    let request =
        Raw { to: "<sip:alice@example.test>", ..Raw::new(Method::Message, "sip:alice@example.test", 30, "sp2") };
    world.send_raw(peer, &request.build().build());
    world.run_ms(50);
    let forwarded = world.requests(relay, "MESSAGE").pop().expect("forwarded");
    // it comes back for bob (a spiral: goes on), then for alice as at first (a loop)
    let back = |uri: &str, branch: &str| {
        let mut edit = forwarded.edit();
        edit.set_request_uri(uri);
        edit.push_front(Header::Via, &format!("SIP/2.0/UDP {};branch=z9hG4bK{branch}", address(13)));
        edit.finish()
    };
    assert_eq!(world.ask_raw(relay, &back(&bob(), "back1")).status(), Some(405));
    assert_eq!(world.ask_raw(relay, &back("sip:alice@example.test", "back2")).status(), Some(482));
    assert_eq!(world.core().core.counters().loops, 1);
    let answer = response(&forwarded, 200, "x", 13, None);
    world.send_raw(relay, &answer);
    let _ = proxy;
    world.settle();
}

pub fn register_raw(world: &mut World, phone: strowger_simulation::NodeId, user: &str, contact: &str) {
    use strowger_sip::digest::Algorithm;
    let aor = format!("<sip:{user}@example.test>");
    let from = format!("{aor};tag=r");
    let id = format!("reg-{user}-{}", contact.len());
    let branches = (format!("{id}1"), format!("{id}2"));
    let ask = |branch, cseq| Raw {
        from: &from,
        to: &aor,
        call_id: &id,
        cseq,
        ..Raw::new(Method::Register, "sip:example.test", 13, branch)
    };
    let host = match &world.net.node(phone) {
        crate::world::Party::Raw(raw) => match raw.address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        },
        _ => 0,
    };
    let first = Raw { host, ..ask(&branches.0, 1) };
    let challenge = world.ask_raw(phone, &crate::script::register_with(&first, &[contact]).build());
    let text = crate::script::credentials(&challenge, Algorithm::Md5, user, (&Method::Register, "sip:example.test"), 1);
    let second = Raw { host, ..ask(&branches.1, 2) };
    let request = crate::script::register_with(&second, &[contact]).header(Header::Authorization, &text).build();
    assert_eq!(world.ask_raw(phone, &request).status(), Some(200));
}

/// RFC 5393 §5: with breadth for one branch, the second contact waits for the first to fail.
#[test]
fn breadth_bounds_parallel_branches() {
    let mut world = World::new(config());
    let (one, two, caller) = (world.raw(14), world.raw(15), world.raw(30));
    register_raw(&mut world, one, "bob", "<sip:bob@10.0.0.14>");
    register_raw(&mut world, two, "bob", "<sip:bob@10.0.0.15:5060>");
    let invite = Raw::new(Method::Invite, "sip:bob@example.test", 30, "mb").build().header(Header::MaxBreadth, "1");
    world.send_raw(caller, &invite.build());
    world.run_ms(100);
    let first = world.requests(one, "INVITE").pop().expect("the first is called");
    assert_eq!(first.header(Header::MaxBreadth), Some("1"));
    assert!(world.requests(two, "INVITE").is_empty());
    world.send_raw(one, &response(&first, 486, "b1", 14, None));
    world.run_ms(100);
    let second = world.requests(two, "INVITE").pop().expect("then the second");
    world.send_raw(two, &response(&second, 480, "b2", 15, None));
    world.run_ms(100);
    // 480 and 486 are of one class: the lower number
    assert_eq!(world.statuses(caller).pop(), Some(480));
    world.settle();
}

/// §16.7 step 7: challenges of all branches together; 6xx above all others and only when the rest is over.
#[test]
fn challenges_are_gathered_and_a_6xx_wins() {
    let mut world = World::new(config());
    let (one, two, caller) = (world.raw(14), world.raw(15), world.raw(30));
    register_raw(&mut world, one, "bob", "<sip:bob@10.0.0.14>");
    register_raw(&mut world, two, "bob", "<sip:bob@10.0.0.15:5060>");
    world.send_raw(caller, &Raw::new(Method::Message, "sip:bob@example.test", 30, "ch").build().build());
    world.run_ms(50);
    for (node, host, realm) in [(one, 14, "a.test"), (two, 15, "b.test")] {
        let request = world.requests(node, "MESSAGE").pop().unwrap();
        let mut edit = response(&request, 401, "t", host, None).edit();
        edit.push_back(Header::WwwAuthenticate, &format!("Digest realm=\"{realm}\", nonce=\"n\""));
        world.send_raw(node, &edit.finish());
    }
    world.run_ms(50);
    let answer = world.inbox(caller).last().unwrap().clone();
    assert_eq!((answer.status(), answer.values(Header::WwwAuthenticate).count()), (Some(401), 2));

    world.send_raw(caller, &Raw::new(Method::Invite, "sip:bob@example.test", 30, "six").build().build());
    world.run_ms(50);
    let (first, second) = (world.requests(one, "INVITE").pop().unwrap(), world.requests(two, "INVITE").pop().unwrap());
    world.send_raw(two, &response(&second, 180, "t2", 15, None));
    world.run_ms(50);
    world.send_raw(one, &response(&first, 603, "t1", 14, None));
    world.run_ms(50);
    assert_eq!(world.requests(two, "CANCEL").len(), 1);
    assert!(!world.statuses(caller).contains(&603), "the other branch is not over");
    world.send_raw(two, &response(&world.requests(two, "CANCEL")[0].clone(), 200, "t2", 15, None));
    world.send_raw(two, &response(&second, 487, "t2", 15, None));
    world.run_ms(50);
    assert_eq!(world.statuses(caller).last(), Some(&603));
    world.settle();
}
