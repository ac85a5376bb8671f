//! The command line. Every value is echoed in the result, so that a figure can be repeated.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::error::LoadError;
use crate::wire::{PropertySet, PublishShape, SHORT_STAMP_BYTES, STAMP_BYTES, Version};

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Flood from all publishers to one subscriber.
    Fanin,
    /// Flood from one publisher to all subscribers.
    Fanout,
    /// Flood over pairs of one publisher and one subscriber.
    Pairs,
    /// Flood over pairs while the broker holds many wildcard filters.
    Match,
    /// Open-loop load at a fixed rate; latency.
    Paced,
    /// Idle connections; memory.
    Idle,
    /// Connect and disconnect as fast as the broker answers.
    Storm,
    /// Many subscriptions; memory.
    Subscriptions,
    /// Replay of retained messages to fresh subscribers.
    Retained,
    /// Persistent sessions: queue while offline, replay on return.
    Queued,
}

/// Who sends to whom in a paced run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    Fanin,
    Fanout,
    Pairs,
}

/// What the generator does when nothing is readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// Spin in floods, sleep otherwise.
    Auto,
    /// Poll again at once: the broker never pays for waking the generator.
    Spin,
    /// Sleep in epoll, as real clients do.
    Sleep,
}

/// Measures an MQTT broker and prints one JSON object.
#[derive(Clone, Debug, Parser, Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "switches of a command line")]
#[command(name = "pybroker-load", version)]
pub struct Settings {
    /// What to run.
    pub mode: Mode,
    /// Address of the broker.
    #[arg(long, default_value = "127.0.0.1:1883")]
    pub target: SocketAddr,
    /// Process id of the broker, for CPU and memory; may be repeated.
    #[arg(long = "pid")]
    pub pids: Vec<u32>,
    /// Name that is copied into the result.
    #[arg(long, default_value = "")]
    pub label: String,
    /// First level of all topics and start of all client ids; default: `load-PID`.
    #[arg(long, default_value_t = format!("load-{}", std::process::id()))]
    pub prefix: String,
    /// User name of every client; `{n}` stands for its number.
    #[arg(long)]
    pub username: Option<String>,
    /// Password of every client (with --username); `{n}` stands for its number. It is not echoed.
    #[arg(long)]
    #[serde(skip)]
    pub password: Option<String>,

    /// Speak MQTT 5 instead of 3.1.1.
    #[arg(long)]
    pub v5: bool,
    /// Properties of published messages (with --v5).
    #[arg(long, value_enum, default_value = "none")]
    pub properties: PropertySet,
    /// QoS of publishes and subscriptions.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Payload bytes, at least 12 (28 in paced runs).
    #[arg(long, default_value_t = 64)]
    pub payload: usize,
    /// TLS to the broker.
    #[arg(long)]
    pub tls: bool,
    /// PEM file with the authority that signed the broker's certificate (with --tls).
    #[arg(long)]
    pub cafile: Option<PathBuf>,
    /// Name expected in the broker's certificate.
    #[arg(long, default_value = "localhost")]
    pub server_name: String,
    /// WebSocket instead of plain TCP; combines with --tls.
    #[arg(long)]
    pub ws: bool,
    /// Path of the WebSocket upgrade.
    #[arg(long, default_value = "/mqtt")]
    pub ws_path: String,

    /// Publishers; one more or less than the shape allows is an error.
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
    /// Subscribers.
    #[arg(long, default_value_t = 1)]
    pub subscribers: usize,
    /// Additional subscribers that do not read before everything is published.
    #[arg(long, default_value_t = 0)]
    pub slow: usize,
    /// QoS 1 and 2 publishes in flight per publisher; the broker's receive maximum may lower it. 20 is the widest
    /// window that every peer serves without loss by default (mosquitto 2.0: `max_inflight_messages 20`).
    #[arg(long, default_value_t = 20)]
    pub window: usize,
    /// Floods keep at most this many deliveries on the way, all clients together.
    #[arg(long, default_value_t = 10_000)]
    pub outstanding: u64,
    /// Published messages per second, all publishers together (paced).
    #[arg(long, default_value_t = 10_000.0)]
    pub rate: f64,
    /// Who sends to whom (paced).
    #[arg(long, value_enum, default_value = "pairs")]
    pub shape: Shape,
    /// What to do when nothing is readable.
    #[arg(long, value_enum, default_value = "auto")]
    pub wait: Wait,
    /// 1, or 2: publishers and subscribers on a thread each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub threads: u8,

    /// Connections (idle, subscriptions, queued), or connections at a time (storm).
    #[arg(long, default_value_t = 100)]
    pub connections: usize,
    /// Loopback source addresses (of 127.0.0.0/8); default: as many as the ports need.
    #[arg(long)]
    pub sources: Option<u8>,
    /// One subscription per connection (idle, storm).
    #[arg(long)]
    pub subscribe: bool,
    /// Subscriptions in all (subscriptions, match).
    #[arg(long, default_value_t = 100_000)]
    pub filters: usize,
    /// Distinct topics that each publisher walks through (match).
    #[arg(long, default_value_t = 1_000)]
    pub topics: usize,
    /// Messages: retained in all (retained), or per session (queued).
    #[arg(long, default_value_t = 10_000)]
    pub messages: u64,

    /// Seconds before the measurement begins.
    #[arg(long, default_value_t = 1.0)]
    pub warmup: f64,
    /// Seconds of the measurement.
    #[arg(long, default_value_t = 5.0)]
    pub duration: f64,
    /// End the measurement earlier, after this many deliveries, connects or replays.
    #[arg(long)]
    pub count: Option<u64>,
    /// Bound of every single step (connecting, subscribing, draining) in seconds.
    #[arg(long, default_value_t = 60.0)]
    pub step_limit: f64,
}

impl Settings {
    /// Checks what clap cannot: combinations.
    ///
    /// # Errors
    /// `LoadError::Settings` with the first contradiction.
    pub fn validate(&self) -> Result<(), LoadError> {
        let needed = if self.mode == Mode::Paced {
            STAMP_BYTES
        } else {
            SHORT_STAMP_BYTES
        };
        let contradiction = if self.payload < needed {
            Some(format!("payload must be at least {needed}"))
        } else if self.properties != PropertySet::None && !self.v5 {
            Some("properties need --v5".into())
        } else if self.tls && self.cafile.is_none() {
            Some("tls needs --cafile".into())
        } else if self.password.is_some() && self.username.is_none() {
            Some("password needs --username".into())
        } else if self.publishers == 0
            || self.subscribers == 0
            || self.connections == 0
            || self.window == 0
        {
            Some("publishers, subscribers, connections and window must be at least 1".into())
        } else if !(self.rate > 0.0 && self.duration > 0.0 && self.warmup >= 0.0) {
            Some("rate and duration must be positive".into())
        } else if self.duration + self.warmup > 3_000.0 {
            Some("warmup and duration together are bound to 3000 s".into())
        } else {
            self.shape_error()
        };
        contradiction.map_or(Ok(()), |what| Err(LoadError::Settings(what)))
    }

    fn shape_error(&self) -> Option<String> {
        match self.traffic_shape()? {
            Shape::Fanin if self.subscribers != 1 => Some("fanin has one subscriber".into()),
            Shape::Fanout if self.publishers != 1 => Some("fanout has one publisher".into()),
            Shape::Pairs if self.publishers != self.subscribers => {
                Some("pairs need as many publishers as subscribers".into())
            }
            _ => None,
        }
    }

    /// Who sends to whom; `None` in modes without steady traffic.
    pub fn traffic_shape(&self) -> Option<Shape> {
        match self.mode {
            Mode::Fanin => Some(Shape::Fanin),
            Mode::Fanout => Some(Shape::Fanout),
            Mode::Pairs | Mode::Match => Some(Shape::Pairs),
            Mode::Paced => Some(self.shape),
            _ => None,
        }
    }

    /// Whether an idle generator polls again at once.
    pub fn spins(&self) -> bool {
        match self.wait {
            Wait::Spin => true,
            Wait::Sleep => false,
            Wait::Auto => self.mode != Mode::Paced,
        }
    }

    /// Protocol version of all clients.
    pub fn version(&self) -> Version {
        if self.v5 { Version::V5 } else { Version::V311 }
    }

    /// The shape of a published message of this run.
    pub fn publish_shape(&self) -> PublishShape {
        PublishShape {
            version: self.version(),
            qos: self.qos,
            is_retained: false,
            payload_bytes: self.payload,
            properties: self.properties,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<(), String> {
        let settings = Settings::try_parse_from([&["pybroker-load"], arguments].concat())
            .map_err(|e| e.to_string())?;
        settings.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn contradictions_are_refused() {
        assert_eq!(parse(&["fanin", "--publishers", "100"]), Ok(()));
        for bad in [
            &["fanin", "--subscribers", "2"][..],
            &["fanout", "--publishers", "2"],
            &["pairs", "--publishers", "2"],
            &["pairs", "--payload", "11"],
            &["paced", "--payload", "27"],
            &["pairs", "--properties", "full"],
            &["pairs", "--tls"],
            &["pairs", "--password", "p"],
            &["pairs", "--duration", "0"],
            &["pairs", "--qos", "3"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn password_is_not_echoed() {
        let arguments = [
            "pybroker-load",
            "pairs",
            "--username",
            "u",
            "--password",
            "p",
        ];
        let settings = Settings::parse_from(arguments);
        let echoed = serde_json::to_value(&settings).unwrap();
        assert_eq!(echoed["username"], "u");
        assert_eq!(echoed.get("password"), None);
    }
}
