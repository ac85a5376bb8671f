//! Runs the program against a small broker that drops, doubles or swaps messages on purpose.
//!
//! A load generator that does not see a fault would call a broken broker fast.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the broker does to every tenth message of a topic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    Drop,
    Double,
    /// The tenth message leaves behind the eleventh.
    Swap,
    /// The connection of the publisher is closed at its 100th message.
    Close,
}

#[derive(Default)]
struct Topic {
    subscribers: Vec<TcpStream>,
    messages: u64,
    held: Option<Vec<u8>>,
}

struct Shared {
    fault: Fault,
    faults: AtomicU64,
    is_stopped: AtomicBool,
    topics: Mutex<HashMap<Vec<u8>, Topic>>,
}

struct FaultyBroker {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl FaultyBroker {
    fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            fault,
            faults: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
            topics: Mutex::default(),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.is_stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (shared, stream) = (accepting.clone(), stream.unwrap());
                thread::spawn(move || {
                    // A client that ends its run closes in the middle of whatever we do.
                    let _ = serve(&shared, stream);
                });
            }
        });
        Self { address, shared }
    }

    fn faults(&self) -> u64 {
        self.shared.faults.load(Ordering::Relaxed)
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pybroker-load"));
        command
            .args(arguments.split_whitespace())
            .args(["--target", &self.address.to_string()]);
        command.args([
            "--pid",
            &std::process::id().to_string(),
            "--warmup",
            "0.05",
            "--duration",
            "0.3",
        ]);
        command.output().unwrap()
    }

    fn report(&self, arguments: &str) -> serde_json::Value {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for FaultyBroker {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn read_packet(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>, Vec<u8>)> {
    let mut head = vec![0; 2];
    stream.read_exact(&mut head)?;
    while head.last().is_some_and(|byte| byte & 0x80 != 0) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let length = head[1..]
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let whole = [head.as_slice(), &body].concat();
    Ok((head[0], body, whole))
}

fn serve(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let (first, body, whole) = read_packet(&mut stream)?;
        match first >> 4 {
            1 => stream.write_all(&[0x20, 2, 0, 0])?,
            3 => {
                let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                if first & 2 != 0 {
                    stream.write_all(&[0x40, 2, body[end], body[end + 1]])?;
                }
                if !publish(shared, &body[2..end], whole)? {
                    return stream.shutdown(Shutdown::Both);
                }
            }
            8 => {
                let end = 4 + usize::from(u16::from_be_bytes([body[2], body[3]]));
                let mut topics = shared.topics.lock().unwrap();
                topics
                    .entry(body[4..end].to_vec())
                    .or_default()
                    .subscribers
                    .push(stream.try_clone()?);
                stream.write_all(&[0x90, 3, body[0], body[1], body[end]])?;
            }
            _ => {}
        }
    }
}

/// Delivers one message with the fault of the run; returns whether the publisher may stay.
fn publish(shared: &Shared, name: &[u8], packet: Vec<u8>) -> io::Result<bool> {
    let mut topics = shared.topics.lock().unwrap();
    let topic = topics.entry(name.to_vec()).or_default();
    topic.messages += 1;
    let is_tenth = topic.messages.is_multiple_of(10);
    let is_fault = is_tenth && shared.fault != Fault::Nothing && shared.fault != Fault::Close;
    shared
        .faults
        .fetch_add(u64::from(is_fault), Ordering::Relaxed);
    let mut out = packet.clone();
    match shared.fault {
        Fault::Drop if is_tenth => out.clear(),
        Fault::Double if is_tenth => out.extend(packet),
        Fault::Swap if is_tenth => topic.held = Some(std::mem::take(&mut out)),
        Fault::Swap => out.extend(topic.held.take().unwrap_or_default()),
        Fault::Close if topic.messages == 100 => return Ok(false),
        _ => {}
    }
    topic
        .subscribers
        .iter_mut()
        .try_for_each(|subscriber| subscriber.write_all(&out))?;
    Ok(true)
}

fn balance(report: &serde_json::Value, name: &str) -> u64 {
    report["balance"][name].as_u64().unwrap()
}

#[test]
fn flawless_broker_gets_a_clean_balance() {
    let broker = FaultyBroker::start(Fault::Nothing);
    for arguments in [
        "pairs --publishers 2 --subscribers 2 --outstanding 200",
        "pairs --publishers 2 --subscribers 2 --outstanding 200 --qos 1 --threads 2",
        "fanout --subscribers 5 --outstanding 200 --wait sleep",
        "paced --publishers 2 --subscribers 2 --rate 1000 --payload 28",
    ] {
        let report = broker.report(&format!("{arguments} --prefix {}", arguments.len()));
        assert!(balance(&report, "sent") > 0, "{report}");
        assert_eq!(
            balance(&report, "expected"),
            balance(&report, "received"),
            "{report}"
        );
        for fault in ["lost", "duplicated", "out_of_order", "foreign", "refused"] {
            assert_eq!(balance(&report, fault), 0, "{report}");
        }
        assert!(report["figures"]["delivery_rate_per_s"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn dropped_messages_are_counted_as_lost() {
    let broker = FaultyBroker::start(Fault::Drop);
    let report = broker.report("pairs --publishers 2 --subscribers 2 --outstanding 200");
    assert!(broker.faults() > 0);
    assert_eq!(balance(&report, "lost"), broker.faults());
    assert_eq!(
        balance(&report, "received") + broker.faults(),
        balance(&report, "expected")
    );
}

#[test]
fn slow_subscribers_are_read_in_the_end_and_counted_by_themselves() {
    let broker = FaultyBroker::start(Fault::Drop);
    let report = broker.report("fanout --subscribers 3 --slow 2 --outstanding 300 --count 900");
    let slow = |name: &str| report["balance"]["slow"][name].as_u64().unwrap();
    assert!(broker.faults() > 0);
    assert_eq!(balance(&report, "lost"), 3 * broker.faults());
    assert_eq!(slow("lost"), 2 * broker.faults());
    assert_eq!(
        slow("received") + slow("lost"),
        2 * balance(&report, "sent")
    );
    assert_eq!(balance(&report, "slow_closed"), 0);
}

#[test]
fn doubled_messages_are_counted_as_duplicates() {
    let broker = FaultyBroker::start(Fault::Double);
    let report = broker.report("pairs --publishers 2 --subscribers 2 --outstanding 200");
    assert!(broker.faults() > 0);
    assert_eq!(
        (balance(&report, "duplicated"), balance(&report, "lost")),
        (broker.faults(), 0)
    );
}

#[test]
fn swapped_messages_are_counted_as_out_of_order() {
    let broker = FaultyBroker::start(Fault::Swap);
    let report = broker.report("pairs --publishers 1 --subscribers 1 --outstanding 200");
    let held = u64::from(balance(&report, "sent").is_multiple_of(10));
    assert!(broker.faults() > 0);
    assert_eq!(
        (balance(&report, "out_of_order"), balance(&report, "lost")),
        (broker.faults() - held, held)
    );
}

#[test]
fn closed_connection_ends_the_run_without_figures() {
    let broker = FaultyBroker::start(Fault::Close);
    let output = broker.run("pairs --publishers 1 --subscribers 1 --outstanding 500");
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("closed connection"));
}

#[test]
fn paced_latency_is_measured_from_the_due_time() {
    let broker = FaultyBroker::start(Fault::Nothing);
    let report = broker.report("paced --publishers 1 --subscribers 1 --rate 500");
    let figure = |name: &str| report["figures"][name].as_f64().unwrap();
    assert!(
        figure("latency_p50_us") > 0.0 && figure("latency_p999_us") >= figure("latency_p50_us")
    );
    assert!(figure("latency_mean_us") >= figure("transit_mean_us"));
    assert!(!report["latency_curve"].as_array().unwrap().is_empty());
}

#[test]
fn idle_and_storm_count_connections() {
    let broker = FaultyBroker::start(Fault::Nothing);
    let idle = broker.report("idle --connections 20 --subscribe");
    assert_eq!(idle["figures"]["units"].as_f64(), Some(20.0));
    let storm = broker.report("storm --connections 4 --subscribe --count 50");
    assert!(storm["figures"]["units"].as_f64().unwrap() >= 50.0);
    let subscriptions = broker.report("subscriptions --connections 2 --filters 2");
    assert_eq!(subscriptions["figures"]["units"].as_f64(), Some(2.0));
}
