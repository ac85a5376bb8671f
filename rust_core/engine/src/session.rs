//! `Session`: what outlives a connection. Windows, queue, subscriptions and, while connected, the link; one lock.
//!
//! Any thread may deliver: it locks, writes or queues, and puts the session on its list to flush. Two session locks
//! are never held at once, and no other lock is taken while one is held, save the retained index for reading.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::{Mutex, MutexGuard, RwLock};
use pybroker_core::codec::{PublishOut, QoS};
use pybroker_core::message::{Message, Origin};
use pybroker_core::mountpoint;
use pybroker_core::session::{Entry, Limits, Next, Offer, Resend, SmallIds, Window};
use pybroker_core::trie::{SubscriberId, SubscriptionKey};

use crate::access::{Facts, Subject};
use crate::counters::Metric;
use crate::link::{ConnId, Link, Outlet, Written};
use crate::namespace::{Namespace, Quota};
use crate::retained::Retained;
use crate::slow::Measure;
use crate::trace::Delivery;

/// A namespace's or listener's topic prefix, shared by all its clients.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Mount {
    /// Prefix as it stands before every topic of the client.
    pub prefix: Box<str>,
}

/// A retained message that waits for its subscriber's window.
pub struct Replay {
    /// The message as it was when the client subscribed.
    pub message: Arc<Message>,
    /// QoS granted.
    pub qos: QoS,
    /// Identifier of the subscription; 0 none.
    pub subscription_id: u32,
}

/// One client's state in the engine.
pub struct Session {
    /// Its number, also as subscriber in the trie.
    pub id: SubscriberId,
    /// Final client id.
    pub client_id: Box<str>,
    /// Prefix of its topics.
    pub mount: Option<Arc<Mount>>,
    /// The tenant that it belongs to.
    pub namespace: Option<Arc<Namespace>>,
    /// Made with the first message, or when a user name is known.
    origin: RwLock<Option<Arc<Origin>>>,
    is_online: AtomicBool,
    claims: AtomicU64,
    subject: ArcSwapOption<Subject>,
    subject_version: AtomicU32,
    state: Mutex<State>,
}

/// The state, locked. When it is let go, the namespace learns what the queue has gained or lost meanwhile.
pub struct StateGuard<'a> {
    state: MutexGuard<'a, State>,
    namespace: Option<&'a Namespace>,
    queued_bytes: u64,
}

impl Deref for StateGuard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for StateGuard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for StateGuard<'_> {
    fn drop(&mut self) {
        let Some(namespace) = self.namespace else { return };
        let (queued_bytes, known) = (self.state.window.queue_bytes(), self.queued_bytes + self.state.reserved_bytes);
        self.state.reserved_bytes = 0;
        if queued_bytes > known {
            namespace.add(Quota::QueuedBytes, queued_bytes - known);
        } else if queued_bytes < known {
            namespace.subtract(Quota::QueuedBytes, known - queued_bytes);
        }
    }
}

/// What the lock guards.
#[derive(Default)]
pub struct State {
    /// Bytes that the namespace counts for this queue already, taken before it was known whether they are needed.
    pub reserved_bytes: u64,
    /// The connection, if there is one.
    pub link: Option<Box<Link>>,
    /// QoS 1 and 2 state and the queue.
    pub window: Window<Arc<Message>>,
    /// Its subscriptions in the trie.
    pub subscriptions: Vec<SubscriptionKey>,
    /// Retained messages still to be sent.
    pub replay: Option<Box<VecDeque<Replay>>>,
    /// The session has ended; nothing may be queued any more.
    pub is_ended: bool,
    /// When unfinished messages were last sent again.
    pub retried_ms: u64,
    /// Messages that its queue or outbox refused.
    pub dropped: u64,
}

impl Session {
    /// An empty session.
    #[must_use]
    pub fn new(
        id: SubscriberId,
        client_id: &str,
        mount: Option<Arc<Mount>>,
        namespace: Option<Arc<Namespace>>,
    ) -> Self {
        Self {
            id,
            client_id: client_id.into(),
            mount,
            namespace,
            origin: RwLock::default(),
            is_online: AtomicBool::new(false),
            claims: AtomicU64::new(0),
            subject: ArcSwapOption::empty(),
            subject_version: AtomicU32::new(0),
            state: Mutex::default(),
        }
    }

    /// Who its messages come from.
    #[must_use]
    pub fn origin(&self) -> Arc<Origin> {
        if let Some(origin) = &*self.origin.read() {
            return Arc::clone(origin);
        }
        let made = || Arc::new(Origin { client_id: self.client_id.clone(), username: None });
        Arc::clone(self.origin.write().get_or_insert_with(made))
    }

    /// Notes the user name that the client has now. Messages that it has published keep the one of their time.
    pub fn set_username(&self, username: Option<&str>) {
        let mut origin = self.origin.write();
        if origin.as_ref().and_then(|known| known.username.as_deref()) != username {
            *origin = Some(Arc::new(Origin { client_id: self.client_id.clone(), username: username.map(Into::into) }));
        }
    }

    /// Locks the state.
    pub fn lock(&self) -> StateGuard<'_> {
        let state = self.state.lock();
        let namespace = self.namespace.as_deref();
        StateGuard { queued_bytes: namespace.map_or(0, |_| state.window.queue_bytes()), namespace, state }
    }

    /// Whether a connection is attached. May be out of date by the time it is used; only choices rest on it.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.is_online.load(Ordering::Relaxed)
    }

    /// Who it is to access control; a session that was never told is a client without any rights of its own.
    #[must_use]
    pub fn subject(&self) -> Arc<Subject> {
        self.subject.load_full().unwrap_or_else(|| {
            let facts = Facts { client_id: self.client_id.clone(), ..Facts::default() };
            Arc::new(Subject { facts: Arc::new(facts), ..Subject::default() })
        })
    }

    /// Tells who it is to access control from now on; verdicts on its publications are forgotten.
    pub fn set_subject(&self, subject: Arc<Subject>) {
        self.subject.store(Some(subject));
        self.forget_verdicts();
    }

    /// Lets the connection forget the verdicts that it keeps.
    pub fn forget_verdicts(&self) {
        self.subject_version.fetch_add(1, Ordering::Release);
    }

    /// Changes with every new subject.
    #[must_use]
    pub fn subject_version(&self) -> u32 {
        self.subject_version.load(Ordering::Acquire)
    }

    /// Registers the decision that a connection gets this session. Decisions are made in one place, but shards carry
    /// them out in any order: only the latest may attach.
    #[must_use]
    pub fn claim(&self) -> u64 {
        self.claims.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether no later connection was given the session.
    #[must_use]
    pub fn is_latest(&self, claim: u64) -> bool {
        self.claims.load(Ordering::Acquire) == claim
    }

    /// Attaches a connection and returns the one that was there.
    pub fn attach(&self, state: &mut State, link: Box<Link>) -> Option<Box<Link>> {
        self.is_online.store(true, Ordering::Relaxed);
        state.link.replace(link)
    }

    /// Detaches `conn`, if it is still the session's connection.
    pub fn detach(&self, state: &mut State, conn: ConnId) -> Option<Box<Link>> {
        if state.link.as_ref().is_some_and(|link| link.conn == conn) {
            self.is_online.store(false, Ordering::Relaxed);
            state.window.release();
            return state.link.take();
        }
        None
    }

    /// A routed topic as this client knows it.
    #[must_use]
    pub fn client_topic<'a>(&self, topic: &'a str) -> &'a str {
        self.mount.as_ref().map_or(topic, |mount| mountpoint::unmount(&mount.prefix, topic))
    }

    /// A routed filter as this client would write it.
    #[must_use]
    pub fn client_filter(&self, filter: &str) -> String {
        let mut own = String::with_capacity(filter.len());
        mountpoint::unmount_filter(self.mount.as_ref().map_or("", |mount| &mount.prefix), filter, &mut own);
        own
    }

    /// Takes room for one more message in the namespace's queues, and returns the limits of this queue where too little is
    /// left. The session's own messages make room for its own: nobody's queue is emptied by a neighbour.
    ///
    /// `reserved_bytes` is that of the state; what is not used goes back when that is let go.
    pub fn tight_limits(
        &self,
        reserved_bytes: &mut u64,
        own_bytes: u64,
        more_bytes: u32,
        limits: &Limits,
    ) -> Option<Limits> {
        let namespace = self.namespace.as_ref()?;
        namespace.most(Quota::QueuedBytes)?;
        let room = namespace.take(Quota::QueuedBytes, u64::from(more_bytes));
        *reserved_bytes += room;
        if room >= u64::from(more_bytes) {
            return None;
        }
        let bound = (own_bytes + room).max(1);
        let max_queue_bytes = if limits.max_queue_bytes == 0 { bound } else { limits.max_queue_bytes.min(bound) };
        Some(Limits { max_queue_bytes, ..*limits })
    }

    /// Tells that the namespace's queues are full if that cost a message.
    pub fn note_exceeded(&self, offered: &Offer<Arc<Message>>) {
        let is_lost = match offered {
            Offer::Send { .. } => false,
            Offer::Queued { evicted } => !evicted.is_empty(),
            Offer::Refused(_) | Offer::Disconnect => true,
        };
        if let Some(namespace) = self.namespace.as_ref().filter(|_| is_lost) {
            namespace.exceed(Quota::QueuedBytes);
        }
    }

    /// Writes what the window and the socket allow: queued messages first, then retained ones.
    ///
    /// Returns whether anything was written.
    pub fn pump(&self, state: &mut State, out: &mut Outlet, retained: &Retained) -> bool {
        out.tally.enter(self.namespace.as_ref());
        let settings = Arc::clone(&out.settings);
        let mut has_written = false;
        while let State { link: Some(link), window, .. } = state {
            if !link.has_room() || !link.may_deliver(out) {
                break;
            }
            match window.next(out.now_ms, link.receive_maximum, &settings.limits) {
                Next::Send { packet_id, entry } => {
                    if self.write_entry(link, out, packet_id, entry, false) == Written::TooLarge {
                        window.abandon(packet_id);
                    } else if settings.slow.is_some() {
                        window.note_sent(packet_id, out.now_ms);
                    }
                }
                Next::SendQos0(entry) => {
                    self.write_entry(link, out, 0, &entry, false);
                }
                Next::Resend(resend) => {
                    if let Some(packet_id) = self.write_resend(link, out, &resend) {
                        window.abandon(packet_id);
                    }
                }
                Next::Expired(_) => {
                    out.tally.count(Metric::DeliveryDropped);
                    out.tally.count(Metric::DeliveryDroppedExpired);
                    continue;
                }
                Next::None => {
                    if !self.replay_one(state, out, retained) {
                        break;
                    }
                }
            }
            has_written = true;
        }
        has_written
    }

    /// Sends again what an earlier connection left unfinished, in its order. [MQTT5-4.4.0-1] [MQTT3-4.4.0-1]
    pub fn resume(&self, state: &mut State, out: &mut Outlet) {
        let State { link: Some(link), window, .. } = state else {
            return;
        };
        let again = window.resume(link.receive_maximum);
        let over: Vec<u16> = again.filter_map(|resend| self.write_resend(link, out, &resend)).collect();
        for packet_id in over {
            window.abandon(packet_id);
        }
    }

    /// Returns the id of a message that is larger than what the client takes by now: it counts as delivered. [MQTT5-3.1.2-25]
    fn write_resend(&self, link: &mut Link, out: &mut Outlet, resend: &Resend<'_, Arc<Message>>) -> Option<u16> {
        match *resend {
            Resend::Publish { packet_id, entry } => {
                (self.write_entry(link, out, packet_id, entry, true) == Written::TooLarge).then_some(packet_id)
            }
            Resend::Release { packet_id } => {
                link.write_pubrel(out, packet_id);
                None
            }
        }
    }

    /// Encodes a queued or retained message; `is_dup` marks one that was sent before.
    fn write_entry(
        &self,
        link: &mut Link,
        out: &mut Outlet,
        packet_id: u16,
        entry: &Entry<Arc<Message>>,
        is_dup: bool,
    ) -> Written {
        let message = &entry.message;
        let mut publish = PublishOut {
            is_dup,
            qos: QoS::try_from(entry.qos).unwrap_or(QoS::AtMostOnce),
            is_retain: entry.is_retain,
            topic: self.client_topic(message.topic()),
            packet_id,
            topic_alias: 0,
            message_expiry_s: message.remaining_s(out.now_ms),
            subscription_ids: entry.subscription_ids.as_slice(),
            forwardable: message.properties(),
            payload: message.payload(),
        };
        let written = link.write_publish(out, &mut publish, Some(message));
        if let Some(rule) = out.settings.slow
            && !entry.is_retain
            && !is_dup
            && (rule.measure == Measure::Internal || (rule.measure == Measure::Whole && entry.qos == 0))
        {
            let timespan_ms = out.now_ms.saturating_sub(message.published_ms);
            out.slow.record(rule, &self.client_id, message.topic(), timespan_ms, out.now_ms);
        }
        if let Some(spec) = &out.traces {
            let (topic, qos, payload) = (message.topic(), publish.qos, message.payload());
            spec.delivered(self, &Delivery { topic, qos, is_retain: entry.is_retain, is_dup, packet_id, payload });
        }
        written
    }

    /// Sends the next retained message if the window has room for it. False: nothing was done.
    fn replay_one(&self, state: &mut State, out: &mut Outlet, retained: &Retained) -> bool {
        let State { link: Some(link), window, replay, .. } = state else {
            return false;
        };
        let Some(waiting) = replay.as_mut() else {
            return false;
        };
        let max_inflight = usize::from(out.settings.limits.max_inflight);
        let room = usize::from(link.receive_maximum).min(if max_inflight == 0 { usize::MAX } else { max_inflight });
        match waiting.front() {
            None => {
                *replay = None;
                return false;
            }
            Some(next) if next.qos > QoS::AtMostOnce && window.inflight_len() >= room => {
                return false;
            }
            Some(_) => {}
        }
        let Some(next) = waiting.pop_front() else {
            return false;
        };
        // A newer message on this topic reached the subscription live: the old one must not come after it.
        if next.message.is_expired(out.now_ms) || !retained.is_current(&next.message) {
            return true;
        }
        let entry = next.into_entry(out);
        if entry.qos == 0 {
            self.write_entry(link, out, 0, &entry, false);
            return true;
        }
        let receive_maximum = link.receive_maximum;
        let settings = Arc::clone(&out.settings);
        if let Offer::Send { packet_id } = window.offer(entry.clone(), true, receive_maximum, &settings.limits)
            && self.write_entry(link, out, packet_id, &entry, false) == Written::TooLarge
        {
            window.abandon(packet_id);
        }
        true
    }
}

impl State {
    /// Levels and counters for the administrator, by name.
    #[must_use]
    pub fn levels(&self) -> Vec<(&'static str, u64)> {
        let mut levels = vec![
            ("subscriptions", self.subscriptions.len() as u64),
            ("inflight", self.window.inflight_len() as u64),
            ("mqueue_len", self.window.queue_len() as u64),
            ("mqueue_bytes", self.window.queue_bytes()),
            ("mqueue_dropped", self.dropped),
            ("awaiting_rel", self.window.inbound_len() as u64),
        ];
        if let Some(link) = &self.link {
            levels.extend([
                ("recv_oct", link.traffic.received_bytes),
                ("recv_cnt", link.traffic.reads),
                ("recv_pkt", link.traffic.received_packets),
                ("recv_msg", link.traffic.received_messages),
                ("send_oct", link.traffic.sent_bytes),
                ("send_pkt", link.traffic.sent_packets),
                ("send_msg", link.traffic.sent_messages),
                ("out_bytes", link.unsent_bytes() as u64),
            ]);
        }
        levels
    }
}

impl Replay {
    fn into_entry(self, out: &Outlet) -> Entry<Arc<Message>> {
        let ids: &[u32] = if self.subscription_id == 0 { &[] } else { &[self.subscription_id] };
        Entry {
            subscription_ids: SmallIds::from(ids),
            expires_at_ms: self.message.expires_at_ms,
            bytes: u32::try_from(self.message.size_bytes()).unwrap_or(u32::MAX),
            origin: 0,
            priority: out.settings.default_priority,
            qos: self.qos.min(self.message.qos) as u8,
            is_retain: true,
            is_shared: false,
            message: self.message,
        }
    }
}
