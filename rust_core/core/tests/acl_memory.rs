//! Memory of 100,000 access rules and allocations of a check, counted by the allocator. Alone in its binary: the counts
//! are global.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use pybroker_core::acl::{
    AccessRules, Action, Client, ListSpec, Permission, Principal, RuleAction, RuleSpec, Settings, TopicsSpec, Verdict,
    judged_topic,
};
use pybroker_core::codec::QoS;

/// What one rule of a principal of its own may take, names and topic included: each of both has about 30 bytes.
const MAX_BYTES: usize = 350;

const PRINCIPALS: usize = 100_000;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// What malloc hands out for a request on 64-bit systems: steps of 16 bytes with 8 bytes of its own, at least 32.
const fn with_overhead(bytes: usize) -> usize {
    let used = (bytes + 8).next_multiple_of(16);
    if used < 32 { 32 } else { used }
}

// SAFETY: every call goes to the system allocator with the arguments it came with; the counters have no other effect.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        LIVE.fetch_add(with_overhead(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(with_overhead(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn rule(topic: String) -> RuleSpec {
    RuleSpec {
        topics: TopicsSpec::These(vec![topic]),
        permission: Permission::Allow,
        action: RuleAction::All,
        qos: [true; 3],
        retain: None,
        condition: None,
    }
}

fn build(topic: fn(usize) -> String) -> (AccessRules, usize) {
    let before = LIVE.load(Ordering::Relaxed);
    let lists = (0..PRINCIPALS).map(|number| ListSpec {
        namespace: None,
        principal: Principal::ClientId(format!("device-{number:06}")),
        rules: vec![rule(topic(number))],
    });
    let rules = AccessRules::compile(Settings::default(), lists).expect("valid rules");
    let bytes = (LIVE.load(Ordering::Relaxed) - before) / PRINCIPALS;
    (rules, bytes)
}

fn is_decided(rules: &AccessRules, client: &Client<'_>, raw: &str) -> bool {
    let action = Action::Publish { qos: QoS::AtMostOnce, retain: false };
    let mut scratch = String::new();
    judged_topic(action, raw, "", &mut scratch)
        .is_none_or(|topic| rules.check(client, action, topic) != Verdict::NoMatch)
}

/// One test, because tests of one binary run side by side and would count each other.
#[test]
fn a_rule_is_small_and_a_check_allocates_nothing() {
    let (literal, literal_bytes) = build(|number| format!("plant/site-7/device-{number:06}/state"));
    let (pattern, pattern_bytes) = build(|number| format!("plant/site-7/device-{number:06}/#"));
    let (shared, shared_bytes) = build(|_| "plant/${clientid}/#".to_owned());
    println!("bytes a rule: literal {literal_bytes}, pattern {pattern_bytes}, shared {shared_bytes}");
    assert!(literal_bytes < MAX_BYTES && pattern_bytes < MAX_BYTES && shared_bytes < MAX_BYTES);

    let all = (0..1_000).map(|number| rule(format!("plant/site-{number}/+/state"))).collect();
    let long =
        literal.replace([ListSpec { namespace: None, principal: Principal::All, rules: all }]).expect("valid rules");
    let client = Client { client_id: "device-012345", username: Some("user"), ..Client::default() };
    let before = CALLS.load(Ordering::Relaxed);
    let found = [
        is_decided(&literal, &client, "plant/site-7/device-012345/state"),
        is_decided(&pattern, &client, "plant/site-7/device-012345/x/y"),
        is_decided(&shared, &client, "plant/device-012345/x"),
        is_decided(&long, &client, "$delayed/5/plant/site-999/x/state"),
        is_decided(&long, &client, "nothing/like/it"),
    ];
    let calls = CALLS.load(Ordering::Relaxed) - before;
    assert_eq!(found, [true, true, true, true, false]);
    assert_eq!(calls, 0);
}
