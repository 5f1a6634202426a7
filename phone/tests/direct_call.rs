//! Two phones and real sockets on the loopback. Catches: a call that does not come up or down over UDP or TCP, sound that does
//! not arrive, digits that get lost, records that stay behind.

// the helpers of a test may fail like the test
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use strowger_clock::Random;
use strowger_net::ListenAddress;
use strowger_phone::{
    AnswerOptions, AudioSource, CallOptions, CallProgress, EndedBy, Phone, PhoneConfig, PhoneGauge, read_wav,
};
use strowger_transaction::Timing;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Timers a tenth as long as the RFC's, so that transactions end while a test waits.
fn brisk() -> Timing {
    Timing {
        t1: Duration::from_millis(30),
        t2: Duration::from_millis(240),
        t4: Duration::from_millis(300),
        timer_d: Duration::from_millis(500),
        ..Timing::default()
    }
}

async fn phone(listen: &str, user: &str, answer: Option<AnswerOptions>) -> Phone {
    let listen = ListenAddress::parse(listen).unwrap();
    let mut config = PhoneConfig::new(listen, format!("sip:{user}@example.test"));
    config.answer = answer;
    config.timing = brisk();
    Phone::start(config).await.unwrap()
}

fn uri(user: &str, phone: &Phone) -> String {
    let address = phone.address();
    format!("sip:{user}@{};transport={}", address.address, address.transport.as_str().to_ascii_lowercase())
}

/// Noise under a slow envelope: it looks like itself at one place only.
fn speech(seed: u64, seconds: f64) -> Arc<[i16]> {
    let mut random = Random::from_seed(seed);
    let mut last = 0.0;
    let samples = (0..(8000.0 * seconds) as usize).map(|_| {
        last = last * 0.7 + (random.below(16_001) as f64 - 8_000.0) * 0.5;
        last as i16
    });
    samples.collect()
}

/// The best normalised correlation of `sent` within `heard`, over windows of a quarter of a second.
fn correlation(sent: &[i16], heard: &[i16]) -> f64 {
    let part: Vec<f64> = sent.iter().skip(1600).take(2000).map(|s| f64::from(*s)).collect();
    let energy: f64 = part.iter().map(|s| s * s).sum();
    let best = heard.windows(part.len()).map(|window| {
        let (mut product, mut power) = (0.0, 1.0);
        for (a, b) in part.iter().zip(window) {
            product += a * f64::from(*b);
            power += f64::from(*b) * f64::from(*b);
        }
        product / (energy * power).sqrt()
    });
    best.fold(0.0, f64::max)
}

fn file(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("strowger-direct-{}-{name}.wav", std::process::id()))
}

async fn at_rest(phones: &[&Phone]) {
    let rest = async {
        while phones.iter().any(|phone| phone.gauge() != PhoneGauge::default()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let gauges = || phones.iter().map(|phone| phone.gauge()).collect::<Vec<_>>();
    assert!(tokio::time::timeout(Duration::from_secs(20), rest).await.is_ok(), "{:?}", gauges());
}

async fn a_call_over(transport: &str) {
    let listen = format!("{transport}://127.0.0.1:0");
    let (from_bob, from_alice) = (speech(1, 3.0), speech(2, 3.0));
    let answer = AnswerOptions {
        ring: Duration::from_millis(100),
        source: AudioSource::Samples(from_bob.clone()),
        record: Some(file(&format!("{transport}-bob"))),
        ..AnswerOptions::default()
    };
    let bob = phone(&listen, "bob", Some(answer)).await;
    let alice = phone(&listen, "alice", None).await;
    let (progress, mut told) = mpsc::channel(32);
    let options = CallOptions {
        source: AudioSource::Samples(from_alice.clone()),
        record: Some(file(&format!("{transport}-alice"))),
        max_duration: Duration::from_millis(1500),
        digits: "12#".to_owned(),
        digits_after: Duration::from_millis(700),
        progress: Some(progress),
        ..CallOptions::default()
    };
    let outcome = alice.call(&uri("bob", &bob), options).await;
    let heard = bob.next_outcome().await.unwrap();
    assert_eq!((outcome.status, outcome.answered, outcome.ringback_seen), (200, true, true), "{outcome:?}");
    assert_eq!((outcome.ended_by, heard.ended_by), (EndedBy::Us, EndedBy::Peer));
    assert_eq!(outcome.call_id, heard.call_id);
    assert_eq!(heard.digits, "12#");
    assert_eq!(heard.peer, "sip:alice@example.test");
    assert!(matches!(told.recv().await, Some(CallProgress::Provisional(180))));
    assert!(matches!(told.recv().await, Some(CallProgress::Answered { remote_rtp: Some(_), .. })));
    for side in [&outcome, &heard] {
        assert!((50..=90).contains(&side.rtp.sent), "{side:?}");
        assert!(side.rtp.received >= 50 && side.rtp.lost == 0, "{side:?}");
        assert_eq!(side.rtp.codec, "PCMA");
        assert!(side.rtp.mos > 4.0, "{side:?}");
    }
    for (sent, outcome) in [(&from_bob, &outcome), (&from_alice, &heard)] {
        let path = outcome.recorded.clone().unwrap();
        let recorded = read_wav(&path).unwrap();
        let found = correlation(sent, &recorded);
        assert!(found > 0.9, "correlation {found} in {} samples", recorded.len());
        std::fs::remove_file(path).unwrap();
    }
    at_rest(&[&alice, &bob]).await;
    if transport == "tcp" {
        // one connection each way at most: the BYE used the INVITE's
        assert_eq!(alice.counters().connections_opened.value(), 1);
        assert_eq!(bob.counters().connections_opened.value(), 0);
    }
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_over_udp_with_sound_both_ways() {
    a_call_over("udp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_over_tcp_with_sound_both_ways() {
    a_call_over("tcp").await;
}

#[tokio::test]
async fn refused_cancelled_and_unreachable_calls_say_so() {
    let refusing = AnswerOptions { refuse: Some(486), ..AnswerOptions::default() };
    let bob = phone("udp://127.0.0.1:0", "bob", Some(refusing)).await;
    let slow = AnswerOptions { ring: Duration::from_secs(60), ..AnswerOptions::default() };
    let carol = phone("udp://127.0.0.1:0", "carol", Some(slow)).await;
    let alice = phone("udp://127.0.0.1:0", "alice", None).await;

    let busy = alice.call(&uri("bob", &bob), CallOptions::default()).await;
    assert_eq!((busy.status, busy.reason.as_str(), busy.answered), (486, "Busy Here", false));

    let hang_up = CancellationToken::new();
    let options = CallOptions { hang_up: hang_up.clone(), ..CallOptions::default() };
    let carols = uri("carol", &carol);
    let (cancelled, ()) = tokio::join!(alice.call(&carols, options), async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        hang_up.cancel();
    });
    assert_eq!((cancelled.status, cancelled.ringback_seen), (487, true), "{cancelled:?}");
    assert_eq!(carol.next_outcome().await.unwrap().status, 487);

    // nobody listens there: the ICMP error ends the call long before timer B
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let began = std::time::Instant::now();
    let unreachable = alice.call(&format!("sip:x@{nobody}"), CallOptions::default()).await;
    assert_eq!(unreachable.status, 503, "{unreachable:?}");
    assert!(began.elapsed() < Duration::from_secs(1));

    let tcp = phone("tcp://127.0.0.1:0", "dave", None).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unreachable = tcp.call(&format!("sip:x@{nobody};transport=tcp"), CallOptions::default()).await;
    assert_eq!(unreachable.status, 503, "{unreachable:?}");
    at_rest(&[&alice, &bob, &carol, &tcp]).await;
}

#[tokio::test]
async fn stopping_a_phone_hangs_up() {
    let bob =
        phone("udp://127.0.0.1:0", "bob", Some(AnswerOptions { ring: Duration::ZERO, ..Default::default() })).await;
    let alice = phone("udp://127.0.0.1:0", "alice", None).await;
    let (progress, mut told) = mpsc::channel(8);
    let options = CallOptions { progress: Some(progress), ..CallOptions::default() };
    let bobs = uri("bob", &bob);
    let (outcome, ()) = tokio::join!(alice.call(&bobs, options), async move {
        while !matches!(told.recv().await, Some(CallProgress::Answered { .. })) {}
        bob.stop().await;
    });
    assert_eq!((outcome.status, outcome.ended_by), (200, EndedBy::Peer), "{outcome:?}");
}
