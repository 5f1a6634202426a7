//! Requests inside dialogs: along a recorded route, by a known call, or refused; strict routers.

use strowger_simulation::NodeId;
use strowger_sip::{Header, Message, Method};

use crate::requests::register_raw;
use crate::script::{Raw, response};
use crate::world::{World, config};

/// A call from a raw caller at 30 to a raw phone at 12, answered; the route that it recorded.
fn answered(world: &mut World) -> (NodeId, NodeId, String) {
    let (desk, caller) = (world.raw(12), world.raw(30));
    register_raw(world, desk, "bob", "<sip:bob@10.0.0.12>");
    world.send_raw(caller, &Raw::new(Method::Invite, "sip:bob@example.test", 30, "dlg").build().build());
    world.run_ms(50);
    let invite = world.requests(desk, "INVITE").pop().unwrap();
    world.send_raw(desk, &response(&invite, 200, "d", 12, None));
    world.run_ms(50);
    let answer: Message = world.inbox(caller).iter().find(|message| message.status() == Some(200)).unwrap().clone();
    assert_eq!(answer.vias().count(), 1, "our Via is off");
    let route = answer.values(Header::RecordRoute).next().unwrap().to_owned();
    (caller, desk, route)
}

fn in_dialog<'a>(method: Method, branch: &'a str, cseq: u32) -> Raw<'a> {
    Raw {
        to: "<sip:bob@example.test>;tag=d",
        call_id: "dlg",
        cseq,
        ..Raw::new(method, "sip:gw@10.0.0.12:5060", 30, branch)
    }
}

fn close(world: &mut World, caller: NodeId, desk: NodeId, route: &str) {
    world.send_raw(caller, &in_dialog(Method::Bye, "close", 99).build().header(Header::Route, route).build());
    world.run_ms(50);
    let bye = world.requests(desk, "BYE").pop().unwrap();
    world.send_raw(desk, &response(&bye, 200, "d", 12, None));
    world.run_ms(50);
    assert!(world.call_numbers().is_empty());
}

#[test]
fn along_the_recorded_route_and_without_it() {
    let mut world = World::new(config());
    let (caller, desk, route) = answered(&mut world);
    let info = in_dialog(Method::Info, "i1", 2).build().header(Header::Route, &route).build();
    world.send_raw(caller, &info);
    world.run_ms(50);
    let at_desk = world.requests(desk, "INFO").pop().expect("forwarded");
    assert_eq!((at_desk.routes().count(), at_desk.header(Header::MaxForwards)), (0, Some("69")));
    assert_eq!(at_desk.values(Header::RecordRoute).count(), 0);
    world.send_raw(desk, &response(&at_desk, 200, "d", 12, None));
    // a peer that drops the parameters of its Route: the call is known
    let bare = in_dialog(Method::Info, "i2", 3).build().header(Header::Route, "<sip:10.0.0.1:5060;lr>").build();
    world.send_raw(caller, &bare);
    world.run_ms(50);
    let at_desk = world.requests(desk, "INFO").pop().expect("forwarded");
    world.send_raw(desk, &response(&at_desk, 200, "d", 12, None));
    // nobody's dialog
    let stranger = Raw { call_id: "other", ..in_dialog(Method::Info, "i3", 4) };
    assert_eq!(world.ask_raw(caller, &stranger.build().header(Header::Route, &route).build()).status(), Some(481));
    // a forged cookie
    let forged = Raw { call_id: "other", ..in_dialog(Method::Info, "i4", 5) };
    let forged = forged.build().header(Header::Route, "<sip:10.0.0.1:5060;lr;sc=0000000000000000>").build();
    assert_eq!(world.ask_raw(caller, &forged).status(), Some(481));
    close(&mut world, caller, desk, &route);
    world.settle();
}

/// §16.4: a strict router put our recorded URI into the Request-URI and the remote target last in Route.
#[test]
fn a_strict_router_before_us() {
    let mut world = World::new(config());
    let (caller, desk, route) = answered(&mut world);
    let ours = route.trim_matches(['<', '>']).to_owned();
    let strict = Raw { uri: &ours, ..in_dialog(Method::Info, "s1", 2) };
    world.send_raw(caller, &strict.build().header(Header::Route, "<sip:gw@10.0.0.12:5060>").build());
    world.run_ms(50);
    let at_desk = world.requests(desk, "INFO").pop().expect("forwarded");
    assert_eq!((at_desk.request_uri(), at_desk.routes().count()), ("sip:gw@10.0.0.12:5060", 0));
    world.send_raw(desk, &response(&at_desk, 200, "d", 12, None));
    close(&mut world, caller, desk, &route);
    world.settle();
}

/// §16.6 step 6: a strict router after us finds itself in the Request-URI.
#[test]
fn a_strict_router_after_us() {
    let mut world = World::new(config());
    let (caller, desk, route) = answered(&mut world);
    let strict = world.raw(40);
    for (at, method) in [Method::Info, Method::Ack].into_iter().enumerate() {
        let branch = format!("x{at}");
        let request = in_dialog(method.clone(), &branch, 2)
            .build()
            .header(Header::Route, &route)
            .header(Header::Route, "<sip:10.0.0.40:5060>")
            .header(Header::Route, "<sip:10.0.0.41:5060;lr>");
        world.send_raw(caller, &request.build());
        world.run_ms(50);
        let there = world.requests(strict, method.as_str()).pop().expect("forwarded");
        let routes: Vec<_> = there.values(Header::Route).collect();
        assert_eq!(there.request_uri(), "sip:10.0.0.40:5060");
        assert_eq!(routes, ["<sip:10.0.0.41:5060;lr>", "<sip:gw@10.0.0.12:5060>"]);
        if method == Method::Info {
            world.send_raw(strict, &response(&there, 200, "d", 40, None));
        }
    }
    close(&mut world, caller, desk, &route);
    world.settle();
}

/// A caller behind a NAT: what the callee sends inside the dialog goes to where the INVITE came from.
#[test]
fn a_contact_behind_a_nat_is_reached_by_its_flow() {
    let mut world = World::new(config());
    let (desk, caller) = (world.raw(12), world.raw(30));
    register_raw(&mut world, desk, "bob", "<sip:bob@10.0.0.12>");
    let mut edit = Raw::new(Method::Invite, "sip:bob@example.test", 30, "nat").build().build().edit();
    edit.set(Header::Contact, "<sip:carol@192.168.1.9:5062>");
    world.send_raw(caller, &edit.finish());
    world.run_ms(50);
    let invite = world.requests(desk, "INVITE").pop().unwrap();
    let route = invite.values(Header::RecordRoute).next().unwrap().to_owned();
    world.send_raw(desk, &response(&invite, 200, "d", 12, None));
    world.run_ms(50);
    let bye = Raw {
        from: "<sip:bob@example.test>;tag=d",
        to: "<sip:carol@elsewhere.test>;tag=c1",
        call_id: "nat",
        ..Raw::new(Method::Bye, "sip:carol@192.168.1.9:5062", 12, "natbye")
    };
    world.send_raw(desk, &bye.build().header(Header::Route, &route).build());
    world.run_ms(50);
    let bye = world.requests(caller, "BYE").pop().expect("it arrives");
    world.send_raw(caller, &response(&bye, 200, "c1", 30, None));
    world.run_ms(50);
    assert!(world.call_numbers().is_empty());
    world.settle();
}

/// The dialog of a SUBSCRIBE goes through us too.
#[test]
fn a_subscription_is_recorded() {
    let mut world = World::new(config());
    let (desk, watcher) = (world.raw(12), world.raw(30));
    register_raw(&mut world, desk, "bob", "<sip:bob@10.0.0.12>");
    world.send_raw(watcher, &Raw::new(Method::Subscribe, "sip:bob@example.test", 30, "sub").build().build());
    world.run_ms(50);
    let subscribe = world.requests(desk, "SUBSCRIBE").pop().unwrap();
    let route = subscribe.values(Header::RecordRoute).next().expect("recorded").to_owned();
    world.send_raw(desk, &response(&subscribe, 200, "d", 12, None));
    world.run_ms(50);
    let notify = Raw {
        from: "<sip:bob@example.test>;tag=d",
        to: "<sip:carol@elsewhere.test>;tag=c1",
        call_id: "sub",
        ..Raw::new(Method::Notify, "sip:peer@10.0.0.30:5060", 12, "ntf")
    };
    world.send_raw(desk, &notify.build().header(Header::Route, &route).build());
    world.run_ms(50);
    let notify = world.requests(watcher, "NOTIFY").pop().expect("it arrives");
    world.send_raw(watcher, &response(&notify, 200, "c1", 30, None));
    world.settle();
}

/// An UPDATE in an early dialog (RFC 3311): its 200 answers no call, its failure ends none.
#[test]
fn an_early_update_is_not_the_answer() {
    let mut world = World::new(config());
    let (desk, caller) = (world.raw(12), world.raw(30));
    register_raw(&mut world, desk, "bob", "<sip:bob@10.0.0.12>");
    world.send_raw(caller, &Raw::new(Method::Invite, "sip:bob@example.test", 30, "dlg").build().build());
    world.run_ms(50);
    let invite = world.requests(desk, "INVITE").pop().unwrap();
    world.send_raw(desk, &response(&invite, 183, "d", 12, None));
    world.run_ms(50);
    for (branch, cseq, status) in [("u1", 2, 200), ("u2", 3, 488)] {
        let update = in_dialog(Method::Update, branch, cseq).build().body("application/sdp", &crate::world::sdp(30, 2));
        world.send_raw(caller, &update.build());
        world.run_ms(50);
        let at_desk = world.requests(desk, "UPDATE").pop().expect("forwarded");
        world.send_raw(desk, &response(&at_desk, status, "d", 12, None));
        world.run_ms(50);
        assert_eq!(world.statuses(caller).last(), Some(&status));
        assert_eq!((world.call_numbers().len(), world.core().core.counters().calls_answered), (1, 0));
    }
    world.send_raw(desk, &response(&invite, 486, "d", 12, None));
    world.run_ms(50);
    assert_eq!(world.statuses(caller).last(), Some(&486));
    assert!(world.call_numbers().is_empty());
    world.settle();
}
