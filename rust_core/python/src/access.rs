//! Access control of the engine for Python: subjects, chains, checks, kept verdicts, revocation. No rule lives here.

use std::sync::Arc;

use pybroker_core::acl::Permission;
use pybroker_engine::access::{
    AccessChain, AccessPolicy, Answer, By, Check, Decision, Keeping, OwnRules, Said, Step, Subject, SysTopics,
};
use pybroker_engine::command::Command;
use pybroker_engine::link::ConnId;
use pybroker_engine::revocation::Doubted;
use pybroker_engine::session::Session;
use pyo3::prelude::*;

use crate::acl::{PyAccessClient, PyAccessRules, action_of, place_row};
use crate::engine::{PyEngine, subscriber};
use crate::error::{key_error, value_error};

/// Decision, what decided, scope, list and index of the rule, chain, step.
type DecisionRow = (&'static str, String, &'static str, &'static str, i64, u64, usize);

/// Session, filter, QoS, decision.
type DoubtedRow = (u32, String, u8, &'static str);

/// Topic, QoS, retain flag, whether it is allowed, age.
type VerdictRow = (String, u8, bool, bool, u64);

/// A client as access control sees it; immutable.
#[pyclass(name = "AccessSubject", module = "pybroker._core", frozen)]
pub struct PyAccessSubject(pub Arc<Subject>);

#[pymethods]
impl PyAccessSubject {
    #[new]
    #[pyo3(signature = (client, *, is_superuser=false, acl=None, is_acl_final=false, expire_at_s=None))]
    fn new(
        client: &Bound<'_, PyAccessClient>,
        is_superuser: bool,
        acl: Option<&Bound<'_, PyAccessRules>>,
        is_acl_final: bool,
        expire_at_s: Option<i64>,
    ) -> Self {
        let own = acl.map(|rules| OwnRules { rules: Arc::clone(&rules.get().0), is_final: is_acl_final });
        let expire_at_s = expire_at_s.map(|at_s| u64::try_from(at_s).unwrap_or(0));
        Self(Arc::new(Subject { facts: Arc::clone(&client.get().0), is_superuser, own, expire_at_s }))
    }

    fn with_superuser(&self, is_superuser: bool) -> Self {
        Self(Arc::new(Subject { is_superuser, ..Subject::clone(&self.0) }))
    }

    #[getter]
    fn is_superuser(&self) -> bool {
        self.0.is_superuser
    }

    #[getter]
    fn client_id(&self) -> &str {
        &self.0.facts.client_id
    }

    #[getter]
    fn username(&self) -> Option<&str> {
        self.0.facts.username.as_deref()
    }

    #[getter]
    fn peer_ip(&self) -> Option<String> {
        self.0.facts.peer_ip.map(|address| address.to_string())
    }

    #[getter]
    fn peer_port(&self) -> u16 {
        self.0.facts.peer_port
    }

    #[getter]
    fn local_port(&self) -> u16 {
        self.0.facts.local_port
    }

    #[getter]
    fn zone(&self) -> &str {
        &self.0.facts.zone
    }

    #[getter]
    fn listener(&self) -> &str {
        &self.0.facts.listener
    }

    #[getter]
    fn cert_common_name(&self) -> Option<&str> {
        self.0.facts.cert_common_name.as_deref()
    }

    #[getter]
    fn attributes(&self) -> std::collections::HashMap<&str, &str> {
        self.0.facts.attributes.iter().map(|(name, value)| (&**name, &**value)).collect()
    }

    #[getter]
    fn handshake(&self) -> std::collections::HashMap<&str, &str> {
        self.0.facts.handshake.iter().map(|(name, value)| (&**name, &**value)).collect()
    }

    #[getter]
    fn mountpoint(&self) -> &str {
        &self.0.facts.mountpoint
    }
}

/// Sources in their order and what holds where none decides; not bound to an engine.
#[pyclass(name = "AccessChain", module = "pybroker._core", frozen)]
pub struct PyAccessChain {
    steps: Vec<(Box<str>, Option<Arc<pybroker_core::acl::AccessRules>>)>,
    policy: AccessPolicy,
}

#[pymethods]
impl PyAccessChain {
    #[new]
    #[pyo3(signature = (steps, *, no_match="allow", disconnects=false, includes_mountpoint=false, sys_topics="loopback",
        keeps=true, max_kept=32, ttl_ms=60_000, excludes=Vec::new()))]
    #[expect(clippy::too_many_arguments, reason = "the settings of access control, each by its name")]
    fn new(
        steps: Vec<(String, Option<Py<PyAccessRules>>)>,
        no_match: &str,
        disconnects: bool,
        includes_mountpoint: bool,
        sys_topics: &str,
        keeps: bool,
        max_kept: usize,
        ttl_ms: u64,
        excludes: Vec<String>,
    ) -> PyResult<Self> {
        for filter in &excludes {
            pybroker_core::topic::validate_filter(filter, usize::MAX)
                .map_err(|error| key_error("excludes", &format!("a list of filters: {filter:?}: {error}")))?;
        }
        let policy = AccessPolicy {
            no_match: match no_match {
                "allow" => Permission::Allow,
                "deny" => Permission::Deny,
                _ => return Err(key_error("no_match", &format!("allow or deny: {no_match:?}"))),
            },
            disconnects,
            includes_mountpoint,
            sys_topics: match sys_topics {
                "loopback" => SysTopics::Loopback,
                "everyone" => SysTopics::Everyone,
                "nobody" => SysTopics::Nobody,
                _ => return Err(key_error("sys_topics", &format!("loopback, everyone or nobody: {sys_topics:?}"))),
            },
            keeping: (keeps && max_kept > 0).then_some(Keeping { max_len: max_kept, ttl_ms }),
            excludes: excludes.into_iter().map(String::into_boxed_str).collect(),
        };
        let rules_of = |rules: Py<PyAccessRules>| Arc::clone(&rules.get().0);
        let steps = steps.into_iter().map(|(name, rules)| (name.into_boxed_str(), rules.map(rules_of))).collect();
        Ok(Self { steps, policy })
    }
}

impl PyAccessChain {
    fn chain(&self, engine: &PyEngine) -> AccessChain {
        let steps = self.steps.iter().map(|(name, rules)| Step {
            name: name.clone(),
            rules: rules.clone(),
            counters: engine.engine.hub.source_counters(name),
        });
        AccessChain::new(steps.collect(), self.policy.clone())
    }
}

/// A session by its number, or who is judged.
#[derive(FromPyObject)]
enum Asker<'py> {
    Session(i64),
    Subject(Bound<'py, PyAccessSubject>),
}

impl Asker<'_> {
    fn subject(&self, engine: &PyEngine) -> PyResult<Arc<Subject>> {
        match self {
            Self::Session(number) => session_of(engine, *number)
                .map(|session| session.subject())
                .ok_or_else(|| key_error("asker", &format!("a session or a subject: {number}"))),
            Self::Subject(subject) => Ok(Arc::clone(&subject.get().0)),
        }
    }
}

fn session_of(engine: &PyEngine, number: i64) -> Option<Arc<Session>> {
    subscriber(number).and_then(|id| engine.engine.hub.session(id))
}

fn decision_row(decision: Decision, chain: &AccessChain) -> DecisionRow {
    let name_of = |index: usize| chain.steps.get(index).map_or_else(String::new, |step| step.name.to_string());
    let mut row = (word_of(decision.answer), String::new(), "", "", -1, chain.version, 0);
    match decision.by {
        By::Superuser => "superuser".clone_into(&mut row.1),
        By::Expired => "expired".clone_into(&mut row.1),
        By::Malformed => "malformed".clone_into(&mut row.1),
        By::NoMatch => "no_match".clone_into(&mut row.1),
        By::OwnRules(place) => {
            "client_info".clone_into(&mut row.1);
            (row.2, row.3, row.4) = place_row(place);
        }
        By::Step(index, place) => {
            row.1 = name_of(index);
            (row.2, row.3, row.4) = place_row(Some(place));
            row.6 = index;
        }
        By::Nothing => {}
    }
    if let Answer::Ask(index) = decision.answer {
        row.1 = name_of(index);
        row.6 = index;
    }
    row
}

fn word_of(answer: Answer) -> &'static str {
    match answer {
        Answer::Allow => "allow",
        Answer::Deny => "deny",
        Answer::Ask(_) => "ask",
    }
}

fn said_of(word: &str) -> PyResult<Said> {
    match word {
        "allow" => Ok(Said::Allow),
        "deny" => Ok(Said::Deny),
        "nomatch" => Ok(Said::NoMatch),
        "ignore" => Ok(Said::Ignore),
        _ => Err(key_error("said", &format!("allow, deny, nomatch or ignore: {word:?}"))),
    }
}

fn doubted_row(doubted: Doubted) -> DoubtedRow {
    (doubted.session.0, doubted.filter, doubted.qos, word_of(doubted.answer))
}

#[pymethods]
impl PyEngine {
    fn set_access(&self, chain: &Bound<'_, PyAccessChain>) -> u64 {
        self.engine.hub.set_access(chain.get().chain(self));
        self.engine.hub.access_version()
    }

    fn set_subject(&self, session: i64, subject: &Bound<'_, PyAccessSubject>) {
        if let Some(session) = session_of(self, session) {
            session.set_subject(Arc::clone(&subject.get().0));
        }
    }

    fn subject(&self, session: i64) -> Option<PyAccessSubject> {
        session_of(self, session).map(|session| PyAccessSubject(session.subject()))
    }

    #[pyo3(signature = (asker, action, topic, qos=0, retain=false, *, step=0, counts=true))]
    #[expect(clippy::too_many_arguments, reason = "the question as access control puts it")]
    #[expect(clippy::needless_pass_by_value, reason = "as PyO3 hands it over")]
    fn check_access(
        &self,
        asker: Asker<'_>,
        action: &str,
        topic: &str,
        qos: u8,
        retain: bool,
        step: usize,
        counts: bool,
    ) -> PyResult<DecisionRow> {
        let subject = asker.subject(self)?;
        let action = action_of(action, qos, retain)?;
        let check = Check { subject: &subject, action, topic, from: step, is_counted: counts };
        let (decision, chain) = self.engine.check_access(&check);
        Ok(decision_row(decision, &chain))
    }

    fn count_access(&self, source: &str, said: &str, is_final: bool) -> PyResult<()> {
        self.engine.count_access(source, said_of(said)?, is_final);
        Ok(())
    }

    fn access_stats(&self, source: &str) -> [u64; 4] {
        self.engine.hub.source_counters(source).values()
    }

    fn reset_access_stats(&self, source: &str) {
        self.engine.hub.source_counters(source).reset();
    }

    #[pyo3(signature = (conn, is_allowed, is_kept=true))]
    fn authorize(&self, conn: u64, is_allowed: bool, is_kept: bool) {
        let conn = ConnId(conn);
        self.engine.command(conn, Command::Authorize { conn, is_allowed, is_kept });
    }

    fn access_cache(&self, py: Python<'_>, session: i64) -> Vec<VerdictRow> {
        let Some(id) = subscriber(session) else { return Vec::new() };
        let now_ms = pybroker_engine::sys::now_ms();
        let kept = py.detach(|| self.engine.verdicts_of(id));
        kept.into_iter()
            .map(|kept| {
                let age_ms = now_ms.saturating_sub(kept.kept_ms);
                (kept.topic.into(), kept.key >> 1, kept.key & 1 == 1, kept.is_allowed, age_ms)
            })
            .collect()
    }

    fn forget_access(&self, session: i64) {
        if let Some(session) = session_of(self, session) {
            session.forget_verdicts();
        }
    }

    #[pyo3(signature = (cursor, limit, chain=None))]
    fn recheck_access(
        &self,
        py: Python<'_>,
        cursor: i64,
        limit: usize,
        chain: Option<&Bound<'_, PyAccessChain>>,
    ) -> PyResult<(Vec<DoubtedRow>, i64)> {
        let from =
            u32::try_from(cursor).map_err(|_| key_error("cursor", &format!("a number of a session: {cursor}")))?;
        let chain = chain.map_or_else(|| self.engine.hub.access(), |chain| Arc::new(chain.get().chain(self)));
        let (doubted, next) = py.detach(|| self.engine.hub.recheck(&chain, from, limit));
        Ok((doubted.into_iter().map(doubted_row).collect(), next.map_or(-1, i64::from)))
    }

    #[pyo3(signature = (session, chain=None))]
    fn recheck_session(&self, session: i64, chain: Option<&Bound<'_, PyAccessChain>>) -> Vec<DoubtedRow> {
        let chain = chain.map_or_else(|| self.engine.hub.access(), |chain| Arc::new(chain.get().chain(self)));
        let mut doubted = Vec::new();
        if let Some(session) = session_of(self, session) {
            self.engine.hub.recheck_session(&chain, &session, &session.subject(), &mut doubted);
        }
        doubted.into_iter().map(doubted_row).collect()
    }

    fn revoke(&self, session: i64, filter: &str) -> PyResult<bool> {
        subscriber(session).map_or(Ok(false), |id| self.engine.revoke(id, filter).map_err(value_error))
    }
}
