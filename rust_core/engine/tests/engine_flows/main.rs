//! The engine from socket to socket: what unit tests of its parts cannot show.

mod acknowledged;
mod broker;

use std::time::{Duration, Instant};

use broker::{Broker, Received};
use pybroker_core::codec::{self, Ack, Connect, Disconnect, Packet, QoS, Version};
use pybroker_core::reason::ReasonCode;
use pybroker_engine::counters::Metric;

fn unmounted(_: &str) -> &'static str {
    ""
}

fn publish_of(received: Received) -> (String, Vec<u8>) {
    match received {
        Received::Publish { topic, payload, .. } => (topic, payload),
        other => panic!("a PUBLISH is expected: {other:?}"),
    }
}

#[test]
fn messages_cross_shards_in_order() {
    let broker = Broker::start(2, unmounted);
    let mut subscribers: Vec<_> = (0..20)
        .map(|n| {
            let mut client = broker.client(&format!("s{n}"), true);
            client.subscribe("t/#", QoS::AtMostOnce);
            assert_eq!(client.next_packet(), Received::Suback);
            client
        })
        .collect();
    let mut publisher = broker.client("p", true);
    for n in 0..500u16 {
        publisher.publish("t/1", &n.to_be_bytes(), false);
    }
    for subscriber in &mut subscribers {
        for n in 0..500u16 {
            assert_eq!(publish_of(subscriber.next_packet()), ("t/1".to_owned(), n.to_be_bytes().to_vec()));
        }
    }
}

#[test]
fn publications_in_one_read_reach_each_kind_of_receiver_in_order_and_are_counted() {
    let broker = Broker::start(2, |client_id| if client_id == "mounted" { "n1/" } else { "" });
    let receiver = |client_id: &str, filter: &str| {
        let mut client = broker.client(client_id, true);
        client.subscribe(filter, QoS::AtLeastOnce);
        assert_eq!(client.next_packet(), Received::Suback);
        client
    };
    let mut plain = receiver("plain", "n1/t");
    let mut mounted = receiver("mounted", "t");
    let mut members = [receiver("m1", "$share/g/n1/t"), receiver("m2", "$share/g/n1/t")];
    let mut publisher = receiver("publisher", "n1/#");
    let numbered = |n: u16| ("n1/t", n.to_be_bytes().to_vec(), QoS::AtMostOnce);
    let odd = [("n1/t", b"longer".to_vec(), QoS::AtMostOnce), ("n1/u", b"77".to_vec(), QoS::AtMostOnce)];
    publisher.publish_all((0..200).map(numbered).chain(odd).chain((200..300).map(numbered)));
    let expected = |topic: &str| {
        let all = (0..200).map(numbered).chain([("n1/t", b"longer".to_vec(), QoS::AtMostOnce)]);
        all.chain((200..300).map(numbered)).map(|(_, payload, _)| (topic.to_owned(), payload)).collect::<Vec<_>>()
    };
    let take = |client: &mut broker::Client, n| (0..n).map(|_| publish_of(client.next_packet())).collect::<Vec<_>>();
    assert_eq!(take(&mut plain, 301), expected("n1/t"));
    assert_eq!(take(&mut mounted, 301), expected("t"));
    let own: Vec<_> = take(&mut publisher, 302).into_iter().filter(|(topic, _)| topic == "n1/t").collect();
    assert_eq!(own, expected("n1/t"));
    let shared = members.iter_mut().map(|member| {
        member.socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        std::iter::from_fn(|| Some(member.next_packet()).filter(|received| *received != Received::Silence)).count()
    });
    assert_eq!(shared.sum::<usize>(), 301);
    let counted = |metric| broker.engine.hub.counters.get(metric);
    assert_eq!((counted(Metric::PublishReceived), counted(Metric::MessagesPublish)), (302, 302));
    assert_eq!(counted(Metric::MessagesQos0Sent), 4 * 301 + 1);
}

#[test]
fn acknowledgements_in_one_read_make_room_and_come_before_what_stands_behind_them() {
    let broker = Broker::start(2, unmounted);
    let mut subscriber = broker.client("s", false);
    subscriber.subscribe("q", QoS::AtLeastOnce);
    assert_eq!(subscriber.next_packet(), Received::Suback);
    let mut publisher = broker.client("p", true);
    publisher.publish_all((0..100u8).map(|n| ("q", vec![n], QoS::AtLeastOnce)));
    let mut got = Vec::new();
    while got.len() < 100 {
        subscriber.socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        let packets =
            std::iter::from_fn(|| Some(subscriber.next_packet()).filter(|packet| *packet != Received::Silence));
        let ids: Vec<_> = packets
            .map(|packet| match packet {
                Received::Publish { packet_id, payload, .. } => (packet_id, payload),
                other => panic!("a PUBLISH is expected: {other:?}"),
            })
            .collect();
        assert!(!ids.is_empty(), "what was acknowledged makes room for more");
        got.extend(ids.iter().map(|(_, payload)| payload[0]));
        let is_over = got.len() == 100;
        subscriber.send_with(|out| {
            for (packet_id, _) in ids {
                codec::encode(out, Version::V311, &Packet::Puback(Ack::new(packet_id, ReasonCode::Success)));
            }
            if is_over {
                codec::encode(out, Version::V311, &Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
            }
        });
    }
    assert_eq!(got, (0..100).collect::<Vec<_>>());
    assert_eq!(subscriber.next_packet(), Received::Closed);
    let mut again = broker.client("s", false);
    again.socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    assert_eq!(again.next_packet(), Received::Silence, "nothing is sent again");
    assert_eq!(broker.engine.hub.counters.get(Metric::MessagesAcked), 100);
}

#[test]
fn a_driven_engine_serves_without_threads() {
    let broker = Broker::start(0, unmounted);
    let turning = std::sync::Arc::clone(&broker.engine);
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ending = std::sync::Arc::clone(&is_over);
    let turner = std::thread::spawn(move || {
        while !ending.load(std::sync::atomic::Ordering::Relaxed) {
            turning.turn().expect("a turn");
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    let mut client = broker.client("a", true);
    client.subscribe("x", QoS::AtMostOnce);
    assert_eq!(client.next_packet(), Received::Suback);
    client.publish("x", b"1", false);
    assert_eq!(publish_of(client.next_packet()), ("x".to_owned(), b"1".to_vec()));
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    turner.join().expect("the turner ends");
}

#[test]
fn a_connect_longer_than_one_read_is_put_together() {
    let broker = Broker::start(1, unmounted);
    let client_id = "c".repeat(65_535);
    let connect = Connect { username: Some("u"), ..Connect::new(Version::V311, &client_id) };
    let mut client = broker::Client::over(broker.socket());
    client.send_with(|out| codec::encode_connect(out, &connect));
    assert_eq!(client.next_packet(), Received::Connack { reason: 0 });
}

#[test]
fn ten_thousand_retained_messages_reach_a_new_subscriber_whole() {
    let broker = Broker::start(1, unmounted);
    let mut publisher = broker.client("p", true);
    for n in 0..10_000 {
        publisher.publish(&format!("r/{n}"), &[7; 100], true);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while broker.engine.hub.retained.len() < 10_000 {
        assert!(Instant::now() < deadline, "all messages are retained in time");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut subscriber = broker.client("s", true);
    subscriber.subscribe("r/#", QoS::AtMostOnce);
    assert_eq!(subscriber.next_packet(), Received::Suback);
    let topics: std::collections::HashSet<_> = (0..10_000)
        .map(|_| match subscriber.next_packet() {
            Received::Publish { topic, is_retain: true, .. } => topic,
            other => panic!("a retained PUBLISH is expected: {other:?}"),
        })
        .collect();
    assert_eq!(topics.len(), 10_000);
}

#[test]
fn of_many_connections_with_one_id_the_last_accepted_keeps_the_session() {
    let broker = Broker::start(2, unmounted);
    let mut clients: Vec<_> = (0..40)
        .map(|n| {
            let mut client = broker::Client::over(broker.socket());
            let connect = Connect { is_clean_start: n % 2 == 0, ..Connect::new(Version::V311, "same") };
            client.send_with(|out| codec::encode_connect(out, &connect));
            client
        })
        .collect();
    let open = clients
        .iter_mut()
        .filter_map(|client| {
            client.socket.set_read_timeout(Some(Duration::from_millis(1_500))).expect("a timeout");
            assert_eq!(client.next_packet(), Received::Connack { reason: 0 });
            (client.next_packet() == Received::Silence).then_some(())
        })
        .count();
    assert_eq!(open, 1, "every connection but one is closed");
}

#[test]
fn a_reader_that_stops_costs_a_bounded_outbox_and_loses_qos_0_visibly() {
    let broker = Broker::start(1, unmounted);
    let mut slow = broker.client("slow", true);
    slow.subscribe("f", QoS::AtMostOnce);
    assert_eq!(slow.next_packet(), Received::Suback);
    let mut publisher = broker.client("p", true);
    for _ in 0..40_000 {
        publisher.publish("f", &[1; 1000], false);
    }
    publisher.subscribe("done", QoS::AtMostOnce);
    assert_eq!(publisher.next_packet(), Received::Suback);
    let dropped = broker.engine.hub.counters.get(Metric::DeliveryDroppedQos0);
    assert!(dropped > 0, "what the reader does not take is dropped and counted");
    let mut got = 0;
    slow.socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    while let Received::Publish { .. } = slow.next_packet() {
        got += 1;
    }
    assert_eq!(got + dropped, 40_000, "every message is delivered or counted as dropped");
}

#[test]
fn a_mounted_member_of_a_group_does_not_see_hidden_topics() {
    let broker = Broker::start(1, |client_id| if client_id.starts_with("n1") { "n1/" } else { "" });
    let mut member = broker.client("n1-member", true);
    member.subscribe("$share/g/#", QoS::AtMostOnce);
    assert_eq!(member.next_packet(), Received::Suback);
    let mut publisher = broker.client("n1-publisher", true);
    publisher.publish("$x/hidden", b"1", false);
    publisher.publish("seen", b"2", false);
    assert_eq!(publish_of(member.next_packet()), ("seen".to_owned(), b"2".to_vec()));
}
