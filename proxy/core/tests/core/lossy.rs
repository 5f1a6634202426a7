//! Many calls over a bad network, policy and clearing included: in the end every table is empty and every authorized call has
//! been reported exactly once.

use std::collections::BTreeMap;
use std::time::Duration;

use strowger_proxy_core::{Effect, Gauge, Phase, Verdict};
use strowger_simulation::{Delay, Link};
use strowger_transaction::Transport;

use crate::script::{bob, number};
use crate::world::{Auto, World, authorized, config};

const SEEDS: u64 = 100;
const CALLS: u64 = 8;

fn link() -> Link {
    Link {
        loss: 0.1,
        duplication: 0.05,
        reordering: 0.1,
        reordering_span: Duration::from_millis(300),
        delay: Delay::Uniform { least: Duration::from_millis(5), most: Duration::from_millis(60) },
    }
}

#[test]
fn every_table_returns_to_zero_and_usage_is_reported_once() {
    let mut answered = 0;
    for seed in 0..SEEDS {
        answered += one_seed(seed);
    }
    assert!(answered > SEEDS * CALLS / 3, "only {answered} calls were answered");
}

fn one_seed(seed: u64) -> u64 {
    let mut config = config();
    config.policy = true;
    config.call_grace = Duration::from_secs(1);
    let mut world = World::on(seed, Link::PERFECT, config);
    let mut random = world.net.fork_random();
    let alice = world.agent_by(
        10,
        "alice",
        Transport::Udp,
        Some(Auto { answer_after_ms: 0, hang_up_after_ms: Some(3_000), rejects: None }),
    );
    let auto = |answer_after_ms, hang_up_after_ms, rejects| Some(Auto { answer_after_ms, hang_up_after_ms, rejects });
    let phones = [
        world.agent_by(12, "bob", Transport::Udp, auto(900, None, None)),
        world.agent_by(13, "bob", Transport::Tcp, auto(950, Some(4_000), None)),
    ];
    world.agent_by(21, "gw", Transport::Udp, auto(200, None, Some(503)));
    world.agent_by(22, "gw", Transport::Udp, auto(400, Some(2_900), None));
    for phone in phones {
        world.register(phone, "bob");
    }
    let mut policy = random.fork();
    let mut clearing = random.fork();
    world.with_proxy(|proxy| {
        proxy.policy = Box::new(move |phase| {
            let verdict = match (phase, policy.below(12)) {
                (_, 0) => Verdict::Unavailable,
                (Phase::Teardown, _) | (_, 1) => Verdict::Remove { reason: "chance".to_owned() },
                _ => Verdict::Install,
            };
            Some((policy.below(700), verdict))
        });
        proxy.clearing = Box::new(move |_| {
            // 23 is nobody: silent
            let hosts: &[u8] = if clearing.chance(0.5) { &[21, 22] } else { &[23, 22] };
            Some((clearing.below(700), authorized(hosts)))
        });
    });
    for host in [10, 12, 13, 21, 22] {
        let (peer, proxy) = (crate::world::address(host), crate::world::address(1));
        world.net.set_link(peer, proxy, link());
        world.net.set_link(proxy, peer, link());
    }
    for _ in 0..CALLS {
        let uri = if random.chance(0.5) { bob() } else { number() };
        let call = world.dial(alice, "alice", &uri);
        world.run_ms(random.below(2_500));
        if random.chance(0.25) {
            // at whatever state it is in
            let _ = world.act(alice, |agent, now, layer| agent.hang_up(now, layer, call, None));
        }
    }
    // the longest: a lost BYE leaves a call for the time it was granted
    world.run_ms(700_000);
    // phone to phone there is no granted time: what lost both BYEs is closed by hand
    world.input(strowger_proxy_core::Input::Close);
    world.run_ms(100_000);
    let gauge = world.core().core.gauge();
    assert_eq!(gauge, Gauge { bindings: gauge.bindings, ..Gauge::default() }, "seed {seed}");
    assert!(world.core().layer.gauge().is_zero(), "seed {seed}");

    let mut per_call: BTreeMap<u64, [u32; 4]> = BTreeMap::new();
    for effect in &world.core().effects {
        let (call, column) = match effect {
            Effect::Authorize { call, .. } => (*call, 0),
            Effect::Usage { call, .. } => (*call, 1),
            Effect::Admission { call, phase: Phase::Teardown, .. } => (*call, 2),
            Effect::AdmissionDelete { call } => (*call, 3),
            _ => continue,
        };
        per_call.entry(call).or_default()[column] += 1;
    }
    for (call, [authorized, used, torn_down, deleted]) in per_call {
        assert_eq!(authorized, used, "seed {seed}, call {call}: every authorization is reported once");
        assert_eq!(deleted, 1, "seed {seed}, call {call}");
        assert!(torn_down <= 1, "seed {seed}, call {call}");
    }
    world.core().core.counters().calls_answered
}
