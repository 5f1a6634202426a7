//! RFC 3261 §10.3 and §22: what is registered, what is refused and how.

use strowger_simulation::NodeId;
use strowger_sip::digest::Algorithm;
use strowger_sip::{Header, Message, Method};

use crate::script::{Raw, challenges, credentials, register, register_with};
use crate::world::{World, address, config};

fn world() -> (World, NodeId) {
    let mut world = World::new(config());
    let phone = world.raw(10);
    (world, phone)
}

/// Registers `contacts` for alice, answering the challenge; gives the final response.
fn registers(
    world: &mut World,
    phone: NodeId,
    call_id: &str,
    cseq: u32,
    contacts: &[&str],
    expires: Option<u32>,
) -> Message {
    let branches = (format!("{call_id}-{cseq}-a"), format!("{call_id}-{cseq}-b"));
    let with_expires = |raw: &Raw<'_>| {
        let builder = register_with(raw, contacts);
        match expires {
            Some(seconds) => builder.header(Header::Expires, &seconds.to_string()),
            None => builder,
        }
    };
    let challenge = world.ask_raw(phone, &with_expires(&register(&branches.0, call_id, cseq)).build());
    assert_eq!(challenge.status(), Some(401));
    let credentials = credentials(&challenge, Algorithm::Sha256, "alice", (&Method::Register, "sip:example.test"), 1);
    let raw = register(&branches.1, call_id, cseq + 1);
    let request = with_expires(&raw).header(Header::Authorization, &credentials).build();
    world.ask_raw(phone, &request)
}

fn contacts(response: &Message) -> Vec<String> {
    response.values(Header::Contact).map(str::to_owned).collect()
}

#[test]
fn challenges_strongest_first_and_takes_each_algorithm() {
    let (mut world, phone) = world();
    for (at, algorithm) in [Algorithm::Sha512_256, Algorithm::Sha256, Algorithm::Md5].into_iter().enumerate() {
        let id = format!("r{at}");
        let request = register_with(&register(&format!("{id}a"), &id, 1), &["<sip:alice@10.0.0.10>"]).build();
        let challenge = world.ask_raw(phone, &request);
        let offered: Vec<_> = challenges(&challenge).iter().map(|challenge| challenge.algorithm).collect();
        assert_eq!(offered, Algorithm::STRONGEST_FIRST);
        let credentials = credentials(&challenge, algorithm, "alice", (&Method::Register, "sip:example.test"), 1);
        let branch = format!("{id}b");
        let request = register_with(&register(&branch, &id, 2), &["<sip:alice@10.0.0.10>"]);
        let response = world.ask_raw(phone, &request.header(Header::Authorization, &credentials).build());
        assert_eq!(response.status(), Some(200), "{algorithm:?}");
    }
    assert_eq!(world.core().core.gauge().bindings, 1);
    world.settle();
}

#[test]
fn an_algorithm_that_is_not_offered_is_not_taken() {
    let mut config = config();
    config.digest = vec![Algorithm::Sha256];
    let mut world = World::new(config);
    let phone = world.raw(10);
    let challenge = world.ask_raw(phone, &register_with(&register("z1", "z", 1), &[]).build());
    assert_eq!(challenges(&challenge).len(), 1);
    let weaker = strowger_sip::digest::Challenge { algorithm: Algorithm::Md5, ..challenges(&challenge)[0].clone() };
    let login = crate::world::login("alice");
    let uri = "sip:example.test";
    let text = strowger_sip::digest::answer(&weaker, &login, &Method::Register, uri, b"", "c", 1).to_string();
    let request = register_with(&register("z2", "z", 2), &[]).header(Header::Authorization, &text).build();
    assert_eq!(world.ask_raw(phone, &request).status(), Some(401));
    world.settle();
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_challenged_alike() {
    let (mut world, phone) = world();
    let challenge = world.ask_raw(phone, &register_with(&register("w1", "w", 1), &[]).build());
    for (branch, user) in [("w2", "bob"), ("w3", "nobody")] {
        // bob's password under alice's To; and a name that there is not
        let text = credentials(&challenge, Algorithm::Md5, user, (&Method::Register, "sip:example.test"), 1)
            .replace("username=\"bob\"", "username=\"alice\"");
        let request = register_with(&register(branch, "w", 2), &[]).header(Header::Authorization, &text).build();
        let response = world.ask_raw(phone, &request);
        assert_eq!(response.status(), Some(401));
        assert!(challenges(&response).iter().all(|challenge| !challenge.stale));
    }
    assert_eq!(world.core().core.counters().credentials_refused, 2);
    world.settle();
}

#[test]
fn an_old_nonce_is_stale_and_a_used_count_is_too() {
    let (mut world, phone) = world();
    let challenge = world.ask_raw(phone, &register_with(&register("s1", "s", 1), &[]).build());
    let first = credentials(&challenge, Algorithm::Sha256, "alice", (&Method::Register, "sip:example.test"), 1);
    let ask = |world: &mut World, branch: &str, text: &str| {
        let raw = register(branch, "s", 2);
        world.ask_raw(phone, &register_with(&raw, &[]).header(Header::Authorization, text).build())
    };
    assert_eq!(ask(&mut world, "s2", &first).status(), Some(200));
    let replayed = ask(&mut world, "s3", &first);
    assert_eq!(replayed.status(), Some(401));
    assert!(challenges(&replayed).iter().all(|challenge| challenge.stale));
    world.run_ms(301_000);
    let second = credentials(&challenge, Algorithm::Sha256, "alice", (&Method::Register, "sip:example.test"), 2);
    let late = ask(&mut world, "s4", &second);
    assert_eq!(late.status(), Some(401));
    assert!(challenges(&late).iter().all(|challenge| challenge.stale));
    world.settle();
}

#[test]
fn several_contacts_by_preference_and_their_removal() {
    let (mut world, phone) = world();
    let two = ["<sip:alice@10.0.0.10>;q=0.5", "<sip:alice@10.0.0.11:5070>;q=0.9;expires=60"];
    let response = registers(&mut world, phone, "c1", 1, &two, Some(600));
    assert_eq!(response.status(), Some(200));
    assert_eq!(
        contacts(&response),
        ["<sip:alice@10.0.0.11:5070>;expires=60;q=0.900", "<sip:alice@10.0.0.10>;expires=600;q=0.500"]
    );
    assert!(response.header_by_name("Date").is_some());
    // a query lists what is left of it
    world.run_ms(10_000);
    assert_eq!(contacts(&registers(&mut world, phone, "c2", 1, &[], None)).len(), 2);
    let left = registers(&mut world, phone, "c1", 3, &["<sip:ALICE@10.0.0.10>;expires=0"], None);
    assert_eq!(contacts(&left).len(), 2, "user parts differ in case: another contact");
    let left = registers(&mut world, phone, "c1", 5, &["<sip:alice@10.0.0.10>;expires=0"], None);
    assert_eq!(contacts(&left).len(), 1);
    world.run_ms(61_000);
    assert_eq!(contacts(&registers(&mut world, phone, "c2", 3, &[], None)), Vec::<String>::new());
    assert_eq!(world.core().core.gauge().bindings, 0);
    world.settle();
}

#[test]
fn the_wildcard_stands_alone_and_with_expires_zero() {
    let (mut world, phone) = world();
    registers(&mut world, phone, "w1", 1, &["<sip:alice@10.0.0.10>"], None);
    assert_eq!(registers(&mut world, phone, "w1", 3, &["*"], Some(60)).status(), Some(400));
    assert_eq!(registers(&mut world, phone, "w1", 5, &["*"], None).status(), Some(400));
    assert_eq!(registers(&mut world, phone, "w1", 7, &["*", "<sip:alice@10.0.0.9>"], Some(0)).status(), Some(400));
    assert_eq!(world.core().core.gauge().bindings, 1);
    assert_eq!(registers(&mut world, phone, "w1", 0, &["*"], Some(0)).status(), Some(500), "out of order");
    assert_eq!(registers(&mut world, phone, "w1", 9, &["*"], Some(0)).status(), Some(200));
    assert_eq!(world.core().core.gauge().bindings, 0);
    world.settle();
}

#[test]
fn too_brief_is_423_and_too_long_is_cut() {
    let (mut world, phone) = world();
    let brief = registers(&mut world, phone, "b1", 1, &["<sip:alice@10.0.0.10>"], Some(9));
    assert_eq!((brief.status(), brief.header(Header::MinExpires)), (Some(423), Some("10")));
    assert_eq!(registers(&mut world, phone, "b1", 3, &["<sip:alice@10.0.0.10>"], Some(10)).status(), Some(200));
    let long = registers(&mut world, phone, "b1", 5, &["<sip:alice@10.0.0.10>"], Some(86_401));
    assert_eq!(contacts(&long), ["<sip:alice@10.0.0.10>;expires=86400;q=1.000"]);
    world.settle();
}

#[test]
fn an_older_cseq_of_the_same_call_id_changes_nothing() {
    let (mut world, phone) = world();
    registers(&mut world, phone, "o1", 10, &["<sip:alice@10.0.0.10>;expires=100"], None);
    // the registration itself bore 11; what names 11 again is out of order, and its other contact is not taken either
    let both = ["<sip:alice@10.0.0.9>", "<sip:alice@10.0.0.10>;expires=0"];
    assert_eq!(registers(&mut world, phone, "o1", 9, &both, None).status(), Some(500));
    assert_eq!(world.core().core.gauge().bindings, 1);
    assert_eq!(registers(&mut world, phone, "o1", 11, &both, None).status(), Some(200));
    assert_eq!(world.core().core.location().lookup("alice", world.net.now())[0].contact, "sip:alice@10.0.0.9");
    world.settle();
}

#[test]
fn limits_are_answered() {
    let mut config = config();
    config.limits.bindings_per_aor = 2;
    let mut world = World::new(config);
    let phone = world.raw(10);
    let two = ["<sip:alice@10.0.0.10>", "<sip:alice@10.0.0.11>"];
    assert_eq!(registers(&mut world, phone, "l1", 1, &two, None).status(), Some(200));
    assert_eq!(registers(&mut world, phone, "l1", 3, &["<sip:alice@10.0.0.12>"], None).status(), Some(403));
    // the removal of one that is not there takes no place
    let gone = registers(&mut world, phone, "l1", 5, &["<sip:alice@10.0.0.13>;expires=0"], None);
    assert_eq!(gone.status(), Some(200));
    assert_eq!(registers(&mut world, phone, "l1", 7, &two, None).status(), Some(200));
    world.settle();
}

#[test]
fn foreign_requests_are_refused() {
    let (mut world, phone) = world();
    let foreign = Raw { uri: "sip:elsewhere.test", ..register("f1", "f1", 1) };
    assert_eq!(world.ask_raw(phone, &register_with(&foreign, &[]).build()).status(), Some(403));
    // another's address of record, and one that is not of this domain
    for (branch, to, status) in [("f2", "<sip:bob@example.test>", 403), ("f3", "<sip:alice@elsewhere.test>", 404)] {
        let challenge = world.ask_raw(phone, &register_with(&register(&format!("{branch}c"), branch, 1), &[]).build());
        let text = credentials(&challenge, Algorithm::Md5, "alice", (&Method::Register, "sip:example.test"), 1);
        let raw = Raw { to, ..register(branch, branch, 2) };
        let response = world.ask_raw(phone, &register_with(&raw, &[]).header(Header::Authorization, &text).build());
        assert_eq!(response.status(), Some(status));
    }
    for bad in ["<mailto:alice@example.test>", "<sip:>"] {
        let branch = format!("m{}", bad.len());
        let challenge =
            world.ask_raw(phone, &register_with(&register(&format!("{branch}c"), &branch, 1), &[bad]).build());
        if challenge.status() == Some(400) {
            continue;
        }
        let text = credentials(&challenge, Algorithm::Md5, "alice", (&Method::Register, "sip:example.test"), 1);
        let raw = register(&branch, &branch, 2);
        let response = world.ask_raw(phone, &register_with(&raw, &[bad]).header(Header::Authorization, &text).build());
        assert_eq!(response.status(), Some(400), "{bad}");
    }
    assert_eq!(world.core().core.gauge().bindings, 0);
    world.settle();
}

#[test]
fn a_required_extension_is_420() {
    let (mut world, phone) = world();
    let challenge = world.ask_raw(phone, &register_with(&register("q1", "q", 1), &[]).build());
    let text = credentials(&challenge, Algorithm::Md5, "alice", (&Method::Register, "sip:example.test"), 1);
    let raw = register("q2", "q", 2);
    let request = register_with(&raw, &[]).header(Header::Require, "gruu").header(Header::Authorization, &text).build();
    let response = world.ask_raw(phone, &request);
    assert_eq!((response.status(), response.header(Header::Unsupported)), (Some(420), Some("gruu")));
    world.settle();
}

#[test]
fn contacts_behind_a_nat_and_over_tcp() {
    let (mut world, phone) = world();
    registers(&mut world, phone, "n1", 1, &["<sip:alice@192.168.0.5:5062>", "<sip:alice@10.0.0.10:5070>"], None);
    let now = world.net.now();
    let found = world.core().core.location().lookup("alice", now);
    let targets: Vec<_> = found.iter().map(|binding| binding.target.address.to_string()).collect();
    assert_eq!(targets, [address(10).to_string(), "10.0.0.10:5070".to_owned()]);
    world.settle();
}
