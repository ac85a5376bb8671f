//! Events for Python: what needs a decision or must be known. Owned data only; the packet's buffer is gone by then.

use std::net::SocketAddr;
use std::sync::Arc;

use pybroker_core::codec::{QoS, SubscribeOptions, Version};
use pybroker_core::reason::ReasonCode;
use pybroker_core::topic::{self, FilterKind};

use crate::link::ConnId;
use crate::namespace::Quota;
use crate::transport::certificate::PeerCertificate;

/// Why a connection ended. The numbers cross the border; EMQX's words for them stand in `NAMES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// DISCONNECT with 0x00, any DISCONNECT of 3.x.
    Normal,
    /// DISCONNECT with another code: the will is sent.
    WithWill,
    /// The peer closed or reset.
    Tcp,
    /// Silence for longer than the keep alive allows.
    KeepAlive,
    /// Malformed packet or protocol error.
    Protocol,
    /// Another connection took the session.
    TakenOver,
    /// An administrator's or the plane's decision.
    Kicked,
    /// The broker stops.
    Shutdown,
    /// The client does not read.
    SlowConsumer,
    /// The queue is full and its policy ends the connection.
    QueueFull,
    /// The listener was closed.
    Listener,
    /// Receive maximum, packet size or another limit.
    Quota,
    /// The connection had gone before its CONNECT was answered.
    Stale,
    /// Access control denies, and the policy ends the connection.
    NotAuthorized,
}

impl Cause {
    /// EMQX's word for each cause, in the order of the numbers.
    pub const NAMES: &'static [&'static str] = &[
        "normal",
        "disconnected_with_will",
        "tcp_closed",
        "keepalive_timeout",
        "protocol_error",
        "takenover",
        "kicked",
        "server_shutdown",
        "slow_consumer",
        "mqueue_full",
        "listener_closed",
        "quota_exceeded",
        "stale",
        "not_authorized",
    ];
}

/// A will as the client sent it.
#[derive(Debug)]
pub struct WillMessage {
    /// Topic, not mounted.
    pub topic: Box<str>,
    /// Payload.
    pub payload: Box<[u8]>,
    /// QoS.
    pub qos: QoS,
    /// Retain flag.
    pub is_retain: bool,
    /// Delay after the connection ended.
    pub delay_s: u32,
    /// Message expiry interval, counted from its sending.
    pub message_expiry_s: Option<u32>,
    /// Properties to forward, encoded.
    pub properties: Box<[u8]>,
}

/// Addresses and what the transport knows of the peer.
#[derive(Debug, Default)]
pub struct PeerInfo {
    /// Source address, from the PROXY header where there is one; `None` on Unix sockets.
    pub peer: Option<SocketAddr>,
    /// Client certificate of a TLS listener.
    pub certificate: Option<PeerCertificate>,
    /// Common name told by the PROXY header.
    pub proxied_common_name: Option<String>,
    /// SNI, or the PROXY authority.
    pub server_name: Option<String>,
    /// Path of the WebSocket request.
    pub websocket_path: Option<String>,
    /// `Cookie` of the WebSocket request.
    pub websocket_cookie: Option<String>,
}

/// A CONNECT with everything that a decision may rest on.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "flags of the packet")]
pub struct ConnectInfo {
    /// Protocol version.
    pub version: Version,
    /// Client id as sent.
    pub client_id: Box<str>,
    /// Clean start or clean session.
    pub is_clean_start: bool,
    /// Bridge bit of a mosquitto-style bridge.
    pub is_bridge: bool,
    /// Keep alive as sent.
    pub keep_alive_s: u16,
    /// User name.
    pub username: Option<Box<str>>,
    /// Password.
    pub password: Option<Box<[u8]>>,
    /// Will.
    pub will: Option<Arc<WillMessage>>,
    /// Session expiry interval; 0 when absent.
    pub session_expiry_s: u32,
    /// Receive maximum.
    pub receive_maximum: u16,
    /// Maximum packet size; 0 none.
    pub max_packet_bytes: u32,
    /// Topic alias maximum.
    pub topic_alias_maximum: u16,
    /// Request response information.
    pub requests_response_information: bool,
    /// Request problem information.
    pub requests_problem_information: bool,
    /// User properties in order.
    pub user_properties: Vec<(Box<str>, Box<str>)>,
    /// Authentication method.
    pub authentication_method: Option<Box<str>>,
    /// Authentication data.
    pub authentication_data: Option<Box<[u8]>>,
    /// Listener it came by.
    pub listener: u32,
    /// The peer.
    pub peer: PeerInfo,
}

/// One filter of a SUBSCRIBE.
#[derive(Debug)]
pub struct FilterRequest {
    /// As written.
    pub filter: Box<str>,
    /// Options byte as in the packet.
    pub options: u8,
    /// 0 plain, 1 shared, 2 exclusive.
    pub kind: u8,
    /// 0, or the reason code its syntax earns.
    pub reason: u8,
    /// Where the inner filter begins in `filter`.
    pub inner_at: usize,
    /// Whether the inner filter holds a wildcard.
    pub has_wildcard: bool,
}

impl FilterRequest {
    /// Judges one filter of a SUBSCRIBE by its syntax.
    #[must_use]
    pub fn new(filter: &str, asked: SubscribeOptions, max_levels: usize) -> Self {
        let options = asked.qos as u8
            | u8::from(asked.no_local) << 2
            | u8::from(asked.retain_as_published) << 3
            | asked.retain_handling << 4;
        let (kind, inner, reason) = match topic::parse_filter(filter, max_levels) {
            Ok(parsed) => {
                let kind = match parsed.kind {
                    FilterKind::Plain => 0,
                    FilterKind::Share { .. } => 1,
                    FilterKind::Exclusive => 2,
                };
                (kind, parsed.filter, 0)
            }
            Err(_) => (0, filter, ReasonCode::TopicFilterInvalid as u8),
        };
        Self {
            filter: filter.into(),
            options,
            kind,
            reason,
            inner_at: filter.len() - inner.len(),
            has_wildcard: inner.contains(['+', '#']),
        }
    }
}

/// What Python is told.
#[derive(Debug)]
pub enum Event {
    /// A CONNECT waits for `accept`, `refuse` or `challenge`.
    Connect {
        /// The connection.
        conn: ConnId,
        /// What it said.
        info: Box<ConnectInfo>,
    },
    /// A SUBSCRIBE waits for `grant`.
    Subscribe {
        /// The connection.
        conn: ConnId,
        /// Its session.
        session: u32,
        /// Packet id.
        packet_id: u16,
        /// Subscription identifier; 0 none.
        subscription_id: u32,
        /// The filters, in order.
        filters: Vec<FilterRequest>,
    },
    /// An UNSUBSCRIBE waits for `release`.
    Unsubscribe {
        /// The connection.
        conn: ConnId,
        /// Its session.
        session: u32,
        /// Packet id.
        packet_id: u16,
        /// The filters as written.
        filters: Vec<Box<str>>,
    },
    /// Filters that Python had granted and the core refused, for the quota of their namespace.
    Withdrawn {
        /// The connection.
        conn: ConnId,
        /// Its session.
        session: u32,
        /// The filters as written.
        filters: Vec<Box<str>>,
    },
    /// A PUBLISH waits for `authorize`.
    Authorize {
        /// The connection.
        conn: ConnId,
        /// Its session.
        session: u32,
        /// Version of the chain that asks.
        chain: u64,
        /// Index of the step in that chain.
        step: usize,
        /// Topic as the client wrote it.
        topic: Box<str>,
        /// QoS.
        qos: u8,
        /// Retain flag.
        is_retain: bool,
    },
    /// A connection that had a session, or waited for a decision, has ended.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Its session; `u32::MAX` before CONNACK.
        session: u32,
        /// Why.
        cause: Cause,
        /// Reason code sent or received.
        reason: u8,
        /// Session expiry that DISCONNECT set.
        session_expiry_s: Option<u32>,
        /// Whether the will is to be sent.
        sends_will: bool,
    },
    /// An AUTH waits for `accept`, `refuse`, `challenge` or `disconnect`.
    Auth {
        /// The connection.
        conn: ConnId,
        /// Its session; `u32::MAX` before CONNACK.
        session: u32,
        /// 0x18 continue, 0x19 re-authenticate.
        reason: u8,
        /// Method.
        method: Box<str>,
        /// Data.
        data: Box<[u8]>,
    },
    /// A namespace came to a quota, or has room again.
    Quota {
        /// The namespace.
        namespace: Arc<str>,
        /// Which quota.
        quota: Quota,
        /// Whether something was refused; else there is room again.
        is_exceeded: bool,
        /// What it holds.
        held: u64,
        /// What it may hold; `None`: the quota was lifted.
        most: Option<u64>,
    },
    /// Something for the log.
    Log {
        /// Level as in Python: 10 debug to 50 critical.
        level: u8,
        /// What happened.
        event: &'static str,
        /// Details.
        fields: Vec<(&'static str, String)>,
    },
    /// A shard died.
    ShardFailed {
        /// Its number.
        shard: usize,
        /// Why.
        text: String,
    },
}
