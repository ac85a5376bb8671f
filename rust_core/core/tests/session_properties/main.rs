//! The windows of a session under random histories (`history`) and its queue against a naive one (`queue`).

mod history;
mod queue;

use proptest::prelude::*;
use pybroker_core::session::{Entry, Limits, Overflow, SmallIds};

/// An entry of one byte that never expires; the number tells messages apart.
fn entry(message: u32, qos: u8, priority: i16) -> Entry<u32> {
    Entry {
        message,
        subscription_ids: SmallIds::default(),
        expires_at_ms: u64::MAX,
        bytes: 1,
        origin: 0,
        priority,
        qos,
        is_retain: false,
        is_shared: false,
    }
}

/// Small limits of every kind, so that short histories reach them.
fn limits() -> impl Strategy<Value = Limits> {
    let overflow = prop_oneof![
        Just(Overflow::DropOldest),
        Just(Overflow::DropNewest),
        Just(Overflow::Reject),
        Just(Overflow::Disconnect),
    ];
    let max_queue_len = prop_oneof![Just(0), 1_u32..9];
    (0_u16..5, max_queue_len, overflow, any::<bool>()).prop_map(
        |(max_inflight, max_queue_len, overflow, stores_qos0)| Limits {
            max_inflight,
            max_queue_len,
            max_queue_bytes: 0,
            overflow,
            stores_qos0,
        },
    )
}
