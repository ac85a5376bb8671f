//! `AccessRules` and `AccessClient`: compiled rules for Python. What rules mean is `pybroker_core::acl`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pybroker_core::acl::{AccessRules, Action, ListSpec, Permission, Place, TraceEntry, Verdict, judged_topic};
use pybroker_core::codec::QoS;
use pybroker_engine::access::Facts;
use pyo3::prelude::*;
use pyo3::types::PyIterator;

use crate::access::PyAccessSubject;
use crate::acl_spec;
use crate::error::{key_error, rules_error};

/// Decision, scope, list, index of the rule.
type VerdictRow = (&'static str, &'static str, &'static str, i64);

/// Scope, list, index, outcome, whether the check came so far, placeholder at fault, index of the rule that replaced it.
type TraceRow = (&'static str, &'static str, u32, &'static str, bool, Option<String>, Option<u32>);

/// What rules may know of one client; immutable.
#[pyclass(name = "AccessClient", module = "pybroker._core", frozen)]
pub struct PyAccessClient(pub Arc<Facts>);

#[pymethods]
impl PyAccessClient {
    #[new]
    #[pyo3(signature = (client_id, username=None, *, peer_ip=None, peer_port=0, local_port=0, namespace=None,
        zone="", listener="", cert_common_name=None, attributes=Vec::new(), handshake=Vec::new(), mountpoint=""))]
    #[expect(clippy::too_many_arguments, reason = "the facts that rules may look at, each by its name")]
    fn new(
        client_id: &str,
        username: Option<&str>,
        peer_ip: Option<&str>,
        peer_port: u16,
        local_port: u16,
        namespace: Option<&str>,
        zone: &str,
        listener: &str,
        cert_common_name: Option<&str>,
        attributes: Vec<(String, String)>,
        handshake: Vec<(String, String)>,
        mountpoint: &str,
    ) -> PyResult<Self> {
        let boxed =
            |rows: Vec<(String, String)>| rows.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let parse = |text: &str| text.parse().map_err(|_| key_error("peer_ip", &format!("an IP address: {text:?}")));
        Ok(Self(Arc::new(Facts {
            client_id: client_id.into(),
            username: username.map(Box::from),
            peer_ip: peer_ip.map(parse).transpose()?,
            peer_port,
            local_port,
            namespace: namespace.map(Box::from),
            zone: zone.into(),
            listener: listener.into(),
            cert_common_name: cert_common_name.map(Box::from),
            attributes: boxed(attributes),
            handshake: boxed(handshake),
            mountpoint: mountpoint.into(),
        })))
    }
}

/// A compiled set of rules; immutable, so it needs no lock.
#[pyclass(name = "AccessRules", module = "pybroker._core", frozen)]
pub struct PyAccessRules(pub Arc<AccessRules>);

#[pymethods]
impl PyAccessRules {
    #[staticmethod]
    #[pyo3(signature = (lists, *, subscribe_match="strict", profile="legacy", template_allow=Vec::new(),
        allows_partial_placeholders=false))]
    #[expect(clippy::needless_pass_by_value, reason = "as PyO3 hands it over")]
    fn compile(
        py: Python<'_>,
        lists: &Bound<'_, PyAny>,
        subscribe_match: &str,
        profile: &str,
        template_allow: Vec<String>,
        allows_partial_placeholders: bool,
    ) -> PyResult<Self> {
        let settings = acl_spec::settings(subscribe_match, profile, &template_allow, allows_partial_placeholders)?;
        let lists = read(lists)?;
        let compiled = py.detach(|| AccessRules::compile(settings, lists));
        compiled.map(Self::new).map_err(|errors| rules_error(py, errors))
    }

    fn replace(&self, py: Python<'_>, lists: &Bound<'_, PyAny>) -> PyResult<Self> {
        let lists = read(lists)?;
        let replaced = py.detach(|| self.0.replace(lists));
        replaced.map(Self::new).map_err(|errors| rules_error(py, errors))
    }

    fn reading(&self, subscribe_match: &str) -> PyResult<Self> {
        Ok(Self::new(self.0.reading(acl_spec::subscribe_match(subscribe_match)?)))
    }

    fn __len__(&self) -> usize {
        self.0.rule_count()
    }

    #[pyo3(signature = (client, action, topic, qos=0, retain=false))]
    fn check(&self, client: &PyAccessClient, action: &str, topic: &str, qos: u8, retain: bool) -> PyResult<VerdictRow> {
        let action = action_of(action, qos, retain)?;
        let mut scratch = String::new();
        let Some(judged) = judged_topic(action, topic, &client.0.mountpoint, &mut scratch) else { return Ok(UNJUDGED) };
        Ok(verdict_row(self.0.check(&client.0.client(), action, judged)))
    }

    #[pyo3(signature = (subject, action, topic, qos=0, retain=false))]
    fn judge(
        &self,
        subject: &PyAccessSubject,
        action: &str,
        topic: &str,
        qos: u8,
        retain: bool,
    ) -> PyResult<&'static str> {
        Ok(verdict_row(self.0.check(&subject.0.facts.client(), action_of(action, qos, retain)?, topic)).0)
    }

    #[pyo3(signature = (client, action, topic, qos=0, retain=false, limit=1000))]
    #[expect(clippy::too_many_arguments, reason = "the question as `check` takes it, and how long the answer may be")]
    fn explain(
        &self,
        py: Python<'_>,
        client: &PyAccessClient,
        action: &str,
        topic: &str,
        qos: u8,
        retain: bool,
        limit: usize,
    ) -> PyResult<(VerdictRow, Vec<TraceRow>, usize)> {
        let action = action_of(action, qos, retain)?;
        let mut scratch = String::new();
        let Some(judged) = judged_topic(action, topic, &client.0.mountpoint, &mut scratch) else {
            return Ok((UNJUDGED, Vec::new(), 0));
        };
        let trace = py.detach(|| self.0.explain(&client.0.client(), action, judged, limit));
        Ok((verdict_row(trace.verdict), trace.entries.into_iter().map(trace_row).collect(), trace.left_out))
    }
}

impl Drop for PyAccessRules {
    /// Frees many rules in a thread of their own: it takes longer than whoever lets them go may be held up.
    fn drop(&mut self) {
        if self.0.rule_count() < MANY_RULES || Arc::strong_count(&self.0) > 1 || self.0.is_shared() {
            return;
        }
        let nothing = Arc::new(AccessRules::empty(self.0.settings()));
        let rules = std::mem::replace(&mut self.0, nothing);
        // Without a thread they are freed here, with the closure.
        let _ = std::thread::Builder::new().name("old-rules".to_owned()).spawn(move || drop(rules));
    }
}

impl PyAccessRules {
    fn new(rules: AccessRules) -> Self {
        Self(Arc::new(rules))
    }
}

/// Fewer rules than these are freed in microseconds.
const MANY_RULES: usize = 1_000;

/// The verdict on a delayed topic without a second slash.
const UNJUDGED: VerdictRow = ("deny", "", "", -1);

/// Lets the allocator of this thread put in order what 100,000 freed rules have left behind. The first allocations after
/// that take up to 30 ms each, 10,000 pieces at a time; here nobody waits for them, in `read` the event loop would.
fn settle_allocator() {
    const ROUNDS: usize = 256;
    const QUICK: Duration = Duration::from_micros(100);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        // Larger than what the allocator keeps at hand for a thread, else it would look at nothing.
        drop(std::hint::black_box(Vec::<u8>::with_capacity(4096)));
        if begun.elapsed() < QUICK {
            return;
        }
    }
}

/// Reads the lists one by one: between two of them other Python threads may run.
fn read(lists: &Bound<'_, PyAny>) -> PyResult<Vec<ListSpec>> {
    lists.py().detach(settle_allocator);
    PyIterator::from_object(lists)?.map(|list| acl_spec::list(&list?)).collect()
}

/// What a client wants to do.
///
/// # Errors
/// `ValueError` for another word or number.
pub fn action_of(action: &str, qos: u8, retain: bool) -> PyResult<Action> {
    let qos = QoS::try_from(qos).map_err(|_| key_error("qos", &format!("0, 1 or 2: {qos}")))?;
    match action {
        "publish" => Ok(Action::Publish { qos, retain }),
        "subscribe" => Ok(Action::Subscribe { qos }),
        _ => Err(key_error("action", &format!("publish or subscribe: {action:?}"))),
    }
}

const fn scope_of(place: Place) -> &'static str {
    if place.is_global { "global" } else { "namespace" }
}

fn verdict_row(verdict: Verdict) -> VerdictRow {
    match verdict {
        Verdict::NoMatch => ("nomatch", "", "", -1),
        Verdict::Decided { permission, place } => {
            let decision = match permission {
                Permission::Allow => "allow",
                Permission::Deny => "deny",
            };
            let (scope, list, rule) = place_row(Some(place));
            (decision, scope, list, rule)
        }
    }
}

/// Scope, list and index of a rule.
pub fn place_row(place: Option<Place>) -> (&'static str, &'static str, i64) {
    place.map_or(("", "", -1), |place| (scope_of(place), place.list.as_str(), i64::from(place.rule)))
}

fn trace_row(entry: TraceEntry) -> TraceRow {
    let TraceEntry { place, outcome, is_reached, placeholder, superseded_by } = entry;
    (scope_of(place), place.list.as_str(), place.rule, outcome.as_str(), is_reached, placeholder, superseded_by)
}
