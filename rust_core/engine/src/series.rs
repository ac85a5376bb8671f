//! Series: publications of QoS 0 on one topic that stand one behind the other in the input.
//!
//! A flood sends them. They are judged and counted one by one, but looked up once, and each receiver's lock is taken once
//! for all of them: their frames are copied as one piece. Receivers that need more than a copy get them singly.

use pybroker_core::codec::{Decoder, Publish, QoS, Version};
use pybroker_core::reason::ReasonCode;
use pybroker_core::route::Audience;

use crate::cache::{Target, is_same_mount};
use crate::connection::{Connection, Verdict};
use crate::counters::Metric;
use crate::dispatch::Dispatcher;
use crate::hub::Hub;
use crate::outbox::SOFT_MARK;
use crate::publication::{Dispatched, Inbound, Run};
use crate::session::State;
use crate::shard::Shard;

/// Whole publications on one topic, one behind the other.
#[derive(Clone, Copy)]
pub(crate) struct Series<'a> {
    frames: &'a [u8],
    len: usize,
    /// Size of the largest.
    most_bytes: usize,
    /// Bytes between the fixed header and the payload.
    topic_bytes: usize,
    decoder: Decoder,
}

impl<'a> Series<'a> {
    /// What begins with the publication at the front of `bytes`, which takes `frame_bytes`; `None` if it is alone.
    fn of(bytes: &'a [u8], frame_bytes: usize, payload_bytes: usize, decoder: Decoder) -> Option<Self> {
        let head = bytes.get(..frame_bytes.checked_sub(payload_bytes)?)?;
        let topic = head.get(header_bytes(head)..)?;
        let (mut at, mut len, mut most_bytes) = (frame_bytes, 1, frame_bytes);
        while let Some(rest) = bytes.get(at..)
            && rest.first() == head.first()
        {
            // The head holds the length: what begins alike is of the same size.
            let next_bytes = if rest.starts_with(head) { frame_bytes } else { Self::len_of(rest, topic, decoder) };
            if next_bytes == 0 || next_bytes > rest.len() {
                break;
            }
            (at, len, most_bytes) = (at + next_bytes, len + 1, most_bytes.max(next_bytes));
        }
        let frames = bytes.get(..at)?;
        (len > 1).then_some(Self { frames, len, most_bytes, topic_bytes: topic.len(), decoder })
    }

    /// Size of a publication of another size on the same topic; 0: it is none.
    fn len_of(bytes: &[u8], topic: &[u8], decoder: Decoder) -> usize {
        let header = header_bytes(bytes);
        let is_alike = bytes.get(header..).is_some_and(|body| body.starts_with(topic));
        match decoder.packet_len(bytes) {
            Ok(Some(len)) if is_alike && len >= header + topic.len() => len,
            _ => 0,
        }
    }

    /// Each frame with its payload.
    fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.frames;
        std::iter::from_fn(move || {
            let len = self.decoder.packet_len(rest).ok().flatten()?;
            let (frame, behind) = rest.split_at_checked(len)?;
            rest = behind;
            Some((frame, frame.get(header_bytes(frame) + self.topic_bytes..)?))
        })
    }
}

/// Bytes of the fixed header of a whole packet: type, and length of one to four bytes.
fn header_bytes(packet: &[u8]) -> usize {
    1 + packet.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0).map_or(4, |at| at + 1)
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
        if publish.qos != QoS::AtMostOnce || !self.takes_series(conn, publish) {
            return None;
        }
        let series = Series::of(bytes, frame_bytes, publish.payload.len(), conn.decoder)?;
        let n = series.len as u64;
        if !self.is_known_to_be_granted(conn, publish, publish.topic, n) {
            return None;
        }
        self.settle_receipts(conn);
        let tally = &mut self.dispatcher.outlet.tally;
        tally.add(Metric::PublishReceived, n);
        tally.add(Metric::MessagesReceived, n);
        tally.add(Metric::MessagesQos0Received, n);
        let inbound = self.inbound(conn, publish, publish.topic, bytes.get(..frame_bytes))?;
        let dispatched = self.dispatcher.dispatch_series(&self.hub, &inbound, series);
        let verdict = match dispatched {
            Dispatched::InvalidTopic => Verdict::protocol(ReasonCode::TopicNameInvalid),
            _ => Verdict::Continue,
        };
        Some((series.frames.len(), n, verdict))
    }

    /// Whether nothing has to be asked of single publications of this client and form.
    fn takes_series(&self, conn: &Connection, publish: &Publish<'_>) -> bool {
        let outlet = &self.dispatcher.outlet;
        let is_unlimited = conn.buckets.is_none() && conn.held.is_empty() && outlet.traces.is_none();
        let has_promise = self.is_strict(conn) && !publish.properties.forwardable().is_empty();
        is_unlimited
            && !has_promise
            && !outlet.settings.upgrades_qos
            && self.is_plain(publish)
            && !matches!(publish.topic.as_bytes(), [] | [b'$', ..])
            && conn.session().is_some()
    }
}

impl Dispatcher {
    /// Routes a series; `inbound` is its first publication, and has a frame.
    fn dispatch_series(&mut self, hub: &Hub, inbound: &Inbound<'_>, series: Series<'_>) -> Dispatched {
        self.outlet.tally.enter(inbound.namespace);
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
        let mut apart = std::mem::take(&mut self.apart);
        for (at, target) in targets.direct.iter().enumerate() {
            if !self.deliver_series(inbound, series, target) {
                apart.push(at);
            }
        }
        if !apart.is_empty() || !targets.groups.is_empty() {
            let settings = std::sync::Arc::clone(&self.outlet.settings);
            for (frame, payload) in series.iter() {
                let frame = inbound.frame.map(|(version, _)| (version, frame));
                let single = Inbound { payload, frame, properties: inbound.properties.clone(), ..*inbound };
                self.frames.clear();
                let mut run = Run::new(&single, None, self.deadline(None), self.outlet.now_ms, &settings);
                for target in apart.iter().filter_map(|at| targets.direct.get(*at)) {
                    self.deliver_direct(hub, &mut run, target);
                }
                for group in &targets.groups {
                    self.deliver_shared(hub, &mut run, group);
                }
            }
        }
        apart.clear();
        self.apart = apart;
        self.outlet.tally.enter(inbound.namespace);
        Dispatched::Delivered
    }

    /// Appends a series to a receiver's output. False: it needs more than that, and nothing was done.
    fn deliver_series(&mut self, inbound: &Inbound<'_>, series: Series<'_>, target: &Target) -> bool {
        let session = &target.session;
        let is_copied = target.audience == Audience::Everyone
            && !(inbound.is_loop_ignored && inbound.publisher == Some(session.id))
            && target.subscription_ids.is_empty()
            && is_same_mount(inbound.mount, session.mount.as_ref());
        let Some((version, _)) = inbound.frame.filter(|_| is_copied) else {
            return false;
        };
        let mut state = session.lock();
        if state.is_ended {
            return true;
        }
        let State { link: Some(link), window, .. } = &mut *state else {
            return false;
        };
        let is_simple = link.throttle.is_none()
            && !link.needs_own_encoding()
            && !window.has_qos0_waiting()
            && (version == Version::V5) == (link.version == Version::V5)
            && link.takes(series.most_bytes)
            && link.unsent_bytes() + series.frames.len() < SOFT_MARK;
        if !is_simple {
            return false;
        }
        self.outlet.tally.enter(session.namespace.as_ref());
        link.outbox.append(&mut self.outlet.pool, series.frames);
        link.count_publishes(&mut self.outlet.tally, QoS::AtMostOnce, series.len as u64);
        self.mark(session, link);
        true
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
        let series = Series::of(bytes, used, first.payload.len(), decoder);
        series.map_or_else(Vec::new, |series| {
            let found: Vec<_> = series.iter().map(|(_, payload)| payload).collect();
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
