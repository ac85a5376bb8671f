//! `Message`: what is routed, queued and retained. One allocation holds topic, properties and payload.
//!
//! Cheap to share behind `Arc`. It knows nothing of packet ids, QoS windows or encodings.

use std::sync::Arc;

use crate::codec::QoS;

/// Value of `expires_at_ms` for a message without expiry.
pub const NEVER: u64 = u64::MAX;

/// Who published a message, as operators are shown it; shared by all messages of one client, and outlives it.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    /// Client id as the broker uses it.
    pub client_id: Box<str>,
    /// User name; `None` for an anonymous client.
    pub username: Option<Box<str>>,
}

/// An application message as the broker holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic, forwarded properties, payload.
    data: Box<[u8]>,
    topic_bytes: u16,
    properties_bytes: u32,
    /// QoS that it was published with.
    pub qos: QoS,
    /// Retain flag that it was published with.
    pub is_retain: bool,
    /// Monotonic time after which it is not delivered any more; [`NEVER`] without expiry. [MQTT5-3.3.2-5]
    pub expires_at_ms: u64,
    /// Number of the publishing session, for No Local; `u32::MAX` for the broker itself.
    pub publisher: u32,
    /// Who published it; `None` for the broker itself.
    pub origin: Option<Arc<Origin>>,
    /// Monotonic time at which it came in.
    pub published_ms: u64,
}

impl Message {
    /// Copies the parts of a publication.
    ///
    /// `topic` is the routed topic (mounted), at most 65,535 bytes; a longer one is cut, callers validate before.
    /// `properties` are the encoded properties that a server forwards unchanged. [MQTT5-3.3.2-4]
    #[must_use]
    pub fn new(topic: &str, properties: &[u8], payload: &[u8], qos: QoS, is_retain: bool) -> Self {
        let topic = topic.as_bytes();
        let topic_bytes = u16::try_from(topic.len()).unwrap_or(u16::MAX);
        let topic = topic.get(..usize::from(topic_bytes)).unwrap_or(topic);
        let mut data = Vec::with_capacity(topic.len() + properties.len() + payload.len());
        data.extend_from_slice(topic);
        data.extend_from_slice(properties);
        data.extend_from_slice(payload);
        Self {
            data: data.into_boxed_slice(),
            topic_bytes,
            properties_bytes: u32::try_from(properties.len()).unwrap_or(u32::MAX),
            qos,
            is_retain,
            expires_at_ms: NEVER,
            publisher: u32::MAX,
            origin: None,
            published_ms: 0,
        }
    }

    fn payload_at(&self) -> usize {
        usize::from(self.topic_bytes) + self.properties_bytes as usize
    }

    /// Topic as routed. Empty if it is not UTF-8, which `new` never makes.
    #[must_use]
    pub fn topic(&self) -> &str {
        let bytes = self.data.get(..usize::from(self.topic_bytes)).unwrap_or_default();
        str::from_utf8(bytes).unwrap_or_default()
    }

    /// Forwarded properties, encoded, without their length.
    #[must_use]
    pub fn properties(&self) -> &[u8] {
        self.data.get(usize::from(self.topic_bytes)..self.payload_at()).unwrap_or_default()
    }

    /// Application payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.data.get(self.payload_at()..).unwrap_or_default()
    }

    /// Bytes of topic, properties and payload together: what queues count.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.data.len()
    }

    /// Whether the message may no longer be delivered at `now_ms`.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms <= now_ms
    }

    /// Seconds left at `now_ms`, rounded up, for the message expiry interval; `None` without expiry. [MQTT5-3.3.2-6]
    #[must_use]
    pub fn remaining_s(&self, now_ms: u64) -> Option<u32> {
        if self.expires_at_ms == NEVER {
            return None;
        }
        let left = self.expires_at_ms.saturating_sub(now_ms).div_ceil(1000);
        Some(u32::try_from(left).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_as_they_went_in() {
        let message = Message::new("a/b", &[1, 1], b"payload", QoS::AtLeastOnce, true);
        assert_eq!((message.topic(), message.properties(), message.payload()), ("a/b", &[1u8, 1][..], &b"payload"[..]));
        assert_eq!(message.size_bytes(), 12);
        assert_eq!(message.remaining_s(5), None);
        assert!(!message.is_expired(u64::MAX - 1));
    }

    #[test]
    fn the_expiry_interval_counts_down_and_ends() {
        let mut message = Message::new("t", &[], &[], QoS::AtMostOnce, false);
        message.expires_at_ms = 10_000;
        assert_eq!(message.remaining_s(1_000), Some(9));
        assert_eq!(message.remaining_s(9_001), Some(1));
        assert!(message.is_expired(10_000));
    }
}
