//! Subscribe and unsubscribe once Python has decided, and the end of a session.

use std::collections::VecDeque;
use std::sync::Arc;

use pybroker_core::codec::{self, Packet, QoS, Suback, Unsuback, UserProperties};
use pybroker_core::mountpoint;
use pybroker_core::reason::ReasonCode;
use pybroker_core::topic::{self, FilterKind, TopicError};
use pybroker_core::trie::{SharedGroup, SubscriptionOptions};

use crate::connection::{Connection, Pending, Phase};
use crate::counters::Metric;
use crate::dispatch::Dispatcher;
use crate::events::{Cause, Event};
use crate::hub::Hub;
use crate::link::ConnId;
use crate::namespace::Quota;
use crate::publication::group_tag;
use crate::session::{Replay, Session, State};
use crate::shard::Shard;

/// A filter as the trie knows it.
struct Routed {
    filter: String,
    group: Option<Box<str>>,
    hides_dollar: bool,
}

/// Takes a client's filter apart and puts its mountpoint before it. `$exclusive/` falls away: the lock is Python's.
fn routed(session: &Session, raw: &str, max_levels: usize) -> Result<Routed, TopicError> {
    let parsed = topic::parse_filter(raw, max_levels)?;
    let group = match parsed.kind {
        FilterKind::Share { group } => Some(Box::from(group)),
        FilterKind::Plain | FilterKind::Exclusive => None,
    };
    let mut filter = String::with_capacity(parsed.filter.len());
    let prefix = session.mount.as_ref().map_or("", |mount| &mount.prefix);
    mountpoint::mount(prefix, parsed.filter, &mut filter);
    Ok(Routed { filter, group, hides_dollar: session.mount.is_some() && topic::begins_with_wildcard(parsed.filter) })
}

/// Why a subscription is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeError {
    /// The filter is not valid.
    Filter(TopicError),
    /// The namespace has as many as it may have.
    Quota,
}

impl SubscribeError {
    /// Reason code for SUBACK.
    #[must_use]
    pub fn reason(self) -> ReasonCode {
        match self {
            Self::Filter(_) => ReasonCode::TopicFilterInvalid,
            Self::Quota => ReasonCode::QuotaExceeded,
        }
    }
}

impl From<TopicError> for SubscribeError {
    fn from(error: TopicError) -> Self {
        Self::Filter(error)
    }
}

/// One granted subscription.
#[derive(Debug, Clone, Copy)]
pub struct Granted {
    /// Options as asked, with the granted QoS.
    pub options: u8,
    /// Identifier; 0 none.
    pub subscription_id: u32,
}

/// Counts one more subscription of the session's namespace, if it may have it. The trie's lock makes it exact.
fn has_quota(session: &Session) -> bool {
    let Some(namespace) = &session.namespace else {
        return true;
    };
    let is_admitted = namespace.admits(Quota::Subscriptions, 1);
    if is_admitted {
        namespace.add(Quota::Subscriptions, 1);
    }
    is_admitted
}

impl Hub {
    /// Adds or replaces a subscription. Returns whether it was new, and retained messages that are to be sent.
    ///
    /// # Errors
    /// [`SubscribeError`]; an older subscription of the same filter stays as it was.
    pub fn subscribe(
        &self,
        session: &Session,
        raw: &str,
        granted: Granted,
        now_ms: u64,
    ) -> Result<(bool, Vec<Replay>), SubscribeError> {
        let settings = self.settings();
        let routed = routed(session, raw, settings.max_topic_levels)?;
        let options = SubscriptionOptions {
            qos: granted.options & 0b11,
            no_local: granted.options & 0b100 != 0,
            retain_as_published: granted.options & 0b1000 != 0,
            retain_handling: (granted.options >> 4) & 0b11,
            hides_dollar: routed.hides_dollar,
            subscription_id: granted.subscription_id,
        };
        let subscribed = {
            let mut trie = self.trie.write();
            // An ended session's number may soon be another's: what is made under it now would become theirs.
            let mut state = session.lock();
            if state.is_ended {
                return Ok((false, Vec::new()));
            }
            let subscribed = trie.subscribe(&routed.filter, routed.group.as_deref(), session.id, options);
            if subscribed.previous.is_none() && !has_quota(session) {
                trie.remove(subscribed.key, session.id);
                return Err(SubscribeError::Quota);
            }
            if subscribed.previous.is_none() {
                state.subscriptions.push(subscribed.key);
            }
            drop(state);
            self.generations.bump(&routed.filter);
            subscribed
        };
        let is_new = subscribed.previous.is_none();
        // [MQTT5-3.3.1-9] [MQTT5-3.3.1-10] [MQTT5-3.3.1-11]; shared ones get none (MQTT 5.0, 4.8.2).
        let is_replayed = match options.retain_handling {
            0 => true,
            1 => is_new,
            _ => false,
        };
        let mut replay = Vec::new();
        if is_replayed && routed.group.is_none() && settings.is_retainer_enabled {
            let qos = QoS::try_from(options.qos).unwrap_or(QoS::AtMostOnce);
            self.retained.matching(&routed.filter, now_ms, |message| {
                let prefix = session.mount.as_ref().map_or("", |mount| &mount.prefix);
                let is_hidden = routed.hides_dollar && mountpoint::hidden_from(prefix, message.topic());
                if !is_hidden && !self.silenced.holds(message.origin.as_deref()) {
                    let message = Arc::clone(message);
                    replay.push(Replay { message, qos, subscription_id: options.subscription_id });
                }
            });
        }
        Ok((is_new, replay))
    }

    /// Removes a subscription. Returns whether it existed.
    ///
    /// # Errors
    /// [`TopicError`] when the filter is not valid.
    pub fn unsubscribe(&self, session: &Session, raw: &str) -> Result<bool, TopicError> {
        let routed = routed(session, raw, self.settings().max_topic_levels)?;
        let removed = {
            let mut trie = self.trie.write();
            // Its number is not given away before this lock is free, so what is asked here stays true until then.
            if session.lock().is_ended {
                return Ok(false);
            }
            let removed = trie.unsubscribe(&routed.filter, routed.group.as_deref(), session.id);
            self.generations.bump(&routed.filter);
            removed
        };
        if let Some((key, _)) = removed {
            session.lock().subscriptions.retain(|own| *own != key);
            if let Some(namespace) = &session.namespace {
                namespace.subtract(Quota::Subscriptions, 1);
            }
        }
        Ok(removed.is_some())
    }

    /// Ends a session: its link, subscriptions and queue go; shared messages pass to other members.
    pub fn drop_session(&self, session: &Arc<Session>, dispatcher: &mut Dispatcher) {
        let (link, subscriptions, shared, unsent) = {
            let mut state = session.lock();
            state.is_ended = true;
            state.replay = None;
            let shared = state.window.take_shared();
            // A QoS 2 message that this member was sent goes to no other one. [MQTT5-4.8.2-5]
            let stuck = state.window.inflight().filter(|item| item.entry.is_some_and(|entry| entry.is_shared)).count();
            let unsent = state.window.queue_len() + stuck;
            state.window.clear();
            let conn = state.link.as_ref().map(|link| link.conn);
            let link = conn.and_then(|conn| session.detach(&mut state, conn));
            (link, std::mem::take(&mut state.subscriptions), shared, unsent)
        };
        if let Some(mut link) = link {
            link.say_goodbye(&mut dispatcher.outlet, ReasonCode::SessionTakenOver as u8);
            link.flush(&mut dispatcher.outlet);
            self.end_connection(link.conn, 0, Cause::TakenOver);
        }
        if let Some(namespace) = session.namespace.as_ref().filter(|_| !subscriptions.is_empty()) {
            namespace.subtract(Quota::Subscriptions, subscriptions.len() as u64);
        }
        let mut groups: Vec<Arc<SharedGroup>> = Vec::new();
        {
            let mut trie = self.trie.write();
            let mut filter = String::new();
            for key in subscriptions {
                filter.clear();
                if let Some(group) = trie.group(key) {
                    groups.push(Arc::clone(group));
                }
                trie.filter_of(key, &mut filter);
                trie.remove(key, session.id);
                self.generations.bump(&filter);
            }
        }
        let mut lost = unsent as u64;
        for entry in shared {
            let group = groups.iter().find(|group| group_tag(group) == entry.origin);
            if !group.is_some_and(|group| dispatcher.redeliver(self, &entry, group, session.id)) {
                lost += 1;
            }
        }
        let tally = &mut dispatcher.outlet.tally;
        tally.enter(session.namespace.as_ref());
        tally.add(Metric::DeliveryDropped, lost);
        tally.add(Metric::DeliveryDroppedSessionEnd, lost);
        tally.enter(None);
        self.free_session(session.id);
    }
}

impl State {
    /// Adds retained messages behind those that wait already.
    pub fn queue_replay(&mut self, replay: Vec<Replay>) {
        if !replay.is_empty() {
            self.replay.get_or_insert_with(|| Box::new(VecDeque::new())).extend(replay);
        }
    }
}

impl Shard {
    /// Whether the limits of the namespace let a SUBSCRIBE pass. Where they pause, it passes and what follows waits.
    pub(crate) fn admits_subscribe(&mut self, conn: &mut Connection) -> bool {
        let now_ms = self.now_ms();
        let Some(gate) = conn.gate() else {
            return true;
        };
        let is_admitted = gate.admits_subscribe(now_ms);
        let wait_ms = gate.wait_ms(now_ms);
        self.refused += usize::from(!is_admitted);
        if wait_ms > 0 {
            self.pause(conn, wait_ms);
        }
        is_admitted
    }

    /// Answers a SUBSCRIBE over the limits without a question to Python: every filter gets 0x97 (3.x: 0x80).
    pub(crate) fn refuse_subscribe(&mut self, conn: &Connection, packet_id: u16, filters: usize) {
        let codes = vec![ReasonCode::QuotaExceeded as u8; filters];
        self.dispatcher.outlet.tally.add(Metric::SubscribeError, filters as u64);
        let suback =
            Suback { packet_id, reason_string: None, user_properties: UserProperties::default(), codes: &codes };
        codec::encode_suback(&mut self.acks, conn.version(), &suback, codec::MAX_PACKET_BYTES);
        self.count_sent(Metric::SubackSent);
    }

    /// Answers the SUBSCRIBE that waits. A failed filter does not spoil its neighbours. [MQTT5-3.8.4-6]
    pub(crate) fn grant(&mut self, id: ConnId, packet_id: u16, codes: Option<&[u8]>) {
        let Some(mut conn) = self.take(id) else {
            return;
        };
        let is_asked =
            matches!(conn.pending.as_deref(), Some(Pending::Subscribe { packet_id: asked, .. }) if *asked == packet_id);
        let (true, Some(session)) = (is_asked, conn.session().cloned()) else {
            return self.put(conn);
        };
        self.dispatcher.outlet.tally.enter(session.namespace.as_ref());
        let Some(Pending::Subscribe { subscription_id, filters, .. }) = conn.pending.take().map(|pending| *pending)
        else {
            return self.put(conn);
        };
        let max_qos = self.dispatcher.outlet.settings.max_qos as u8;
        let mut answers = Vec::with_capacity(filters.len());
        let mut replay = Vec::new();
        let mut withdrawn = Vec::new();
        for (at, (filter, options, reason)) in filters.iter().enumerate() {
            let decided = codes.and_then(|codes| codes.get(at).copied()).unwrap_or((options & 0b11).min(max_qos));
            let code = if *reason == 0 { decided } else { *reason };
            let answer = self.subscribe_one(&session, filter, *options, subscription_id, code, &mut replay);
            answers.push(answer);
            if answer != code {
                withdrawn.push(filter.clone());
            }
        }
        if !withdrawn.is_empty() {
            self.events.push(Event::Withdrawn { conn: id, session: session.id.0, filters: withdrawn });
        }
        let suback =
            Suback { packet_id, reason_string: None, user_properties: UserProperties::default(), codes: &answers };
        self.with_window(&conn, |shard, session, state| {
            if let Some(link) = state.link.as_deref_mut() {
                link.write(&mut shard.dispatcher.outlet, &Packet::Suback(suback));
            }
            state.queue_replay(replay);
            shard.pump(session, state);
            shard.dispatcher.mark_dirty(session, state);
        });
        conn.phase = Phase::Open;
        conn.heard_ms = self.now_ms();
        self.schedule(&mut conn);
        self.go_on(conn);
    }

    fn subscribe_one(
        &mut self,
        session: &Session,
        filter: &str,
        options: u8,
        subscription_id: u32,
        code: u8,
        replay: &mut Vec<Replay>,
    ) -> u8 {
        if code >= 0x80 {
            self.dispatcher.outlet.tally.count(Metric::SubscribeError);
            return code;
        }
        let granted = Granted { options: (options & !0b11) | code.min(2), subscription_id };
        match self.hub.subscribe(session, filter, granted, self.now_ms()) {
            Ok((_, messages)) => {
                replay.extend(messages);
                code
            }
            Err(error) => {
                self.dispatcher.outlet.tally.count(Metric::SubscribeError);
                error.reason() as u8
            }
        }
    }

    /// Answers the UNSUBSCRIBE that waits; there is always an UNSUBACK. [MQTT5-3.10.4-4]
    pub(crate) fn release(&mut self, id: ConnId, packet_id: u16) {
        let Some(mut conn) = self.take(id) else {
            return;
        };
        let is_asked = matches!(conn.pending.as_deref(), Some(Pending::Unsubscribe { packet_id: asked, .. }) if *asked == packet_id);
        let (true, Some(session)) = (is_asked, conn.session().cloned()) else {
            return self.put(conn);
        };
        self.dispatcher.outlet.tally.enter(session.namespace.as_ref());
        let Some(Pending::Unsubscribe { filters, .. }) = conn.pending.take().map(|pending| *pending) else {
            return self.put(conn);
        };
        let answers: Vec<u8> = filters
            .iter()
            .map(|filter| match self.hub.unsubscribe(&session, filter) {
                Ok(true) => ReasonCode::Success as u8,
                Ok(false) => ReasonCode::NoSubscriptionExisted as u8,
                Err(_) => ReasonCode::TopicFilterInvalid as u8,
            })
            .collect();
        let unsuback =
            Unsuback { packet_id, reason_string: None, user_properties: UserProperties::default(), codes: &answers };
        self.with_window(&conn, |shard, session, state| {
            if let Some(link) = state.link.as_deref_mut() {
                link.write(&mut shard.dispatcher.outlet, &Packet::Unsuback(unsuback));
            }
            shard.dispatcher.mark_dirty(session, state);
        });
        conn.phase = Phase::Open;
        conn.heard_ms = self.now_ms();
        self.schedule(&mut conn);
        self.go_on(conn);
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::publication::{Inbound, Sender};

    /// A second on two cores: the interleaving comes up about once in it.
    const CHANGES: usize = 300_000;
    const STRANGERS: usize = 50;
    const PLAIN: Granted = Granted { options: 0, subscription_id: 0 };

    fn publish(hub: &Hub, dispatcher: &mut Dispatcher) {
        let inbound = Inbound {
            topic: "secret",
            mount: None,
            namespace: None,
            qos: QoS::AtLeastOnce,
            is_retain: false,
            properties: Cow::Borrowed(&[]),
            payload: b"x",
            expiry_s: None,
            publisher: None,
            sender: Sender::Broker,
            client_id: "",
            is_loop_ignored: false,
            frame: None,
        };
        dispatcher.dispatch(hub, &inbound);
    }

    /// Has sessions end and others take their numbers; returns what those got of a topic that they never asked for.
    fn leaked(hub: &Hub, filter: &str) -> usize {
        let mut dispatcher = Dispatcher::new(hub, 0);
        let granted = Granted { options: 1, subscription_id: 0 };
        let mut got = 0;
        for _ in 0..CHANGES / STRANGERS {
            let strangers: Vec<_> = (0..STRANGERS)
                .map(|_| {
                    let subscriber = hub.create_session("a", "", "");
                    hub.subscribe(&subscriber, filter, granted, 0).expect("the filter is valid");
                    hub.drop_session(&subscriber, &mut dispatcher);
                    hub.create_session("b", "", "")
                })
                .collect();
            for stranger in strangers {
                got += stranger.lock().window.queue_len();
                hub.drop_session(&stranger, &mut dispatcher);
            }
        }
        got
    }

    #[test]
    fn who_has_the_number_of_an_ended_subscriber_gets_none_of_its_messages() -> Result<(), std::io::Error> {
        for filter in ["secret", "$share/g/secret"] {
            let (hub, is_over) = (Hub::new(1)?, AtomicBool::new(false));
            let got = std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut dispatcher = Dispatcher::new(&hub, 0);
                    while !is_over.load(Ordering::Relaxed) {
                        publish(&hub, &mut dispatcher);
                    }
                });
                let got = leaked(&hub, filter);
                is_over.store(true, Ordering::Relaxed);
                got
            });
            assert_eq!(got, 0, "{filter}");
        }
        Ok(())
    }

    #[test]
    fn an_answer_to_an_ended_session_changes_nothing_for_who_has_its_number_now() -> Result<(), std::io::Error> {
        let hub = Hub::new(1)?;
        let mut dispatcher = Dispatcher::new(&hub, 0);
        let ended = hub.create_session("a", "", "n1");
        hub.drop_session(&ended, &mut dispatcher);
        let next = hub.create_session("b", "", "n2");
        assert_eq!(next.id, ended.id, "the number is used again");
        assert!(hub.subscribe(&ended, "secret/#", PLAIN, 0).is_ok_and(|(is_new, _)| !is_new));
        assert_eq!(hub.trie.read().subscription_count(), 0);
        assert!(hub.subscribe(&next, "own", PLAIN, 0).is_ok_and(|(is_new, _)| is_new));
        assert_eq!(hub.unsubscribe(&ended, "own"), Ok(false));
        assert_eq!(hub.trie.read().subscription_count(), 1);
        Ok(())
    }
}
