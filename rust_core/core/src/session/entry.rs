//! One message on its way to one client, and the limits that its session is held to.
//!
//! An entry owns a handle of the message and what differs from subscriber to subscriber; it must stay small, for a
//! queue holds many.

/// What happens to a message that finds the queue full.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest waiting messages of the lowest priority make room, unless all that waits has a higher priority.
    #[default]
    DropOldest,
    /// The new message is dropped.
    DropNewest,
    /// The new message is refused and its publisher is told so (0x97).
    Reject,
    /// The new message is dropped and the connection is ended (5.0: 0x97); without a connection as `DropNewest`.
    Disconnect,
}

/// Bounds of a window. Shared by many sessions, hence given to each call and never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most exchanges open at once towards the client; 0 leaves the bound to the client's receive maximum.
    pub max_inflight: u16,
    /// Most messages waiting; 0 for no limit.
    pub max_queue_len: u32,
    /// Most bytes waiting, as counted by `Entry::bytes`; 0 for no limit.
    pub max_queue_bytes: u64,
    /// What happens to a message beyond the two.
    pub overflow: Overflow,
    /// Whether QoS 0 messages wait too.
    pub stores_qos0: bool,
}

impl Limits {
    /// Returns how many exchanges may be open towards a client that allows `receive_maximum`.
    pub(super) fn bound(&self, receive_maximum: u16) -> u16 {
        match self.max_inflight {
            0 => receive_maximum,
            own => own.min(receive_maximum),
        }
    }
}

/// One message for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<M> {
    /// Handle of the message; cheap to move, shared by all its receivers.
    pub message: M,
    /// Subscription identifiers that go out with it.
    pub subscription_ids: SmallIds,
    /// Monotonic time from which it is no longer sent for the first time; `u64::MAX` for never.
    pub expires_at_ms: u64,
    /// What it adds to the bytes of the queue.
    pub bytes: u32,
    /// Tag of the engine's own; not looked at here.
    pub origin: u32,
    /// Higher goes first; the order of arrival holds within one priority.
    pub priority: i16,
    /// Effective QoS, 0 to 2: the lower of published and granted.
    pub qos: u8,
    /// Retain flag as it goes to this client.
    pub is_retain: bool,
    /// Whether it came by a shared subscription, so that another member may get it instead.
    pub is_shared: bool,
}

impl<M> Entry<M> {
    /// Returns whether it may no longer be sent for the first time. [MQTT5-3.3.2-5]
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms <= now_ms && self.expires_at_ms != u64::MAX
    }
}

/// Subscription identifiers of one delivery: usually none, seldom more than one. No heap below two.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SmallIds {
    ids: Ids,
}

/// Two variants, for a box has room to mark one other in the same 16 bytes; an empty box owns no heap.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ids {
    One(u32),
    NoneOrMany(Box<[u32]>),
}

impl Default for Ids {
    fn default() -> Self {
        Self::NoneOrMany(Box::default())
    }
}

impl SmallIds {
    /// Returns the identifiers in the order they were given.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        match &self.ids {
            Ids::One(id) => std::slice::from_ref(id),
            Ids::NoneOrMany(ids) => ids,
        }
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl From<&[u32]> for SmallIds {
    fn from(ids: &[u32]) -> Self {
        let ids = match ids {
            [id] => Ids::One(*id),
            none_or_many => Ids::NoneOrMany(none_or_many.into()),
        };
        Self { ids }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;

    /// An entry of one byte that never expires.
    pub(in super::super) fn entry(message: &'static str, qos: u8) -> Entry<&'static str> {
        Entry {
            message,
            subscription_ids: SmallIds::default(),
            expires_at_ms: u64::MAX,
            bytes: 1,
            origin: 0,
            priority: 0,
            qos,
            is_retain: false,
            is_shared: false,
        }
    }

    #[test]
    fn identifiers_come_back_in_order() {
        for ids in [&[][..], &[7], &[7, 0, 3]] {
            assert_eq!(SmallIds::from(ids).as_slice(), ids);
            assert_eq!(SmallIds::from(ids).is_empty(), ids.is_empty());
        }
    }

    #[test]
    fn an_entry_takes_48_bytes() {
        assert_eq!(size_of::<SmallIds>(), 16);
        assert_eq!(size_of::<Entry<Arc<()>>>(), 48);
    }

    #[test]
    fn an_entry_expires_at_its_time_and_never_without_one() {
        let mut entry = entry("a", 1);
        assert!(!entry.is_expired(u64::MAX));
        entry.expires_at_ms = 10;
        assert!(!entry.is_expired(9));
        assert!(entry.is_expired(10));
    }

    #[test]
    fn the_lower_bound_holds_and_zero_is_none() {
        let mut limits = Limits {
            max_inflight: 32,
            max_queue_len: 0,
            max_queue_bytes: 0,
            overflow: Overflow::default(),
            stores_qos0: true,
        };
        assert_eq!(limits.bound(10), 10);
        assert_eq!(limits.bound(100), 32);
        limits.max_inflight = 0;
        assert_eq!(limits.bound(65_535), 65_535);
    }
}
