//! Would catch: a wrong dial code, a call sent back to where it came from, an order that ignores health or preference, a lost *why*.

use super::*;
use crate::table::{MAXIMUM_PREFIX_DIGITS, RouteError};
use proptest::prelude::*;
use strowger_rating::Tariff;

fn device(id: &str, customer: &str) -> Device {
    Device {
        id: id.into(),
        customer: customer.into(),
        address: format!("10.0.0.{}:5070", id.len()),
        network: Some(format!("net-{id}")),
        enabled: true,
    }
}

fn route(prefix: &str, device: &str, cost: i64) -> Route {
    let tariff = |nanos| Tariff::per_minute(nanos, Currency::USD);
    Route { prefix: prefix.into(), device: device.into(), sell: tariff(cost * 2), cost: tariff(cost) }
}

fn table() -> Table {
    let mut table = Table::new();
    for (id, customer) in [("g1", "west"), ("g22", "east"), ("g333", "south"), ("own", "caller")] {
        table.insert_device(device(id, customer));
    }
    for (prefix, device, cost) in [
        ("1", "g1", 10),
        ("1212", "g1", 30),
        ("1212", "g22", 20),
        ("1212", "g333", 25),
        ("1212", "own", 1),
        ("44", "g1", 5),
    ] {
        table.insert(route(prefix, device, cost)).unwrap();
    }
    table
}

fn query(called: &str) -> Query<'_> {
    Query {
        called,
        source_customer: "caller",
        currency: Currency::USD,
        ceiling_per_minute: None,
        preferred: None,
        maximum: 5,
    }
}

fn order(ranking: &Ranking) -> Vec<&str> {
    ranking.candidates.iter().map(|candidate| candidate.device.id.as_str()).collect()
}

fn dropped<'a>(ranking: &'a Ranking, prefix: &str, device: &str) -> &'a WhyDropped {
    &ranking.dropped.iter().find(|d| d.route.prefix == prefix && d.route.device == device).unwrap().why
}

#[test]
fn the_longest_code_by_cost_and_never_back() {
    let ranking = rank(&table(), &Health::new(), Moment::ZERO, &query("12125550100"));
    assert_eq!(order(&ranking), ["g22", "g333", "g1"]);
    assert_eq!(dropped(&ranking, "1212", "own"), &WhyDropped::OwnCustomer);
    assert_eq!(dropped(&ranking, "1", "g1"), &WhyDropped::ShorterPrefix);
    assert_eq!(order(&rank(&table(), &Health::new(), Moment::ZERO, &query("13105550100"))), ["g1"]);
    assert_eq!(rank(&table(), &Health::new(), Moment::ZERO, &query("3312345")), Ranking::default());
}

#[test]
fn a_code_without_a_usable_route_does_not_fall_back() {
    let mut table = table();
    table.insert(route("1900", "own", 1)).unwrap();
    assert_eq!(order(&rank(&table, &Health::new(), Moment::ZERO, &query("19005550100"))), [""; 0]);
}

#[test]
fn ceiling_just_inside_and_just_outside() {
    let ceiling = |nanos, currency| {
        let query = Query { ceiling_per_minute: Some(Money::from_nanos(nanos, currency)), ..query("12125550100") };
        rank(&table(), &Health::new(), Moment::ZERO, &query)
    };
    assert_eq!(order(&ceiling(50, Currency::USD)), ["g22", "g333"]);
    assert_eq!(order(&ceiling(49, Currency::USD)), ["g22"]);
    let above = ceiling(49, Currency::USD);
    assert_eq!(dropped(&above, "1212", "g333"), &WhyDropped::AboveCeiling { sell_per_minute_nanos: 50 });
    assert_eq!(order(&ceiling(1000, Currency::EUR)), [""; 0]);
}

#[test]
fn maximum_just_inside_and_just_outside() {
    let maximum = |maximum| rank(&table(), &Health::new(), Moment::ZERO, &Query { maximum, ..query("12125550100") });
    assert_eq!(order(&maximum(3)).len(), 3);
    assert_eq!(order(&maximum(2)), ["g22", "g333"]);
    assert_eq!(dropped(&maximum(2), "1212", "g1"), &WhyDropped::OverMaximum);
    assert_eq!(order(&maximum(0)), [""; 0]);
}

#[test]
fn the_preferred_route_comes_first_by_any_of_its_names() {
    for name in ["g1", "net-g1", "10.0.0.2:5070", "[10.0.0.2]:5070"] {
        let query = Query { preferred: Some(name), ..query("12125550100") };
        let ranking = rank(&table(), &Health::new(), Moment::ZERO, &query);
        assert_eq!(order(&ranking), ["g1", "g22", "g333"], "{name}");
        assert!(ranking.candidates[0].why.preferred);
    }
}

#[test]
fn sick_devices_come_last_until_they_are_well() {
    let (table, mut health) = (table(), Health::new());
    let now = Moment::from_seconds(1000);
    health.capabilities("g22", true);
    assert_eq!(order(&rank(&table, &health, now, &query("12125550100"))), ["g333", "g1", "g22"]);
    health.capabilities("g22", false);
    for _ in 1..FAILURES_TO_DEMOTE {
        health.failed(now, "g22");
    }
    assert_eq!(order(&rank(&table, &health, now, &query("12125550100"))), ["g22", "g333", "g1"]);
    health.failed(now, "g22");
    assert_eq!(order(&rank(&table, &health, now, &query("12125550100"))), ["g333", "g1", "g22"]);
    assert_eq!(order(&rank(&table, &health, Moment::from_seconds(1059), &query("12125550100"))).last(), Some(&"g22"));
    assert_eq!(order(&rank(&table, &health, Moment::from_seconds(1060), &query("12125550100"))).first(), Some(&"g22"));
    health.failed(now, "g22");
    health.succeeded("g22");
    assert_eq!(health.recent_failures(now, "g22"), 0);
}

#[test]
fn disabled_devices_and_foreign_currencies_are_left_out() {
    let mut table = table();
    table.insert_device(Device { enabled: false, ..device("g22", "east") });
    let tariff = Tariff::per_minute(1, Currency::EUR);
    table.insert(Route { sell: tariff, cost: tariff, ..route("1212", "g333", 1) }).unwrap();
    let ranking = rank(&table, &Health::new(), Moment::ZERO, &query("12125550100"));
    assert_eq!(order(&ranking), ["g1"]);
    assert_eq!(dropped(&ranking, "1212", "g22"), &WhyDropped::Disabled);
    assert_eq!(dropped(&ranking, "1212", "g333"), &WhyDropped::Currency(Currency::EUR));
}

#[test]
fn equal_costs_are_decided_by_quality_then_by_name() {
    let (mut table, mut health) = (table(), Health::new());
    table.insert(route("1212", "g1", 20)).unwrap();
    assert_eq!(order(&rank(&table, &health, Moment::ZERO, &query("12125550100")))[..2], ["g1", "g22"]);
    health.quality("g1", 1);
    assert_eq!(order(&rank(&table, &health, Moment::ZERO, &query("12125550100")))[..2], ["g22", "g1"]);
}

#[test]
fn bad_routes_are_refused() {
    let mut table = table();
    assert!(matches!(table.insert(route("+1", "g1", 1)), Err(RouteError::Prefix(_))));
    assert!(table.insert(route(&"1".repeat(MAXIMUM_PREFIX_DIGITS), "g1", 1)).is_ok());
    assert!(matches!(table.insert(route(&"1".repeat(MAXIMUM_PREFIX_DIGITS + 1), "g1", 1)), Err(RouteError::Prefix(_))));
    assert!(matches!(table.insert(route("1", "nobody", 1)), Err(RouteError::NoDevice { .. })));
    assert!(matches!(table.insert(route("1", "g1", -1)), Err(RouteError::Tariff { .. })));
    let count = table.routes().count();
    table.insert(route("1", "g1", 99)).unwrap();
    assert_eq!(table.routes().count(), count, "replaced, not added");
}

proptest! {
    #[test]
    fn any_number_gets_the_routes_of_its_longest_code(called in ".{0,20}", digits in "1[0-9]{0,14}") {
        let _ = rank(&table(), &Health::new(), Moment::ZERO, &query(&called));
        let ranking = rank(&table(), &Health::new(), Moment::ZERO, &query(&digits));
        let longest = if digits.starts_with("1212") { "1212" } else { "1" };
        prop_assert!(ranking.candidates.iter().all(|candidate| candidate.route.prefix == longest));
        prop_assert!(!ranking.candidates.is_empty());
    }
}
