//! Engine-wide settings, decided by Python and swapped whole; threads look at a new set once per turn.

use std::collections::HashMap;

use pybroker_core::codec::QoS;
use pybroker_core::session::{Limits, Overflow};
use pybroker_core::trie::Strategy;

use crate::slow::SlowRule;

/// Everything that the byte path needs to know. Zero means "no limit" where a limit is optional.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is one switch of the configuration")]
pub struct Settings {
    /// Largest packet taken from a client, in bytes; told in CONNACK.
    pub max_packet_bytes: u32,
    /// Levels that a topic or filter may have.
    pub max_topic_levels: usize,
    /// Highest QoS taken and granted; told in CONNACK when below 2.
    pub max_qos: QoS,
    /// Highest topic alias taken from a client; told in CONNACK.
    pub max_topic_alias: u16,
    /// Whether retained messages are taken; told in CONNACK when not.
    pub is_retain_available: bool,
    /// Told in CONNACK when not; Python refuses such filters.
    pub is_wildcard_available: bool,
    /// Told in CONNACK when not; Python refuses such filters.
    pub is_shared_available: bool,
    /// How a member of a shared group is chosen.
    pub shared_strategy: Strategy,
    /// Whether 3.x clients never get their own messages back (as No Local).
    pub ignores_loop_deliver: bool,
    /// Whether payloads with format indicator 1 are checked for UTF-8.
    pub is_strict: bool,
    /// Whether delivery uses the granted QoS where it is above the published one.
    pub upgrades_qos: bool,
    /// Silence allowed, in keep alives. The standard's number is 1.5.
    pub keepalive_multiplier: f64,
    /// After so long without acknowledgement 3.x clients get unfinished messages again; 0 never.
    pub retry_interval_ms: u64,
    /// Upper bound of message expiry, also for messages without; 0 none.
    pub message_expiry_ms: u64,
    /// Open QoS 1 and 2 publications taken from one client.
    pub receive_maximum: u16,
    /// QoS 2 packet ids held for one client; 0 no limit.
    pub max_awaiting_rel: u16,
    /// QoS 2 packet ids are forgotten after so long without PUBREL; 0 never.
    pub await_rel_timeout_ms: u64,
    /// Windows and queues towards clients.
    pub limits: Limits,
    /// Queue priority by topic; topics that are not in it have `default_priority`.
    pub priorities: HashMap<Box<str>, i16>,
    /// See `priorities`.
    pub default_priority: i16,
    /// Whether retained messages are stored and replayed.
    pub is_retainer_enabled: bool,
    /// Retained messages held; 0 no limit.
    pub max_retained: usize,
    /// Largest retained payload.
    pub max_retained_payload_bytes: usize,
    /// Retained messages live at most so long; 0 no limit.
    pub retained_expiry_ms: u64,
    /// Retained messages live exactly so long, whatever they say; 0 leaves that to them and to `retained_expiry_ms`.
    pub retained_override_ms: u64,
    /// Whether an empty retained message is not delivered but only clears.
    pub is_retained_clear_stopped: bool,
    /// Whether `$delayed/N/topic` delays.
    pub is_delayed_enabled: bool,
    /// Delayed messages held; 0 no limit.
    pub max_delayed: usize,
    /// Which deliveries are listed as slow; `None` measures nothing.
    pub slow: Option<SlowRule>,
    /// Wait of a busy shard before it reads, to gather more per call; 0 never waits.
    pub coalesce_us: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_packet_bytes: 1024 * 1024,
            max_topic_levels: 128,
            max_qos: QoS::ExactlyOnce,
            max_topic_alias: u16::MAX,
            is_retain_available: true,
            is_wildcard_available: true,
            is_shared_available: true,
            shared_strategy: Strategy::RoundRobin,
            ignores_loop_deliver: false,
            is_strict: false,
            upgrades_qos: false,
            keepalive_multiplier: 1.5,
            retry_interval_ms: 0,
            message_expiry_ms: 0,
            receive_maximum: 100,
            max_awaiting_rel: 100,
            await_rel_timeout_ms: 300_000,
            limits: Limits {
                max_inflight: 32,
                max_queue_len: 1000,
                max_queue_bytes: 0,
                overflow: Overflow::DropOldest,
                stores_qos0: true,
            },
            priorities: HashMap::new(),
            default_priority: 0,
            is_retainer_enabled: true,
            max_retained: 0,
            max_retained_payload_bytes: 1024 * 1024,
            retained_expiry_ms: 0,
            retained_override_ms: 0,
            is_retained_clear_stopped: false,
            is_delayed_enabled: true,
            max_delayed: 0,
            slow: None,
            coalesce_us: 0,
        }
    }
}

impl Settings {
    /// Queue priority of a topic.
    #[must_use]
    pub fn priority_of(&self, topic: &str) -> i16 {
        if self.priorities.is_empty() {
            return self.default_priority;
        }
        self.priorities.get(topic).copied().unwrap_or(self.default_priority)
    }
}
