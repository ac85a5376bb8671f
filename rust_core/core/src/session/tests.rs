//! The rules of the window, one by one, through its public methods; histories are in `tests/session_properties.rs`.
//!
//! Here: exchanges, packet ids, memory and the helpers of all.

mod queueing;
mod resumption;

use std::sync::Arc;

use super::entry::tests::entry;
use super::*;

type TestWindow = Window<&'static str>;

const WIDE: u16 = u16::MAX;

fn limits() -> Limits {
    Limits { max_inflight: 0, max_queue_len: 0, max_queue_bytes: 0, overflow: Overflow::DropOldest, stores_qos0: true }
}

fn prioritised(message: &'static str, priority: i16) -> Entry<&'static str> {
    Entry { priority, ..entry(message, 1) }
}

fn sized(message: &'static str, bytes: u32) -> Entry<&'static str> {
    Entry { bytes, ..entry(message, 1) }
}

fn shared(message: &'static str, qos: u8) -> Entry<&'static str> {
    Entry { is_shared: true, ..entry(message, qos) }
}

fn expiring(message: &'static str, expires_at_ms: u64) -> Entry<&'static str> {
    Entry { expires_at_ms, ..entry(message, 1) }
}

/// Offers to an attached client and returns the packet id it goes out with.
fn send(window: &mut TestWindow, entry: Entry<&'static str>) -> u16 {
    match window.offer(entry, true, WIDE, &limits()) {
        Offer::Send { packet_id } => packet_id,
        other => panic!("not sent: {other:?}"),
    }
}

/// Offers to a detached client and returns what had to leave.
fn queue(window: &mut TestWindow, entry: Entry<&'static str>, limits: &Limits) -> Vec<&'static str> {
    match window.offer(entry, false, WIDE, limits) {
        Offer::Queued { evicted } => evicted.into_iter().map(|entry| entry.message).collect(),
        other => panic!("not queued: {other:?}"),
    }
}

fn waiting(window: &TestWindow) -> Vec<&'static str> {
    window.queued().map(|item| item.entry.message).collect()
}

/// Asks for the next message to send: (packet id, 0 at QoS 0; message; whether it is sent again).
fn next(window: &mut TestWindow, receive_maximum: u16) -> Option<(u16, &'static str, bool)> {
    match window.next(0, receive_maximum, &limits()) {
        Next::Send { packet_id, entry } => Some((packet_id, entry.message, false)),
        Next::SendQos0(entry) => Some((0, entry.message, false)),
        Next::Resend(resend) => {
            let (packet_id, message) = described(&resend);
            Some((packet_id, message, true))
        }
        Next::Expired(entry) => panic!("expired: {entry:?}"),
        Next::None => None,
    }
}

fn described(resend: &Resend<'_, &'static str>) -> (u16, &'static str) {
    match resend {
        Resend::Publish { packet_id, entry } => (*packet_id, entry.message),
        Resend::Release { packet_id } => (*packet_id, "PUBREL"),
    }
}

fn resume(window: &mut TestWindow, receive_maximum: u16) -> Vec<(u16, &'static str)> {
    window.resume(receive_maximum).map(|resend| described(&resend)).collect()
}

fn has_heap(window: &TestWindow) -> bool {
    window.backlog.is_some() || window.inflight.has_heap()
}

#[test]
fn an_idle_window_takes_48_bytes_and_no_heap() {
    assert_eq!(size_of::<Window<Arc<()>>>(), 48);
    assert!(!has_heap(&Window::default()));
}

#[test]
fn the_heap_is_given_back_when_everything_has_ended_and_an_idle_session_is_looked_at() {
    let mut window = Window::new();
    let first = send(&mut window, entry("a", 1));
    let second = send(&mut window, entry("b", 2));
    queue(&mut window, entry("c", 1), &limits());
    window.inbound_publish(1, 0, 0);
    resume(&mut window, 1);
    assert!(has_heap(&window));
    window.on_puback(first);
    assert_eq!(next(&mut window, 1), Some((second, "b", true)));
    window.on_pubrec(second, false);
    window.on_pubcomp(second);
    assert_eq!(next(&mut window, 1), Some((3, "c", false)));
    window.release();
    assert_eq!((window.inflight_len(), window.inbound_len()), (1, 1));
    window.on_puback(3);
    window.inbound_release(1);
    window.release();
    assert!(!has_heap(&window));
}

// [MQTT5-2.2.1-4]
#[test]
fn packet_ids_go_on_across_connections_and_skip_those_in_flight_after_the_wrap() {
    let mut window = Window::new();
    assert_eq!(send(&mut window, entry("straggler", 1)), 1);
    resume(&mut window, WIDE);
    for expected in 2..=u16::MAX {
        assert_eq!(send(&mut window, entry("a", 1)), expected);
        assert!(window.on_puback(expected).is_some());
    }
    assert_eq!(send(&mut window, entry("b", 1)), 2);
    assert_eq!(resume(&mut window, WIDE), [(1, "straggler"), (2, "b")]);
}

#[test]
fn all_packet_ids_can_be_in_flight_at_once() {
    let mut window = Window::new();
    for expected in 1..=u16::MAX {
        assert_eq!(send(&mut window, entry("a", 1)), expected);
    }
    queue(&mut window, entry("b", 1), &limits());
    assert_eq!(next(&mut window, WIDE), None);
    window.on_puback(40_000);
    assert_eq!(next(&mut window, WIDE), Some((40_000, "b", false)));
    assert_eq!(window.inflight_len(), 65_535);
}

#[test]
fn clearing_begins_at_packet_id_one() {
    let mut window = Window::new();
    send(&mut window, entry("a", 1));
    queue(&mut window, entry("b", 1), &limits());
    window.inbound_publish(5, 0, 0);
    window.clear();
    assert_eq!((window.inflight_len(), window.queue_len(), window.inbound_len()), (0, 0, 0));
    assert_eq!(send(&mut window, entry("c", 1)), 1);
}

// [MQTT5-3.3.4-9]
#[test]
fn the_lower_of_both_bounds_closes_the_window() {
    let bounded = Limits { max_inflight: 2, ..limits() };
    for (receive_maximum, expected) in [(1, 1), (2, 2), (WIDE, 2)] {
        let mut window = Window::new();
        for _ in 0..4 {
            window.offer(entry("a", 1), true, receive_maximum, &bounded);
        }
        assert_eq!(window.inflight_len(), expected);
        assert_eq!(window.queue_len(), 4 - expected);
    }
}

// [MQTT5-4.6.0-6]
#[test]
fn a_message_waits_behind_older_ones_though_the_window_is_open() {
    let mut window = Window::new();
    queue(&mut window, entry("a", 1), &limits());
    let offer = window.offer(entry("b", 1), true, WIDE, &limits());
    assert_eq!(offer, Offer::Queued { evicted: Vec::new() });
    assert_eq!(next(&mut window, WIDE), Some((1, "a", false)));
    assert_eq!(next(&mut window, WIDE), Some((2, "b", false)));
    assert_eq!(next(&mut window, WIDE), None);
}

#[test]
fn an_acknowledgement_in_the_wrong_phase_is_unknown() {
    let mut window = Window::new();
    let at_least_once = send(&mut window, entry("a", 1));
    let exactly_once = send(&mut window, entry("b", 2));
    assert_eq!(window.on_pubrec(at_least_once, false), Pubrec::Unknown);
    assert_eq!(window.on_pubrec(at_least_once, true), Pubrec::Unknown);
    assert!(!window.on_pubcomp(at_least_once));
    assert_eq!(window.on_puback(exactly_once), None);
    assert!(!window.on_pubcomp(exactly_once));
    assert_eq!(window.on_puback(99), None);
    assert_eq!(window.on_pubrec(99, false), Pubrec::Unknown);
    assert!(!window.on_pubcomp(99));
    assert_eq!(window.inflight_len(), 2);
    assert_eq!(window.on_puback(at_least_once), Some(entry("a", 1)));
    assert_eq!(window.on_puback(at_least_once), None);
}

// [MQTT5-4.3.3-6] [MQTT5-4.4.0-2]
#[test]
fn a_qos2_exchange_goes_through_pubrel_and_a_refusal_ends_it() {
    let mut window = Window::new();
    let accepted = send(&mut window, entry("a", 2));
    let refused = send(&mut window, entry("b", 2));
    assert_eq!(window.on_pubrec(accepted, false), Pubrec::Release);
    assert_eq!(window.on_pubrec(accepted, false), Pubrec::Release);
    assert_eq!(window.on_pubrec(accepted, true), Pubrec::Release);
    assert_eq!(window.on_puback(accepted), None);
    assert_eq!(window.on_pubrec(refused, true), Pubrec::Ended(entry("b", 2)));
    assert!(window.on_pubcomp(accepted));
    assert!(!window.on_pubcomp(accepted));
    assert_eq!(window.inflight_len(), 0);
}

#[test]
fn the_message_is_let_go_at_pubrec() {
    let message = Arc::new(());
    let mut window = Window::new();
    let entry = Entry {
        message: Arc::clone(&message),
        subscription_ids: SmallIds::default(),
        expires_at_ms: u64::MAX,
        bytes: 1,
        origin: 0,
        priority: 0,
        qos: 2,
        is_retain: false,
        is_shared: false,
    };
    window.offer(entry, true, WIDE, &limits());
    assert_eq!(Arc::strong_count(&message), 2);
    window.on_pubrec(1, false);
    assert_eq!(Arc::strong_count(&message), 1);
    let open: Vec<_> = window.inflight().collect();
    assert_eq!(open, [InflightItem { packet_id: 1, sequence: 0, entry: None }]);
}

#[test]
fn an_abandoned_message_leaves_no_gap_in_the_ids() {
    let mut window = Window::new();
    send(&mut window, entry("a", 1));
    let too_large = send(&mut window, entry("b", 2));
    assert_eq!(window.abandon(too_large), Some(entry("b", 2)));
    assert_eq!(window.abandon(too_large), None);
    assert_eq!(send(&mut window, entry("c", 1)), too_large);
    assert_eq!(window.abandon(1), Some(entry("a", 1)));
    assert_eq!(send(&mut window, entry("d", 1)), too_large + 1);
}

// [MQTT5-4.3.3-9] [MQTT5-4.3.3-10] [MQTT5-4.3.3-11]
#[test]
fn inbound_ids_stand_until_they_are_released_forgotten_or_expired() {
    let mut window = TestWindow::new();
    assert!(!window.inbound_release(1));
    assert_eq!(window.inbound_expire(0, 0), 0);
    assert_eq!(window.inbound_publish(1, 0, 2), InboundQos2::New);
    assert_eq!(window.inbound_publish(2, 5, 2), InboundQos2::New);
    assert_eq!(window.inbound_publish(3, 5, 2), InboundQos2::Full);
    resume(&mut window, WIDE);
    assert_eq!(window.inbound_publish(1, 0, 2), InboundQos2::Duplicate);
    assert!(window.inbound_release(1));
    window.inbound_forget(2);
    assert_eq!(window.inbound_publish(2, 10, 2), InboundQos2::New);
    assert_eq!(window.inbound_expire(12, 3), 0);
    assert_eq!(window.inbound_expire(13, 3), 1);
    assert_eq!(window.inbound_len(), 0);
    window.release();
    assert!(window.backlog.is_none());
}

#[test]
fn the_two_directions_use_the_same_id_at_once() {
    let mut window = Window::new();
    let packet_id = send(&mut window, entry("a", 2));
    assert_eq!(window.inbound_publish(packet_id, 0, 0), InboundQos2::New);
    assert!(window.inbound_release(packet_id));
    assert_eq!(window.on_pubrec(packet_id, false), Pubrec::Release);
}
