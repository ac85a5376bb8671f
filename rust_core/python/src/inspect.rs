//! Pages of what there is, as lists of tuples.

use std::net::IpAddr;
use std::sync::Arc;

use pybroker_core::codec::{Property, PropertyId, PropertyValue};
use pybroker_core::message::{Message, Origin};
use pybroker_core::topic;
use pybroker_core::trie::Cursor;
use pybroker_engine::delayed::ListedDelayed;
use pybroker_engine::inspect::{ListedSubscription, MessageKind};
use pybroker_engine::sys;
use pybroker_engine::trace::{TraceRecord, TraceSpec};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::engine::{PyEngine, subscriber};
use crate::error::{key_error, value_error};

/// Client id and user name of the publisher, `None` for the broker itself, and wall time of the publication in ms.
type OriginRow = (Option<String>, Option<String>, i64);
type RetainedRow<'py> = (String, Bound<'py, PyBytes>, u8, i64, OriginRow);
type MessageRow<'py> = (u64, i16, String, u8, bool, Bound<'py, PyBytes>, OriginRow);
type DelayedRow<'py> = ((u64, u64), String, u8, Bound<'py, PyBytes>, i64, OriginRow);
type SubscriptionRow = (u32, String, u8, u32);

fn row_of_subscription(listed: ListedSubscription) -> SubscriptionRow {
    (listed.session.0, listed.filter, listed.options, listed.subscription_id)
}

/// Turns monotonic times into those of the wall clock, which may have been set since.
struct WallClock {
    now_ms: u64,
    unix_ms: u64,
}

impl WallClock {
    fn new() -> Self {
        Self { now_ms: sys::now_ms(), unix_ms: sys::unix_ms() }
    }

    fn wall_ms(&self, monotonic_ms: u64) -> i64 {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        signed(self.unix_ms).saturating_add(signed(monotonic_ms)).saturating_sub(signed(self.now_ms))
    }

    fn origin(&self, origin: Option<&Origin>, published_ms: u64) -> OriginRow {
        let client_id = origin.map(|origin| origin.client_id.to_string());
        let username = origin.and_then(|origin| origin.username.as_deref().map(str::to_owned));
        (client_id, username, self.wall_ms(published_ms))
    }

    fn origin_of(&self, message: &Message) -> OriginRow {
        self.origin(message.origin.as_deref(), message.published_ms)
    }
}

fn next_of(cursor: Option<Cursor>) -> i64 {
    cursor.map_or(-1, |cursor| i64::try_from(cursor.to_bits()).unwrap_or(-1))
}

fn cursor_of(number: i64) -> PyResult<Cursor> {
    u64::try_from(number).map(Cursor::from_bits).map_err(|_| key_error("cursor", &format!("not negative: {number}")))
}

fn retained_row<'py>(py: Python<'py>, message: &Arc<Message>, clock: &WallClock) -> RetainedRow<'py> {
    let now_ms = clock.now_ms;
    let left_ms = match message.remaining_s(now_ms) {
        None => -1,
        Some(_) => i64::try_from(message.expires_at_ms.saturating_sub(now_ms)).unwrap_or(i64::MAX),
    };
    let payload = PyBytes::new(py, message.payload());
    (message.topic().to_owned(), payload, message.qos as u8, left_ms, clock.origin_of(message))
}

fn delayed_row<'py>(py: Python<'py>, listed: &ListedDelayed, clock: &WallClock) -> DelayedRow<'py> {
    let payload = PyBytes::new(py, &listed.payload);
    let origin = clock.origin(listed.origin.as_deref(), listed.published_ms);
    (listed.id, listed.topic.clone(), listed.qos as u8, payload, clock.wall_ms(listed.id.0), origin)
}

fn trace_row<'py>(py: Python<'py>, record: &TraceRecord) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("time_ms", record.unix_ms)?;
    row.set_item("is_delivery", record.is_delivery)?;
    row.set_item("packet", record.packet)?;
    row.set_item("client_id", &*record.client_id)?;
    row.set_item("peer", record.peer.map_or_else(String::new, |peer| peer.to_string()))?;
    row.set_item("namespace", record.namespace.as_deref())?;
    row.set_item("topic", record.topic.as_deref())?;
    row.set_item("qos", record.qos)?;
    row.set_item("is_retain", record.is_retain)?;
    row.set_item("is_dup", record.is_dup)?;
    row.set_item("packet_id", record.packet_id)?;
    row.set_item("reason", record.reason)?;
    row.set_item("payload", PyBytes::new(py, &record.payload))?;
    row.set_item("payload_bytes", record.payload_bytes)?;
    Ok(row)
}

#[pymethods]
impl PyEngine {
    fn subscriptions(&self, session: i64) -> Vec<(String, u8, u32)> {
        let Some(id) = subscriber(session) else { return Vec::new() };
        let keys = self.engine.with_session(id, |_, state| state.subscriptions.clone()).unwrap_or_default();
        let listed = self.engine.hub.describe_subscriptions(id, &keys);
        listed.into_iter().map(|listed| (listed.filter, listed.options, listed.subscription_id)).collect()
    }

    fn page_subscriptions(&self, py: Python<'_>, cursor: i64, limit: usize) -> PyResult<(Vec<SubscriptionRow>, i64)> {
        let from = cursor_of(cursor)?;
        let (page, next) = py.detach(|| self.engine.hub.page_subscriptions(from, limit));
        Ok((page.into_iter().map(row_of_subscription).collect(), next_of(next)))
    }

    fn page_topics(&self, py: Python<'_>, cursor: i64, limit: usize) -> PyResult<(Vec<String>, i64)> {
        let from = cursor_of(cursor)?;
        let (page, next) = py.detach(|| self.engine.hub.page_topics(from, limit));
        Ok((page, next_of(next)))
    }

    #[pyo3(signature = (filter, cursor, limit))]
    fn page_retained<'py>(
        &self,
        py: Python<'py>,
        filter: Option<&str>,
        cursor: i64,
        limit: usize,
    ) -> PyResult<(Vec<RetainedRow<'py>>, i64)> {
        let clock = WallClock::new();
        let now_ms = clock.now_ms;
        let retained = &self.engine.hub.retained;
        let (page, next) = match filter {
            None => {
                let (page, next) = retained.page(cursor_of(cursor)?, limit, now_ms);
                (page, next_of(next))
            }
            Some(filter) => {
                topic::validate_filter(filter, usize::MAX).map_err(value_error)?;
                let skip =
                    usize::try_from(cursor).map_err(|_| key_error("cursor", &format!("not negative: {cursor}")))?;
                let (page, has_more) = py.detach(|| retained.page_matching(filter, skip, limit, now_ms));
                let next = if has_more { i64::try_from(skip + page.len()).unwrap_or(-1) } else { -1 };
                (page, next)
            }
        };
        Ok((page.iter().map(|message| retained_row(py, message, &clock)).collect(), next))
    }

    #[pyo3(signature = (session, kind, after, limit))]
    fn session_messages<'py>(
        &self,
        py: Python<'py>,
        session: i64,
        kind: &str,
        after: Option<(u64, i16)>,
        limit: usize,
    ) -> PyResult<(Vec<MessageRow<'py>>, bool)> {
        let kind = match kind {
            "mqueue" => MessageKind::Queued,
            "inflight" => MessageKind::Inflight,
            _ => return Err(key_error("kind", &format!("mqueue or inflight: {kind}"))),
        };
        let page = subscriber(session)
            .and_then(|id| self.engine.with_session(id, |_, state| state.page_messages(kind, after, limit)));
        let Some((page, has_more)) = page else { return Ok((Vec::new(), false)) };
        let clock = WallClock::new();
        let rows = page
            .into_iter()
            .map(|listed| {
                let message = listed.message.as_ref();
                let topic = message.map_or_else(String::new, |message| message.topic().to_owned());
                let payload = PyBytes::new(py, message.map_or(&[][..], |message| message.payload()));
                let origin = message.map_or((None, None, 0), |message| clock.origin_of(message));
                (listed.position, listed.priority, topic, listed.qos, listed.is_retain, payload, origin)
            })
            .collect();
        Ok((rows, has_more))
    }

    #[pyo3(signature = (after, limit))]
    fn page_delayed<'py>(
        &self,
        py: Python<'py>,
        after: Option<(u64, u64)>,
        limit: usize,
    ) -> (Vec<DelayedRow<'py>>, bool) {
        let (page, has_more) = py.detach(|| self.engine.hub.delayed.lock().page(after, limit));
        let clock = WallClock::new();
        (page.iter().map(|listed| delayed_row(py, listed, &clock)).collect(), has_more)
    }

    fn delayed_get<'py>(&self, py: Python<'py>, number: (u64, u64)) -> Option<DelayedRow<'py>> {
        let listed = self.engine.hub.delayed.lock().get(number)?;
        Some(delayed_row(py, &listed, &WallClock::new()))
    }

    fn delayed_remove(&self, number: (u64, u64)) -> bool {
        self.engine.hub.delayed.lock().remove(number)
    }

    fn slow_subscriptions(&self) -> Vec<(String, String, u64, i64)> {
        let clock = WallClock::new();
        let rows = self.engine.hub.slow.list();
        rows.into_iter()
            .map(|row| (row.client_id.into(), row.topic.into(), row.timespan_ms, clock.wall_ms(row.at_ms)))
            .collect()
    }

    fn slow_forget(&self, older_than_ms: u64, most: usize) {
        self.engine.hub.slow.forget(sys::now_ms().saturating_sub(older_than_ms), most);
    }

    fn set_traces(
        &self,
        clients: Vec<String>,
        addresses: Vec<String>,
        filters: Vec<String>,
        payload_bytes: usize,
    ) -> PyResult<()> {
        for filter in &filters {
            topic::validate_filter(filter, usize::MAX).map_err(value_error)?;
        }
        let parse = |text: String| {
            let address = text.parse::<IpAddr>().map(|address| address.to_canonical());
            address.map_err(|_| key_error("addresses", &format!("IP addresses: {text:?}")))
        };
        let spec = TraceSpec {
            clients: clients.into_iter().map(Into::into).collect(),
            addresses: addresses.into_iter().map(parse).collect::<PyResult<_>>()?,
            filters: filters.into_iter().map(Into::into).collect(),
            payload_bytes,
            records: Arc::clone(&self.engine.hub.trace_records),
        };
        let is_empty = spec.clients.is_empty() && spec.addresses.is_empty() && spec.filters.is_empty();
        self.engine.hub.set_traces((!is_empty).then_some(spec));
        Ok(())
    }

    fn take_traces<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<(Vec<Bound<'py, PyDict>>, u64)> {
        let (records, lost) = py.detach(|| self.engine.hub.trace_records.take(limit));
        let rows = records.iter().map(|record| trace_row(py, record)).collect::<PyResult<_>>()?;
        Ok((rows, lost))
    }

    fn delayed_remove_topic(&self, py: Python<'_>, topic: &str) -> usize {
        py.detach(|| self.engine.hub.delayed.lock().remove_topic(topic))
    }
}

/// Encodes the properties that a server forwards, in the order of the standard's table, user properties last.
///
/// # Errors
/// `ValueError` when a text is longer than 65,535 bytes or holds U+0000.
#[pyfunction]
#[pyo3(signature = (*, payload_format=None, content_type=None, response_topic=None, correlation_data=None,
    user_properties=None))]
#[allow(clippy::needless_pass_by_value, reason = "as PyO3 hands it over")]
pub fn encode_properties<'py>(
    py: Python<'py>,
    payload_format: Option<bool>,
    content_type: Option<&str>,
    response_topic: Option<&str>,
    correlation_data: Option<&[u8]>,
    user_properties: Option<Vec<(String, String)>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut out = Vec::new();
    if let Some(is_utf8) = payload_format {
        Property { id: PropertyId::PayloadFormat, value: PropertyValue::Flag(is_utf8) }.encode(&mut out);
    }
    for (name, id, text) in [
        ("content_type", PropertyId::ContentType, content_type),
        ("response_topic", PropertyId::ResponseTopic, response_topic),
    ] {
        if let Some(text) = text {
            check_text(name, text)?;
            Property { id, value: PropertyValue::Text(text) }.encode(&mut out);
        }
    }
    if let Some(data) = correlation_data {
        if data.len() > usize::from(u16::MAX) {
            return Err(key_error("correlation_data", "at most 65535 bytes"));
        }
        Property { id: PropertyId::CorrelationData, value: PropertyValue::Binary(data) }.encode(&mut out);
    }
    for (name, value) in &user_properties.unwrap_or_default() {
        check_text("user_properties", name)?;
        check_text("user_properties", value)?;
        Property::user(name, value).encode(&mut out);
    }
    Ok(PyBytes::new(py, &out))
}

fn check_text(key: &str, text: &str) -> PyResult<()> {
    if text.len() > usize::from(u16::MAX) || text.contains('\0') {
        return Err(key_error(key, "at most 65535 bytes without U+0000"));
    }
    Ok(())
}
