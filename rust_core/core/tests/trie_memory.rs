//! Memory per subscription and per retained topic, counted by the allocator. Alone in its binary: the count is global.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use pybroker_core::retained::RetainedIndex;
use pybroker_core::trie::{SubscriberId, SubscriptionKey, SubscriptionOptions, Trie};

/// The target of the design for one subscription per client, the session's own key included.
const MAX_BYTES: usize = 250;

const CLIENTS: u32 = 100_000;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// What malloc hands out for a request on 64-bit systems: steps of 16 bytes with 8 bytes of its own, at least 32.
const fn with_overhead(bytes: usize) -> usize {
    let used = (bytes + 8).next_multiple_of(16);
    if used < 32 { 32 } else { used }
}

// SAFETY: every call goes to the system allocator with the arguments it came with; the counter has no other effect.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
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

fn bytes_per_item<T>(build: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.load(Ordering::Relaxed);
    let item = build();
    (item, (LIVE.load(Ordering::Relaxed) - before) / CLIENTS as usize)
}

/// The filter that a client subscribes to.
type FilterOf = fn(u32) -> String;

fn subscribe_all(text: FilterOf, group: Option<&str>) -> Trie {
    let mut trie = Trie::new();
    for client in 0..CLIENTS {
        trie.subscribe(&text(client), group, SubscriberId(client), SubscriptionOptions::default());
    }
    trie
}

/// One test, because tests of one binary run side by side and would count each other.
#[test]
fn a_subscription_and_a_retained_topic_stay_in_their_budget() {
    let shapes: [(&str, FilterOf, usize); 5] = [
        ("device/12345/cmd/+", |client| format!("device/{client}/cmd/+"), MAX_BYTES),
        ("device/<uuid>/cmd/+", |client| format!("device/{client:08x}-0000-4000-8000-000000000000/cmd/+"), MAX_BYTES),
        ("one/filter/for/two", |client| format!("one/{}/for/two", client / 2), MAX_BYTES),
        ("to/12345", |client| format!("to/{client}"), 100),
        ("all/of/them", |_| "all/of/them".to_owned(), 50),
    ];
    for (name, text, limit) in shapes {
        let (trie, bytes) = bytes_per_item(|| subscribe_all(text, None));
        let bytes = bytes + size_of::<SubscriptionKey>();
        println!("{name}: {bytes} bytes per subscription");
        assert!(bytes <= limit, "{name}: {bytes} bytes per subscription, at most {limit}");
        assert_eq!(trie.subscription_count(), CLIENTS as usize);
    }

    let (_group, bytes) = bytes_per_item(|| subscribe_all(|_| "work/#".to_owned(), Some("g")));
    println!("$share/g/jobs/#: {bytes} bytes per member");
    assert!(bytes <= 50, "{bytes} bytes per member");

    let (index, bytes) = bytes_per_item(|| {
        let mut index = RetainedIndex::new();
        for client in 0..CLIENTS {
            index.insert(&format!("device/{client}/state/battery"), u64::from(client));
        }
        index
    });
    println!("device/12345/state/battery: {bytes} bytes per retained topic without its message");
    assert!(bytes <= MAX_BYTES, "{bytes} bytes per retained topic");
    assert_eq!(index.len(), CLIENTS as usize);
}
