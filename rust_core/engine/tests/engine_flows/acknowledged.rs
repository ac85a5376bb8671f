//! Publications of QoS 1 and 2 that come in one read.

use std::time::Duration;

use pybroker_core::codec::{self, Ack, Packet, PacketType, PublishOut, QoS, Version};
use pybroker_core::reason::ReasonCode;
use pybroker_core::session::{Limits, Overflow};
use pybroker_engine::counters::Metric;
use pybroker_engine::settings::Settings;

use super::broker::{Broker, Client, Received};
use super::unmounted;

fn receiver(broker: &Broker, version: Version, client_id: &str, filter: &str, qos: QoS) -> Client {
    let mut client = broker.client_speaking(version, client_id, true);
    client.subscribe(filter, qos);
    assert_eq!(client.next_packet(), Received::Suback);
    client
}

/// What comes until nothing comes any more, or the end.
fn all(client: &mut Client) -> Vec<Received> {
    client.socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let mut received = Vec::new();
    while received.last() != Some(&Received::Closed) {
        match client.next_packet() {
            Received::Silence => break,
            packet => received.push(packet),
        }
    }
    received
}

/// Packet ids and payloads on a topic.
fn on_topic(received: &[Received], wanted: &str) -> Vec<(u16, Vec<u8>)> {
    received
        .iter()
        .filter_map(|received| match received {
            Received::Publish { topic, packet_id, payload, .. } if topic == wanted => {
                Some((*packet_id, payload.clone()))
            }
            _ => None,
        })
        .collect()
}

fn acks(received: &[Received]) -> Vec<(PacketType, u16, ReasonCode)> {
    let ack = |received: &Received| match received {
        Received::Ack(packet, packet_id, reason) => Some((*packet, *packet_id, *reason)),
        _ => None,
    };
    received.iter().filter_map(ack).collect()
}

fn each_kind_of_receiver_is_served(qos: QoS, version: Version, answer: PacketType, sent: Metric) {
    let broker = Broker::start(2, |client_id| if client_id == "mounted" { "n1/" } else { "" });
    let mut plain = receiver(&broker, version, "plain", "n1/t", QoS::ExactlyOnce);
    let mut at_most_once = receiver(&broker, version, "at-most-once", "n1/t", QoS::AtMostOnce);
    let mut mounted = receiver(&broker, version, "mounted", "t", QoS::ExactlyOnce);
    let other = if version == Version::V5 { Version::V311 } else { Version::V5 };
    let mut other = receiver(&broker, other, "other", "n1/t", QoS::ExactlyOnce);
    let share = |client_id| receiver(&broker, version, client_id, "$share/g/n1/t", QoS::ExactlyOnce);
    let mut members = [share("m1"), share("m2")];
    let mut publisher = receiver(&broker, version, "publisher", "n1/#", QoS::ExactlyOnce);
    let numbered = |n: u8| ("n1/t", vec![n], qos);
    let odd = [("n1/t", b"longer".to_vec(), qos), ("n1/u", b"7".to_vec(), qos)];
    publisher.publish_all((0..20).map(numbered).chain(odd).chain((20..25).map(numbered)));

    let payloads: Vec<_> =
        (0..20).map(|n| vec![n]).chain([b"longer".to_vec()]).chain((20..25).map(|n| vec![n])).collect();
    let under_ids: Vec<_> = (1..).zip(payloads.iter().cloned()).collect();
    assert_eq!(on_topic(&all(&mut plain), "n1/t"), under_ids);
    assert_eq!(on_topic(&all(&mut mounted), "t"), under_ids);
    assert_eq!(on_topic(&all(&mut other), "n1/t"), under_ids);
    let at_most_once = on_topic(&all(&mut at_most_once), "n1/t");
    assert_eq!(at_most_once, payloads.iter().map(|payload| (0, payload.clone())).collect::<Vec<_>>());
    let shared = members.iter_mut().map(|member| on_topic(&all(member), "n1/t").len());
    assert_eq!(shared.sum::<usize>(), payloads.len());
    let own = all(&mut publisher);
    let own_payloads: Vec<_> = on_topic(&own, "n1/t").into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(own_payloads, payloads);
    assert_eq!(acks(&own), (1..=27).map(|id| (answer, id, ReasonCode::Success)).collect::<Vec<_>>());
    let counted = |metric| broker.engine.hub.counters.get(metric);
    assert_eq!((counted(Metric::PublishReceived), counted(Metric::MessagesPublish)), (27, 27));
    assert_eq!((counted(sent), counted(Metric::MessagesQos0Sent)), (5 * 26 + 1, 26));
}

// [MQTT5-4.6.0-6]
#[test]
fn publications_of_qos_1_in_one_read_reach_each_kind_of_receiver_in_order_and_are_answered() {
    let (answer, sent) = (PacketType::Puback, Metric::MessagesQos1Sent);
    each_kind_of_receiver_is_served(QoS::AtLeastOnce, Version::V311, answer, sent);
    each_kind_of_receiver_is_served(QoS::AtLeastOnce, Version::V5, answer, sent);
}

// [MQTT5-4.6.0-6]
#[test]
fn publications_of_qos_2_in_one_read_reach_each_kind_of_receiver_in_order_and_are_answered() {
    let (answer, sent) = (PacketType::Pubrec, Metric::MessagesQos2Sent);
    each_kind_of_receiver_is_served(QoS::ExactlyOnce, Version::V311, answer, sent);
    each_kind_of_receiver_is_served(QoS::ExactlyOnce, Version::V5, answer, sent);
}

// [MQTT5-4.3.3-10]
#[test]
fn of_publications_in_one_read_those_that_are_open_already_are_answered_and_not_routed() {
    let broker = Broker::start(1, unmounted);
    let mut subscriber = receiver(&broker, Version::V311, "s", "t", QoS::ExactlyOnce);
    let mut publisher = broker.client("p", true);
    let send = |publisher: &mut Client, ids: &[u16]| {
        publisher.send_with(|out| {
            for &packet_id in ids {
                let payload = packet_id.to_be_bytes();
                let qos = QoS::ExactlyOnce;
                let publish = PublishOut { topic: "t", payload: &payload, qos, packet_id, ..PublishOut::default() };
                codec::encode_publish(out, Version::V311, &publish);
            }
        });
    };
    send(&mut publisher, &[1, 2, 3, 4, 5, 5, 2]);
    send(&mut publisher, &[3, 4, 5, 6, 7, 8]);
    let ids: Vec<_> = acks(&all(&mut publisher)).into_iter().map(|(_, id, _)| id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 5, 2, 3, 4, 5, 6, 7, 8]);
    let payloads: Vec<_> = on_topic(&all(&mut subscriber), "t").into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(payloads, (1..=8u16).map(|id| id.to_be_bytes().to_vec()).collect::<Vec<_>>());
    publisher.send_with(|out| {
        for id in 1..=8 {
            codec::encode(out, Version::V311, &Packet::Pubrel(Ack::new(id, ReasonCode::Success)));
        }
    });
    let completed = (1..=8).map(|id| (PacketType::Pubcomp, id, ReasonCode::Success)).collect::<Vec<_>>();
    assert_eq!(acks(&all(&mut publisher)), completed);
    send(&mut publisher, &[1, 2]);
    assert_eq!(on_topic(&all(&mut subscriber), "t").len(), 2, "released ids are new again");
}

#[test]
fn of_publications_in_one_read_those_that_a_full_queue_refuses_are_told_so() {
    let broker = Broker::start(1, unmounted);
    let limits = Limits {
        max_inflight: 10,
        max_queue_len: 5,
        max_queue_bytes: 0,
        overflow: Overflow::Reject,
        stores_qos0: false,
    };
    broker.engine.hub.configure(Settings { limits, ..Settings::default() });
    let mut subscriber = receiver(&broker, Version::V5, "s", "t", QoS::ExactlyOnce);
    let mut publisher = broker.client_speaking(Version::V5, "p", true);
    publisher.publish_all((0..20u8).map(|n| ("t", vec![n], QoS::AtLeastOnce)));
    let reasons: Vec<_> = acks(&all(&mut publisher)).into_iter().map(|(_, _, reason)| reason).collect();
    let expected = [[ReasonCode::Success; 5], [ReasonCode::Success; 5], [ReasonCode::Success; 5]].concat();
    assert_eq!(reasons, [expected, vec![ReasonCode::QuotaExceeded; 5]].concat());
    assert_eq!(on_topic(&all(&mut subscriber), "t").len(), 10);
    subscriber.send_with(|out| {
        for id in 1..=10 {
            codec::encode(out, Version::V5, &Packet::Puback(Ack::new(id, ReasonCode::Success)));
        }
    });
    let payloads: Vec<_> = on_topic(&all(&mut subscriber), "t").into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(payloads, (10..15u8).map(|n| vec![n]).collect::<Vec<_>>());
    assert_eq!(broker.engine.hub.counters.get(Metric::DeliveryDroppedQueueFull), 5);
}

#[test]
fn publications_in_one_read_that_nobody_receives_are_answered_with_that() {
    let broker = Broker::start(1, unmounted);
    let mut publisher = broker.client_speaking(Version::V5, "p", true);
    publisher.publish_all((0..5u8).map(|n| ("t", vec![n], QoS::AtLeastOnce)));
    let expected: Vec<_> = (1..=5).map(|id| (PacketType::Puback, id, ReasonCode::NoMatchingSubscribers)).collect();
    assert_eq!(acks(&all(&mut publisher)), expected);
    assert_eq!(broker.engine.hub.counters.get(Metric::MessagesDroppedNoSubscribers), 5);
}

// [MQTT5-3.3.4-7]
#[test]
fn a_read_with_more_publications_than_the_receive_maximum_ends_the_connection_behind_them() {
    let broker = Broker::start(1, unmounted);
    broker.engine.hub.configure(Settings { receive_maximum: 8, ..Settings::default() });
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut subscriber = receiver(&broker, Version::V5, "s", "t", QoS::ExactlyOnce);
        let mut publisher = broker.client_speaking(Version::V5, "p", true);
        publisher.publish_all((0..9u8).map(|n| ("t", vec![n], qos)));
        assert!(all(&mut publisher).contains(&Received::Closed));
        assert_eq!(on_topic(&all(&mut subscriber), "t").len(), 8);
    }
}

#[test]
fn what_is_no_acknowledgement_in_its_shortest_form_is_judged_by_itself() {
    let broker = Broker::start(1, unmounted);
    let mut subscriber = receiver(&broker, Version::V5, "s", "t", QoS::AtLeastOnce);
    let mut publisher = broker.client("p", true);
    publisher.publish_all((0..4u8).map(|n| ("t", vec![n], QoS::AtLeastOnce)));
    assert_eq!(on_topic(&all(&mut subscriber), "t").len(), 4);
    // The third carries a reason, the last has the packet id 0, which is none.
    subscriber.send_with(|out| {
        out.extend([0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 3, 0, 3, 0x80, 0x40, 2, 0, 9, 0x40, 2, 0, 4, 0x40, 2, 0, 0]);
    });
    assert!(all(&mut subscriber).contains(&Received::Closed));
    let counted = |metric| broker.engine.hub.counters.get(metric);
    let seen = (counted(Metric::PubackReceived), counted(Metric::MessagesAcked), counted(Metric::PubackMissed));
    assert_eq!(seen, (5, 4, 1));
}

#[test]
fn what_waits_for_a_pubrel_when_the_connection_ends_is_counted_as_dropped_where_nobody_sends_it_again() {
    let broker = Broker::start(1, unmounted);
    broker.engine.hub.configure(Settings { max_awaiting_rel: 1, ..Settings::default() });
    let mut subscriber = receiver(&broker, Version::V311, "s", "t", QoS::AtMostOnce);
    let mut publisher = broker.client("p", true);
    let waiting = [QoS::ExactlyOnce, QoS::AtMostOnce, QoS::AtLeastOnce, QoS::AtMostOnce];
    publisher.publish_all([QoS::ExactlyOnce].into_iter().chain(waiting).map(|qos| ("t", vec![7], qos)));
    assert_eq!(publisher.next_packet(), Received::Ack(PacketType::Pubrec, 1, ReasonCode::Success));
    publisher.send_with(|out| out.extend([0xF0, 0])); // AUTH is no packet of 3.1.1.
    assert!(all(&mut publisher).contains(&Received::Closed));
    assert_eq!(on_topic(&all(&mut subscriber), "t").len(), 1);
    let counted = |metric| broker.engine.hub.counters.get(metric);
    assert_eq!((counted(Metric::MessagesReceived), counted(Metric::MessagesDropped)), (3, 2));
}

// [MQTT5-4.8.2-5]
#[test]
fn a_message_of_qos_2_that_a_member_has_not_answered_is_counted_when_its_session_ends() {
    let broker = Broker::start(1, unmounted);
    let mut member = receiver(&broker, Version::V311, "m", "$share/g/t", QoS::ExactlyOnce);
    let mut publisher = broker.client("p", true);
    publisher.publish_all([("t", vec![1], QoS::ExactlyOnce), ("t", vec![2], QoS::ExactlyOnce)]);
    assert_eq!(on_topic(&all(&mut member), "t").len(), 2);
    member.send_with(|out| {
        codec::encode(out, Version::V311, &Packet::Pubrec(Ack::new(1, ReasonCode::Success)));
    });
    assert_eq!(member.next_packet(), Received::Ack(PacketType::Pubrel, 1, ReasonCode::Success));
    let _again = broker.client("m", true);
    let counted = |metric| broker.engine.hub.counters.get(metric);
    assert_eq!((counted(Metric::DeliveryDropped), counted(Metric::DeliveryDroppedSessionEnd)), (1, 1));
}
