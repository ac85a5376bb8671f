//! `Shard`: one epoll, its connections and its timers; one turn reads, decodes, routes and flushes.
//!
//! Threaded, a shard waits in its own poller; driven, the event loop calls [`Shard::turn`]. The code is the same. Each
//! socket is read and written at most once per turn, and what a turn has written is flushed at its end.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::command::Command;
use crate::connection::{Connection, Phase, Verdict};
use crate::dispatch::Dispatcher;
use crate::events::{Cause, Event};
use crate::hub::Hub;
use crate::limits::TokenBucket;
use crate::link::ConnId;
use crate::listener::Listener;
use crate::outbox::Flushed;
use crate::receipts::Receipt;
use crate::sys::{self, Alarm, Poller};
use crate::timer::Wheel;

/// Bytes read from one socket per turn; also the most that waits while Python decides (design, section 4).
pub const READ_BYTES: usize = 64 * 1024;
/// How often out-of-date cache entries are freed.
const SWEEP_MS: u64 = 60_000;
/// Log lines of one shard per second; the rest is counted.
const LOG_LINES_PER_S: f64 = 50.0;
const COARSE_TICK_MS: u64 = 250;
const FINE_TICK_MS: u64 = 4;
const WAKE: u64 = u64::MAX;
const RING: u64 = u64::MAX - 1;
pub(crate) const LISTENER_BIT: u64 = 1 << 63;
const SLOT_BITS: u32 = 24;

/// What a fine timer is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Due {
    Resume(ConnId),
    Listen(u32),
    Delayed,
    Pump(ConnId),
    Stop,
}

/// One shard.
pub struct Shard {
    /// Its number.
    pub index: usize,
    /// Shared state.
    pub hub: Arc<Hub>,
    /// Routing, output buffers, counters.
    pub dispatcher: Dispatcher,
    /// Events of this turn.
    pub events: Vec<Event>,
    /// Scratch for acknowledgements of the connection at hand.
    pub acks: Vec<u8>,
    /// QoS 1 publications of this batch: their PUBACKs have not left yet.
    pub(crate) open_qos1: usize,
    /// Packets of this batch that were over a limit.
    pub(crate) refused: usize,
    /// Packets of this turn that were over a limit.
    pub(crate) refused_in_turn: usize,
    /// 1 while a batch is processed that a read has brought.
    pub(crate) reads: u64,
    /// Acknowledgements of this batch that are not carried out yet.
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) plain: Vec<u8>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) poller: Poller,
    alarm: Alarm,
    slots: Vec<Slot>,
    free: Vec<u32>,
    ready: Vec<ConnId>,
    pub(crate) listeners: HashMap<u32, Arc<Listener>>,
    coarse: Wheel<ConnId>,
    pub(crate) fine: Wheel<Due>,
    fired: Vec<ConnId>,
    swept_ms: u64,
    last_batch: usize,
    log_bucket: Option<TokenBucket>,
    unlogged: u64,
    pub(crate) is_stopping: bool,
    is_stopped: bool,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    connection: Option<Box<Connection>>,
}

impl Shard {
    /// Shard number `index` of a hub.
    ///
    /// # Errors
    /// The system's error when no descriptor is left.
    pub fn new(index: usize, hub: Arc<Hub>) -> io::Result<Self> {
        let (poller, alarm) = (Poller::new()?, Alarm::new()?);
        poller.add_alarm(&alarm, RING)?;
        if let Some(mailbox) = hub.shards.get(index) {
            poller.add_waker(mailbox.as_fd(), WAKE)?;
        }
        let now_ms = sys::now_ms();
        Ok(Self {
            index,
            dispatcher: Dispatcher::new(&hub, now_ms),
            hub,
            events: Vec::new(),
            acks: Vec::new(),
            open_qos1: 0,
            refused: 0,
            refused_in_turn: 0,
            reads: 0,
            receipts: Vec::new(),
            plain: Vec::new(),
            buffer: vec![0; READ_BYTES + 4096],
            poller,
            alarm,
            slots: Vec::new(),
            free: Vec::new(),
            ready: Vec::new(),
            listeners: HashMap::new(),
            coarse: Wheel::new(COARSE_TICK_MS, now_ms),
            fine: Wheel::new(FINE_TICK_MS, now_ms),
            fired: Vec::new(),
            swept_ms: now_ms,
            last_batch: 0,
            log_bucket: TokenBucket::new(LOG_LINES_PER_S, now_ms),
            unlogged: 0,
            is_stopping: false,
            is_stopped: false,
        })
    }

    /// The poller, readable while a turn has something to do.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }

    /// Time of this turn.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.dispatcher.outlet.now_ms
    }

    /// Runs turns until the shard has stopped.
    ///
    /// # Errors
    /// The system's error when waiting fails; nothing can be served any more then.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.is_stopped {
            let wait_ms = self.set_alarm()?;
            self.coalesce();
            self.turn(wait_ms)?;
        }
        Ok(())
    }

    /// Has the alarm end the next wait when a timer is due; a turn that must come at once needs none.
    fn set_alarm(&mut self) -> io::Result<Option<u64>> {
        let now_ms = sys::now_ms();
        match self.due_in(now_ms) {
            Some(0) => return Ok(Some(0)),
            Some(wait_ms) => self.alarm.ring_by(now_ms + wait_ms, now_ms)?,
            None => {}
        }
        Ok(None)
    }

    /// Waits a little before a busy shard reads again, to find more in each socket.
    fn coalesce(&self) {
        let wait_us = self.dispatcher.outlet.settings.coalesce_us;
        if wait_us > 0 && self.last_batch > 1 {
            std::thread::sleep(Duration::from_micros(wait_us));
        }
    }

    /// Milliseconds until the shard must turn without being woken; `None`: not before something happens.
    #[must_use]
    pub fn due_in(&self, now_ms: u64) -> Option<u64> {
        if !self.ready.is_empty() {
            return Some(0);
        }
        match (self.coarse.due_in(now_ms), self.fine.due_in(now_ms)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether everything was closed after a `Stop`.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// One turn: what is ready, commands, timers, then one flush of everything written.
    ///
    /// # Errors
    /// The system's error when waiting fails.
    pub fn turn(&mut self, timeout_ms: Option<u64>) -> io::Result<()> {
        let n = self.poller.wait(timeout_ms)?;
        self.work(n, sys::now_ms());
        Ok(())
    }

    /// What follows from `n` reports of the poller at a time.
    pub(crate) fn work(&mut self, n: usize, now_ms: u64) {
        self.last_batch = n;
        self.refused_in_turn = 0;
        self.dispatcher.begin(&self.hub, now_ms);
        let again = std::mem::take(&mut self.ready);
        let mut has_mail = false;
        for at in 0..n {
            let Some(ready) = self.poller.ready(at) else {
                break;
            };
            match ready.token {
                WAKE => has_mail = true,
                // Timers are looked at in every turn.
                RING => {}
                token if token & LISTENER_BIT != 0 => self.accept_from(token_listener(token)),
                token => self.on_ready(ConnId(token), ready.is_readable, ready.is_writable, ready.is_hung_up),
            }
        }
        for id in again {
            self.resume(id);
        }
        if has_mail && let Some(mailbox) = self.hub.shards.get(self.index) {
            for command in mailbox.take_all() {
                self.obey(command);
            }
        }
        self.run_timers();
        self.finish_turn();
    }

    fn finish_turn(&mut self) {
        self.dispatcher.flush_dirty(&self.hub);
        self.hub.events.push_all(&mut self.events);
        self.dispatcher.settle(&self.hub);
        if self.is_stopping && self.connection_count() == 0 {
            self.is_stopped = true;
        }
    }

    fn connection_count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn on_ready(&mut self, id: ConnId, is_readable: bool, is_writable: bool, is_hung_up: bool) {
        let Some(mut conn) = self.take(id) else {
            return;
        };
        conn.is_hung_up |= is_hung_up;
        let mut verdict = Verdict::Continue;
        if is_writable {
            self.on_writable(&mut conn);
        }
        if is_readable || (conn.has_unread && !conn.is_held_back(self.now_ms())) {
            verdict = self.read(&mut conn);
        }
        self.settle_connection(conn, verdict);
    }

    /// Puts a connection back after work on it, or ends it.
    pub(crate) fn settle_connection(&mut self, mut conn: Box<Connection>, verdict: Verdict) {
        match verdict {
            Verdict::Continue | Verdict::Hold => {
                if conn.has_unread && !conn.is_held_back(self.now_ms()) {
                    self.ready.push(conn.id);
                }
                self.unmute(&mut conn);
                self.put(conn);
            }
            Verdict::Close { cause, reason } => self.close(conn, cause, reason, None),
        }
    }

    fn on_writable(&mut self, conn: &mut Connection) {
        let out = &mut self.dispatcher.outlet;
        let has_room = match &mut conn.holder {
            crate::connection::Holder::Own(link) => {
                let had_unsent = link.unsent_bytes() > 0;
                if had_unsent && link.flush(out) == Flushed::Empty && conn.phase == Phase::Lingering {
                    sys::finish_sending(conn.fd.as_fd());
                }
                link.has_room()
            }
            crate::connection::Holder::Session(session) => {
                let mut state = session.lock();
                // Every report names what holds, so one that data has come says there is room as well. What no socket
                // has refused is flushed by the thread that wrote it, with all that it writes in its turn.
                if state.link.as_ref().is_some_and(|link| link.conn == conn.id && link.blocked_since_ms.is_some()) {
                    crate::dispatch::flush(&self.hub, session, &mut state, out);
                }
                state.link.as_ref().is_none_or(|link| link.has_room())
            }
            crate::connection::Holder::Nobody => true,
        };
        if has_room {
            conn.is_stalled = false;
        }
    }

    /// Takes a connection out of its slot; `None` if it is gone or its number is old.
    pub(crate) fn take(&mut self, id: ConnId) -> Option<Box<Connection>> {
        let (slot, generation) = parts(id);
        let place = self.slots.get_mut(slot)?;
        if place.generation != generation {
            return None;
        }
        place.connection.take()
    }

    pub(crate) fn put(&mut self, conn: Box<Connection>) {
        let (slot, _) = parts(conn.id);
        if let Some(place) = self.slots.get_mut(slot) {
            place.connection = Some(conn);
        }
    }

    /// A number for a new connection: a free slot, its generation, this shard.
    pub(crate) fn reserve(&mut self) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let generation = self.slots.get(slot as usize).map_or(0, |place| place.generation);
        ConnId((self.index as u64) << 56 | u64::from(generation) << SLOT_BITS | u64::from(slot))
    }

    /// Frees the slot of a connection that was taken out for good.
    pub(crate) fn forget(&mut self, conn: &Connection) {
        // The system takes the socket out of the poller when it is closed.
        conn.listener.leave();
        let (slot, _) = parts(conn.id);
        if let Some(place) = self.slots.get_mut(slot) {
            place.generation = place.generation.wrapping_add(1);
            self.free.push(u32::try_from(slot).unwrap_or(u32::MAX));
        }
        if let Some(load) = self.hub.loads.get(self.index) {
            load.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Sets the coarse timer of a connection, unless it is set for an earlier time.
    pub(crate) fn schedule(&mut self, conn: &mut Connection) {
        if let Some(at_ms) = self.next_check(conn)
            && (conn.check_at_ms == 0 || at_ms < conn.check_at_ms)
        {
            conn.check_at_ms = at_ms;
            self.coarse.schedule(at_ms, conn.id);
        }
    }

    /// Calls the connection up again after a pause.
    pub(crate) fn resume_at(&mut self, id: ConnId, at_ms: u64) {
        self.fine.schedule(at_ms, Due::Resume(id));
    }

    /// Has the connection read again in the next turn.
    pub(crate) fn read_again(&mut self, id: ConnId) {
        self.ready.push(id);
    }

    /// Passes a line to the log. A storm of faults is cut short and says how many lines it left out.
    pub(crate) fn log(&mut self, level: u8, event: &'static str, mut fields: Vec<(&'static str, String)>) {
        let now_ms = self.now_ms();
        if !self.log_bucket.as_mut().is_none_or(|bucket| bucket.has_tokens(now_ms)) {
            self.unlogged += 1;
            return;
        }
        if let Some(bucket) = &mut self.log_bucket {
            bucket.take(1.0, now_ms);
        }
        if self.unlogged > 0 {
            fields.push(("lines_left_out", self.unlogged.to_string()));
            self.unlogged = 0;
        }
        self.events.push(Event::Log { level, event, fields });
    }

    fn obey(&mut self, command: Command) {
        self.dispatcher.outlet.tally.enter(None);
        match command {
            Command::Adopt { fd, listener, source } => self.adopt(listener, fd, source),
            Command::Listen(listener) => self.listen(listener),
            Command::Unlisten { id, reason } => self.unlisten(id, reason),
            Command::Accept { conn, session, claim, is_present, keep_alive_s, extra } => {
                self.accept(conn, &session, claim, is_present, keep_alive_s, extra.as_deref());
            }
            Command::Refuse { conn, reason, return_code, extra } => {
                self.refuse(conn, reason, return_code, extra.as_deref());
            }
            Command::Challenge { conn, reason, extra } => self.challenge(conn, reason, &extra),
            Command::Grant { conn, packet_id, codes } => self.grant(conn, packet_id, codes.as_deref()),
            Command::Release { conn, packet_id } => self.release(conn, packet_id),
            Command::Authorize { conn, is_allowed, is_kept } => self.on_authorized(conn, is_allowed, is_kept),
            Command::ShowVerdicts { conn, into } => self.show_verdicts(conn, &into),
            Command::Disconnect { conn, reason, cause } => {
                if let Some(conn) = self.take(conn) {
                    self.close(conn, cause, reason, None);
                }
            }
            Command::KeepAlive { conn, keep_alive_s } => self.change_keep_alive(conn, keep_alive_s),
            Command::Pump { conn, at_ms } => self.fine.schedule(at_ms, Due::Pump(conn)),
            Command::Delay => self.schedule_delayed(),
            Command::Stop { reason, drain_ms } => self.stop(reason, drain_ms),
        }
    }

    /// Takes every connection that `picks` out of its slot.
    #[allow(clippy::vec_box, reason = "connections live in boxes: moving one out must not copy it")]
    pub(crate) fn taken(&mut self, picks: impl Fn(&Connection) -> bool) -> Vec<Box<Connection>> {
        let is_picked = |slot: &&mut Slot| slot.connection.as_ref().is_some_and(|conn| picks(conn));
        self.slots.iter_mut().filter(is_picked).filter_map(|slot| slot.connection.take()).collect()
    }

    fn stop(&mut self, reason: u8, drain_ms: u64) {
        for id in self.listeners.keys().copied().collect::<Vec<_>>() {
            self.unlisten(id, None);
        }
        for conn in self.taken(|_| true) {
            self.close(conn, Cause::Shutdown, reason, None);
        }
        self.is_stopping = true;
        self.fine.schedule(self.now_ms() + drain_ms, Due::Stop);
    }

    fn change_keep_alive(&mut self, id: ConnId, keep_alive_s: u16) {
        let Some(mut conn) = self.take(id) else { return };
        conn.silence_ms = self.silence_ms(&conn, keep_alive_s);
        conn.heard_ms = self.now_ms();
        self.check(conn);
    }

    fn schedule_delayed(&mut self) {
        if let Some(at_ms) = self.hub.delayed.lock().next_at_ms() {
            self.fine.schedule(at_ms, Due::Delayed);
        }
    }

    fn run_timers(&mut self) {
        let now_ms = self.now_ms();
        let mut fired = std::mem::take(&mut self.fired);
        self.coarse.advance(now_ms, &mut fired);
        for id in fired.drain(..) {
            // A timer that was overtaken by an earlier one finds a check in the future and has no say.
            if let Some(conn) = self.take(id) {
                if conn.check_at_ms > now_ms {
                    self.put(conn);
                } else {
                    self.dispatcher.outlet.tally.enter(conn.namespace());
                    self.check(conn);
                }
            }
        }
        self.fired = fired;
        self.dispatcher.outlet.tally.enter(None);
        let mut due = Vec::new();
        self.fine.advance(now_ms, &mut due);
        for due in due {
            match due {
                Due::Resume(id) => self.resume(id),
                Due::Listen(id) => {
                    if let Some(listener) = self.listeners.get(&id).cloned() {
                        self.listen(listener);
                    }
                }
                Due::Delayed => self.publish_delayed(),
                Due::Pump(id) => self.pump_throttled(id),
                Due::Stop => {
                    for conn in self.taken(|_| true) {
                        self.drop_connection(&conn);
                    }
                }
            }
        }
        if now_ms.saturating_sub(self.swept_ms) >= SWEEP_MS {
            self.swept_ms = now_ms;
            self.dispatcher.sweep(&self.hub);
        }
    }

    /// Sends on what waited for the limits of its receiver.
    fn pump_throttled(&mut self, id: ConnId) {
        let Some(conn) = self.take(id) else { return };
        if let Some(session) = conn.session().cloned() {
            let mut state = session.lock();
            if let Some(link) = state.link.as_deref_mut().filter(|link| link.conn == id) {
                if let Some(throttle) = &mut link.throttle {
                    throttle.is_waiting = false;
                }
                crate::dispatch::flush(&self.hub, &session, &mut state, &mut self.dispatcher.outlet);
            }
        }
        self.put(conn);
    }

    fn publish_delayed(&mut self) {
        loop {
            let message = self.hub.delayed.lock().pop_due(self.now_ms());
            let Some(message) = message else { break };
            self.dispatcher.dispatch(&self.hub, &message.inbound());
        }
        self.dispatcher.outlet.tally.enter(None);
        self.schedule_delayed();
    }

    /// Forgets a connection without another word.
    pub(crate) fn drop_connection(&mut self, conn: &Connection) {
        debug_assert!(conn.phase == Phase::Lingering || self.is_stopping, "only an ended connection is dropped");
        self.forget(conn);
    }
}

fn token_listener(token: u64) -> u32 {
    u32::try_from(token & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

fn parts(id: ConnId) -> (usize, u32) {
    let slot = id.0 & ((1 << SLOT_BITS) - 1);
    let generation = (id.0 >> SLOT_BITS) & u64::from(u32::MAX);
    (usize::try_from(slot).unwrap_or(usize::MAX), u32::try_from(generation).unwrap_or(u32::MAX))
}

/// The shard that serves a connection.
#[must_use]
pub fn shard_of(id: ConnId) -> usize {
    usize::try_from(id.0 >> 56).unwrap_or(usize::MAX)
}
