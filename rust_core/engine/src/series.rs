//! Series: publications on one topic that stand one behind the other in the input.
//!
//! A flood sends them. They are judged and counted one by one, but looked up once, and each receiver's lock is taken once
//! for all of them: their frames are copied as one piece, above QoS 0 with packet ids of the receiver's. Receivers that
//! need more than a copy get them singly, and so do those whose window closes on the way, from there on.

use std::sync::Arc;

use pybroker_core::codec::{self, Ack, Decoder, PacketType, Publish, QoS, Version};
use pybroker_core::message::{Message, NEVER};
use pybroker_core::reason::ReasonCode;
use pybroker_core::route::Audience;
use pybroker_core::session::{Entry, SmallIds};

use crate::cache::{Target, Targets, is_same_mount};
use crate::connection::{Connection, Verdict};
use crate::counters::Metric;
use crate::dispatch::Dispatcher;
use crate::hub::Hub;
use crate::namespace::Quota;
use crate::outbox::{SHARE_MARK, SOFT_MARK};
use crate::publication::{Dispatched, Inbound, Run, Sender};
use crate::session::{Session, State};
use crate::shard::Shard;

/// Whole publications on one topic, one behind the other, with the same flags and properties; packet ids grow.
#[derive(Clone, Copy)]
pub(crate) struct Series<'a> {
    frames: &'a [u8],
    len: usize,
    /// Size of the largest.
    most_bytes: usize,
    /// Bytes between the fixed header and the packet id, or what comes in its place.
    topic_bytes: usize,
    /// Bytes of the packet id; none at QoS 0.
    id_bytes: usize,
    /// Bytes between those and the payload.
    properties_bytes: usize,
    decoder: Decoder,
}

/// One of a series.
#[derive(Clone, Copy)]
struct Member<'a> {
    frame: &'a [u8],
    /// Where the packet id stands in the frame.
    id_at: usize,
    /// 0 at QoS 0.
    packet_id: u16,
    payload: &'a [u8],
}

impl<'a> Series<'a> {
    /// What begins with the publication at the front of `bytes`, which takes `frame_bytes`; `None` if it is alone.
    fn of(bytes: &'a [u8], frame_bytes: usize, publish: &Publish<'_>, decoder: Decoder) -> Option<Self> {
        let head = bytes.get(..frame_bytes.checked_sub(publish.payload.len())?)?;
        let topic_bytes = 2 + publish.topic.len();
        let id_bytes = if publish.qos == QoS::AtMostOnce { 0 } else { 2 };
        let header = header_bytes(head);
        let topic = head.get(header..header + topic_bytes)?;
        let front = head.get(..header + topic_bytes)?;
        let properties = head.get(header + topic_bytes + id_bytes..)?;
        let (mut at, mut len, mut most_bytes, mut last_id) = (frame_bytes, 1, frame_bytes, publish.packet_id);
        while let Some(rest) = bytes.get(at..)
            && rest.first() == head.first()
        {
            // The front holds the length: what begins alike is of the same size.
            let (header, next_bytes) =
                if rest.starts_with(front) { (header, frame_bytes) } else { Self::len_of(rest, topic, decoder) };
            let behind = header + topic_bytes + id_bytes;
            let is_alike = behind + properties.len() <= next_bytes
                && rest.get(behind..).is_some_and(|behind| behind.starts_with(properties));
            // Ids that grow differ from each other, and none is 0.
            let packet_id = if id_bytes == 0 { 0 } else { id_at(rest, header + topic_bytes) };
            if next_bytes > rest.len() || !is_alike || (id_bytes > 0 && packet_id <= last_id) {
                break;
            }
            last_id = packet_id;
            (at, len, most_bytes) = (at + next_bytes, len + 1, most_bytes.max(next_bytes));
        }
        let frames = bytes.get(..at)?;
        let properties_bytes = properties.len();
        (len > 1).then_some(Self { frames, len, most_bytes, topic_bytes, id_bytes, properties_bytes, decoder })
    }

    /// Fixed header and whole of a publication of another size on the same topic; 0 bytes: it is none.
    fn len_of(bytes: &[u8], topic: &[u8], decoder: Decoder) -> (usize, usize) {
        let header = header_bytes(bytes);
        let is_alike = bytes.get(header..).is_some_and(|body| body.starts_with(topic));
        match decoder.packet_len(bytes) {
            Ok(Some(len)) if is_alike => (header, len),
            _ => (header, 0),
        }
    }

    /// Each publication in its order.
    fn iter(self) -> impl Iterator<Item = Member<'a>> {
        let mut rest = self.frames;
        std::iter::from_fn(move || {
            let len = self.decoder.packet_len(rest).ok().flatten()?;
            let (frame, behind) = rest.split_at_checked(len)?;
            rest = behind;
            let id_at = header_bytes(frame) + self.topic_bytes;
            let packet_id = if self.id_bytes == 0 { 0 } else { self::id_at(frame, id_at) };
            let payload = frame.get(id_at + self.id_bytes + self.properties_bytes..)?;
            Some(Member { frame, id_at, packet_id, payload })
        })
    }

    /// Appends the first publications, each under an id of `packet_ids`.
    fn write(self, out: &mut Vec<u8>, packet_ids: &[u16]) {
        for (member, packet_id) in self.iter().zip(packet_ids) {
            let id_at = out.len() + member.id_at;
            out.extend_from_slice(member.frame);
            if let Some(place) = out.get_mut(id_at..id_at + 2) {
                place.copy_from_slice(&packet_id.to_be_bytes());
            }
        }
    }
}

/// Bytes of the fixed header of a whole packet: type, and length of one to four bytes.
fn header_bytes(packet: &[u8]) -> usize {
    1 + packet.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0).map_or(4, |at| at + 1)
}

/// The two bytes at a place; 0 if they are not there.
fn id_at(frame: &[u8], at: usize) -> u16 {
    frame.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

impl Shard {
    /// Routes the series that a publication begins. Returns its bytes and their number; `None`: there is none, or its
    /// publications need to be looked at one by one, and nothing was done.
    pub(crate) fn on_series(
        &mut self,
        conn: &mut Connection,
        publish: &Publish<'_>,
        bytes: &[u8],
        frame_bytes: usize,
    ) -> Option<(usize, u64, Verdict)> {
        if !self.takes_series(conn, publish) {
            return None;
        }
        let series = Series::of(bytes, frame_bytes, publish, conn.decoder)?;
        self.settle_receipts(conn);
        if !self.may_open(conn, publish.qos, series) {
            return None;
        }
        let n = series.len as u64;
        if !self.is_known_to_be_granted(conn, publish, publish.topic, n) {
            return None;
        }
        self.count_received(publish.qos, n);
        let done = |verdict| Some((series.frames.len(), n, verdict));
        if !self.open_exchanges(conn, publish.qos, series) {
            return done(Verdict::Continue);
        }
        let inbound = self.inbound(conn, publish, publish.topic, bytes.get(..frame_bytes))?;
        let dispatched = self.dispatcher.dispatch_series(&self.hub, &inbound, series);
        done(self.answer_series(conn, publish.qos, series, dispatched))
    }

    /// Whether nothing has to be asked of single publications of this client and form.
    fn takes_series(&self, conn: &Connection, publish: &Publish<'_>) -> bool {
        let outlet = &self.dispatcher.outlet;
        let is_unlimited = conn.buckets.is_none() && conn.held.is_empty() && outlet.traces.is_none();
        let has_promise = self.is_strict(conn) && !publish.properties.forwardable().is_empty();
        let is_simple = publish.qos == QoS::AtMostOnce
            || (publish.qos <= conn.spec.zone.max_qos.unwrap_or(outlet.settings.max_qos)
                && !publish.is_dup
                && outlet.settings.slow.is_none()
                && publish.payload.len() < SHARE_MARK);
        is_unlimited
            && is_simple
            && !has_promise
            && !outlet.settings.upgrades_qos
            && self.is_plain(publish)
            && !matches!(publish.topic.as_bytes(), [] | [b'$', ..])
            && conn.session().is_some()
    }

    /// Whether the client may have all of these exchanges open, and none of them is open already.
    fn may_open(&mut self, conn: &Connection, qos: QoS, series: Series<'_>) -> bool {
        let open = usize::from(conn.open_qos2);
        match qos {
            QoS::AtMostOnce => true,
            QoS::AtLeastOnce => conn.version() != Version::V5 || self.allows_open(conn, series.len),
            QoS::ExactlyOnce => {
                let is_new = |_: &mut Self, _: &Arc<Session>, state: &mut State| {
                    series.iter().all(|member| !state.window.inbound_contains(member.packet_id))
                };
                let most = usize::from(self.max_awaiting(conn));
                (most == 0 || open + series.len <= most) && self.with_window(conn, is_new) == Some(true)
            }
        }
    }

    /// Takes note of the exchanges. False: the session is another connection's by now.
    fn open_exchanges(&mut self, conn: &mut Connection, qos: QoS, series: Series<'_>) -> bool {
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.open_qos1 += series.len,
            QoS::ExactlyOnce => {
                let now_ms = self.now_ms();
                let open = self.with_window(conn, |_, _, state| {
                    for member in series.iter() {
                        state.window.inbound_publish(member.packet_id, now_ms, 0);
                    }
                    state.window.inbound_len()
                });
                let Some(open) = open else { return false };
                conn.open_qos2 = u16::try_from(open).unwrap_or(u16::MAX);
            }
        }
        true
    }

    /// Acknowledges each of a series. [MQTT5-4.3.2-4]
    fn answer_series(
        &mut self,
        conn: &mut Connection,
        qos: QoS,
        series: Series<'_>,
        dispatched: Dispatched,
    ) -> Verdict {
        let is_invalid = dispatched == Dispatched::InvalidTopic;
        let (packet, metric) = match qos {
            QoS::AtMostOnce if is_invalid => return Verdict::protocol(ReasonCode::TopicNameInvalid),
            QoS::AtMostOnce => return Verdict::Continue,
            QoS::AtLeastOnce => (PacketType::Puback, Metric::PubackSent),
            QoS::ExactlyOnce => (PacketType::Pubrec, Metric::PubrecSent),
        };
        let version = conn.version();
        for (at, member) in series.iter().enumerate() {
            let reason = self.dispatcher.outcomes.get(at).copied().unwrap_or(dispatched).reason();
            if reason.is_error() {
                if qos == QoS::ExactlyOnce {
                    self.forget_inbound(conn, member.packet_id); // [MQTT5-4.3.3-9]
                }
                if is_invalid {
                    continue;
                }
                self.count_refused(reason);
            }
            let ack = Ack::new(member.packet_id, reason);
            codec::encode_ack(&mut self.acks, version, packet, &ack, codec::MAX_PACKET_BYTES);
        }
        if is_invalid {
            return Verdict::protocol(ReasonCode::TopicNameInvalid);
        }
        self.dispatcher.outlet.tally.add(metric, series.len as u64);
        self.dispatcher.outlet.tally.add(Metric::PacketsSent, series.len as u64);
        self.bound_answers(conn);
        Verdict::Continue
    }
}

impl Dispatcher {
    /// Routes a series; `inbound` is its first publication, and has a frame. What became of each is in `outcomes` if it
    /// is not the same for all.
    fn dispatch_series(&mut self, hub: &Hub, inbound: &Inbound<'_>, series: Series<'_>) -> Dispatched {
        self.outlet.tally.enter(inbound.namespace);
        self.outcomes.clear();
        let Some(targets) = self.targets(hub, inbound) else {
            self.outlet.tally.count(Metric::PublishError);
            return Dispatched::InvalidTopic;
        };
        let n = series.len as u64;
        self.outlet.tally.add(Metric::MessagesPublish, n);
        if targets.is_empty() {
            self.outlet.tally.add(Metric::MessagesDropped, n);
            self.outlet.tally.add(Metric::MessagesDroppedNoSubscribers, n);
            return Dispatched::NoSubscribers;
        }
        let mut copies = std::mem::take(&mut self.copies);
        let mut served = 0;
        for (at, target) in targets.direct.iter().enumerate() {
            let Some(taken) = self.deliver_series(inbound, series, target, &mut copies) else { continue };
            served = served.max(taken);
            if taken < series.len {
                copies.apart.push((at, taken));
            }
        }
        if !copies.apart.is_empty() || !targets.groups.is_empty() {
            self.deliver_apart(hub, inbound, series, &targets, &copies, served);
        }
        copies.clear();
        self.copies = copies;
        self.outlet.tally.enter(inbound.namespace);
        if served > 0 { Dispatched::Delivered } else { Dispatched::NoSubscribers }
    }

    /// Gives the publications of a series singly to whom a copy does not serve; somebody has got the first `served`.
    fn deliver_apart(
        &mut self,
        hub: &Hub,
        inbound: &Inbound<'_>,
        series: Series<'_>,
        targets: &Targets,
        copies: &Copies,
        served: usize,
    ) {
        let settings = Arc::clone(&self.outlet.settings);
        for (at, member) in series.iter().enumerate() {
            let version = inbound.frame.map(|(version, _)| version).filter(|_| inbound.qos == QoS::AtMostOnce);
            let frame = version.map(|version| (version, member.frame));
            let single = Inbound { payload: member.payload, frame, properties: inbound.properties.clone(), ..*inbound };
            self.frames.clear();
            let message = copies.messages.get(at).cloned();
            let mut run = Run::new(&single, message, self.deadline(None), self.outlet.now_ms, &settings);
            let behind = copies.apart.iter().filter(|(_, from)| *from <= at);
            for target in behind.filter_map(|(place, _)| targets.direct.get(*place)) {
                self.deliver_direct(hub, &mut run, target);
            }
            for group in &targets.groups {
                self.deliver_shared(hub, &mut run, group);
            }
            self.outcomes.push(if at < served { Dispatched::Delivered } else { run.outcome() });
        }
    }

    /// Appends a series to a receiver's output, as far as its window is open. Returns how many it has got; the others
    /// need more than that. `None`: the receiver is gone.
    fn deliver_series(
        &mut self,
        inbound: &Inbound<'_>,
        series: Series<'_>,
        target: &Target,
        copies: &mut Copies,
    ) -> Option<usize> {
        let session = &target.session;
        let is_copied = target.audience == Audience::Everyone
            && !(inbound.is_loop_ignored && inbound.is_from(session))
            && target.subscription_ids.is_empty()
            && target.qos >= inbound.qos as u8
            && is_same_mount(inbound.mount, session.mount.as_ref());
        let Some((version, _)) = inbound.frame.filter(|_| is_copied) else {
            return Some(0);
        };
        let mut state = session.lock();
        if state.is_ended {
            return None;
        }
        let State { link: Some(link), window, .. } = &mut *state else {
            return Some(0);
        };
        let is_simple = link.throttle.is_none()
            && !link.needs_own_encoding()
            && !window.has_qos0_waiting()
            && (version == Version::V5) == (link.version == Version::V5)
            && link.takes(series.most_bytes)
            && link.unsent_bytes() + series.frames.len() < SOFT_MARK;
        if !is_simple || (inbound.qos > QoS::AtMostOnce && has_queue_quota(session)) {
            return Some(0);
        }
        self.outlet.tally.enter(session.namespace.as_ref());
        let taken = if inbound.qos == QoS::AtMostOnce {
            link.outbox.append(&mut self.outlet.pool, series.frames);
            series.len
        } else {
            let Copies { messages, packet_ids, .. } = copies;
            if messages.is_empty() {
                collect_messages(inbound, series, self.outlet.now_ms, messages);
            }
            let priority = self.outlet.settings.priority_of(inbound.topic);
            let entries = messages.iter().map(|message| entry(message, inbound.qos, priority));
            packet_ids.clear();
            let limits = &self.outlet.settings.limits;
            let taken = window.send_run(entries, link.receive_maximum, limits, |id| packet_ids.push(id));
            link.outbox.append_with(&mut self.outlet.pool, |out| series.write(out, packet_ids));
            taken
        };
        link.count_publishes(&mut self.outlet.tally, inbound.qos, taken as u64);
        self.mark(session, link);
        Some(taken)
    }
}

/// What the receivers of a series share.
#[derive(Default)]
pub(crate) struct Copies {
    /// The publications as messages; empty until one is needed.
    messages: Vec<Arc<Message>>,
    /// Targets that get publications singly, by place, and from which publication on.
    apart: Vec<(usize, usize)>,
    /// Ids under which the receiver at hand gets the publications.
    packet_ids: Vec<u16>,
}

impl Copies {
    fn clear(&mut self) {
        self.messages.clear();
        self.apart.clear();
    }
}

/// Whether each message has to be paid for before it may wait here.
fn has_queue_quota(session: &Session) -> bool {
    session.namespace.as_ref().is_some_and(|namespace| namespace.most(Quota::QueuedBytes).is_some())
}

fn collect_messages(inbound: &Inbound<'_>, series: Series<'_>, now_ms: u64, messages: &mut Vec<Arc<Message>>) {
    let origin = inbound.sender.origin();
    let sender = origin.as_ref().map_or(Sender::Broker, Sender::Known);
    messages.extend(series.iter().map(|member| {
        let single = Inbound { payload: member.payload, sender, properties: inbound.properties.clone(), ..*inbound };
        single.to_message(NEVER, now_ms)
    }));
}

/// What the window of a receiver of a copy holds.
fn entry(message: &Arc<Message>, qos: QoS, priority: i16) -> Entry<Arc<Message>> {
    Entry {
        message: Arc::clone(message),
        subscription_ids: SmallIds::default(),
        expires_at_ms: message.expires_at_ms,
        bytes: u32::try_from(message.size_bytes()).unwrap_or(u32::MAX),
        origin: 0,
        priority,
        qos: qos as u8,
        is_retain: false,
        is_shared: false,
    }
}

#[cfg(test)]
mod tests {
    use pybroker_core::codec::Role;

    use super::*;

    const MAX_BYTES: u32 = 200;

    fn frame(topic: &str, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let publish = pybroker_core::codec::PublishOut { topic, payload, ..Default::default() };
        pybroker_core::codec::encode_publish(&mut bytes, Version::V311, &publish);
        bytes
    }

    /// The payloads of the series at the front of `bytes`.
    fn payloads(bytes: &[u8]) -> Vec<&[u8]> {
        let mut decoder = Decoder::with_version(Role::Server, Version::V311, MAX_BYTES);
        let Ok(Some((pybroker_core::codec::Packet::Publish(first), used))) = decoder.decode(bytes) else {
            return Vec::new();
        };
        let series = Series::of(bytes, used, &first, decoder);
        series.map_or_else(Vec::new, |series| {
            let found: Vec<_> = series.iter().map(|member| member.payload).collect();
            assert_eq!(found.len(), series.len);
            found
        })
    }

    #[test]
    fn payloads_of_a_series_may_differ_in_length() {
        let long = [7; 150];
        let bytes = [frame("t", b"1"), frame("t", b""), frame("t", &long), frame("t", b"4")].concat();
        assert_eq!(payloads(&bytes), [b"1".as_slice(), b"", &long, b"4"]);
    }

    #[test]
    fn a_series_ends_where_something_else_begins() {
        let one = frame("t", b"1");
        assert!(payloads(&one).is_empty(), "one is no series");
        let mut retained = one.clone();
        retained[0] |= 1;
        let too_large = frame("t", &[0; MAX_BYTES as usize]);
        for other in [frame("u", b"2"), frame("tt", b"2"), frame("", b"t2"), retained, too_large, vec![0x30, 0]] {
            let bytes = [&*one, &one, &other, &one].concat();
            assert_eq!(payloads(&bytes), [b"1", b"1"], "{other:?}");
        }
        let whole = [&*one, &one, &one].concat();
        for cut in 1..one.len() {
            assert_eq!(payloads(&whole[..whole.len() - cut]).len(), 2, "{cut} bytes are missing");
        }
    }
}
