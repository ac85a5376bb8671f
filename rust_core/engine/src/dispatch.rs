//! One publication to all its receivers, on whichever thread it came in.
//!
//! `Dispatcher` is the working set of a thread: its match cache, its list of sessions to flush, scratch buffers. It
//! takes no lock but each receiver's own, one at a time, and encodes once per distinct form of the frame.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::sync::Arc;

use pybroker_core::codec::{self, QoS, Version};
use pybroker_core::message::{Message, NEVER};
use pybroker_core::mountpoint;
use pybroker_core::route::{self, Audience, Plan};
use pybroker_core::session::{Entry, Offer, Overflow};
use pybroker_core::topic;
use pybroker_core::trie::{self, Matches, PickRequest, SharedGroup, SubscriberId, SubscriptionOptions};

use crate::access::AccessChain;
use crate::cache::{self, MatchCache, Target, Targets, is_same_mount};
use crate::counters::{Metric, Tally};
use crate::hub::Hub;
use crate::link::{Link, Outlet, Written};
use crate::outbox::{BufferPool, FLUSH_MARK, Flushed, SHARE_MARK};
use crate::publication::{self, Dispatched, Form, Frame, Frames, Grant, Inbound, Run, Sender, stable_hash};
use crate::retained::Stored;
use crate::series::Copies;
use crate::session::{Session, State};
use crate::settings::Settings;

/// Working set of one thread.
pub struct Dispatcher {
    /// What it takes to write to links.
    pub outlet: Outlet,
    /// Access control of this turn.
    pub access: Arc<AccessChain>,
    /// Publications that an open chain let pass in this turn.
    pub passed: u64,
    cache: MatchCache,
    dirty: Vec<Arc<Session>>,
    /// Scratch for the receivers of a series.
    pub(crate) copies: Copies,
    /// What became of each publication of a series; empty if the same became of all.
    pub(crate) outcomes: Vec<Dispatched>,
    pub(crate) frames: Frames,
    matches: Matches,
    plan: Plan,
    routed: String,
    random: foldhash::fast::RandomState,
    draws: u64,
    settings_version: u64,
    traces_version: u64,
}

impl Dispatcher {
    /// An empty working set.
    #[must_use]
    pub fn new(hub: &Hub, now_ms: u64) -> Self {
        Self {
            outlet: Outlet {
                pool: BufferPool::default(),
                tally: Tally::default(),
                now_ms,
                settings: own_copy(hub),
                throttled: Vec::new(),
                slow: Arc::clone(&hub.slow),
                traces: hub.traces(),
            },
            traces_version: hub.traces_version(),
            access: own_access(hub),
            passed: 0,
            cache: MatchCache::default(),
            dirty: Vec::new(),
            copies: Copies::default(),
            outcomes: Vec::new(),
            frames: Frames::default(),
            matches: Matches::default(),
            plan: Plan::default(),
            routed: String::new(),
            random: foldhash::fast::RandomState::default(),
            draws: 0,
            settings_version: hub.settings_version(),
        }
    }

    /// Routes one publication: retained store first, then every receiver. [MQTT5-3.3.4]
    pub fn dispatch(&mut self, hub: &Hub, inbound: &Inbound<'_>) -> Dispatched {
        self.outlet.tally.enter(inbound.namespace);
        let Some(targets) = self.targets(hub, inbound) else {
            self.outlet.tally.count(Metric::PublishError);
            return Dispatched::InvalidTopic;
        };
        self.outlet.tally.count(Metric::MessagesPublish);
        let mut message = None;
        if inbound.is_retain && !self.retain(hub, inbound, &mut message) {
            return Dispatched::Quota;
        }
        if inbound.is_retain && inbound.payload.is_empty() && self.outlet.settings.is_retained_clear_stopped {
            return Dispatched::Delivered;
        }
        if targets.is_empty() {
            self.outlet.tally.count(Metric::MessagesDropped);
            self.outlet.tally.count(Metric::MessagesDroppedNoSubscribers);
            return Dispatched::NoSubscribers;
        }
        self.frames.clear();
        let settings = Arc::clone(&self.outlet.settings);
        let mut run = Run::new(inbound, message, self.deadline(inbound.expiry_s), self.outlet.now_ms, &settings);
        for target in &targets.direct {
            self.deliver_direct(hub, &mut run, target);
        }
        for group in &targets.groups {
            self.deliver_shared(hub, &mut run, group);
        }
        self.outlet.tally.enter(inbound.namespace);
        run.outcome()
    }

    /// Monotonic deadline of a publication: its own interval, bounded by the broker's.
    pub(crate) fn deadline(&self, expiry_s: Option<u32>) -> u64 {
        let cap_ms = self.outlet.settings.message_expiry_ms;
        let own = expiry_s.map_or(NEVER, |s| self.outlet.now_ms.saturating_add(u64::from(s) * 1000));
        if cap_ms == 0 { own } else { own.min(self.outlet.now_ms.saturating_add(cap_ms)) }
    }

    /// Who gets messages of this topic; `None` when it is not a valid topic name.
    pub(crate) fn targets(&mut self, hub: &Hub, inbound: &Inbound<'_>) -> Option<Arc<Targets>> {
        if let Some(targets) = self.cache.get(inbound.mount, inbound.topic, &hub.generations) {
            return Some(targets);
        }
        topic::validate_topic(inbound.topic, self.outlet.settings.max_topic_levels).ok()?;
        self.routed.clear();
        mountpoint::mount(inbound.mount.map_or("", |mount| &mount.prefix), inbound.topic, &mut self.routed);
        if self.routed.len() > topic::MAX_TOPIC_BYTES {
            // No packet can carry the whole name to a receiver outside of the namespace.
            return None;
        }
        let bucket = trie::generation_bucket(topic::first_level(&self.routed)).unwrap_or(0);
        let trie = hub.trie.read();
        let generation = hub.generations.of(bucket);
        let is_hidden = |id: SubscriberId| {
            hub.session(id)
                .and_then(|session| session.mount.clone())
                .is_some_and(|mount| mountpoint::hidden_from(&mount.prefix, &self.routed))
        };
        route::plan(&trie, &self.routed, &mut self.matches, is_hidden, &mut self.plan);
        // Still under the lock: the number of a session that ends becomes another's only after it has left the trie.
        let targets = Arc::new(cache::resolve(hub, &mut self.plan));
        drop(trie);
        self.cache.insert(inbound.mount, inbound.topic, bucket, generation, Arc::clone(&targets));
        Some(targets)
    }

    /// Stores or clears the retained message. False: a limit refuses the publication.
    fn retain(&mut self, hub: &Hub, inbound: &Inbound<'_>, message: &mut Option<Arc<Message>>) -> bool {
        if !self.outlet.settings.is_retainer_enabled {
            return true;
        }
        let deadline = self.deadline(inbound.expiry_s);
        let now_ms = self.outlet.now_ms;
        let message = message.get_or_insert_with(|| inbound.to_message(deadline, now_ms));
        if hub.retained.store(message, inbound.namespace, self.outlet.now_ms, &self.outlet.settings) == Stored::Refused
        {
            self.outlet.tally.count(Metric::MessagesRetainedDropped);
            self.outlet.tally.count(Metric::MessagesDropped);
            return false;
        }
        true
    }

    pub(crate) fn deliver_direct(&mut self, hub: &Hub, run: &mut Run<'_>, target: &Target) {
        let is_own = run.inbound.is_from(&target.session);
        let is_wanted = match target.audience {
            Audience::Everyone => !(is_own && run.inbound.is_loop_ignored),
            Audience::Others => !is_own,
            Audience::Own => is_own && !run.inbound.is_loop_ignored,
        };
        if !is_wanted {
            if is_own && target.audience != Audience::Own {
                self.outlet.tally.count(Metric::DeliveryDropped);
                self.outlet.tally.count(Metric::DeliveryDroppedNoLocal);
                run.present += 1;
            }
            return;
        }
        let grant = Grant {
            qos: target.qos,
            is_retain: run.inbound.is_retain && target.is_retain_as_published,
            ids: &target.subscription_ids,
            is_shared: false,
            origin: 0,
        };
        let mut state = target.session.lock();
        self.deliver(hub, run, &target.session, &mut state, &grant);
    }

    /// Gives the message to one member of a group; one whose queue refuses it is passed over for the next.
    pub(crate) fn deliver_shared(&mut self, hub: &Hub, run: &mut Run<'_>, group: &SharedGroup) {
        let mut skip: Vec<SubscriberId> = Vec::new();
        while let Some((session, options)) = self.pick(hub, run.inbound, group, &skip) {
            if options.hides_dollar && is_hidden(run.inbound, &session) {
                skip.push(session.id);
                continue;
            }
            run.present += 1;
            let grant = Grant::of_member(&options, run.inbound.is_retain, group);
            let before = run.delivered;
            {
                let mut state = session.lock();
                self.deliver(hub, run, &session, &mut state, &grant);
            }
            if run.delivered > before {
                return;
            }
            skip.push(session.id);
        }
    }

    fn pick(
        &mut self,
        hub: &Hub,
        inbound: &Inbound<'_>,
        group: &SharedGroup,
        skip: &[SubscriberId],
    ) -> Option<(Arc<Session>, SubscriptionOptions)> {
        self.draws = self.draws.wrapping_add(1);
        let request = PickRequest {
            publisher: inbound.publisher.map_or(u64::MAX, |id| u64::from(id.0)),
            client_id_hash: stable_hash(inbound.client_id),
            topic_hash: stable_hash(inbound.topic),
            random: self.random.hash_one(self.draws),
        };
        let is_online = |id: SubscriberId| hub.session(id).is_some_and(|session| session.is_online());
        loop {
            let (id, _) = group.pick(self.outlet.settings.shared_strategy, &request, &is_online, skip)?;
            // Who has ended meanwhile has left the group before its number became another's: then another is chosen.
            let session = hub.session(id);
            if let Some(options) = group.get(id) {
                return Some((session?, options));
            }
        }
    }

    /// Gives a message of an ended session to another member of its group. False: there is none.
    pub fn redeliver(
        &mut self,
        hub: &Hub,
        entry: &Entry<Arc<Message>>,
        group: &SharedGroup,
        skip: SubscriberId,
    ) -> bool {
        let message = &entry.message;
        let inbound = Inbound {
            topic: message.topic(),
            mount: None,
            namespace: None,
            qos: message.qos,
            is_retain: entry.is_retain,
            properties: Cow::Borrowed(message.properties()),
            payload: message.payload(),
            expiry_s: None,
            publisher: Some(SubscriberId(message.publisher)),
            sender: Sender::Broker,
            client_id: "",
            is_loop_ignored: false,
            frame: None,
        };
        let Some((session, options)) = self.pick(hub, &inbound, group, &[skip]) else {
            return false;
        };
        let grant = Grant::of_member(&options, entry.is_retain, group);
        self.frames.clear();
        let deadline = message.expires_at_ms;
        let settings = Arc::clone(&self.outlet.settings);
        let mut run = Run::new(&inbound, Some(Arc::clone(message)), deadline, self.outlet.now_ms, &settings);
        let mut state = session.lock();
        self.deliver(hub, &mut run, &session, &mut state, &grant);
        run.delivered > 0
    }

    fn deliver(&mut self, hub: &Hub, run: &mut Run<'_>, session: &Arc<Session>, state: &mut State, grant: &Grant<'_>) {
        if state.is_ended {
            return;
        }
        self.outlet.tally.enter(session.namespace.as_ref());
        run.present += 1;
        let settings = run.settings;
        let granted = QoS::try_from(grant.qos).unwrap_or(QoS::AtMostOnce);
        let qos = if settings.upgrades_qos { granted.max(run.inbound.qos) } else { granted.min(run.inbound.qos) };
        let State { link, window, reserved_bytes, .. } = &mut *state;
        match (qos, link.as_deref_mut()) {
            // What is stored from the time before the connection goes first.
            (QoS::AtMostOnce, Some(link)) if !window.has_qos0_waiting() => {
                if link.has_room() && link.may_deliver(&mut self.outlet) {
                    self.write(run, session, link, grant, qos, 0);
                    if self.outlet.traces.is_some() {
                        self.trace(run, session, grant, qos, 0);
                    }
                    run.delivered += 1;
                } else {
                    self.outlet.tally.count(Metric::DeliveryDropped);
                    self.outlet.tally.count(Metric::DeliveryDroppedQos0);
                    state.dropped += 1;
                }
            }
            (_, mut link) => {
                let out = &mut self.outlet;
                let has_room = link.as_deref_mut().is_some_and(|link| link.has_room() && link.may_deliver(out));
                let receive_maximum = link.as_ref().map_or(0, |link| link.receive_maximum);
                let entry = run.entry(grant, qos, settings.priority_of(run.inbound.topic));
                let tight = session.tight_limits(reserved_bytes, window.queue_bytes(), entry.bytes, &settings.limits);
                let mut limits = tight.unwrap_or(settings.limits);
                if qos == QoS::AtMostOnce && link.is_some() {
                    limits.overflow = Overflow::DropNewest;
                }
                let offered = match window.offer(entry, has_room, receive_maximum, &limits) {
                    Offer::Refused(_) if link.is_some() && limits.overflow == Overflow::Disconnect => Offer::Disconnect,
                    offered => offered,
                };
                if tight.is_some() {
                    session.note_exceeded(&offered);
                }
                match offered {
                    Offer::Send { packet_id } => {
                        if let Some(link) = link
                            && self.write(run, session, link, grant, qos, packet_id) == Written::TooLarge
                        {
                            window.abandon(packet_id);
                        }
                        if settings.slow.is_some() {
                            window.note_sent(packet_id, self.outlet.now_ms);
                        }
                        if self.outlet.traces.is_some() {
                            self.trace(run, session, grant, qos, packet_id);
                        }
                        run.delivered += 1;
                    }
                    Offer::Queued { evicted } => {
                        run.delivered += 1;
                        let evicted = evicted.len() as u64;
                        self.count_overflow(state, evicted);
                        // Something was waiting before it although the client may have room: the flush asks again.
                        if has_room {
                            self.mark_waiting(session, state);
                        }
                    }
                    Offer::Refused(entry) => self.refuse(run, state, &entry),
                    Offer::Disconnect => self.end_for_overflow(hub, state),
                }
            }
        }
        if let Some(link) = state.link.as_deref_mut() {
            self.mark(session, link);
        }
    }

    fn refuse(&mut self, run: &mut Run<'_>, state: &mut State, entry: &Entry<Arc<Message>>) {
        if entry.qos == 0 {
            self.outlet.tally.count(Metric::DeliveryDropped);
            self.outlet.tally.count(Metric::DeliveryDroppedQos0);
            state.dropped += 1;
            return;
        }
        run.rejected += u32::from(run.settings.limits.overflow == Overflow::Reject);
        self.count_overflow(state, 1);
    }

    fn count_overflow(&mut self, state: &mut State, n: u64) {
        state.dropped += n;
        self.outlet.tally.add(Metric::DeliveryDropped, n);
        self.outlet.tally.add(Metric::DeliveryDroppedQueueFull, n);
    }

    fn end_for_overflow(&mut self, hub: &Hub, state: &mut State) {
        self.count_overflow(state, 1);
        if let Some(link) = &state.link {
            hub.end_connection(link.conn, 0x97, crate::events::Cause::QueueFull);
        }
    }

    /// Notes that the link has something to flush, and flushes at once what has grown large.
    pub(crate) fn mark(&mut self, session: &Arc<Session>, link: &mut Link) {
        if link.blocked_since_ms.is_some() {
            // The poller reports when there is room, and what waits goes on from there.
            return;
        }
        let is_large = link.outbox.len() >= FLUSH_MARK;
        if is_large {
            // A broken link is found again, and closed, by the shard that reads it.
            link.flush(&mut self.outlet);
        }
        // After an early flush the end of the turn must look again: more may wait for the room that it made.
        if !link.is_dirty && (is_large || !link.outbox.is_empty()) && link.blocked_since_ms.is_none() {
            link.is_dirty = true;
            self.dirty.push(Arc::clone(session));
        }
    }

    fn mark_waiting(&mut self, session: &Arc<Session>, state: &mut State) {
        if let Some(link) = state.link.as_deref_mut()
            && !link.is_dirty
        {
            link.is_dirty = true;
            self.dirty.push(Arc::clone(session));
        }
    }

    /// Lists a session to be flushed at the end of the turn.
    pub fn mark_dirty(&mut self, session: &Arc<Session>, state: &mut State) {
        if let Some(link) = state.link.as_deref_mut() {
            self.mark(session, link);
        }
    }

    /// Writes the frame in the form that this receiver needs.
    fn write(
        &mut self,
        run: &mut Run<'_>,
        session: &Session,
        link: &mut Link,
        grant: &Grant<'_>,
        qos: QoS,
        packet_id: u16,
    ) -> Written {
        if link.needs_own_encoding() {
            return self.write_alone(run, session, link, grant, qos, packet_id);
        }
        let is_own_view = is_same_mount(run.inbound.mount, session.mount.as_ref());
        if let Some((version, frame)) = run.inbound.frame
            && qos == QoS::AtMostOnce
            && is_own_view
            && !grant.is_retain
            && grant.ids.is_empty()
            && (version == Version::V5) == (link.version == Version::V5)
        {
            if !link.takes(frame.len()) {
                return self.too_large();
            }
            link.outbox.append(&mut self.outlet.pool, frame);
            link.count_publish(&mut self.outlet, qos, run.inbound.payload.len());
            return Written::Yes;
        }
        let view = if is_own_view { 0 } else { session.mount.as_ref().map_or(1, |mount| Arc::as_ptr(mount) as usize) };
        let form =
            Form { is_v5: link.version == Version::V5, qos, is_retain: grant.is_retain, ids: grant.ids_key(), view };
        let frame = self.frames.get(form).unwrap_or_else(|| self.encode(run, session, link.version, grant, form));
        let payload_bytes = if frame.is_head { run.inbound.payload.len() } else { 0 };
        if !link.takes(frame.end - frame.start + payload_bytes) {
            return self.too_large();
        }
        let bytes = self.frames.bytes.get(frame.start..frame.end).unwrap_or_default();
        if qos == QoS::AtMostOnce {
            link.outbox.append(&mut self.outlet.pool, bytes);
        } else {
            link.outbox.append_with_packet_id(&mut self.outlet.pool, bytes, frame.packet_id_at, packet_id);
        }
        if frame.is_head {
            link.outbox.append_payload(run.message());
        }
        link.count_publish(&mut self.outlet, qos, run.inbound.payload.len());
        Written::Yes
    }

    fn too_large(&mut self) -> Written {
        self.outlet.tally.count(Metric::DeliveryDropped);
        self.outlet.tally.count(Metric::DeliveryDroppedTooLarge);
        Written::TooLarge
    }

    /// Encodes a form that is not there yet.
    fn encode(&mut self, run: &Run<'_>, session: &Session, version: Version, grant: &Grant<'_>, form: Form) -> Frame {
        let topic = Self::view(run.inbound, session);
        let publish = run.publish(&topic, grant, form.qos, 0, self.outlet.now_ms);
        let start = self.frames.bytes.len();
        let is_head = run.inbound.payload.len() >= SHARE_MARK;
        if is_head {
            codec::encode_publish_head(&mut self.frames.bytes, version, &publish);
        } else {
            codec::encode_publish(&mut self.frames.bytes, version, &publish);
        }
        let end = self.frames.bytes.len();
        let packet_id_at = publication::packet_id_at(self.frames.bytes.get(start..end).unwrap_or_default());
        let frame = Frame { start, end, packet_id_at, is_head };
        self.frames.forms.push((form, frame));
        frame
    }

    /// Encodes for a link with topic aliases.
    fn write_alone(
        &mut self,
        run: &mut Run<'_>,
        session: &Session,
        link: &mut Link,
        grant: &Grant<'_>,
        qos: QoS,
        packet_id: u16,
    ) -> Written {
        let topic = Self::view(run.inbound, session);
        let shared = (run.inbound.payload.len() >= SHARE_MARK).then(|| Arc::clone(run.message()));
        let mut publish = run.publish(&topic, grant, qos, packet_id, self.outlet.now_ms);
        link.write_publish(&mut self.outlet, &mut publish, shared.as_ref())
    }

    /// The topic as the receiver knows it.
    fn view<'a>(inbound: &Inbound<'a>, session: &Session) -> Cow<'a, str> {
        if is_same_mount(inbound.mount, session.mount.as_ref()) {
            return Cow::Borrowed(inbound.topic);
        }
        match inbound.mount {
            None => {
                let prefix = session.mount.as_ref().map_or("", |mount| &mount.prefix);
                Cow::Borrowed(mountpoint::unmount(prefix, inbound.topic))
            }
            Some(mount) => {
                let mut routed = String::new();
                mountpoint::mount(&mount.prefix, inbound.topic, &mut routed);
                Cow::Owned(session.client_topic(&routed).to_owned())
            }
        }
    }

    /// Flushes every session that was written to in this turn.
    pub fn flush_dirty(&mut self, hub: &Hub) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for session in dirty.drain(..) {
            let mut state = session.lock();
            flush(hub, &session, &mut state, &mut self.outlet);
        }
        self.dirty = dirty;
    }

    /// Begins a turn: takes note of the time and of new settings.
    pub fn begin(&mut self, hub: &Hub, now_ms: u64) {
        self.outlet.now_ms = now_ms;
        let version = hub.settings_version();
        if version != self.settings_version {
            self.settings_version = version;
            self.outlet.settings = own_copy(hub);
        }
        let version = hub.traces_version();
        if version != self.traces_version {
            self.traces_version = version;
            self.outlet.traces = hub.traces();
        }
        if hub.access_version() != self.access.version {
            self.access = own_access(hub);
        }
    }

    /// Ends a turn: counters become visible.
    pub fn settle(&mut self, hub: &Hub) {
        if self.passed > 0 {
            self.access.count_open(std::mem::take(&mut self.passed), &mut self.outlet.tally);
        }
        self.outlet.tally.settle(&hub.counters);
        for (conn, at_ms) in self.outlet.throttled.drain(..) {
            hub.pump_at(conn, at_ms);
        }
    }

    /// Frees what the cache holds of ended sessions.
    pub fn sweep(&mut self, hub: &Hub) {
        self.cache.sweep(&hub.generations);
    }
}

/// A copy of the settings for one thread: their count of references is then touched by no other thread.
fn own_copy(hub: &Hub) -> Arc<Settings> {
    Arc::new(Settings::clone(&hub.settings()))
}

/// The chain for one thread, for the same reason; the rules themselves are shared.
fn own_access(hub: &Hub) -> Arc<AccessChain> {
    Arc::new(AccessChain::clone(&hub.access()))
}

/// Flushes a session's link and, while the socket takes everything, goes on with what waits.
pub fn flush(hub: &Hub, session: &Session, state: &mut State, out: &mut Outlet) -> Flushed {
    out.tally.enter(session.namespace.as_ref());
    let ended = loop {
        let Some(link) = state.link.as_deref_mut() else {
            break Flushed::Empty;
        };
        let ended = link.flush(out);
        if ended != Flushed::Empty || !session.pump(state, out, &hub.retained) {
            break ended;
        }
    };
    out.tally.enter(None);
    ended
}

/// Whether the receiver's own view of the topic begins with `$` although its mountpoint hides that from the trie.
fn is_hidden(inbound: &Inbound<'_>, session: &Session) -> bool {
    let prefix = session.mount.as_ref().map_or("", |mount| &mount.prefix);
    let mut routed = String::new();
    mountpoint::mount(inbound.mount.map_or("", |mount| &mount.prefix), inbound.topic, &mut routed);
    mountpoint::hidden_from(prefix, &routed)
}
