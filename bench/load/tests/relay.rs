//! Puts the load generator on the relay: what it moves has to arrive, each message once and in order.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// A running relay; it ends with the test.
struct Relay {
    process: Child,
    address: String,
}

impl Relay {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_pybroker-relay"))
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        let address = address.trim().to_owned();
        Self { process, address }
    }

    /// Runs the load generator for a moment and returns what it says.
    fn load(&self, arguments: &[&str]) -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_pybroker-load"))
            .args(arguments)
            .args([
                "--target",
                &self.address,
                "--duration",
                "0.1",
                "--warmup",
                "0",
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn every_message_arrives_once_and_in_order() {
    let relay = Relay::start();
    for arguments in [
        &["pairs", "--publishers", "5", "--subscribers", "5"][..],
        &[
            "pairs",
            "--publishers",
            "5",
            "--subscribers",
            "5",
            "--qos",
            "1",
        ],
        &[
            "pairs",
            "--publishers",
            "5",
            "--subscribers",
            "5",
            "--qos",
            "2",
        ],
        &["fanin", "--publishers", "20"],
        &["fanout", "--subscribers", "20", "--qos", "1"],
        &["pairs", "--payload", "100000", "--outstanding", "100"],
        &["paced", "--rate", "1000"],
    ] {
        let balance = &relay.load(arguments)["balance"];
        assert!(balance["received"].as_u64() > Some(0), "{arguments:?}");
        for fault in ["lost", "duplicated", "out_of_order", "foreign", "refused"] {
            assert_eq!(balance[fault], 0, "{fault}: {arguments:?}");
        }
    }
}

#[test]
fn client_that_has_left_hears_nothing_any_more() {
    let relay = Relay::start();
    let storm = relay.load(&["storm", "--connections", "10", "--subscribe"]);
    assert!(storm["figures"]["units"].as_f64() > Some(10.0));
    relay.load(&["pairs"]);
}

#[test]
fn another_version_is_refused_and_what_is_no_packet_ends_its_connection() {
    let relay = Relay::start();
    let mut five = TcpStream::connect(&relay.address).unwrap();
    five.write_all(b"\x10\x0D\0\x04MQTT\x05\x02\0\0\0\0\0")
        .unwrap();
    let mut answer = [0; 4];
    five.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 1]);
    let mut broken = TcpStream::connect(&relay.address).unwrap();
    broken.write_all(&[0x36, 2, 0, 9]).unwrap();
    assert_eq!(broken.read(&mut answer).unwrap(), 0);
    relay.load(&["pairs"]);
}
