//! PUBLISH from a client, and the acknowledgements that its QoS asks for.
//!
//! Routing and acknowledging are two steps: [`Shard::route`] says what became of the message, and only then is the
//! answer written, so that a store may put its commit in between.

use std::borrow::Cow;
use std::sync::Arc;

use pybroker_core::codec::{Ack, Packet, Publish, QoS, Version};
use pybroker_core::reason::ReasonCode;
use pybroker_core::session::InboundQos2;

use crate::authorizing::Clearance;
use crate::connection::{Connection, Verdict};
use crate::counters::Metric;
use crate::delayed;
use crate::events::Cause;
use crate::outbox::FLUSH_MARK;
use crate::publication::{Inbound, Sender};
use crate::shard::Shard;

/// Publications of a 3.x client that wait for free QoS 2 ids: beyond this its connection is ended, for the PUBRELs that
/// would free some come behind them.
const MAX_HELD_BYTES: usize = 256 * 1024;

impl Shard {
    pub(crate) fn on_publish(&mut self, conn: &mut Connection, publish: &Publish<'_>, frame: &[u8]) -> Verdict {
        if !conn.held.is_empty() || self.has_to_wait(conn, publish) {
            return self.hold(conn, frame);
        }
        self.take_publish(conn, publish, frame)
    }

    /// Whether a QoS 2 publication of a 3.x client waits for a PUBREL. It is not paid, judged or counted before its turn.
    fn has_to_wait(&mut self, conn: &Connection, publish: &Publish<'_>) -> bool {
        let is_possible = publish.qos == QoS::ExactlyOnce && conn.version() != Version::V5;
        is_possible && !self.allows_awaiting(conn) && !self.is_repeated(conn, publish)
    }

    fn allows_awaiting(&self, conn: &Connection) -> bool {
        let most = self.max_awaiting(conn);
        most == 0 || conn.open_qos2 < most
    }

    /// Most QoS 2 publications of one client that wait for PUBREL; 0: any number.
    pub(crate) fn max_awaiting(&self, conn: &Connection) -> u16 {
        let (settings, zone) = (&self.dispatcher.outlet.settings, &conn.spec.zone);
        let own = zone.max_awaiting_rel.unwrap_or(settings.max_awaiting_rel);
        match (own, zone.receive_maximum.unwrap_or(settings.receive_maximum)) {
            (0, told) => told,
            (own, 0) => own,
            (own, told) => own.min(told),
        }
    }

    /// Judges a PUBLISH and routes it. Access control comes before what the broker can do: who may not publish learns
    /// nothing else.
    pub(crate) fn take_publish(&mut self, conn: &mut Connection, publish: &Publish<'_>, frame: &[u8]) -> Verdict {
        if self.is_strict(conn) && !publish.payload_is_as_promised() {
            return Verdict::protocol(ReasonCode::PayloadFormatInvalid);
        }
        let alias_topic: Arc<str>;
        let topic = match publish.properties.topic_alias {
            None => publish.topic,
            Some(alias) if publish.topic.is_empty() => match conn.aliases.get(alias) {
                Ok(topic) => {
                    alias_topic = Arc::clone(topic);
                    &*alias_topic
                }
                Err(error) => return Verdict::protocol(error.reason()),
            },
            Some(alias) => {
                if let Err(error) = conn.aliases.set(alias, publish.topic) {
                    return Verdict::protocol(error.reason());
                }
                publish.topic
            }
        };
        if !self.is_within_limits(conn, publish) {
            self.count_received(publish.qos, 1);
            return self.refuse_over_limit(conn, publish, frame);
        }
        match self.clear_publish(conn, publish, topic) {
            Clearance::Granted => self.count_received(publish.qos, 1),
            Clearance::Refused => {
                self.count_received(publish.qos, 1);
                return self.refuse_publish(conn, publish, topic, frame);
            }
            Clearance::Awaited(step) => return self.await_clearance(conn, step, publish, topic, frame),
        }
        let (settings, zone) = (&self.dispatcher.outlet.settings, &conn.spec.zone);
        if publish.qos > zone.max_qos.unwrap_or(settings.max_qos) {
            return Verdict::protocol(ReasonCode::QosNotSupported); // [MQTT5-3.2.2-11]
        }
        if publish.is_retain && !zone.is_retain_available.unwrap_or(settings.is_retain_available) {
            return Verdict::protocol(ReasonCode::RetainNotSupported); // [MQTT5-3.2.2-14]
        }
        match publish.qos {
            QoS::AtMostOnce => {
                let outcome = self.route(conn, publish, topic, Some(frame));
                if outcome == ReasonCode::TopicNameInvalid {
                    return Verdict::protocol(outcome);
                }
                if outcome.is_error() {
                    self.count_refused(outcome);
                }
                Verdict::Continue
            }
            QoS::AtLeastOnce => {
                self.on_publish_qos1(conn, publish, |shard, conn| shard.route(conn, publish, topic, None))
            }
            QoS::ExactlyOnce => {
                self.on_publish_qos2(conn, publish, frame, |shard, conn| shard.route(conn, publish, topic, None))
            }
        }
    }

    pub(crate) fn count_received(&mut self, qos: QoS, n: u64) {
        let tally = &mut self.dispatcher.outlet.tally;
        tally.add(Metric::PublishReceived, n);
        tally.add(Metric::MessagesReceived, n);
        let metric = match qos {
            QoS::AtMostOnce => Metric::MessagesQos0Received,
            QoS::AtLeastOnce => Metric::MessagesQos1Received,
            QoS::ExactlyOnce => Metric::MessagesQos2Received,
        };
        tally.add(metric, n);
    }

    pub(crate) fn count_refused(&mut self, reason: ReasonCode) {
        let tally = &mut self.dispatcher.outlet.tally;
        tally.count(Metric::PublishDropped);
        tally.count(match reason {
            ReasonCode::NotAuthorized => Metric::PublishAuthError,
            _ => Metric::MessagesDroppedQuota,
        });
    }

    pub(crate) fn on_publish_qos1(
        &mut self,
        conn: &mut Connection,
        publish: &Publish<'_>,
        route: impl FnOnce(&mut Self, &Connection) -> ReasonCode,
    ) -> Verdict {
        // Answers of this batch are not sent yet, so the client cannot have used them to publish more. [MQTT5-3.3.4-7]
        if conn.version() == Version::V5 && !self.allows_open(conn, 1) {
            return self.over_receive_maximum();
        }
        self.open_qos1 += 1;
        let outcome = route(self, conn);
        if outcome == ReasonCode::TopicNameInvalid {
            return Verdict::protocol(outcome);
        }
        if outcome.is_error() {
            self.count_refused(outcome);
        }
        self.acknowledge(conn, &Packet::Puback(Ack::new(publish.packet_id, outcome))); // [MQTT5-4.3.2-4]
        Verdict::Continue
    }

    /// Whether a 5.0 client may have so many more publications open.
    pub(crate) fn allows_open(&self, conn: &Connection, more: usize) -> bool {
        let told = self.dispatcher.outlet.settings.receive_maximum;
        let maximum = usize::from(conn.spec.zone.receive_maximum.unwrap_or(told));
        maximum == 0 || usize::from(conn.open_qos2) + self.open_qos1 + more <= maximum
    }

    fn over_receive_maximum(&mut self) -> Verdict {
        self.dispatcher.outlet.tally.count(Metric::MessagesDropped);
        self.dispatcher.outlet.tally.count(Metric::MessagesDroppedReceiveMaximum);
        Verdict::Close { cause: Cause::Quota, reason: ReasonCode::ReceiveMaximumExceeded as u8 }
    }

    pub(crate) fn on_publish_qos2(
        &mut self,
        conn: &mut Connection,
        publish: &Publish<'_>,
        frame: &[u8],
        route: impl FnOnce(&mut Self, &Connection) -> ReasonCode,
    ) -> Verdict {
        let max_awaiting = self.max_awaiting(conn);
        let now_ms = self.now_ms();
        let packet_id = publish.packet_id;
        let receipt = self.with_window(conn, |_, _, state| {
            let receipt = state.window.inbound_publish(packet_id, now_ms, max_awaiting);
            (receipt, state.window.inbound_len())
        });
        let Some((receipt, open)) = receipt else {
            return Verdict::Continue;
        };
        conn.open_qos2 = u16::try_from(open).unwrap_or(u16::MAX);
        match receipt {
            InboundQos2::Full if conn.version() == Version::V5 => self.over_receive_maximum(),
            InboundQos2::Full => self.hold(conn, frame),
            InboundQos2::Duplicate => {
                self.acknowledge(conn, &Packet::Pubrec(Ack::new(packet_id, ReasonCode::Success))); // [MQTT5-4.3.3-10]
                Verdict::Continue
            }
            InboundQos2::New => {
                let outcome = route(self, conn);
                if outcome.is_error() {
                    self.forget_inbound(conn, packet_id); // [MQTT5-4.3.3-9]
                    if outcome == ReasonCode::TopicNameInvalid {
                        return Verdict::protocol(outcome);
                    }
                    self.count_refused(outcome);
                }
                self.acknowledge(conn, &Packet::Pubrec(Ack::new(packet_id, outcome)));
                Verdict::Continue
            }
        }
    }

    pub(crate) fn forget_inbound(&mut self, conn: &mut Connection, packet_id: u16) {
        // A 3.x client cannot be told that the exchange is over: it will send PUBREL, and gets its PUBCOMP.
        if conn.version() == Version::V5 {
            self.with_window(conn, |_, _, state| state.window.inbound_forget(packet_id));
            conn.open_qos2 = conn.open_qos2.saturating_sub(1);
        }
    }

    /// Keeps a publication of a 3.x client until PUBRELs make room: they come behind it, so the socket is read on.
    fn hold(&mut self, conn: &mut Connection, frame: &[u8]) -> Verdict {
        if !conn.held.is_empty() && conn.held.len() + frame.len() > MAX_HELD_BYTES {
            return self.over_receive_maximum();
        }
        conn.held.extend_from_slice(frame);
        Verdict::Continue
    }

    /// Processes held publications as far as there is room again, in their order.
    pub(crate) fn let_go(&mut self, conn: &mut Connection) -> Verdict {
        let held = std::mem::take(&mut conn.held);
        let mut at = 0;
        let mut verdict = Verdict::Continue;
        while at < held.len() && verdict == Verdict::Continue && conn.held.is_empty() {
            let rest = held.get(at..).unwrap_or_default();
            let Ok(Some((Packet::Publish(publish), used))) = conn.decoder.decode(rest) else {
                break;
            };
            at += used;
            verdict = self.on_publish(conn, &publish, rest.get(..used).unwrap_or_default());
        }
        conn.held.extend_from_slice(held.get(at..).unwrap_or_default());
        if let Some(gate) = conn.gate() {
            gate.settle();
        }
        verdict
    }

    /// Whether the limits of the namespace let a publication pass; they are asked once, before anything else about it but
    /// its topic alias.
    fn is_within_limits(&mut self, conn: &mut Connection, publish: &Publish<'_>) -> bool {
        // A publication that waited for Python has paid, and so has one that is sent again.
        if conn.gate().is_none() || conn.guard.is_answered() || self.is_repeated(conn, publish) {
            return true;
        }
        let now_ms = self.now_ms();
        let is_admitted = conn.gate().is_none_or(|gate| gate.admits_publish(publish.payload.len(), now_ms));
        self.refused += usize::from(!is_admitted);
        is_admitted
    }

    fn is_repeated(&mut self, conn: &Connection, publish: &Publish<'_>) -> bool {
        let is_possible = publish.qos == QoS::ExactlyOnce && conn.open_qos2 > 0;
        let packet_id = publish.packet_id;
        is_possible && self.with_window(conn, |_, _, state| state.window.inbound_contains(packet_id)).unwrap_or(false)
    }

    /// Drops a publication over the limits and says so where the protocol can.
    fn refuse_over_limit(&mut self, conn: &mut Connection, publish: &Publish<'_>, frame: &[u8]) -> Verdict {
        self.dispatcher.outlet.tally.count(Metric::MessagesDropped);
        match publish.qos {
            QoS::AtMostOnce => {
                self.count_refused(ReasonCode::QuotaExceeded);
                Verdict::Continue
            }
            QoS::AtLeastOnce => self.on_publish_qos1(conn, publish, |_, _| ReasonCode::QuotaExceeded),
            QoS::ExactlyOnce => self.on_publish_qos2(conn, publish, frame, |_, _| ReasonCode::QuotaExceeded),
        }
    }

    /// Routes a publication of a client. The answer is what a 5.0 publisher is told.
    fn route(&mut self, conn: &Connection, publish: &Publish<'_>, topic: &str, frame: Option<&[u8]>) -> ReasonCode {
        let Some(inbound) = self.inbound(conn, publish, topic, frame) else {
            return ReasonCode::UnspecifiedError;
        };
        if topic.as_bytes().first() == Some(&b'$') {
            match self.special_topic(&inbound) {
                Special::Ordinary => {}
                Special::Done(reason) => return reason,
            }
        }
        self.dispatcher.dispatch(&self.hub, &inbound).reason()
    }

    /// Whether payloads of this client are held to the format they promise.
    pub(crate) fn is_strict(&self, conn: &Connection) -> bool {
        conn.spec.zone.is_strict.unwrap_or(self.dispatcher.outlet.settings.is_strict)
    }

    fn ignores_loop_deliver(&self, conn: &Connection) -> bool {
        conn.spec.zone.ignores_loop_deliver.unwrap_or(self.dispatcher.outlet.settings.ignores_loop_deliver)
    }

    /// Whether a QoS 0 publication may be sent on as it came.
    pub(crate) fn is_plain(&self, publish: &Publish<'_>) -> bool {
        publish.properties.topic_alias.is_none()
            && publish.properties.message_expiry_s.is_none()
            && !publish.is_retain
            && self.dispatcher.outlet.settings.message_expiry_ms == 0
    }

    /// A publication as it is routed; `None` when its session is another connection's by now.
    pub(crate) fn inbound<'a>(
        &self,
        conn: &'a Connection,
        publish: &Publish<'a>,
        topic: &'a str,
        frame: Option<&'a [u8]>,
    ) -> Option<Inbound<'a>> {
        let session = conn.session()?;
        let version = conn.version();
        let properties = publish.properties.forwardable();
        Some(Inbound {
            topic,
            mount: conn.mount.as_ref(),
            namespace: session.namespace.as_ref(),
            qos: publish.qos,
            is_retain: publish.is_retain,
            properties: if version == Version::V5 { properties } else { Cow::Borrowed(&[]) },
            payload: publish.payload,
            expiry_s: publish.properties.message_expiry_s,
            publisher: Some(session.id),
            sender: Sender::Session(session),
            client_id: &session.client_id,
            is_loop_ignored: version != Version::V5 && self.ignores_loop_deliver(conn),
            // A very large payload goes by reference: copied, it would stand as often in memory as it has slow receivers.
            frame: frame
                .filter(|_| publish.payload.len() < FLUSH_MARK && self.is_plain(publish))
                .map(|frame| (version, frame)),
        })
    }

    /// Topics that begin with `$` and mean something to the broker.
    fn special_topic(&mut self, inbound: &Inbound<'_>) -> Special {
        if inbound.topic.starts_with("$SYS/") && inbound.mount.is_none() {
            return Special::Done(ReasonCode::NotAuthorized); // Only the broker speaks for itself.
        }
        delayed::delay(&self.hub, &mut self.dispatcher.outlet, inbound).map_or(Special::Ordinary, Special::Done)
    }
}

enum Special {
    /// Route it as any other.
    Ordinary,
    /// It is dealt with; the publisher is told this.
    Done(ReasonCode),
}
