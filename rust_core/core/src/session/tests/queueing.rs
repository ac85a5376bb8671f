//! What waits: bounds, overflow policies, priorities, expiry, QoS 0.

use super::*;

#[test]
fn a_refused_offer_leaves_no_heap_behind() {
    let limits = Limits { max_queue_bytes: 10, ..limits() };
    let mut window = Window::new();
    let refused = window.offer(sized("a", 11), false, WIDE, &limits);
    assert_eq!(refused, Offer::Refused(sized("a", 11)));
    assert_eq!(next(&mut window, WIDE), None);
    assert!(!has_heap(&window));
}

#[test]
fn qos0_waits_only_if_it_may() {
    let mut window = Window::new();
    let strict = Limits { stores_qos0: false, ..limits() };
    let refused = window.offer(entry("a", 0), false, WIDE, &strict);
    assert_eq!(refused, Offer::Refused(entry("a", 0)));
    queue(&mut window, entry("b", 0), &limits());
    assert_eq!(next(&mut window, WIDE), Some((0, "b", false)));
    assert_eq!(window.inflight_len(), 0);
}

#[test]
fn qos0_keeps_its_place_in_an_open_window_and_passes_a_closed_one() {
    let mut window = Window::new();
    for message in [entry("a", 1), entry("b", 0), entry("c", 1), entry("d", 0)] {
        queue(&mut window, message, &limits());
    }
    assert_eq!(waiting(&window), ["a", "b", "c", "d"]);
    assert_eq!(next(&mut window, 1), Some((1, "a", false)));
    assert_eq!(next(&mut window, 1), Some((0, "b", false)));
    assert_eq!(next(&mut window, 1), Some((0, "d", false)));
    assert_eq!(next(&mut window, 1), None);
    assert_eq!(waiting(&window), ["c"]);
}

#[test]
fn a_full_queue_drops_the_oldest() {
    let limits = Limits { max_queue_len: 2, ..limits() };
    let mut window = Window::new();
    assert!(queue(&mut window, entry("a", 1), &limits).is_empty());
    assert!(queue(&mut window, entry("b", 0), &limits).is_empty());
    assert_eq!(queue(&mut window, entry("c", 1), &limits), ["a"]);
    assert_eq!(queue(&mut window, entry("d", 1), &limits), ["b"]);
    assert_eq!(waiting(&window), ["c", "d"]);
}

#[test]
fn the_oldest_of_the_lowest_priority_leaves_and_never_one_above_the_newcomer() {
    let limits = Limits { max_queue_len: 3, ..limits() };
    let mut window = Window::new();
    queue(&mut window, prioritised("high", 5), &limits);
    queue(&mut window, prioritised("low 1", -5), &limits);
    queue(&mut window, prioritised("low 2", -5), &limits);
    assert_eq!(queue(&mut window, prioritised("middle 1", 0), &limits), ["low 1"]);
    assert_eq!(queue(&mut window, prioritised("middle 2", 0), &limits), ["low 2"]);
    let refused = window.offer(prioritised("low 3", -5), false, WIDE, &limits);
    assert_eq!(refused, Offer::Refused(prioritised("low 3", -5)));
    assert_eq!(waiting(&window), ["high", "middle 1", "middle 2"]);
}

#[test]
fn higher_priorities_go_first_and_arrival_decides_within_one() {
    let mut window = Window::new();
    for (message, priority) in [("a", 0), ("b", 9), ("c", -1), ("d", 0), ("e", 9)] {
        queue(&mut window, prioritised(message, priority), &limits());
    }
    let positions: Vec<u64> = window.queued().map(|item| item.position).collect();
    assert_eq!(positions, [1, 4, 0, 3, 2]);
    let order: Vec<_> = std::iter::from_fn(|| next(&mut window, WIDE)).collect();
    let messages: Vec<_> = order.iter().map(|(_, message, _)| *message).collect();
    assert_eq!(messages, ["b", "e", "a", "d", "c"]);
}

#[test]
fn bytes_bound_the_queue_and_a_large_message_drops_several() {
    let limits = Limits { max_queue_bytes: 10, ..limits() };
    let mut window = Window::new();
    for message in ["a", "b", "c"] {
        assert!(queue(&mut window, sized(message, 3), &limits).is_empty());
    }
    assert_eq!(window.queue_bytes(), 9);
    assert_eq!(queue(&mut window, sized("d", 7), &limits), ["a", "b"]);
    assert_eq!(window.queue_bytes(), 10);
    let refused = window.offer(sized("e", 11), false, WIDE, &limits);
    assert_eq!(refused, Offer::Refused(sized("e", 11)));
    assert_eq!(waiting(&window), ["c", "d"]);
}

#[test]
fn nothing_is_evicted_in_vain() {
    let limits = Limits { max_queue_bytes: 10, ..limits() };
    let high = Entry { priority: 1, ..sized("high", 6) };
    let mut window = Window::new();
    queue(&mut window, high, &limits);
    queue(&mut window, sized("low", 3), &limits);
    let refused = window.offer(sized("large", 5), false, WIDE, &limits);
    assert_eq!(refused, Offer::Refused(sized("large", 5)));
    assert_eq!(waiting(&window), ["high", "low"]);
}

#[test]
fn the_other_policies_keep_what_waits() {
    let policy = |overflow| Limits { max_queue_len: 1, overflow, ..limits() };
    let refused = Offer::Refused(entry("b", 1));
    for (overflow, attached, detached) in [
        (Overflow::DropNewest, refused.clone(), refused.clone()),
        (Overflow::Reject, refused.clone(), refused.clone()),
        (Overflow::Disconnect, Offer::Disconnect, refused.clone()),
    ] {
        let limits = policy(overflow);
        let mut window = Window::new();
        queue(&mut window, entry("a", 1), &limits);
        assert_eq!(window.offer(entry("b", 1), true, WIDE, &limits), attached);
        assert_eq!(window.offer(entry("b", 1), false, WIDE, &limits), detached);
        assert_eq!(waiting(&window), ["a"]);
    }
}

// [MQTT5-3.3.2-5] [MQTT5-4.3.3-7]
#[test]
fn a_message_expires_only_before_it_is_sent() {
    let mut window = Window::new();
    send(&mut window, expiring("sent", 5));
    queue(&mut window, expiring("a", 10), &limits());
    queue(&mut window, expiring("b", 20), &limits());
    queue(&mut window, entry("c", 1), &limits());
    assert_eq!(window.expire(9), 0);
    assert_eq!(window.expire(10), 1);
    assert_eq!(window.next(20, WIDE, &limits()), Next::Expired(expiring("b", 20)));
    assert_eq!(next(&mut window, WIDE), Some((2, "c", false)));
    assert_eq!(window.expire(30), 0);
    assert_eq!(resume(&mut window, WIDE), [(1, "sent"), (2, "c")]);
}

#[test]
fn a_filter_on_entries_touches_only_what_waits() {
    let mut window = Window::new();
    assert_eq!(window.retain_entries(|_| false), 0);
    send(&mut window, entry("a", 1));
    for message in [entry("a", 1), entry("b", 0), entry("a", 0), sized("c", 7)] {
        queue(&mut window, message, &limits());
    }
    assert_eq!(window.retain_entries(|entry| entry.message != "a"), 2);
    assert_eq!(waiting(&window), ["b", "c"]);
    assert_eq!((window.queue_len(), window.queue_bytes()), (2, 8));
    assert_eq!(window.retain_entries(|_| false), 2);
    assert_eq!(window.inflight_len(), 1);
    assert!(window.backlog.is_none());
}
