//! `Connection`: the reading half of one client on its shard, and what phase it is in.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use pybroker_core::codec::alias::InboundAliases;
use pybroker_core::codec::{Decoder, Role, Version};

use crate::authorizing::Guard;
use crate::events::Cause;
use crate::gate::Gate;
use crate::limits::TokenBucket;
use crate::link::{ConnId, Link};
use crate::listener::{Listener, ListenerSpec};
use crate::namespace::Namespace;
use crate::session::{Mount, Session};

/// What a connection is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The PROXY header.
    Proxy,
    /// The TLS or WebSocket handshake.
    Handshake,
    /// The CONNECT packet.
    Connect,
    /// Python's answer to CONNECT, or to an AUTH before CONNACK: input is held.
    Deciding,
    /// The client's AUTH before CONNACK.
    Authenticating,
    /// Anything: the client is connected.
    Open,
    /// Python's answer to SUBSCRIBE, UNSUBSCRIBE, AUTH or a PUBLISH: input is held.
    Waiting,
    /// The end: what is unsent is flushed, what comes is thrown away, until the peer closes or time is up.
    Lingering,
}

impl Phase {
    /// Whether CONNACK 0 was sent.
    #[must_use]
    pub fn is_connected(self) -> bool {
        matches!(self, Self::Open | Self::Waiting)
    }
}

/// Where the sending half is.
pub enum Holder {
    /// With the connection: before CONNACK and after the end.
    Own(Box<Link>),
    /// With the session.
    Session(Arc<Session>),
    /// Another connection took the session, or it was closed for good.
    Nobody,
}

/// A request that waits for Python.
pub enum Pending {
    /// Filters of a SUBSCRIBE, with packet id and subscription identifier.
    Subscribe {
        /// Packet id.
        packet_id: u16,
        /// Subscription identifier; 0 none.
        subscription_id: u32,
        /// Filter as written, options byte, and the reason its syntax earned.
        filters: Vec<(Box<str>, u8, u8)>,
    },
    /// A PUBLISH that an access step of Python must judge.
    Publish {
        /// The packet as it came.
        frame: Box<[u8]>,
    },
    /// Filters of an UNSUBSCRIBE.
    Unsubscribe {
        /// Packet id.
        packet_id: u16,
        /// Filters as written.
        filters: Vec<Box<str>>,
    },
}

/// What of CONNECT is needed later.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts of one CONNECT")]
pub struct Terms {
    /// Receive maximum of the client.
    pub receive_maximum: u16,
    /// Maximum packet size; 0 none.
    pub max_packet_bytes: u32,
    /// Topic aliases that the client takes.
    pub topic_alias_maximum: u16,
    /// Whether it wants reason strings.
    pub requests_problem_information: bool,
    /// Whether CONNECT had a session expiry above 0. [MQTT5-3.14.2.2.2]
    pub has_expiry: bool,
    /// Authentication method.
    pub method: Option<Box<str>>,
    /// Whether the client re-authenticates at the moment.
    pub is_reauthenticating: bool,
    /// Whether it is a bridge, which gets retain flags as published.
    pub is_bridge: bool,
    /// Session expiry that DISCONNECT set.
    pub final_expiry_s: Option<u32>,
}

/// Rate limits of one client.
#[derive(Default)]
pub struct Buckets {
    /// Messages per second, from the listener.
    pub messages: Option<TokenBucket>,
    /// Bytes per second, from the listener.
    pub bytes: Option<TokenBucket>,
    /// Limits of the namespace.
    pub gate: Option<Gate>,
}

/// The reading half of a connection.
#[allow(clippy::struct_excessive_bools, reason = "independent facts about a socket")]
pub struct Connection {
    /// Its number.
    pub id: ConnId,
    /// The socket.
    pub fd: Arc<OwnedFd>,
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// What held there when it came.
    pub spec: Arc<ListenerSpec>,
    /// What it waits for.
    pub phase: Phase,
    /// Its sending half.
    pub holder: Holder,
    /// Decoder; knows the version after CONNECT.
    pub decoder: Decoder,
    /// Received MQTT bytes that are not processed yet.
    pub input: Vec<u8>,
    /// Topic aliases of the client.
    pub aliases: InboundAliases,
    /// Its topics' prefix.
    pub mount: Option<Arc<Mount>>,
    /// Silence allowed; 0 any.
    pub silence_ms: u64,
    /// When bytes last came.
    pub heard_ms: u64,
    /// When the present phase must be over; 0 no limit.
    pub deadline_ms: u64,
    /// The socket may hold more than was read.
    pub has_unread: bool,
    /// The peer has shut down its side.
    pub is_hung_up: bool,
    /// Own output is above the mark: nothing is read until it has drained.
    pub is_stalled: bool,
    /// When the coarse timer looks at it; 0: no timer is set.
    pub check_at_ms: u64,
    /// Nothing is read before this time (rate limit).
    pub paused_until_ms: u64,
    /// The poller does not report its input; a timer will have it read.
    pub is_muted: bool,
    /// QoS 2 publications not released yet.
    pub open_qos2: u16,
    /// Publications of a 3.x client that wait until QoS 2 ids are free again.
    pub held: Vec<u8>,
    /// The request that waits for Python.
    pub pending: Option<Box<Pending>>,
    /// What CONNECT agreed.
    pub terms: Option<Box<Terms>>,
    /// What access control knows of its publications.
    pub guard: Guard,
    /// Rate limits.
    pub buckets: Option<Box<Buckets>>,
    /// Address the socket came from.
    pub source: Option<SocketAddr>,
    /// What the PROXY header said.
    pub proxied: Option<Box<crate::transport::proxy::ProxyInfo>>,
}

impl Connection {
    /// A connection that has just been accepted.
    #[must_use]
    pub fn new(
        id: ConnId,
        fd: Arc<OwnedFd>,
        (listener, spec): (Arc<Listener>, Arc<ListenerSpec>),
        source: Option<SocketAddr>,
        link: Box<Link>,
        max_packet_bytes: u32,
        now_ms: u64,
    ) -> Self {
        let phase = if spec.is_proxied {
            Phase::Proxy
        } else if link.layers.is_some() {
            Phase::Handshake
        } else {
            Phase::Connect
        };
        let patience_ms = if phase == Phase::Proxy { spec.proxy_timeout_ms } else { spec.idle_timeout_ms };
        Self {
            id,
            fd,
            phase,
            holder: Holder::Own(link),
            decoder: Decoder::new(Role::Server, max_packet_bytes),
            input: Vec::new(),
            aliases: InboundAliases::new(0),
            mount: None,
            silence_ms: 0,
            heard_ms: now_ms,
            deadline_ms: now_ms + patience_ms,
            has_unread: false,
            is_hung_up: false,
            is_stalled: false,
            check_at_ms: 0,
            paused_until_ms: 0,
            is_muted: false,
            open_qos2: 0,
            held: Vec::new(),
            pending: None,
            terms: None,
            guard: Guard::default(),
            buckets: Self::buckets(&spec, now_ms),
            source,
            proxied: None,
            spec,
            listener,
        }
    }

    fn buckets(spec: &ListenerSpec, now_ms: u64) -> Option<Box<Buckets>> {
        let messages = TokenBucket::new(spec.messages_rate, now_ms);
        let bytes = TokenBucket::new(spec.bytes_rate, now_ms);
        (messages.is_some() || bytes.is_some()).then(|| Box::new(Buckets { messages, bytes, gate: None }))
    }

    /// Puts the connection under the limiters of its namespace; that for clients takes the place of the listener's.
    pub fn limit_by(&mut self, namespace: &Arc<Namespace>) {
        let Some(gate) = Gate::new(namespace) else { return };
        let buckets = self.buckets.get_or_insert_default();
        if gate.is_client_limited() {
            (buckets.messages, buckets.bytes) = (None, None);
        }
        buckets.gate = Some(gate);
    }

    /// The limits of its namespace, if any hold.
    pub fn gate(&mut self) -> Option<&mut Gate> {
        self.buckets.as_deref_mut()?.gate.as_mut()
    }

    /// Protocol version; 3.1.1 before CONNECT.
    #[must_use]
    pub fn version(&self) -> Version {
        self.decoder.version().unwrap_or(Version::V311)
    }

    /// The namespace of its session.
    #[must_use]
    pub fn namespace(&self) -> Option<&Arc<Namespace>> {
        self.session()?.namespace.as_ref()
    }

    /// Its session.
    #[must_use]
    pub fn session(&self) -> Option<&Arc<Session>> {
        match &self.holder {
            Holder::Session(session) => Some(session),
            Holder::Own(_) | Holder::Nobody => None,
        }
    }

    /// Whether input must wait now.
    #[must_use]
    pub fn is_held_back(&self, now_ms: u64) -> bool {
        matches!(self.phase, Phase::Deciding | Phase::Waiting) || self.is_stalled || self.paused_until_ms > now_ms
    }

    /// Runs `act` on the sending half, if it is still this connection's.
    pub fn with_link<T>(&mut self, act: impl FnOnce(&mut Link) -> T) -> Option<T> {
        match &mut self.holder {
            Holder::Own(link) => Some(act(link)),
            Holder::Session(session) => {
                let mut state = session.lock();
                state.link.as_deref_mut().filter(|link| link.conn == self.id).map(act)
            }
            Holder::Nobody => None,
        }
    }
}

/// How handling a packet ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on with the next packet.
    Continue,
    /// Keep the rest of the input for later.
    Hold,
    /// End the connection. `reason` is sent to 5.0 clients; 0 sends nothing.
    Close {
        /// Why.
        cause: Cause,
        /// Reason code.
        reason: u8,
    },
}

impl Verdict {
    /// Whether the connection goes on.
    #[must_use]
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Close { .. })
    }

    /// A protocol error with its code.
    #[must_use]
    pub fn protocol(reason: pybroker_core::reason::ReasonCode) -> Self {
        Self::Close { cause: Cause::Protocol, reason: reason as u8 }
    }
}
