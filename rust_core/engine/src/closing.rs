//! How connections end: the last packet, the lingering close, and the timers that end silent or stuck ones.

use std::os::fd::AsFd;
use std::sync::Arc;

use pybroker_core::codec::{Packet, QoS, Version};
use pybroker_core::reason::ReasonCode;

use crate::command::Command;
use crate::connection::{Connection, Holder, Phase, Verdict};
use crate::counters::Metric;
use crate::events::{Cause, Event};
use crate::hub::Hub;
use crate::link::{ConnId, Link};
use crate::namespace::Namespace;
use crate::outbox::{Flushed, HARD_MARK};
use crate::shard::{Shard, shard_of};
use crate::sys;

/// How long an ended connection is kept to let the peer read the last packet.
const LINGER_MS: u64 = 1_000;
/// A consumer whose socket took nothing for so long is ended. [decision: twice EMQX's `send_timeout` of 15 s]
const SEND_TIMEOUT_MS: u64 = 30_000;
/// How often a connected client with open inbound QoS 2 ids or a retry interval is looked at.
const HOUSEKEEPING_MS: u64 = 1_000;

impl Hub {
    /// Asks the shard of a connection to end it.
    pub fn end_connection(&self, conn: ConnId, reason: u8, cause: Cause) {
        if let Some(mailbox) = self.shards.get(shard_of(conn)) {
            mailbox.push(Command::Disconnect { conn, reason, cause });
        }
    }
}

impl Shard {
    /// Ends a connection: session detached, Python told, DISCONNECT sent, then a lingering close.
    ///
    /// `note` overrides whether the will is sent; `None` leaves it to the cause. [MQTT5-3.14.4-3] [MQTT5-3.1.2-10]
    pub(crate) fn close(&mut self, mut conn: Box<Connection>, cause: Cause, reason: u8, note: Option<bool>) {
        if conn.phase == Phase::Lingering {
            // The time is up, or the peer has closed too.
            return self.drop_connection(&conn);
        }
        let phase = conn.phase;
        self.report_end(&conn, cause, reason, note);
        let namespace = conn.namespace().cloned();
        let link = Self::take_link(&mut conn);
        conn.phase = Phase::Lingering;
        conn.pending = None;
        conn.input = Vec::new();
        self.drop_held(&mut conn, namespace.as_ref());
        conn.has_unread = false;
        conn.is_stalled = false;
        conn.paused_until_ms = 0;
        // The peer that said goodbye itself, or is gone, needs no time to read anything.
        let is_mutual = matches!(cause, Cause::Tcp | Cause::Normal | Cause::WithWill);
        let Some(mut link) = link else {
            sys::finish_sending(conn.fd.as_fd());
            return if is_mutual { self.drop_connection(&conn) } else { self.linger(conn) };
        };
        let has_heard = phase.is_connected() || phase == Phase::Authenticating;
        self.dispatcher.outlet.tally.enter(namespace.as_ref());
        link.say_goodbye(&mut self.dispatcher.outlet, if has_heard { reason } else { 0 });
        let ended = link.flush(&mut self.dispatcher.outlet);
        self.dispatcher.outlet.tally.enter(None);
        match ended {
            Flushed::Broken => return self.drop_connection(&conn),
            Flushed::Empty if is_mutual => return self.drop_connection(&conn),
            Flushed::Empty => sys::finish_sending(conn.fd.as_fd()),
            Flushed::Blocked => {}
        }
        conn.holder = Holder::Own(link);
        self.linger(conn);
    }

    /// Drops the publications that wait for PUBRELs, and counts those that nobody sends again.
    fn drop_held(&mut self, conn: &mut Connection, namespace: Option<&Arc<Namespace>>) {
        if conn.held.is_empty() {
            return;
        }
        let held = std::mem::take(&mut conn.held);
        let mut rest = held.as_slice();
        let mut n = 0;
        while let Ok(Some((Packet::Publish(publish), used))) = conn.decoder.decode(rest) {
            n += u64::from(publish.qos == QoS::AtMostOnce);
            rest = rest.get(used..).unwrap_or_default();
        }
        self.dispatcher.outlet.tally.enter(namespace);
        self.count_received(QoS::AtMostOnce, n);
        self.dispatcher.outlet.tally.add(Metric::MessagesDropped, n);
        self.dispatcher.outlet.tally.enter(None);
    }

    /// Keeps an ended connection until the peer closes: closing at once would reset it before it has read the end.
    fn linger(&mut self, mut conn: Box<Connection>) {
        conn.deadline_ms = self.now_ms() + LINGER_MS;
        self.schedule(&mut conn);
        if conn.is_hung_up {
            self.read_again(conn.id);
        }
        self.put(conn);
    }

    /// Tells Python about the end, if it knows of the connection.
    fn report_end(&mut self, conn: &Connection, cause: Cause, reason: u8, note: Option<bool>) {
        let is_known = conn.session().is_some() || matches!(conn.phase, Phase::Deciding | Phase::Authenticating);
        if !is_known {
            return;
        }
        let keeps_will_back = matches!(cause, Cause::Normal);
        self.events.push(Event::Closed {
            conn: conn.id,
            session: conn.session().map_or(u32::MAX, |session| session.id.0),
            cause,
            reason,
            session_expiry_s: conn.terms.as_ref().and_then(|terms| terms.final_expiry_s),
            sends_will: note.unwrap_or(!keeps_will_back),
        });
    }

    /// The sending half, back from the session if it is still this connection's.
    fn take_link(conn: &mut Connection) -> Option<Box<Link>> {
        match std::mem::replace(&mut conn.holder, Holder::Nobody) {
            Holder::Own(link) => Some(link),
            Holder::Session(session) => {
                let mut state = session.lock();
                session.detach(&mut state, conn.id)
            }
            Holder::Nobody => None,
        }
    }

    /// When the coarse timer should look at a connection; `None`: it need not.
    pub(crate) fn next_check(&self, conn: &Connection) -> Option<u64> {
        let now_ms = self.now_ms();
        let phase_ends = (conn.deadline_ms > 0).then_some(conn.deadline_ms);
        // While Python decides nothing is read, so silence says nothing about the client.
        let silence_ends = (conn.silence_ms > 0 && conn.phase == Phase::Open).then(|| conn.heard_ms + conn.silence_ms);
        let needs_care = conn.open_qos2 > 0 || conn.is_stalled || !conn.held.is_empty() || self.retries(conn);
        let care = (needs_care && conn.phase.is_connected()).then(|| now_ms + HOUSEKEEPING_MS);
        // Whoever has neither keep alive nor anything open is looked at seldom, for a stuck socket only.
        let idle = conn.phase.is_connected().then(|| now_ms + SEND_TIMEOUT_MS / 2);
        [phase_ends, silence_ends, care, idle].into_iter().flatten().min()
    }

    fn retries(&self, conn: &Connection) -> bool {
        self.retry_interval_ms(conn) > 0 && conn.version() != Version::V5
    }

    fn retry_interval_ms(&self, conn: &Connection) -> u64 {
        conn.spec.zone.retry_interval_ms.unwrap_or(self.dispatcher.outlet.settings.retry_interval_ms)
    }

    /// Looks at a connection whose coarse timer fired.
    pub(crate) fn check(&mut self, mut conn: Box<Connection>) {
        conn.check_at_ms = 0;
        let now_ms = self.now_ms();
        if conn.deadline_ms > 0 && now_ms >= conn.deadline_ms {
            return self.on_deadline(conn);
        }
        if conn.phase.is_connected() {
            if conn.phase == Phase::Open && conn.silence_ms > 0 && now_ms >= conn.heard_ms + conn.silence_ms {
                // [MQTT5-3.1.2-22] [MQTT3-3.1.2-24]
                return self.close(conn, Cause::KeepAlive, ReasonCode::KeepAliveTimeout as u8, None);
            }
            if self.is_stuck(&mut conn) {
                return self.close(conn, Cause::SlowConsumer, ReasonCode::QuotaExceeded as u8, None);
            }
            if conn.is_stalled && conn.with_link(|link| link.has_room()).unwrap_or(true) {
                conn.is_stalled = false;
            }
            self.expire_inbound(&mut conn);
            self.with_window(&conn, |_, _, state| state.window.release());
            if self.retries(&conn) {
                self.retry(&conn);
            }
            let has_to_wait = conn.held.is_empty() || conn.phase != Phase::Open;
            let verdict = if has_to_wait { Verdict::Continue } else { self.let_go(&mut conn) };
            self.answer(&mut conn);
            if verdict != Verdict::Continue {
                return self.settle_connection(conn, verdict);
            }
        }
        self.schedule(&mut conn);
        self.settle_connection(conn, Verdict::Continue);
    }

    fn on_deadline(&mut self, conn: Box<Connection>) {
        if conn.phase == Phase::Lingering {
            return self.drop_connection(&conn);
        }
        // [MQTT5-3.1.4] Nothing is said to who never introduced itself.
        let fields = vec![
            ("listener", conn.spec.name.clone()),
            ("peer", conn.source.map_or_else(String::new, |peer| peer.to_string())),
            ("phase", format!("{:?}", conn.phase).to_lowercase()),
        ];
        self.log(20, "idle_timeout", fields);
        self.close(conn, Cause::Tcp, 0, None);
    }

    /// Whether the client reads nothing although much waits for it.
    fn is_stuck(&mut self, conn: &mut Connection) -> bool {
        let now_ms = self.now_ms();
        conn.with_link(|link| {
            let is_silent = link.blocked_since_ms.is_some_and(|since| now_ms >= since.get() + SEND_TIMEOUT_MS);
            is_silent || link.unsent_bytes() > 2 * HARD_MARK
        })
        .unwrap_or(false)
    }

    fn expire_inbound(&mut self, conn: &mut Connection) {
        let told = self.dispatcher.outlet.settings.await_rel_timeout_ms;
        let timeout_ms = conn.spec.zone.await_rel_timeout_ms.unwrap_or(told);
        if conn.open_qos2 == 0 || timeout_ms == 0 {
            return;
        }
        let now_ms = self.now_ms();
        let outcome = self.with_window(conn, |_, _, state| {
            let expired = state.window.inbound_expire(now_ms, timeout_ms);
            (expired, state.window.inbound_len())
        });
        if let Some((expired, open)) = outcome {
            conn.open_qos2 = u16::try_from(open).unwrap_or(u16::MAX);
            self.dispatcher.outlet.tally.add(Metric::MessagesDroppedAwaitPubrelTimeout, expired as u64);
        }
    }

    /// Sends unfinished messages again to a 3.x client that has not acknowledged for the retry interval.
    fn retry(&mut self, conn: &Connection) {
        let interval_ms = self.retry_interval_ms(conn);
        let now_ms = self.now_ms();
        if now_ms < conn.heard_ms + interval_ms {
            return;
        }
        self.with_window(conn, |shard, session, state| {
            let is_due = state.window.inflight_len() > 0 && now_ms >= state.retried_ms + interval_ms;
            if is_due {
                state.retried_ms = now_ms;
                session.resume(state, &mut shard.dispatcher.outlet);
                shard.dispatcher.mark_dirty(&Arc::clone(session), state);
            }
        });
    }
}
