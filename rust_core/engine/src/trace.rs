//! What traced clients send and what traced topics carry, for an operator who looks for a fault.
//!
//! Threads look once per turn whether anything is traced; if not, a batch of packets costs one test. Records wait in a
//! bounded store until Python takes them: beyond it they are lost and counted, and no message ever waits for a trace.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use pybroker_core::codec::{Packet, QoS};
use pybroker_core::topic;

use crate::connection::Connection;
use crate::dispatch::Dispatcher;
use crate::publication::{Grant, Run};
use crate::session::Session;
use crate::shard::Shard;
use crate::sys;

/// Bytes that may wait: some seconds of a busy client.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// What a record takes beside its texts.
const RECORD_BYTES: usize = size_of::<TraceRecord>();

/// What is traced.
pub struct TraceSpec {
    /// Client ids.
    pub clients: HashSet<Box<str>>,
    /// Addresses that clients come from.
    pub addresses: HashSet<IpAddr>,
    /// Filters over routed topics; valid.
    pub filters: Vec<Box<str>>,
    /// Most bytes of a payload that are kept.
    pub payload_bytes: usize,
    /// Where records go.
    pub records: Arc<TraceRecords>,
}

/// Something that was traced.
pub struct TraceRecord {
    /// Wall time.
    pub unix_ms: u64,
    /// Whether it went to the client; else it came from it.
    pub is_delivery: bool,
    /// Name of the packet in capitals.
    pub packet: &'static str,
    /// Whose it is.
    pub client_id: Box<str>,
    /// Where the client comes from; `None` for a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The client's tenant.
    pub namespace: Option<Arc<str>>,
    /// Topic as routed, of a PUBLISH.
    pub topic: Option<Box<str>>,
    /// QoS of a PUBLISH.
    pub qos: u8,
    /// Retain flag of a PUBLISH.
    pub is_retain: bool,
    /// DUP flag of a PUBLISH.
    pub is_dup: bool,
    /// Packet id; 0 none.
    pub packet_id: u16,
    /// Reason code of an acknowledgement or DISCONNECT.
    pub reason: u8,
    /// First bytes of the payload of a PUBLISH.
    pub payload: Box<[u8]>,
    /// Length of the whole payload.
    pub payload_bytes: usize,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<TraceRecord>,
    bytes: usize,
    lost: u64,
}

/// Records that wait to be taken.
#[derive(Default)]
pub struct TraceRecords {
    waiting: Mutex<Waiting>,
}

impl TraceRecords {
    /// Keeps a record, or counts it as lost.
    pub fn push(&self, record: TraceRecord) {
        let bytes = record.bytes();
        let mut waiting = self.waiting.lock();
        if waiting.bytes + bytes > MAX_BYTES {
            waiting.lost += 1;
            return;
        }
        waiting.bytes += bytes;
        waiting.records.push_back(record);
    }

    /// Takes up to `limit`, oldest first, and how many have been lost since the last call.
    pub fn take(&self, limit: usize) -> (Vec<TraceRecord>, u64) {
        let mut waiting = self.waiting.lock();
        let count = limit.min(waiting.records.len());
        let taken: Vec<TraceRecord> = waiting.records.drain(..count).collect();
        waiting.bytes -= taken.iter().map(TraceRecord::bytes).sum::<usize>();
        (taken, std::mem::take(&mut waiting.lost))
    }
}

impl TraceRecord {
    fn new(session: &Session, packet: &'static str) -> Self {
        Self {
            unix_ms: sys::unix_ms(),
            is_delivery: false,
            packet,
            client_id: session.client_id.clone(),
            peer: peer_of(session),
            namespace: session.namespace.as_ref().map(|namespace| Arc::clone(&namespace.name)),
            topic: None,
            qos: 0,
            is_retain: false,
            is_dup: false,
            packet_id: 0,
            reason: 0,
            payload: Box::default(),
            payload_bytes: 0,
        }
    }

    fn bytes(&self) -> usize {
        RECORD_BYTES + self.client_id.len() + self.topic.as_ref().map_or(0, |topic| topic.len()) + self.payload.len()
    }
}

/// A PUBLISH that goes to a client.
pub struct Delivery<'a> {
    /// Topic as routed.
    pub topic: &'a str,
    /// Delivered QoS.
    pub qos: QoS,
    /// Delivered retain flag.
    pub is_retain: bool,
    /// Whether it is sent again.
    pub is_dup: bool,
    /// Packet id; 0 at QoS 0.
    pub packet_id: u16,
    /// Its payload.
    pub payload: &'a [u8],
}

impl TraceSpec {
    fn wants_topic(&self, routed: &str) -> bool {
        self.filters.iter().any(|filter| topic::matches(filter, routed))
    }

    fn wants_client(&self, session: &Session) -> bool {
        self.clients.contains(&session.client_id)
            || (!self.addresses.is_empty()
                && peer_of(session).is_some_and(|peer| self.addresses.contains(&peer.ip().to_canonical())))
    }

    fn payload(&self, payload: &[u8]) -> Box<[u8]> {
        payload.get(..self.payload_bytes).unwrap_or(payload).into()
    }

    /// Records a PUBLISH to a client, if client or topic are traced.
    #[cold]
    pub fn delivered(&self, session: &Session, delivery: &Delivery<'_>) {
        if !self.wants_client(session) && !self.wants_topic(delivery.topic) {
            return;
        }
        self.records.push(TraceRecord {
            is_delivery: true,
            topic: Some(delivery.topic.into()),
            qos: delivery.qos as u8,
            is_retain: delivery.is_retain,
            is_dup: delivery.is_dup,
            packet_id: delivery.packet_id,
            payload: self.payload(delivery.payload),
            payload_bytes: delivery.payload.len(),
            ..TraceRecord::new(session, "PUBLISH")
        });
    }

    #[cold]
    #[inline(never)]
    fn received(&self, conn: &Connection, packet: &Packet<'_>) {
        let Some(session) = conn.session() else { return };
        let is_wanted = self.wants_client(session);
        if !is_wanted && !matches!(packet, Packet::Publish(_)) {
            return;
        }
        let mut record = TraceRecord::new(session, name_of(packet));
        match packet {
            Packet::Publish(publish) => {
                let known = publish.properties.topic_alias.and_then(|alias| conn.aliases.get(alias).ok());
                let topic = known.filter(|_| publish.topic.is_empty()).map_or(publish.topic, |topic| &**topic);
                let routed = [conn.mount.as_ref().map_or("", |mount| &mount.prefix), topic].concat();
                if !is_wanted && !self.wants_topic(&routed) {
                    return;
                }
                record.topic = Some(routed.into());
                record.qos = publish.qos as u8;
                record.is_retain = publish.is_retain;
                record.is_dup = publish.is_dup;
                record.packet_id = publish.packet_id;
                record.payload = self.payload(publish.payload);
                record.payload_bytes = publish.payload.len();
            }
            Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => {
                record.packet_id = ack.packet_id;
                record.reason = ack.reason as u8;
            }
            Packet::Subscribe(subscribe) => record.packet_id = subscribe.packet_id,
            Packet::Unsubscribe(unsubscribe) => record.packet_id = unsubscribe.packet_id,
            Packet::Disconnect(disconnect) => record.reason = disconnect.reason as u8,
            _ => {}
        }
        self.records.push(record);
    }
}

impl Dispatcher {
    /// Records a delivery of the publication at hand, if it is traced.
    #[cold]
    pub(crate) fn trace(&self, run: &Run<'_>, session: &Session, grant: &Grant<'_>, qos: QoS, packet_id: u16) {
        let Some(spec) = &self.outlet.traces else { return };
        let inbound = run.inbound;
        let routed = [inbound.mount.map_or("", |mount| &mount.prefix), inbound.topic].concat();
        let (is_retain, payload) = (grant.is_retain, inbound.payload);
        spec.delivered(session, &Delivery { topic: &routed, qos, is_retain, is_dup: false, packet_id, payload });
    }
}

impl Shard {
    /// Records a packet of a client, if it is traced; one test while nothing is.
    #[inline]
    pub(crate) fn trace_received(&self, conn: &Connection, packet: &Packet<'_>) {
        if let Some(spec) = &self.dispatcher.outlet.traces {
            spec.received(conn, packet);
        }
    }
}

/// Where a client comes from: what a proxy says where there is one.
fn peer_of(session: &Session) -> Option<SocketAddr> {
    let subject = session.subject();
    subject.facts.peer_ip.map(|address| SocketAddr::new(address, subject.facts.peer_port))
}

fn name_of(packet: &Packet<'_>) -> &'static str {
    match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::Connack(_) => "CONNACK",
        Packet::Publish(_) => "PUBLISH",
        Packet::Puback(_) => "PUBACK",
        Packet::Pubrec(_) => "PUBREC",
        Packet::Pubrel(_) => "PUBREL",
        Packet::Pubcomp(_) => "PUBCOMP",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::Suback(_) => "SUBACK",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::Unsuback(_) => "UNSUBACK",
        Packet::Pingreq => "PINGREQ",
        Packet::Pingresp => "PINGRESP",
        Packet::Disconnect(_) => "DISCONNECT",
        Packet::Auth(_) => "AUTH",
    }
}

#[cfg(test)]
mod tests {
    use pybroker_core::trie::SubscriberId;

    use super::*;

    fn delivery(payload: &[u8]) -> Delivery<'_> {
        Delivery { topic: "a/b", qos: QoS::AtMostOnce, is_retain: false, is_dup: false, packet_id: 0, payload }
    }

    fn spec(clients: &[&str], filters: &[&str]) -> TraceSpec {
        TraceSpec {
            clients: clients.iter().map(|client| Box::from(*client)).collect(),
            addresses: HashSet::new(),
            filters: filters.iter().map(|filter| Box::from(*filter)).collect(),
            payload_bytes: 4,
            records: Arc::default(),
        }
    }

    #[test]
    fn clients_and_topics_are_traced_and_nobody_else() {
        let session = Session::new(SubscriberId(0), "c", None, None);
        for (clients, filters, expected) in [(&["c"][..], &[][..], 1), (&[], &["a/+"], 1), (&["d"], &["a"], 0)] {
            let spec = spec(clients, filters);
            spec.delivered(&session, &delivery(b"x"));
            assert_eq!(spec.records.take(9).0.len(), expected);
        }
    }

    #[test]
    fn a_payload_is_cut_and_its_length_is_kept() {
        let session = Session::new(SubscriberId(0), "c", None, None);
        let spec = spec(&["c"], &[]);
        spec.delivered(&session, &delivery(b"123456"));
        let (records, lost) = spec.records.take(9);
        assert_eq!(
            records.iter().map(|one| (&*one.payload, one.payload_bytes)).collect::<Vec<_>>(),
            [(&b"1234"[..], 6)]
        );
        assert_eq!(lost, 0);
    }

    #[test]
    fn beyond_the_bound_records_are_lost_and_counted_once() {
        let session = Session::new(SubscriberId(0), "c", None, None);
        let spec = TraceSpec { payload_bytes: usize::MAX, ..spec(&["c"], &[]) };
        let payload = vec![0; MAX_BYTES / 2];
        for _ in 0..3 {
            spec.delivered(&session, &delivery(&payload));
        }
        let (records, lost) = spec.records.take(9);
        assert_eq!((records.len(), lost), (1, 2));
        assert_eq!(spec.records.take(9).1, 0);
    }
}
