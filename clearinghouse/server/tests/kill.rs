//! SIGKILL of the whole clearinghouse in mid-call. Would catch: an answer that left before what it promises was on disk, money that stays
//! reserved for ever or moves twice after a restart, a late report that is lost.
//!
//! The clearinghouse that is killed is this test's own program, started again to run [`the_process_that_is_killed`] alone.
#![allow(clippy::unwrap_used)] // tests: helpers outside #[test] functions too

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use strowger_cdr::CdrState;
use strowger_clearinghouse_client::{ClientIdentity, OspClient};
use strowger_clearinghouse_server::{BoundHttp, Clearinghouse, ClearinghouseConfig, Clock, serve};
use strowger_clock::{Moment, Timestamp};
use strowger_ledger::Nanos;
use strowger_net::SystemClock;
use strowger_osp::{
    AuthorizationRequest, AuthorizationResponse, Base64, Role, TerminationCause, Typed, UsageDetail, UsageIndication,
};
use strowger_store::{AuthorizationState, Outcome, Page, Sqlite};
use tokio_util::sync::CancellationToken;

/// Where the killed process keeps its store. Without it the test that would be that process has nothing to do.
const FOLDER: &str = "STROWGER_TEST_KILL_FOLDER";

const CONFIG: &str = r#"
maximum_granted_seconds = 600
token_validity_seconds = 300
usage_match_seconds = 30
[[customers]]
id = "1000"
opening_balance = "1000"
[[customers]]
id = "2000"
[[devices]]
id = "1001"
customer = "1000"
[[devices]]
id = "2001"
customer = "2000"
address = "127.0.0.1:5070"
[[routes]]
prefix = "1212"
device = "2001"
sell_per_minute = "0.03"
cost_per_minute = "0.015"
"#;

/// The system's clock, ahead by so much.
struct Ahead(SystemClock, Duration);

impl Clock for Ahead {
    fn now(&self) -> Moment {
        self.0.now() + self.1
    }
    fn timestamp(&self) -> Timestamp {
        self.0.timestamp() + self.1
    }
}

struct House {
    house: Arc<Clearinghouse>,
    url: String,
    shutdown: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

impl House {
    async fn open(folder: &Path, ahead: Duration) -> House {
        let config: ClearinghouseConfig = toml::from_str(CONFIG).unwrap();
        let store = Arc::new(Sqlite::open(&folder.join("store.db")).unwrap());
        let bound = BoundHttp::bind(&["http://127.0.0.1:0/osp".to_owned()]).await.unwrap();
        let url = bound.urls().remove(0);
        let clock = Arc::new(Ahead(SystemClock::new(), ahead));
        let house = Clearinghouse::open_with_clock(config, store, clock).await.unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(Arc::clone(&house), bound, shutdown.clone()));
        House { house, url, shutdown, server }
    }

    fn expect_balances(&self, expected: [(&str, &str); 3]) {
        for (name, posted) in expected {
            let account = self.house.accounts().into_iter().find(|account| account.name == name).unwrap();
            assert_eq!(Nanos(account.posted.nanos), posted.parse().unwrap(), "{name}");
        }
        self.expect_proof();
    }

    fn expect_proof(&self) {
        self.house.prove().unwrap();
        assert!(self.house.sums().iter().all(|sums| sums.posted_nanos == 0 && sums.pending_nanos == 0));
    }

    async fn close(self) {
        self.shutdown.cancel();
        self.server.await.unwrap();
    }
}

/// Not a test: the process that the others kill. Serves until then.
#[tokio::test]
async fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let house = House::open(&PathBuf::from(folder), Duration::ZERO).await;
    println!("\nlistening {}", house.url);
    std::future::pending().await
}

/// A clearinghouse in a process of its own.
struct Process {
    child: Child,
    url: String,
    folder: PathBuf,
}

impl Process {
    fn start(name: &str) -> Process {
        let folder = std::env::temp_dir().join(format!("strowger-kill-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_is_killed", "--nocapture"])
            .env(FOLDER, &folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let url = lines.find_map(|line| line.strip_prefix("listening ").map(str::to_owned)).unwrap();
        Process { child, url, folder }
    }

    /// SIGKILL, and waits until the process is gone. What it leaves is the folder.
    fn kill(mut self) -> PathBuf {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        std::mem::take(&mut self.folder)
    }
}

impl Drop for Process {
    /// A test that fails leaves no process behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn device(url: &str, customer: &str, device: &str) -> OspClient {
    let identity = ClientIdentity { customer_id: customer.into(), device_id: device.into() };
    OspClient::new(vec![url], identity).unwrap()
}

fn call_id(number: usize) -> Vec<u8> {
    format!("call-{number}@example.test").into_bytes()
}

fn request(number: usize) -> AuthorizationRequest {
    AuthorizationRequest {
        call_ids: vec![Base64(call_id(number))],
        source_info: vec![Typed::new("e164", "14045550199")],
        destination_info: vec![Typed::new("e164", "12125550100")],
        ..AuthorizationRequest::default()
    }
}

fn report(role: Role, transaction: u64, seconds: u64) -> UsageIndication {
    let mut usage = UsageIndication::new(role, transaction, call_id(0));
    usage.source_info = vec![Typed::new("e164", "14045550199")];
    usage.destination_info = vec![Typed::new("e164", "12125550100")];
    usage.destination_alternates = vec![Typed::new("transport", "[127.0.0.1]:5070")];
    usage.setup_attempt = Some(1);
    usage.total_setup_attempts = Some(1);
    usage.usage_details = vec![UsageDetail {
        amount: Some(seconds),
        increment: Some(1),
        unit: Some("s".into()),
        termination_causes: vec![TerminationCause { kind: Some("q850".into()), code: 16, description: None }],
        ..UsageDetail::default()
    }];
    usage
}

/// A call that is authorized, and the clearinghouse killed while it runs.
async fn killed_in_mid_call(name: &str) -> (PathBuf, AuthorizationResponse) {
    let process = Process::start(name);
    let answer = device(&process.url, "1000", "1001").authorize(request(0)).await.unwrap();
    (process.kill(), answer)
}

#[tokio::test]
async fn after_a_kill_the_call_goes_on_and_is_paid_once() {
    let (folder, answer) = killed_in_mid_call("paid").await;
    let transaction = answer.transaction_id.unwrap();
    let again = House::open(&folder, Duration::ZERO).await;
    // ten minutes at 0.03 are reserved still, for the call that was answered
    let open = again.house.open_calls();
    assert_eq!((open.len(), open[0].call.transaction, open[0].state), (1, transaction, AuthorizationState::Open));
    let caller = again.house.account("1000").unwrap();
    assert_eq!(Nanos(caller.pending_debits.nanos), "0.3".parse().unwrap());
    again.expect_balances([("1000", "1000"), ("2000", "0"), ("house", "0")]);

    // both ends report late, to the new process, and again because they are not sure
    let ends = [("1000", "1001", Role::Source), ("2000", "2001", Role::Destination)];
    for _ in 0..2 {
        for (customer, id, role) in &ends {
            let client = device(&again.url, customer, id);
            let statuses = client.report(vec![report(role.clone(), transaction, 60)]).await.unwrap();
            assert_eq!(statuses[0].code, 200, "{id}");
        }
    }
    let cdr = again.house.cdr(transaction).await.unwrap().unwrap();
    assert_eq!((cdr.cdr.state, cdr.cdr.rated_seconds, cdr.outcome), (CdrState::Matched, 60, Outcome::Posted));
    let paid = [("1000", "999.97"), ("2000", "0.015"), ("house", "0.015")];
    again.expect_balances(paid);
    assert_eq!(again.house.account("1000").unwrap().pending_debits.nanos, 0);
    again.close().await;

    // once more from the disk: nothing is left to be paid, and the same reports again change nothing
    let third = House::open(&folder, Duration::ZERO).await;
    assert_eq!(third.house.open_calls(), []);
    let statuses =
        device(&third.url, "1000", "1001").report(vec![report(Role::Source, transaction, 60)]).await.unwrap();
    assert_eq!(statuses[0].code, 200);
    third.expect_balances(paid);
    third.close().await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn after_a_kill_and_silence_the_reservation_times_out() {
    let (folder, answer) = killed_in_mid_call("silence").await;
    let transaction = answer.transaction_id.unwrap();
    // the token's time, the call's, the wait for reports and the margin, less a minute: held still
    let almost = Duration::from_secs(300 + 600 + 30);
    let again = House::open(&folder, almost).await;
    again.house.sweep().await.unwrap();
    assert_eq!(Nanos(again.house.account("1000").unwrap().pending_debits.nanos), "0.3".parse().unwrap());
    again.close().await;
    // … and over
    let again = House::open(&folder, almost + Duration::from_secs(61)).await;
    again.house.sweep().await.unwrap();
    assert_eq!(again.house.account("1000").unwrap().pending_debits.nanos, 0);
    assert_eq!(again.house.open_calls(), []);
    assert_eq!(again.house.cdr(transaction).await.unwrap().unwrap().cdr.state, CdrState::Unreported);
    again.expect_balances([("1000", "1000"), ("2000", "0"), ("house", "0")]);
    again.close().await;
    std::fs::remove_dir_all(folder).unwrap();
}

/// Killed under load: whatever was answered is there, whatever is there balances.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_answered_is_there() {
    const CALLERS: usize = 8;
    const ANSWERS: usize = 40;
    let process = Process::start("load");
    let (sender, mut answered) = tokio::sync::mpsc::unbounded_channel();
    for caller in 0..CALLERS {
        let (client, sender) = (device(&process.url, "1000", "1001"), sender.clone());
        tokio::spawn(async move {
            // until the process is gone
            for number in (caller..).step_by(CALLERS) {
                let Ok(answer) = client.authorize(request(number)).await else { return };
                let _ = sender.send((answer.transaction_id.unwrap(), call_id(number)));
            }
        });
    }
    drop(sender);
    let mut promised = Vec::new();
    while promised.len() < ANSWERS {
        promised.push(answered.recv().await.unwrap());
    }
    let folder = process.kill();
    // the callers end, and with them the channel
    while let Some(answer) = answered.recv().await {
        promised.push(answer);
    }
    let again = House::open(&folder, Duration::ZERO).await;
    let open = again.house.open_calls();
    for (transaction, call_id) in &promised {
        let kept = open.iter().find(|record| record.call.transaction == *transaction);
        assert_eq!(&kept.unwrap().candidates[0].call_id, call_id);
    }
    // what was not answered may be there, too, but never without its money
    let reserved: i64 = open.iter().map(|record| record.reserved.nanos).sum();
    assert_eq!(again.house.account("1000").unwrap().pending_debits.nanos, reserved);
    assert!(open.len() >= promised.len() && open.len() <= promised.len() + CALLERS);
    assert_eq!(again.house.authorizations(Page::newest(1000)).await.unwrap().len(), open.len());
    again.expect_proof();
    again.close().await;
    std::fs::remove_dir_all(folder).unwrap();
}
