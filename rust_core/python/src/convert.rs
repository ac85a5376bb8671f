//! Events of the engine as tuples, in the shapes that `_core.pyi` promises.

use pybroker_engine::events::{Event, FilterRequest};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::connect::PyConnect;

const CONNECT: u8 = 0;
const SUBSCRIBE: u8 = 1;
const UNSUBSCRIBE: u8 = 2;
const CLOSED: u8 = 3;
const AUTH: u8 = 4;
const LOG: u8 = 5;
const SHARD_FAILED: u8 = 6;
const QUOTA: u8 = 7;
const AUTHORIZE: u8 = 8;
const WITHDRAWN: u8 = 9;

/// Names and numbers of the kinds, as exported.
pub const EVENT_KINDS: &[(&str, u8)] = &[
    ("EVENT_CONNECT", CONNECT),
    ("EVENT_SUBSCRIBE", SUBSCRIBE),
    ("EVENT_UNSUBSCRIBE", UNSUBSCRIBE),
    ("EVENT_CLOSED", CLOSED),
    ("EVENT_AUTH", AUTH),
    ("EVENT_LOG", LOG),
    ("EVENT_SHARD_FAILED", SHARD_FAILED),
    ("EVENT_QUOTA", QUOTA),
    ("EVENT_AUTHORIZE", AUTHORIZE),
    ("EVENT_WITHDRAWN", WITHDRAWN),
];

fn session_number(session: u32) -> i64 {
    if session == u32::MAX { -1 } else { i64::from(session) }
}

/// One event as its tuple.
pub fn event(py: Python<'_>, event: Event) -> PyResult<Py<PyAny>> {
    match event {
        Event::Connect { conn, info } => (CONNECT, conn.0, Py::new(py, PyConnect(info))?).into_py_any(py),
        Event::Subscribe { conn, session, packet_id, subscription_id, filters } => {
            let requests = filters.iter().map(|request| filter_request(py, request)).collect::<PyResult<Vec<_>>>()?;
            let requests = PyList::new(py, requests)?;
            (SUBSCRIBE, conn.0, session_number(session), packet_id, subscription_id, requests).into_py_any(py)
        }
        Event::Unsubscribe { conn, session, packet_id, filters } => {
            let filters = PyList::new(py, filters.iter().map(|filter| &**filter))?;
            (UNSUBSCRIBE, conn.0, session_number(session), packet_id, filters).into_py_any(py)
        }
        Event::Withdrawn { conn, session, filters } => {
            let filters = PyList::new(py, filters.iter().map(|filter| &**filter))?;
            (WITHDRAWN, conn.0, session_number(session), filters).into_py_any(py)
        }
        Event::Closed { conn, session, cause, reason, session_expiry_s, sends_will } => {
            let expiry = session_expiry_s.map_or(-1, i64::from);
            (CLOSED, conn.0, session_number(session), cause as u8, reason, expiry, sends_will).into_py_any(py)
        }
        Event::Auth { conn, session, reason, method, data } => {
            (AUTH, conn.0, session_number(session), reason, &*method, PyBytes::new(py, &data)).into_py_any(py)
        }
        Event::Quota { namespace, quota, is_exceeded, held, most } => {
            (QUOTA, &*namespace, quota.key(), is_exceeded, held, most).into_py_any(py)
        }
        Event::Authorize { conn, session, chain, step, topic, qos, is_retain } => {
            (AUTHORIZE, conn.0, session_number(session), chain, step, &*topic, qos, is_retain).into_py_any(py)
        }
        Event::Log { level, event, fields } => {
            let details = PyDict::new(py);
            for (name, value) in fields {
                details.set_item(name, value)?;
            }
            (LOG, level, event, details).into_py_any(py)
        }
        Event::ShardFailed { shard, text } => (SHARD_FAILED, shard, text).into_py_any(py),
    }
}

fn filter_request<'py>(py: Python<'py>, request: &FilterRequest) -> PyResult<Bound<'py, PyTuple>> {
    let inner = request.filter.get(request.inner_at..).unwrap_or_default();
    (&*request.filter, request.options, request.kind, request.reason, inner, request.has_wildcard).into_pyobject(py)
}
