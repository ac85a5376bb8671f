//! Whether a client may publish: the verdict on its last publications first, then the chain, then Python.
//!
//! A publication like the one before costs one comparison, and where the chain can decide nothing, one branch. A PUBLISH
//! that Python must judge waits with its connection; it is handled again from its bytes once there is an answer.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use pybroker_core::acl::Action;
use pybroker_core::codec::{Packet, Publish, QoS};
use pybroker_core::reason::ReasonCode;
use pybroker_core::topic;

use crate::access::{AccessChain, Answer, Check, count_answer};
use crate::connection::{Connection, Holder, Pending, Phase, Verdict};
use crate::counters::Metric;
use crate::events::Event;
use crate::link::ConnId;
use crate::memo::{KeptVerdict, Memo, key_of};
use crate::session::Session;
use crate::shard::Shard;
use crate::sys;

/// What access control knows of a connection's publications.
#[derive(Default)]
pub struct Guard {
    /// Subject that the rest rests on, as `Session::subject_version` counts; 0: not looked at yet.
    subject: u32,
    /// Chain that the rest rests on.
    chain: u64,
    /// Whether the client is judged although the chain is open.
    is_special: bool,
    /// When everything is denied, monotonic; 0: never.
    ends_ms: u64,
    /// Verdicts that are kept.
    memo: Option<Box<Memo>>,
    /// Python's answer for the publication at hand, and whether it may be kept.
    answer: Option<(bool, bool)>,
}

/// Whether a publication may be routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clearance {
    /// It may.
    Granted,
    /// It may not.
    Refused,
    /// Python must ask the step of this index.
    Awaited(usize),
}

/// What is known of a publication beforehand.
enum Known {
    /// The chain is open: nobody judges.
    Passed,
    /// The verdict on one like it.
    Kept(bool),
}

impl Guard {
    /// Whether Python has judged the publication at hand.
    pub(crate) fn is_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// Begins anew for another subject or chain.
    fn renew(&mut self, session: &Session, chain: &AccessChain, now_ms: u64) {
        let version = session.subject_version();
        let subject = session.subject();
        self.subject = version;
        self.chain = chain.version;
        self.is_special = subject.is_special();
        self.ends_ms = subject.expire_at_s.map_or(0, |at_s| {
            let left_ms = at_s.saturating_sub(sys::unix_s()).saturating_mul(1000);
            now_ms.saturating_add(left_ms).max(1)
        });
        self.memo = None;
    }
}

impl Shard {
    /// Judges a PUBLISH; `topic` is the one that its alias stands for.
    pub(crate) fn clear_publish(&mut self, conn: &mut Connection, publish: &Publish<'_>, topic: &str) -> Clearance {
        match self.known_verdict(conn, publish, topic) {
            Some(Known::Passed) => self.dispatcher.passed += 1,
            Some(Known::Kept(is_allowed)) => {
                let tally = &mut self.dispatcher.outlet.tally;
                tally.count(Metric::AuthorizationCacheHit);
                count_answer(tally, is_allowed);
                return if is_allowed { Clearance::Granted } else { Clearance::Refused };
            }
            None => {
                let Holder::Session(session) = &conn.holder else { return Clearance::Refused };
                let (session, access) = (Arc::clone(session), Arc::clone(&self.dispatcher.access));
                return self.judge_publish(conn, &session, &access, publish, topic);
            }
        }
        Clearance::Granted
    }

    /// Whether `n` publications like this one are granted without asking anybody; then they are counted.
    pub(crate) fn is_known_to_be_granted(
        &mut self,
        conn: &mut Connection,
        publish: &Publish<'_>,
        topic: &str,
        n: u64,
    ) -> bool {
        match self.known_verdict(conn, publish, topic) {
            Some(Known::Passed) => self.dispatcher.passed += n,
            Some(Known::Kept(true)) => {
                self.dispatcher.outlet.tally.add(Metric::AuthorizationCacheHit, n);
                self.dispatcher.outlet.tally.add(Metric::AuthorizationAllow, n);
            }
            Some(Known::Kept(false)) | None => return false,
        }
        true
    }

    /// What is known of a publication without asking anybody. Nothing is counted.
    #[inline]
    fn known_verdict(&mut self, conn: &mut Connection, publish: &Publish<'_>, topic: &str) -> Option<Known> {
        let Holder::Session(session) = &conn.holder else { return None };
        let now_ms = self.dispatcher.outlet.now_ms;
        let access = &self.dispatcher.access;
        let guard = &mut conn.guard;
        if guard.subject != session.subject_version() || guard.chain != access.version {
            guard.renew(session, access, now_ms);
        }
        let is_dollar = topic.as_bytes().first() == Some(&b'$');
        if access.is_open() && !guard.is_special && !is_dollar {
            return Some(Known::Passed);
        }
        let bare = if is_dollar { without_delay(topic) } else { topic };
        let key = key_of(publish.qos as u8, publish.is_retain);
        if let (Some(memo), Some(keeping), None) = (&mut guard.memo, access.policy.keeping, guard.answer)
            && (guard.ends_ms == 0 || now_ms < guard.ends_ms)
        {
            return memo.find(bare, key, now_ms, keeping.ttl_ms).map(Known::Kept);
        }
        None
    }

    /// Takes Python's answer, or asks the chain; keeps the verdict.
    #[cold]
    fn judge_publish(
        &mut self,
        conn: &mut Connection,
        session: &Session,
        access: &AccessChain,
        publish: &Publish<'_>,
        topic: &str,
    ) -> Clearance {
        if topic::validate_topic(topic, usize::MAX).is_err() {
            return Clearance::Granted; // It is a protocol error, whoever may publish.
        }
        let bare = without_delay(topic);
        let keeping = access.keeps(bare);
        let tally = &mut self.dispatcher.outlet.tally;
        let (is_allowed, is_kept) = if let Some(answer) = conn.guard.answer.take() {
            answer
        } else {
            let subject = session.subject();
            let action = Action::Publish { qos: publish.qos, retain: publish.is_retain };
            let check = Check { subject: &subject, action, topic, from: 0, is_counted: true };
            tally.count(Metric::ClientAuthorize);
            if keeping.is_some() {
                tally.count(Metric::AuthorizationCacheMiss);
            }
            let decision = access.judge(&check, &mut String::new());
            decision.count(tally);
            match decision.answer {
                Answer::Allow => (true, true),
                Answer::Deny => (false, true),
                Answer::Ask(step) => return Clearance::Awaited(step),
            }
        };
        if is_kept && let Some(keeping) = keeping {
            let key = key_of(publish.qos as u8, publish.is_retain);
            let memo = conn.guard.memo.get_or_insert_default();
            memo.keep(bare, key, is_allowed, self.dispatcher.outlet.now_ms, keeping);
        }
        if is_allowed { Clearance::Granted } else { Clearance::Refused }
    }

    /// Puts a PUBLISH before Python; its connection waits.
    pub(crate) fn await_clearance(
        &mut self,
        conn: &mut Connection,
        step: usize,
        publish: &Publish<'_>,
        topic: &str,
        frame: &[u8],
    ) -> Verdict {
        conn.pending = Some(Box::new(Pending::Publish { frame: frame.into() }));
        let chain = self.dispatcher.access.version;
        let (topic, qos, is_retain) = (Box::from(topic), publish.qos as u8, publish.is_retain);
        self.ask(conn, |conn, session| Event::Authorize { conn, session, chain, step, topic, qos, is_retain })
    }

    /// Handles the PUBLISH that waited, now that Python has answered.
    pub(crate) fn on_authorized(&mut self, id: ConnId, is_allowed: bool, is_kept: bool) {
        let Some(mut conn) = self.take(id) else {
            return;
        };
        if !matches!(conn.pending.as_deref(), Some(Pending::Publish { .. })) {
            return self.put(conn);
        }
        let Some(Pending::Publish { frame }) = conn.pending.take().map(|pending| *pending) else {
            return self.put(conn);
        };
        conn.phase = Phase::Open;
        conn.heard_ms = self.now_ms();
        conn.guard.answer = Some((is_allowed, is_kept));
        self.dispatcher.outlet.tally.enter(conn.namespace());
        let mut verdict = match conn.decoder.decode(&frame) {
            Ok(Some((Packet::Publish(publish), _))) => self.take_publish(&mut conn, &publish, &frame),
            _ => Verdict::protocol(ReasonCode::MalformedPacket),
        };
        conn.guard.answer = None;
        if verdict == Verdict::Continue {
            verdict = self.charge(&mut conn, frame.len(), true);
        }
        if verdict == Verdict::Continue && !conn.held.is_empty() {
            verdict = self.let_go(&mut conn);
        }
        if let Some(gate) = conn.gate() {
            gate.settle();
        }
        self.answer(&mut conn);
        conn.has_unread = true;
        self.schedule(&mut conn);
        self.settle_connection(conn, verdict);
    }

    /// Answers a PUBLISH that is denied as its version and QoS ask for. Nothing is routed, retained or queued.
    pub(crate) fn refuse_publish(
        &mut self,
        conn: &mut Connection,
        publish: &Publish<'_>,
        topic: &str,
        frame: &[u8],
    ) -> Verdict {
        let fields = vec![
            ("client_id", conn.session().map_or_else(String::new, |session| session.client_id.to_string())),
            ("topic", topic.to_owned()),
            ("qos", (publish.qos as u8).to_string()),
        ];
        self.log(20, "publish_denied", fields);
        if self.dispatcher.access.policy.disconnects {
            self.count_refused(ReasonCode::NotAuthorized);
            return Verdict::Close {
                cause: crate::events::Cause::NotAuthorized,
                reason: ReasonCode::NotAuthorized as u8,
            };
        }
        match publish.qos {
            QoS::AtMostOnce => {
                self.count_refused(ReasonCode::NotAuthorized);
                Verdict::Continue
            }
            QoS::AtLeastOnce => self.on_publish_qos1(conn, publish, |_, _| ReasonCode::NotAuthorized),
            QoS::ExactlyOnce => self.on_publish_qos2(conn, publish, frame, |_, _| ReasonCode::NotAuthorized),
        }
    }

    /// Lists the verdicts that a connection keeps; those of an older chain or subject count no more.
    pub(crate) fn show_verdicts(&mut self, id: ConnId, into: &SyncSender<Vec<KeptVerdict>>) {
        let mut shown = Vec::new();
        if let Some(conn) = self.take(id) {
            let access = &self.dispatcher.access;
            let is_valid = conn.session().is_some_and(|session| session.subject_version() == conn.guard.subject)
                && conn.guard.chain == access.version;
            if let (true, Some(memo), Some(keeping)) = (is_valid, &conn.guard.memo, access.policy.keeping) {
                shown.extend(memo.iter(self.now_ms(), keeping.ttl_ms).cloned());
            }
            self.put(conn);
        }
        // Nobody waits any more for an answer that comes too late.
        let _ = into.try_send(shown);
    }
}

/// What `$delayed/N/topic` is judged as; a broken one stays as it is.
fn without_delay(topic: &str) -> &str {
    topic.strip_prefix("$delayed/").and_then(|rest| rest.split_once('/')).map_or(topic, |(_, inner)| inner)
}
