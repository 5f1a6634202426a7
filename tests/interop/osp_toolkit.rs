//! OSP Toolkit's test client: enrolls, asks for authorization, validates our tokens, reports usage.

use std::time::Duration;

use crate::support::exchange::{Configuration, Exchange};
use crate::support::process::{material, program, run};

#[test]
fn full_calls_and_every_element() {
    passes(Configuration::example());
}

/// A clearinghouse of a few lines, for whose customers and devices the program decides.
#[test]
fn full_calls_and_every_element_with_a_short_configuration() {
    passes(Configuration::short());
}

fn passes(configuration: Configuration) {
    drop(program("osptest", "osptoolkit"));
    let exchange = Exchange::start(configuration);
    let folder = exchange.folder.path();
    let device = folder.join("device");

    let mut enroll = program("bash", "bash");
    enroll.arg(material("osp-device")).arg(exchange.configuration()).arg(&device).arg("1000");
    enroll.env("STROWGER", env!("CARGO_BIN_EXE_strowger"));
    let enrolled = run(enroll, folder, "osp-device", Duration::from_secs(20));
    assert!(enrolled.status.success(), "osp-device: {}{}", enrolled.out, enrolled.err);

    let mut test = program("bash", "bash");
    test.arg(material("osptest.sh")).arg(format!("http://{}:5045/osp", exchange.ip)).arg(&device);
    test.env("LIMIT", "30");
    let tested = run(test, folder, "osptest", Duration::from_secs(70));
    assert!(tested.status.success(), "osptest.sh: {}{}", tested.out, tested.err);
    for line in ["osptest full-calls: ok (return codes 0 0 0", "osptest every-element: ok (return codes 0"] {
        assert!(tested.out.contains(line), "no {line:?} in:\n{}", tested.out);
    }
    exchange.rest().proves_the_books();
}
