//! What a new connection carries, and what moves to another member of a shared subscription.

use super::*;

// [MQTT5-4.4.0-1] [MQTT5-4.6.0-1]
#[test]
fn a_new_connection_carries_everything_unfinished_in_the_first_order() {
    let mut window = Window::new();
    for (message, qos) in [("a", 1), ("b", 2), ("c", 1), ("d", 2)] {
        send(&mut window, entry(message, qos));
    }
    window.on_pubrec(4, false);
    window.on_puback(1);
    window.on_pubrec(2, false);
    assert_eq!(resume(&mut window, WIDE), [(2, "PUBREL"), (3, "c"), (4, "PUBREL")]);
    assert_eq!(next(&mut window, WIDE), None);
}

#[test]
fn a_lower_receive_maximum_withholds_the_later_ones_and_everything_newer() {
    let mut window = Window::new();
    for message in ["a", "b", "c"] {
        send(&mut window, entry(message, 1));
    }
    queue(&mut window, entry("d", 1), &limits());
    assert_eq!(resume(&mut window, 2), [(1, "a"), (2, "b")]);
    let offer = window.offer(entry("e", 1), true, 2, &limits());
    assert_eq!(offer, Offer::Queued { evicted: Vec::new() });
    assert_eq!(next(&mut window, 2), None);
    window.on_puback(2);
    assert_eq!(next(&mut window, 2), Some((3, "c", true)));
    assert_eq!(next(&mut window, 2), None);
    window.on_puback(1);
    assert_eq!(next(&mut window, 2), Some((4, "d", false)));
    window.on_puback(3);
    assert_eq!(next(&mut window, 2), Some((5, "e", false)));
}

#[test]
fn pubrel_is_never_withheld_but_counts() {
    let mut window = Window::new();
    for message in ["a", "b", "c"] {
        send(&mut window, entry(message, 2));
    }
    window.on_pubrec(2, false);
    window.on_pubrec(3, false);
    assert_eq!(resume(&mut window, 2), [(2, "PUBREL"), (3, "PUBREL")]);
    assert_eq!(next(&mut window, 2), None);
    window.on_pubcomp(2);
    assert_eq!(next(&mut window, 2), Some((1, "a", true)));
}

#[test]
fn what_ended_while_withheld_is_not_carried_again() {
    let mut window = Window::new();
    for (message, qos) in [("a", 1), ("b", 1), ("c", 2), ("d", 1), ("e", 2)] {
        send(&mut window, entry(message, qos));
    }
    assert_eq!(resume(&mut window, 1), [(1, "a")]);
    assert_eq!(window.on_puback(2), Some(entry("b", 1)));
    assert_eq!(window.on_pubrec(3, false), Pubrec::Release);
    assert_eq!(window.on_pubrec(5, true), Pubrec::Ended(entry("e", 2)));
    window.on_puback(1);
    assert_eq!(next(&mut window, 1), None, "the PUBREL of 3 is open");
    window.on_pubcomp(3);
    assert_eq!(next(&mut window, 1), Some((4, "d", true)));
    assert_eq!(next(&mut window, 1), None);
}

#[test]
fn the_last_withheld_message_to_end_reopens_the_window() {
    let mut window = Window::new();
    send(&mut window, entry("a", 1));
    send(&mut window, entry("b", 1));
    assert_eq!(resume(&mut window, 1), [(1, "a")]);
    window.on_puback(1);
    window.on_puback(2);
    window.release();
    assert!(!has_heap(&window));
    assert_eq!(send(&mut window, entry("c", 1)), 3);
}

#[test]
fn each_connection_sorts_anew_what_it_carries() {
    let mut window = Window::new();
    for message in ["a", "b", "c"] {
        send(&mut window, entry(message, 1));
    }
    assert_eq!(resume(&mut window, 1), [(1, "a")]);
    assert_eq!(resume(&mut window, 2), [(1, "a"), (2, "b")]);
    assert_eq!(resume(&mut window, WIDE), [(1, "a"), (2, "b"), (3, "c")]);
    assert!(window.backlog.is_none());
    assert_eq!(send(&mut window, entry("d", 1)), 4);
}

#[test]
fn a_closed_receive_maximum_lets_nothing_out() {
    let mut window = Window::new();
    send(&mut window, entry("a", 1));
    assert_eq!(resume(&mut window, 0), []);
    assert_eq!(next(&mut window, 0), None);
    assert_eq!(next(&mut window, 1), Some((1, "a", true)));
}

// [MQTT5-4.8.2-4] [MQTT5-4.8.2-5]
#[test]
fn shared_messages_move_to_another_member_but_qos2_in_flight_stays() {
    let mut window = Window::new();
    send(&mut window, shared("a", 1));
    send(&mut window, entry("b", 1));
    send(&mut window, shared("c", 2));
    send(&mut window, shared("d", 1));
    queue(&mut window, entry("e", 1), &limits());
    queue(&mut window, shared("f", 2), &limits());
    queue(&mut window, shared("g", 0), &limits());
    queue(&mut window, entry("h", 0), &limits());
    let taken: Vec<_> = window.take_shared().into_iter().map(|entry| entry.message).collect();
    assert_eq!(taken, ["a", "d", "f", "g"]);
    assert_eq!(resume(&mut window, WIDE), [(2, "b"), (3, "c")]);
    assert_eq!(waiting(&window), ["e", "h"]);
    assert!(window.take_shared().is_empty());
    assert_eq!(window.on_puback(1), None);
}

#[test]
fn taking_shared_messages_may_empty_the_window() {
    let mut window = Window::new();
    send(&mut window, shared("a", 1));
    queue(&mut window, shared("b", 1), &limits());
    assert_eq!(window.take_shared().len(), 2);
    window.release();
    assert!(!has_heap(&window));
    assert!(window.take_shared().is_empty());
}
