//! `Link`: the sending half of one connection. It moves into the session's lock when the session is attached, so that
//! any thread may deliver and flush without waking the shard that reads this connection.
//!
//! The descriptor stays valid as long as the link lives: both halves share it.

use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use pybroker_core::codec::alias::OutboundAliases;
use pybroker_core::codec::{self, Ack, Disconnect, Packet, PublishOut, QoS, Version};
use pybroker_core::message::Message;
use pybroker_core::reason::ReasonCode;

use crate::counters::{Metric, Tally};
use crate::gate::Throttle;
use crate::outbox::{BufferPool, Flushed, Outbox, SHARE_MARK, SOFT_MARK};
use crate::session::{Session, State};
use crate::settings::Settings;
use crate::slow::{Measure, SlowTable};
use crate::trace::TraceSpec;
use crate::transport::layers::Layers;

/// Number of one connection: shard, generation and place, unique for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId(pub u64);

/// What a thread needs in order to write to connections.
pub struct Outlet {
    /// Free output buffers.
    pub pool: BufferPool,
    /// Counts of this turn.
    pub tally: Tally,
    /// Monotonic time of this turn.
    pub now_ms: u64,
    /// Settings of this turn.
    pub settings: Arc<Settings>,
    /// Connections that may be sent more only at a later time.
    pub throttled: Vec<(ConnId, u64)>,
    /// Where slow deliveries are listed.
    pub slow: Arc<SlowTable>,
    /// What is traced; `None`: nothing.
    pub traces: Option<Arc<TraceSpec>>,
}

impl Outlet {
    /// Lists a delivery that the client answers now, if it was slow. At QoS 2 PUBREC is the answer: the client has it.
    pub fn note_answer(&self, session: &Session, state: &State, packet_id: u16) {
        let Some(rule) = self.settings.slow else { return };
        let Some((entry, Some(since_ms))) = state.window.sent(packet_id, self.now_ms) else { return };
        let timespan_ms = match rule.measure {
            Measure::Whole => self.now_ms.saturating_sub(entry.message.published_ms),
            Measure::Response => since_ms,
            Measure::Internal => return,
        };
        if !entry.is_retain {
            self.slow.record(rule, &session.client_id, entry.message.topic(), timespan_ms, self.now_ms);
        }
    }
}

/// Counters of one connection, for the administrator.
#[derive(Debug, Default, Clone, Copy)]
pub struct Traffic {
    /// Bytes received (as MQTT, before TLS and WebSocket framing).
    pub received_bytes: u64,
    /// Reads of the socket that brought them.
    pub reads: u64,
    /// Packets received.
    pub received_packets: u64,
    /// PUBLISH packets received.
    pub received_messages: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// PUBLISH packets sent.
    pub sent_messages: u64,
}

/// Whether a PUBLISH could be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is in the outbox.
    Yes,
    /// It would pass the client's maximum packet size: it counts as delivered. [MQTT5-3.1.2-25]
    TooLarge,
}

/// The sending half of a connection.
pub struct Link {
    /// Which connection this is.
    pub conn: ConnId,
    fd: Arc<OwnedFd>,
    /// Unsent MQTT bytes.
    pub outbox: Outbox,
    /// TLS and WebSocket, if the listener has them.
    pub layers: Option<Box<Layers>>,
    aliases: Option<Box<OutboundAliases>>,
    /// Protocol version, known after CONNECT.
    pub version: Version,
    /// Largest packet that the client takes; 0 no limit.
    pub max_packet_bytes: u32,
    /// QoS 1 and 2 messages that the client takes at once.
    pub receive_maximum: u16,
    /// Whether reason strings and user properties may be sent. [MQTT5-3.1.2-29]
    pub sends_problem_information: bool,
    /// Whether this link is in some thread's list of links to flush.
    pub is_dirty: bool,
    /// Since when the socket has been full without progress.
    pub blocked_since_ms: Option<NonZeroU64>,
    /// Limits on what is delivered.
    pub throttle: Option<Box<Throttle>>,
    /// Counters.
    pub traffic: Traffic,
}

impl Link {
    /// A link before its CONNECT.
    #[must_use]
    pub fn new(conn: ConnId, fd: Arc<OwnedFd>, layers: Option<Box<Layers>>) -> Self {
        Self {
            conn,
            fd,
            outbox: Outbox::default(),
            layers,
            aliases: None,
            version: Version::V311,
            max_packet_bytes: 0,
            receive_maximum: u16::MAX,
            sends_problem_information: true,
            is_dirty: false,
            blocked_since_ms: None,
            throttle: None,
            traffic: Traffic::default(),
        }
    }

    /// Allows up to `maximum` topic aliases towards the client; 0: none. [MQTT5-3.1.2-26] [MQTT5-3.1.2-27]
    pub fn set_alias_maximum(&mut self, maximum: u16) {
        self.aliases = (maximum > 0).then(|| Box::new(OutboundAliases::new(maximum)));
    }

    /// Whether frames must be encoded for this link alone.
    #[must_use]
    pub fn needs_own_encoding(&self) -> bool {
        self.aliases.is_some()
    }

    /// Whether more messages may be written now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.unsent_bytes() < SOFT_MARK
    }

    /// Whether the limits allow a message now. If not, the connection is called up again when they do.
    pub fn may_deliver(&mut self, out: &mut Outlet) -> bool {
        let Some(throttle) = self.throttle.as_deref_mut() else {
            return true;
        };
        let wait_ms = throttle.wait_ms(out.now_ms);
        if wait_ms > 0 && !throttle.is_waiting {
            throttle.is_waiting = true;
            out.throttled.push((self.conn, out.now_ms + wait_ms));
        }
        wait_ms == 0
    }

    /// Bytes that the socket has not taken yet.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.outbox.len() + self.layers.as_ref().map_or(0, |layers| layers.unsent_bytes())
    }

    /// Whether a packet of `bytes` may be sent to this client.
    #[must_use]
    pub fn takes(&self, bytes: usize) -> bool {
        let limit = if self.max_packet_bytes == 0 { codec::MAX_PACKET_BYTES } else { self.max_packet_bytes };
        bytes <= limit as usize
    }

    /// Encodes one PUBLISH for this link. Large payloads are queued by reference when the message is given.
    pub fn write_publish(
        &mut self,
        out: &mut Outlet,
        publish: &mut PublishOut<'_>,
        message: Option<&Arc<Message>>,
    ) -> Written {
        let topic = publish.topic;
        if let Some((alias, is_first_use)) = self.aliases.as_mut().and_then(|aliases| aliases.assign(topic)) {
            publish.topic_alias = alias.get();
            if !is_first_use {
                publish.topic = ""; // [MQTT5-3.3.2-12]
            }
        }
        if !self.takes(codec::publish_len(self.version, publish)) {
            if publish.topic_alias != 0 && !publish.topic.is_empty() {
                // The client never hears of this alias.
                if let Some(aliases) = self.aliases.as_mut() {
                    aliases.forget(topic);
                }
            }
            out.tally.count(Metric::DeliveryDropped);
            out.tally.count(Metric::DeliveryDroppedTooLarge);
            return Written::TooLarge;
        }
        match message {
            Some(message) if publish.payload.len() >= SHARE_MARK => {
                self.outbox.append_with(&mut out.pool, |buf| codec::encode_publish_head(buf, self.version, publish));
                self.outbox.append_payload(message);
            }
            _ => self.outbox.append_with(&mut out.pool, |buf| codec::encode_publish(buf, self.version, publish)),
        }
        self.count_publish(out, publish.qos, publish.payload.len());
        Written::Yes
    }

    /// Takes note of a PUBLISH that was appended to the outbox.
    pub fn count_publish(&mut self, out: &mut Outlet, qos: QoS, payload_bytes: usize) {
        if let Some(throttle) = &mut self.throttle {
            throttle.pay(payload_bytes, out.now_ms);
        }
        self.count_publishes(&mut out.tally, qos, 1);
    }

    /// Counts `n` PUBLISH packets that were appended to the outbox.
    pub(crate) fn count_publishes(&mut self, tally: &mut Tally, qos: QoS, n: u64) {
        self.traffic.sent_packets += n;
        self.traffic.sent_messages += n;
        tally.add(Metric::PacketsSent, n);
        tally.add(Metric::PublishSent, n);
        tally.add(Metric::MessagesSent, n);
        let metric = match qos {
            QoS::AtMostOnce => Metric::MessagesQos0Sent,
            QoS::AtLeastOnce => Metric::MessagesQos1Sent,
            QoS::ExactlyOnce => Metric::MessagesQos2Sent,
        };
        tally.add(metric, n);
    }

    /// Encodes any other packet of the server. Reason strings and user properties are left out where the client does
    /// not want them or they would pass its maximum packet size. [MQTT5-3.1.2-29] [MQTT5-3.2.2-19]
    pub fn write(&mut self, out: &mut Outlet, packet: &Packet<'_>) {
        let version = self.version;
        let limit = if self.max_packet_bytes == 0 { codec::MAX_PACKET_BYTES } else { self.max_packet_bytes };
        let metric = self.outbox.append_with(&mut out.pool, |buf| match packet {
            Packet::Connack(connack) => {
                codec::encode_connack(buf, version, connack, limit);
                Metric::ConnackSent
            }
            Packet::Suback(suback) => {
                codec::encode_suback(buf, version, suback, limit);
                Metric::SubackSent
            }
            Packet::Unsuback(unsuback) => {
                codec::encode_unsuback(buf, version, unsuback, limit);
                Metric::UnsubackSent
            }
            Packet::Disconnect(disconnect) => {
                codec::encode_disconnect(buf, version, disconnect, limit);
                Metric::DisconnectSent
            }
            Packet::Auth(auth) => {
                codec::encode_auth(buf, auth, limit);
                Metric::AuthSent
            }
            other => {
                codec::encode(buf, version, other);
                Metric::PubrelSent
            }
        });
        self.traffic.sent_packets += 1;
        out.tally.count(Metric::PacketsSent);
        out.tally.count(metric);
    }

    /// Appends an encoded packet.
    pub fn write_raw(&mut self, out: &mut Outlet, packet: &[u8], metric: Metric) {
        self.outbox.append(&mut out.pool, packet);
        self.traffic.sent_packets += 1;
        out.tally.count(Metric::PacketsSent);
        out.tally.count(metric);
    }

    /// Encodes a PUBREL.
    pub fn write_pubrel(&mut self, out: &mut Outlet, packet_id: u16) {
        self.write(out, &Packet::Pubrel(Ack::new(packet_id, ReasonCode::Success)));
    }

    /// Writes the last packet and ends the layers. 3.x clients never get a DISCONNECT, nor does anyone for 0.
    /// [MQTT5-4.13.1-1]
    pub fn say_goodbye(&mut self, out: &mut Outlet, reason: u8) {
        if reason != 0
            && self.version == Version::V5
            && let Ok(reason) = ReasonCode::try_from(reason)
        {
            self.write(out, &Packet::Disconnect(Disconnect::new(reason)));
        }
        let Self { layers, outbox, .. } = self;
        if let Some(layers) = layers.as_mut() {
            layers.close(outbox, &mut out.pool);
        }
    }

    /// Sends what the socket takes, through TLS and WebSocket if there are any.
    pub fn flush(&mut self, out: &mut Outlet) -> Flushed {
        self.is_dirty = false;
        let before = self.unsent_bytes();
        let ended = match self.layers.as_mut() {
            None => {
                let (sent, ended) = self.outbox.flush(self.fd.as_fd(), &mut out.pool);
                out.tally.add(Metric::BytesSent, sent as u64);
                self.traffic.sent_bytes += sent as u64;
                ended
            }
            Some(layers) => {
                let waiting = self.outbox.len() as u64;
                let ended = layers.flush(self.fd.as_fd(), &mut self.outbox, &mut out.pool);
                let sent = waiting.saturating_sub(self.outbox.len() as u64);
                out.tally.add(Metric::BytesSent, sent);
                self.traffic.sent_bytes += sent;
                ended
            }
        };
        self.note_progress(ended, before, out.now_ms);
        ended
    }

    fn note_progress(&mut self, ended: Flushed, before: usize, now_ms: u64) {
        let has_progress = self.unsent_bytes() < before;
        match ended {
            Flushed::Blocked if self.blocked_since_ms.is_none() || has_progress => {
                self.blocked_since_ms = NonZeroU64::new(now_ms);
            }
            Flushed::Blocked => {}
            Flushed::Empty | Flushed::Broken => self.blocked_since_ms = None,
        }
    }
}
