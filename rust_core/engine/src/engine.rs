//! `Engine`: what a process owns. It starts and stops shards and runs short calls of other threads on shared state.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pybroker_core::codec::QoS;
use pybroker_core::message::Origin;
use pybroker_core::reason::ReasonCode;
use pybroker_core::topic::TopicError;
use pybroker_core::trie::SubscriberId;

use crate::access::{AccessChain, Check, Decision, Said, count_answer};
use crate::command::Command;
use crate::counters::{Metric, Tally};
use crate::delayed;
use crate::dispatch::Dispatcher;
use crate::events::{Cause, Event, WillMessage};
use crate::hub::Hub;
use crate::link::ConnId;
use crate::listener::{Listener, ListenerSpec};
use crate::memo::KeptVerdict;
use crate::publication::{Dispatched, Inbound, Sender};
use crate::session::Session;
use crate::shard::{Shard, shard_of};
use crate::subscriptions::{Granted, SubscribeError};
use crate::sys;

/// The shards and the state they share.
pub struct Engine {
    /// Shared state.
    pub hub: Arc<Hub>,
    /// Working set for publications and changes that do not come from a shard.
    dispatcher: Mutex<Dispatcher>,
    /// Whether commands wait for [`Engine::deliver`].
    is_gathering: AtomicBool,
    waiting: Mutex<Vec<Shard>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    driven: Option<Mutex<Shard>>,
}

/// Publication of the broker itself.
pub struct OwnMessage<'a> {
    /// Absolute topic.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// QoS.
    pub qos: QoS,
    /// Retain flag.
    pub is_retain: bool,
    /// Encoded properties to forward.
    pub properties: &'a [u8],
    /// Message expiry interval; 0 none.
    pub expiry_s: u32,
}

impl Engine {
    /// An engine with `io_threads` shard threads, or one driven shard for 0. Nothing runs before [`Engine::start`].
    ///
    /// # Errors
    /// The system's error when no descriptor is left.
    pub fn new(io_threads: usize) -> io::Result<Self> {
        let hub = Arc::new(Hub::new(io_threads)?);
        let mut shards =
            (0..io_threads.max(1)).map(|index| Shard::new(index, Arc::clone(&hub))).collect::<io::Result<Vec<_>>>()?;
        let driven = if io_threads == 0 { shards.pop().map(Mutex::new) } else { None };
        Ok(Self {
            dispatcher: Mutex::new(Dispatcher::new(&hub, sys::now_ms())),
            hub,
            is_gathering: AtomicBool::new(false),
            waiting: Mutex::new(shards),
            threads: Mutex::default(),
            driven,
        })
    }

    /// Starts the shard threads.
    ///
    /// # Errors
    /// The system's error when a thread cannot be made.
    pub fn start(&self) -> io::Result<()> {
        for mut shard in self.waiting.lock().drain(..) {
            let name = format!("shard-{}", shard.index);
            let thread = std::thread::Builder::new().name(name).spawn(move || run_shard(&mut shard))?;
            self.threads.lock().push(thread);
        }
        Ok(())
    }

    /// The driven shard, if there is one.
    #[must_use]
    pub fn driven(&self) -> Option<&Mutex<Shard>> {
        self.driven.as_ref()
    }

    /// Runs one turn of the driven shard. Returns milliseconds until the next one is due without new input.
    ///
    /// # Errors
    /// The system's error when waiting fails.
    pub fn turn(&self) -> io::Result<Option<u64>> {
        let Some(shard) = &self.driven else {
            return Ok(None);
        };
        let mut shard = shard.lock();
        shard.turn(Some(0))?;
        Ok(shard.due_in(sys::now_ms()))
    }

    /// Sends a command to the shard of a connection.
    pub fn command(&self, conn: ConnId, command: Command) {
        if let Some(mailbox) = self.hub.shards.get(shard_of(conn)) {
            mailbox.leave(command);
            // Looked at behind the command: either `deliver` finds it in the box, or this finds that it has been.
            if !self.is_gathering.load(Ordering::SeqCst) {
                mailbox.ring();
            }
        }
    }

    /// Wakes no shard for a command until [`Engine::deliver`]: for a thread that is about to give many.
    pub fn gather(&self) {
        self.is_gathering.store(true, Ordering::SeqCst);
    }

    /// Wakes the shards that have commands waiting since [`Engine::gather`].
    pub fn deliver(&self) {
        self.is_gathering.store(false, Ordering::SeqCst);
        for mailbox in &self.hub.shards {
            mailbox.ring();
        }
    }

    fn command_all(&self, make: impl Fn() -> Command) {
        for mailbox in &self.hub.shards {
            mailbox.push(make());
        }
    }

    /// Opens a listener on every shard.
    ///
    /// # Errors
    /// The system's error: the address is in use or may not be bound.
    pub fn open_listener(&self, spec: ListenerSpec) -> io::Result<Arc<Listener>> {
        let listener = self.hub.listeners.open(spec, sys::now_ms())?;
        self.command_all(|| Command::Listen(Arc::clone(&listener)));
        Ok(listener)
    }

    /// Puts another specification of an open listener in force for connections to come; its address stays.
    ///
    /// # Errors
    /// As [`Listener::change`]; `NotFound`: it is not open.
    pub fn change_listener(&self, id: u32, spec: ListenerSpec) -> io::Result<()> {
        let listener = self.hub.listeners.get(id).ok_or(io::ErrorKind::NotFound)?;
        listener.change(spec, sys::now_ms())
    }

    /// Closes a listener; with a reason, its connections too.
    pub fn close_listener(&self, id: u32, reason: Option<u8>) {
        if self.hub.listeners.close(id).is_some() {
            self.command_all(|| Command::Unlisten { id, reason });
        }
    }

    /// Makes an empty session.
    pub fn create_session(&self, client_id: &str, mountpoint: &str, namespace: &str) -> SubscriberId {
        self.hub.create_session(client_id, mountpoint, namespace).id
    }

    /// Ends a session.
    pub fn drop_session(&self, id: SubscriberId) {
        if let Some(session) = self.hub.session(id) {
            self.with_dispatcher(|hub, dispatcher| hub.drop_session(&session, dispatcher));
        }
    }

    /// Runs `act` on the working set of this side, then flushes what it wrote.
    fn with_dispatcher<T>(&self, act: impl FnOnce(&Hub, &mut Dispatcher) -> T) -> T {
        let mut dispatcher = self.dispatcher.lock();
        dispatcher.begin(&self.hub, sys::now_ms());
        let outcome = act(&self.hub, &mut dispatcher);
        dispatcher.flush_dirty(&self.hub);
        dispatcher.settle(&self.hub);
        outcome
    }

    /// Publishes as the broker itself.
    pub fn publish(&self, message: &OwnMessage<'_>) -> ReasonCode {
        let inbound = Inbound {
            topic: message.topic,
            mount: None,
            namespace: None,
            qos: message.qos,
            is_retain: message.is_retain,
            properties: Cow::Borrowed(message.properties),
            payload: message.payload,
            expiry_s: (message.expiry_s > 0).then_some(message.expiry_s),
            publisher: None,
            sender: Sender::Broker,
            client_id: "",
            is_loop_ignored: false,
            frame: None,
        };
        self.delay_or_dispatch(&inbound)
    }

    /// Publishes a will as its client, whose session may have ended.
    pub fn publish_will(
        &self,
        will: &WillMessage,
        session: Option<SubscriberId>,
        client_id: &str,
        mountpoint: &str,
        namespace: &str,
    ) -> ReasonCode {
        if will.topic.starts_with("$SYS/") && mountpoint.is_empty() {
            return ReasonCode::NotAuthorized;
        }
        let mount = self.hub.mount(mountpoint);
        let live = session.and_then(|id| self.hub.session(id)).filter(|live| &*live.client_id == client_id);
        // The session's own one may have been deleted, and another one have its name now.
        let own = live.as_ref().and_then(|session| session.namespace.clone()).filter(|own| &*own.name == namespace);
        let namespace = own.or_else(|| self.hub.namespaces.of(namespace));
        let origin = live.map_or_else(
            || Arc::new(Origin { client_id: client_id.into(), username: None }),
            |session| session.origin(),
        );
        let inbound = Inbound {
            topic: &will.topic,
            mount: mount.as_ref(),
            namespace: namespace.as_ref(),
            qos: will.qos,
            is_retain: will.is_retain && self.hub.settings().is_retain_available,
            properties: Cow::Borrowed(&will.properties),
            payload: &will.payload,
            expiry_s: will.message_expiry_s,
            publisher: session,
            sender: Sender::Known(&origin),
            client_id,
            is_loop_ignored: false,
            frame: None,
        };
        self.delay_or_dispatch(&inbound)
    }

    /// Publishes now, or keeps what names a delay in its topic.
    fn delay_or_dispatch(&self, inbound: &Inbound<'_>) -> ReasonCode {
        let kept = self.with_dispatcher(|hub, dispatcher| delayed::delay(hub, &mut dispatcher.outlet, inbound));
        kept.unwrap_or_else(|| self.dispatch(inbound))
    }

    fn dispatch(&self, inbound: &Inbound<'_>) -> ReasonCode {
        match self.with_dispatcher(|hub, dispatcher| dispatcher.dispatch(hub, inbound)) {
            Dispatched::Delivered => ReasonCode::Success,
            Dispatched::NoSubscribers => ReasonCode::NoMatchingSubscribers,
            Dispatched::InvalidTopic => ReasonCode::TopicNameInvalid,
            Dispatched::Quota => ReasonCode::QuotaExceeded,
        }
    }

    /// Subscribes on behalf of a session; retained messages go out at once. `None`: there is no such session.
    ///
    /// # Errors
    /// [`SubscribeError`] when the filter is not valid, or the quota of the namespace is used up.
    pub fn subscribe(&self, id: SubscriberId, filter: &str, granted: Granted) -> Result<Option<bool>, SubscribeError> {
        let Some(session) = self.hub.session(id) else {
            return Ok(None);
        };
        let (is_new, replay) = self.hub.subscribe(&session, filter, granted, sys::now_ms())?;
        self.with_dispatcher(|hub, dispatcher| {
            let mut state = session.lock();
            if state.link.is_some() {
                state.queue_replay(replay);
                session.pump(&mut state, &mut dispatcher.outlet, &hub.retained);
                dispatcher.mark_dirty(&session, &mut state);
            }
        });
        Ok(Some(is_new))
    }

    /// Unsubscribes on behalf of a session.
    ///
    /// # Errors
    /// [`TopicError`] when the filter is not valid.
    pub fn unsubscribe(&self, id: SubscriberId, filter: &str) -> Result<bool, TopicError> {
        self.hub.session(id).map_or(Ok(false), |session| self.hub.unsubscribe(&session, filter))
    }

    /// Judges one action of a client and counts what came of it; the mountpoint is part of the subject.
    #[must_use]
    pub fn check_access(&self, check: &Check<'_>) -> (Decision, Arc<AccessChain>) {
        let chain = self.hub.access();
        let decision = chain.judge(check, &mut String::new());
        let mut tally = Tally::default();
        if check.is_counted {
            if check.from == 0 {
                tally.count(Metric::ClientAuthorize);
                if chain.policy.keeping.is_some() {
                    tally.count(Metric::AuthorizationCacheMiss);
                }
            }
            decision.count(&mut tally);
            tally.settle(&self.hub.counters);
        }
        (decision, chain)
    }

    /// Counts the answer of a step that Python has taken, and of the whole check where that ends it.
    pub fn count_access(&self, source: &str, said: Said, is_final: bool) {
        self.hub.source_counters(source).count(said);
        if is_final {
            let is_allowed = said == Said::Allow;
            let mut tally = Tally::default();
            tally.count(if is_allowed { Metric::AuthorizationMatchedAllow } else { Metric::AuthorizationMatchedDeny });
            count_answer(&mut tally, is_allowed);
            tally.settle(&self.hub.counters);
        }
    }

    /// Takes a subscription away from a client that may not have it any more. Returns whether it existed.
    ///
    /// # Errors
    /// [`TopicError`] when the filter is not valid.
    pub fn revoke(&self, id: SubscriberId, filter: &str) -> Result<bool, TopicError> {
        let Some(session) = self.hub.session(id) else {
            return Ok(false);
        };
        self.with_dispatcher(|hub, dispatcher| hub.revoke(&session, filter, dispatcher))
    }

    /// Delivers nothing any more of what a client has published: drops what waits, passes over what is retained.
    pub fn silence(&self, client_id: &str) {
        self.hub.silenced.add(client_id);
        self.with_dispatcher(|hub, dispatcher| hub.discard_published(client_id, dispatcher));
    }

    /// Verdicts that a session's connection keeps, oldest first; none if it does not answer within a second. Blocks.
    #[must_use]
    pub fn verdicts_of(&self, id: SubscriberId) -> Vec<KeptVerdict> {
        let conn = self.with_session(id, |_, state| state.link.as_ref().map(|link| link.conn)).flatten();
        let Some(conn) = conn else {
            return Vec::new();
        };
        let (into, shown) = sync_channel(1);
        self.command(conn, Command::ShowVerdicts { conn, into });
        if let Some(shard) = &self.driven {
            // A failure of the turn is found again by the one that drives it.
            let _ = shard.lock().turn(Some(0));
        }
        shown.recv_timeout(Duration::from_secs(1)).unwrap_or_default()
    }

    /// Runs `read` on the state of a session.
    pub fn with_session<T>(
        &self,
        id: SubscriberId,
        read: impl FnOnce(&Session, &mut crate::session::State) -> T,
    ) -> Option<T> {
        let session = self.hub.session(id)?;
        let mut state = session.lock();
        Some(read(&session, &mut state))
    }

    /// Stops everything: no accepts, DISCONNECT to all, flush for at most `drain_ms`. Blocks until it is done.
    pub fn shutdown(&self, reason: u8, drain_ms: u64) {
        for listener in self.hub.listeners.all() {
            let _listener = self.hub.listeners.close(listener.id);
        }
        self.command_all(|| Command::Stop { reason, drain_ms });
        self.waiting.lock().clear();
        let mut threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads.drain(..) {
            // A shard that panicked has reported itself; there is nothing left to stop in it.
            let _ = thread.join();
        }
        self.finish_driven(drain_ms);
    }

    fn finish_driven(&self, drain_ms: u64) {
        let Some(shard) = &self.driven else { return };
        let end = Instant::now() + Duration::from_millis(drain_ms + 100);
        let mut shard = shard.lock();
        while !shard.is_stopped() && Instant::now() < end {
            if let Err(error) = shard.turn(Some(10)) {
                self.hub.events.push(Event::ShardFailed { shard: 0, text: error.to_string() });
                return;
            }
        }
    }

    /// Ends one connection.
    pub fn disconnect(&self, conn: ConnId, reason: u8, cause: Cause) {
        self.hub.end_connection(conn, reason, cause);
    }
}

/// Runs a shard to its end; a failure or panic of it is told to Python, which stops the broker.
fn run_shard(shard: &mut Shard) {
    // Where it is not permitted the shard runs as any thread.
    let _ = sys::ask_for_short_turns();
    let (index, hub) = (shard.index, Arc::clone(&shard.hub));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shard.run()));
    let text = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "panic without a message".to_owned()),
    };
    hub.events.push(Event::ShardFailed { shard: index, text });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Poller;

    const CONN: ConnId = ConnId(1);

    #[test]
    fn gathered_commands_wake_their_shard_at_the_delivery() {
        let engine = Engine::new(0).unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add_waker(engine.hub.shards[0].as_fd(), 1).unwrap();
        engine.gather();
        engine.command(CONN, Command::Release { conn: CONN, packet_id: 1 });
        engine.command(CONN, Command::Release { conn: CONN, packet_id: 2 });
        assert_eq!(poller.wait(Some(0)).unwrap(), 0);
        engine.deliver();
        assert_eq!(poller.wait(Some(0)).unwrap(), 1);
        assert_eq!(engine.hub.shards[0].take_all().len(), 2);
        engine.command(CONN, Command::Release { conn: CONN, packet_id: 3 });
        assert_eq!(poller.wait(Some(0)).unwrap(), 1);
    }
}
