//! One publication on its way: as it came in, what each receiver is granted, and the frames encoded for it so far.

use std::borrow::Cow;
use std::sync::Arc;

use pybroker_core::codec::{PublishOut, QoS, Version};
use pybroker_core::message::{Message, NEVER, Origin};
use pybroker_core::reason::ReasonCode;
use pybroker_core::session::{Entry, SmallIds};
use pybroker_core::trie::{SharedGroup, SubscriberId, SubscriptionOptions};

use crate::namespace::Namespace;
use crate::session::{Mount, Session};
use crate::settings::Settings;

/// Who publishes; what is told of it is put together only where a message is kept.
#[derive(Clone, Copy)]
pub enum Sender<'a> {
    /// The broker itself.
    Broker,
    /// A session that is there.
    Session(&'a Session),
    /// One that may have ended.
    Known(&'a Arc<Origin>),
}

impl Sender<'_> {
    /// What a message keeps of it.
    #[must_use]
    pub fn origin(self) -> Option<Arc<Origin>> {
        match self {
            Self::Broker => None,
            Self::Session(session) => Some(session.origin()),
            Self::Known(origin) => Some(Arc::clone(origin)),
        }
    }
}

/// A publication as it came in.
pub struct Inbound<'a> {
    /// Topic as the publisher writes it; valid.
    pub topic: &'a str,
    /// The publisher's mountpoint.
    pub mount: Option<&'a Arc<Mount>>,
    /// The publisher's namespace.
    pub namespace: Option<&'a Arc<Namespace>>,
    /// Published QoS.
    pub qos: QoS,
    /// Published retain flag.
    pub is_retain: bool,
    /// Encoded properties to forward.
    pub properties: Cow<'a, [u8]>,
    /// Application payload.
    pub payload: &'a [u8],
    /// Message expiry interval as published.
    pub expiry_s: Option<u32>,
    /// The publishing session.
    pub publisher: Option<SubscriberId>,
    /// Who that is.
    pub sender: Sender<'a>,
    /// Client id of the publisher, for the choice inside shared groups.
    pub client_id: &'a str,
    /// Whether the publisher must not get it back whatever its subscriptions say.
    pub is_loop_ignored: bool,
    /// The QoS 0 frame as received, when it may be sent on as it is to subscribers of the same form.
    pub frame: Option<(Version, &'a [u8])>,
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatched {
    /// At least one session took it.
    Delivered,
    /// Nobody is subscribed.
    NoSubscribers,
    /// The topic is not valid (levels, wildcards).
    InvalidTopic,
    /// A limit refused it whole: nobody got it.
    Quota,
}

impl Dispatched {
    /// What a 5.0 publisher is told.
    #[must_use]
    pub fn reason(self) -> ReasonCode {
        match self {
            Self::Delivered => ReasonCode::Success,
            Self::NoSubscribers => ReasonCode::NoMatchingSubscribers,
            Self::InvalidTopic => ReasonCode::TopicNameInvalid,
            Self::Quota => ReasonCode::QuotaExceeded,
        }
    }
}

/// Forms of the frame that were encoded already for the publication at hand.
#[derive(Default)]
pub struct Frames {
    /// The encodings, one behind the other.
    pub bytes: Vec<u8>,
    /// Which form stands where.
    pub forms: Vec<(Form, Frame)>,
}

/// What distinguishes two encodings of one publication.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Whether it is in the form of 5.0.
    pub is_v5: bool,
    /// Delivered QoS.
    pub qos: QoS,
    /// Delivered retain flag.
    pub is_retain: bool,
    /// Names the subscription identifiers, as [`Grant::ids_key`] does.
    pub ids: (usize, usize),
    /// Mountpoint to strip: 0 leaves the publisher's view, else the address of the receiver's mount, 1 for none.
    pub view: usize,
}

/// Place of one encoding in `Frames::bytes`.
#[derive(Clone, Copy)]
pub struct Frame {
    /// First byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
    /// Where the packet id stands, counted from `start`; 0 at QoS 0.
    pub packet_id_at: usize,
    /// Whether the payload is left out, to be queued by reference.
    pub is_head: bool,
}

impl Frames {
    /// Forgets the encodings of the last publication.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.forms.clear();
        if self.bytes.capacity() > 1 << 20 {
            self.bytes = Vec::new();
        }
    }

    /// The encoding of a form, if there is one. Few forms exist at a time: a scan is fastest.
    #[must_use]
    pub fn get(&self, form: Form) -> Option<Frame> {
        self.forms.iter().find(|(known, _)| *known == form).map(|(_, frame)| *frame)
    }
}

/// What one receiver gets.
pub struct Grant<'a> {
    /// QoS granted by its subscriptions.
    pub qos: u8,
    /// Retain flag towards it.
    pub is_retain: bool,
    /// Subscription identifiers.
    pub ids: &'a [u32],
    /// Whether it gets it as a member of a group.
    pub is_shared: bool,
    /// Tag of that group.
    pub origin: u32,
}

impl<'a> Grant<'a> {
    /// What a member of a shared group gets.
    #[must_use]
    pub fn of_member(options: &'a SubscriptionOptions, is_retain: bool, group: &SharedGroup) -> Self {
        let id = &options.subscription_id;
        Self {
            qos: options.qos,
            is_retain: is_retain && options.retain_as_published,
            ids: if *id == 0 { &[] } else { std::slice::from_ref(id) },
            is_shared: true,
            origin: group_tag(group),
        }
    }

    /// Names the identifiers within one publication: those of a target by address and number, for targets of one cache
    /// entry share nothing else. A member's only one stands where the next member's will stand, so that names itself.
    #[must_use]
    pub fn ids_key(&self) -> (usize, usize) {
        match self.ids {
            [] => (0, 0),
            [id] if self.is_shared => (*id as usize, usize::MAX),
            ids => (ids.as_ptr() as usize, ids.len()),
        }
    }
}

impl Inbound<'_> {
    /// Whether it comes from this session. The number of a publisher that has ended may be another's by now.
    #[must_use]
    pub fn is_from(&self, session: &Session) -> bool {
        self.publisher == Some(session.id) && (self.client_id.is_empty() || *self.client_id == *session.client_id)
    }

    /// The publication as a routed message of its own.
    #[must_use]
    pub fn to_message(&self, deadline: u64, now_ms: u64) -> Arc<Message> {
        let mut message = match self.mount {
            None => Message::new(self.topic, &self.properties, self.payload, self.qos, self.is_retain),
            Some(mount) => {
                let routed = [&*mount.prefix, self.topic].concat();
                Message::new(&routed, &self.properties, self.payload, self.qos, self.is_retain)
            }
        };
        message.expires_at_ms = deadline;
        message.publisher = self.publisher.map_or(u32::MAX, |id| id.0);
        message.origin = self.sender.origin();
        message.published_ms = now_ms;
        Arc::new(message)
    }
}

/// One pass over the receivers of a publication.
pub struct Run<'a> {
    /// The publication.
    pub inbound: &'a Inbound<'a>,
    /// Settings of this turn.
    pub settings: &'a Settings,
    /// Monotonic deadline; [`NEVER`] without expiry.
    pub deadline: u64,
    /// Monotonic time of this turn.
    pub now_ms: u64,
    /// Receivers that took it.
    pub delivered: u32,
    /// Receivers whose queue policy refuses the publisher.
    pub rejected: u32,
    /// Receivers that are there, whether they took it or not.
    pub present: u32,
    message: Option<Arc<Message>>,
}

impl<'a> Run<'a> {
    /// A pass that has reached nobody yet.
    #[must_use]
    pub fn new(
        inbound: &'a Inbound<'a>,
        message: Option<Arc<Message>>,
        deadline: u64,
        now_ms: u64,
        settings: &'a Settings,
    ) -> Self {
        Self { inbound, settings, deadline, now_ms, delivered: 0, rejected: 0, present: 0, message }
    }

    /// The publication as a shared message; made when the first receiver needs it.
    pub fn message(&mut self) -> &Arc<Message> {
        self.message.get_or_insert_with(|| self.inbound.to_message(self.deadline, self.now_ms))
    }

    /// What a receiver's window holds.
    pub fn entry(&mut self, grant: &Grant<'_>, qos: QoS, priority: i16) -> Entry<Arc<Message>> {
        let message = Arc::clone(self.message());
        Entry {
            subscription_ids: SmallIds::from(grant.ids),
            expires_at_ms: message.expires_at_ms,
            bytes: u32::try_from(message.size_bytes()).unwrap_or(u32::MAX),
            origin: grant.origin,
            priority,
            qos: qos as u8,
            is_retain: grant.is_retain,
            is_shared: grant.is_shared,
            message,
        }
    }

    /// The PUBLISH for a receiver who sees `topic`.
    #[must_use]
    pub fn publish<'b>(
        &'b self,
        topic: &'b str,
        grant: &Grant<'b>,
        qos: QoS,
        packet_id: u16,
        now_ms: u64,
    ) -> PublishOut<'b> {
        let left_s = self.deadline.saturating_sub(now_ms).div_ceil(1000);
        PublishOut {
            is_dup: false,
            qos,
            is_retain: grant.is_retain,
            topic,
            packet_id,
            topic_alias: 0,
            message_expiry_s: (self.deadline != NEVER).then(|| u32::try_from(left_s).unwrap_or(u32::MAX)),
            subscription_ids: grant.ids,
            forwardable: &self.inbound.properties,
            payload: self.inbound.payload,
        }
    }

    /// What the publisher is told.
    #[must_use]
    pub fn outcome(&self) -> Dispatched {
        if self.delivered == 0 && self.rejected > 0 {
            Dispatched::Quota
        } else if self.present == 0 {
            Dispatched::NoSubscribers
        } else {
            Dispatched::Delivered
        }
    }
}

/// Where the packet id of an encoded PUBLISH stands: behind the topic; 0 when the frame is too short for one.
#[must_use]
pub fn packet_id_at(frame: &[u8]) -> usize {
    let header = 1 + frame.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0).map_or(4, |at| at + 1);
    match frame.get(header..header + 2) {
        Some(&[high, low]) => header + 2 + usize::from(u16::from_be_bytes([high, low])),
        _ => 0,
    }
}

/// Names a group in a queued entry, so that a vanished member's messages find their group again.
#[must_use]
pub fn group_tag(group: &SharedGroup) -> u32 {
    let hash = stable_hash(group.name()) ^ stable_hash(group.filter()).rotate_left(1);
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0)
}

/// FNV-1a, 64 bits: the same in every process, so that hash strategies choose the same member after a restart.
#[must_use]
pub fn stable_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
