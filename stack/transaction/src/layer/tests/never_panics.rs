//! Whatever a peer sends, in any order and at any time: the layer neither panics nor keeps anything once all has ended.

use proptest::prelude::*;

use super::*;

const METHODS: [&str; 6] = ["INVITE", "ACK", "CANCEL", "OPTIONS", "BYE", "NEW"];

#[derive(Clone, Debug)]
enum Step {
    Request { method: usize, branch: u8, old: bool, tag: u8 },
    Response { to: usize, status: u16, tag: u8 },
    Mutated { method: usize, at: prop::sample::Index, octet: u8 },
    Send { method: usize },
    Respond { to: usize, status: u16 },
    Cancel { which: usize },
    Fail { close: bool },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop::sample::select(vec![99u16, 100, 180, 183, 200, 202, 302, 401, 486, 487, 503, 603]);
    let waits = prop::sample::select(vec![0u64, 1, 199, 200, 500, 4_000, 5_000, 32_000]);
    prop_oneof![
        4 => (0..METHODS.len(), 0..3u8, any::<bool>(), 0..3u8)
            .prop_map(|(method, branch, old, tag)| Step::Request { method, branch, old, tag }),
        4 => (0..8usize, status.clone(), 0..3u8).prop_map(|(to, status, tag)| Step::Response { to, status, tag }),
        2 => (0..METHODS.len(), any::<prop::sample::Index>(), any::<u8>())
            .prop_map(|(method, at, octet)| Step::Mutated { method, at, octet }),
        3 => (0..METHODS.len()).prop_map(|method| Step::Send { method }),
        4 => (0..8usize, status).prop_map(|(to, status)| Step::Respond { to, status }),
        2 => (0..8usize).prop_map(|which| Step::Cancel { which }),
        1 => any::<bool>().prop_map(|close| Step::Fail { close }),
        3 => waits.prop_map(Step::Wait),
    ]
}

fn run(transport: Transport, steps: Vec<Step>) {
    let config =
        Config { client_transactions_max: 6, server_transactions_max: 6, in_dialog_reserve: 1, ..Config::default() };
    let mut bench = Bench::with(transport, config);
    let (mut clients, mut sent) = (Vec::new(), Vec::new());
    let mut servers: Vec<(ServerKey, Message)> = Vec::new();
    for step in steps {
        match step {
            Step::Request { method, branch, old, tag } => {
                let via = if old { String::from("SIP/2.0/UDP 192.0.2.7:5060") } else { via(&branch.to_string()) };
                let message = request(METHODS[method], &via, "");
                let to = if tag == 0 { String::from("<sip:b@x>") } else { format!("<sip:b@x>;tag=b{tag}") };
                bench.receive(message.edit().set(Header::To, &to).finish());
            }
            Step::Response { to, status, tag } if !sent.is_empty() => {
                let request: &Message = &sent[to % sent.len()];
                if request.is_request() {
                    bench.answer(request, status, &format!("b{tag}"));
                }
            }
            Step::Mutated { method, at, octet } => {
                let mut bytes = request(METHODS[method], &via("1"), "").as_bytes().to_vec();
                let at = at.index(bytes.len());
                bytes[at] = octet;
                if let Ok(message) = Message::parse(Bytes::from(bytes)) {
                    bench.receive(message);
                }
            }
            Step::Send { method } if METHODS[method] != "ACK" && METHODS[method] != "CANCEL" => {
                let (target, spec) = (bench.flow.reply_target(), ViaSpec::new("192.0.2.1:5060"));
                let message = own(METHODS[method].parse().unwrap());
                clients.extend(bench.layer.request(bench.now, message, target, &spec));
                bench.drain();
            }
            Step::Respond { to, status } if !servers.is_empty() => {
                let (key, request) = servers[to % servers.len()].clone();
                bench.respond(key, &request, status);
            }
            Step::Cancel { which } if !clients.is_empty() => {
                bench.layer.cancel(bench.now, clients[which % clients.len()]);
                bench.drain();
            }
            Step::Fail { close: true } => {
                bench.layer.flow_closed(bench.now, FlowId(1));
                bench.drain();
            }
            Step::Fail { close: false } => {
                if let Some(id) = bench.last_transmission {
                    bench.layer.transport_failed(bench.now, id);
                    bench.drain();
                }
            }
            Step::Wait(span) => bench.run_to(bench.now.as_millis() + span),
            _ => {}
        }
        for event in bench.events.drain(..) {
            if let Event::Request { key, message, .. } = event {
                servers.push((key, message));
            }
        }
        sent.extend(bench.sent.drain(..).map(|(_, message, _)| message));
        let gauge = bench.layer.gauge();
        assert!(gauge.server <= 7 && gauge.client <= 12, "{gauge:?}");
    }
    // the users finish what they owe, the peers answer no more
    for (key, request) in servers {
        bench.respond(key, &request, 500);
    }
    for key in clients {
        bench.layer.cancel(bench.now, key);
        bench.drain();
    }
    bench.run_to(bench.now.as_millis() + 200_000);
    // an INVITE of ours that was ringing when its CANCEL had been asked for before is ended by 64*T1
    assert!(bench.layer.gauge().is_zero(), "{:?}", bench.layer.gauge());
    assert!(bench.layer.server_index.is_empty() && bench.layer.merges.is_empty());
    assert!(bench.layer.cancels.is_empty() && bench.layer.flows.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn over_datagrams(steps in prop::collection::vec(step(), 1..60)) {
        run(Transport::Udp, steps);
    }

    #[test]
    fn over_connections(steps in prop::collection::vec(step(), 1..60)) {
        run(Transport::Tcp, steps);
    }
}
