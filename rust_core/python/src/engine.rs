//! `Engine`: a thin wrapper; every rule lives below.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use pybroker_core::codec::QoS;
use pybroker_core::topic;
use pybroker_core::trie::SubscriberId;
use pybroker_engine::command::Command;
use pybroker_engine::counters::METRICS;
use pybroker_engine::engine::{Engine, OwnMessage};
use pybroker_engine::events::Cause;
use pybroker_engine::link::ConnId;
use pybroker_engine::namespace::Quota;
use pybroker_engine::subscriptions::{Granted, SubscribeError};
use pybroker_engine::sys;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::connect::{PyConnack, PyWill, reason_code};
use crate::error::{key_error, os_error, quota_exceeded, value_error};
use crate::{convert, spec};

/// Sockets, routing and QoS state of one broker process.
#[pyclass(name = "Engine", module = "pybroker._core", frozen)]
pub struct PyEngine {
    /// What it wraps.
    pub engine: Engine,
}

const CAUSES: &[Cause] = &[
    Cause::Normal,
    Cause::WithWill,
    Cause::Tcp,
    Cause::KeepAlive,
    Cause::Protocol,
    Cause::TakenOver,
    Cause::Kicked,
    Cause::Shutdown,
    Cause::SlowConsumer,
    Cause::QueueFull,
    Cause::Listener,
    Cause::Quota,
    Cause::Stale,
    Cause::NotAuthorized,
];

fn cause_of(number: usize) -> PyResult<Cause> {
    CAUSES.get(number).copied().ok_or_else(|| key_error("cause", &format!("a CLOSE constant: {number}")))
}

fn qos_of(number: u8) -> PyResult<QoS> {
    QoS::try_from(number).map_err(|_| key_error("qos", &format!("0, 1 or 2: {number}")))
}

/// The number of a session; `None` for a negative one.
pub fn subscriber(session: i64) -> Option<SubscriberId> {
    u32::try_from(session).ok().map(SubscriberId)
}

/// The exception for a subscription beyond the quota of the session's namespace.
fn quota_error(py: Python<'_>, engine: &Engine, id: SubscriberId) -> PyErr {
    let namespace = engine.hub.session(id).and_then(|session| session.namespace.clone());
    let most = namespace.and_then(|namespace| namespace.most(Quota::Subscriptions)).unwrap_or_default();
    quota_exceeded(py, Quota::Subscriptions.key(), most)
}

fn extra_of(connack: Option<&Bound<'_, PyConnack>>) -> Option<Box<pybroker_engine::handshake::ConnackExtra>> {
    connack.map(|connack| Box::new(connack.get().0.clone()))
}

#[pymethods]
impl PyEngine {
    #[new]
    fn new(io_threads: usize, node: &str) -> PyResult<Self> {
        let engine = Engine::new(io_threads).map_err(|error| os_error(&error, "engine"))?;
        // The engine is new, so the name is set for the first time.
        let _ = engine.hub.node.set(node.into());
        Ok(Self { engine })
    }

    fn configure(&self, settings: &Bound<'_, PyDict>) -> PyResult<()> {
        self.engine.hub.configure(spec::settings(settings)?);
        Ok(())
    }

    fn start(&self) -> PyResult<()> {
        self.engine.start().map_err(|error| os_error(&error, "shard thread"))
    }

    fn event_fd(&self) -> i32 {
        self.engine.hub.events.as_fd().as_raw_fd()
    }

    fn shard_fd(&self) -> i32 {
        self.engine.driven().map_or(-1, |shard| shard.lock().as_fd().as_raw_fd())
    }

    fn turn(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        py.detach(|| self.engine.turn()).map_err(|error| os_error(&error, "epoll"))
    }

    fn drain_events<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyList>> {
        let events = self.engine.hub.events.take(limit);
        let tuples = events.into_iter().map(|event| convert::event(py, event)).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, tuples)
    }

    fn gather(&self) {
        self.engine.gather();
    }

    fn deliver(&self) {
        self.engine.deliver();
    }

    fn open_listener(&self, py: Python<'_>, spec: &Bound<'_, PyDict>) -> PyResult<(u32, String)> {
        let spec = spec::listener(spec)?;
        let name = spec.name.clone();
        let listener = py.detach(|| self.engine.open_listener(spec)).map_err(|error| os_error(&error, &name))?;
        Ok((listener.id, listener.address.clone()))
    }

    fn change_listener(&self, py: Python<'_>, listener: u32, spec: &Bound<'_, PyDict>) -> PyResult<()> {
        let spec = spec::listener(spec)?;
        let name = spec.name.clone();
        py.detach(|| self.engine.change_listener(listener, spec)).map_err(|error| os_error(&error, &name))
    }

    fn close_listener(&self, listener: u32, closes_connections: bool, reason: i64) -> PyResult<()> {
        let reason = if closes_connections { Some(reason_code(reason)?) } else { None };
        self.engine.close_listener(listener, reason);
        Ok(())
    }

    fn reload_tls(&self, py: Python<'_>, listener: u32) -> PyResult<bool> {
        let Some(listener) = self.engine.hub.listeners.get(listener) else {
            return Ok(false);
        };
        match &listener.spec().tls {
            Some(tls) => py.detach(|| tls.reload()).map_err(value_error),
            None => Ok(false),
        }
    }

    fn listener_stats(&self, listener: u32) -> (usize, u64, u64) {
        self.engine.hub.listeners.get(listener).map_or((0, 0, 0), |listener| listener.counts())
    }

    #[pyo3(signature = (client_id, mountpoint, namespace=None))]
    fn create_session(&self, client_id: &str, mountpoint: &str, namespace: Option<&str>) -> u32 {
        self.engine.create_session(client_id, mountpoint, namespace.unwrap_or_default()).0
    }

    #[pyo3(signature = (session, username))]
    fn set_username(&self, session: i64, username: Option<&str>) {
        if let Some(session) = subscriber(session).and_then(|id| self.engine.hub.session(id)) {
            session.set_username(username);
        }
    }

    fn drop_session(&self, session: i64) {
        if let Some(id) = subscriber(session) {
            self.engine.drop_session(id);
        }
    }

    #[pyo3(signature = (conn, session, is_present, keep_alive_s, connack=None))]
    fn accept(
        &self,
        conn: u64,
        session: i64,
        is_present: bool,
        keep_alive_s: u16,
        connack: Option<&Bound<'_, PyConnack>>,
    ) -> PyResult<()> {
        let session = subscriber(session)
            .and_then(|id| self.engine.hub.session(id))
            .ok_or_else(|| key_error("session", &format!("one of create_session: {session}")))?;
        let conn = ConnId(conn);
        let extra = extra_of(connack);
        let claim = session.claim();
        self.engine.command(conn, Command::Accept { conn, session, claim, is_present, keep_alive_s, extra });
        Ok(())
    }

    #[pyo3(signature = (conn, reason, return_code, connack=None))]
    fn refuse(&self, conn: u64, reason: i64, return_code: u8, connack: Option<&Bound<'_, PyConnack>>) -> PyResult<()> {
        let conn = ConnId(conn);
        let command = Command::Refuse { conn, reason: reason_code(reason)?, return_code, extra: extra_of(connack) };
        self.engine.command(conn, command);
        Ok(())
    }

    fn challenge(&self, conn: u64, reason: i64, connack: &Bound<'_, PyConnack>) -> PyResult<()> {
        let conn = ConnId(conn);
        let extra = Box::new(connack.get().0.clone());
        self.engine.command(conn, Command::Challenge { conn, reason: reason_code(reason)?, extra });
        Ok(())
    }

    #[pyo3(signature = (conn, packet_id, codes=None))]
    fn grant(&self, conn: u64, packet_id: u16, codes: Option<&[u8]>) {
        let conn = ConnId(conn);
        self.engine.command(conn, Command::Grant { conn, packet_id, codes: codes.map(<[u8]>::to_vec) });
    }

    fn release(&self, conn: u64, packet_id: u16) {
        let conn = ConnId(conn);
        self.engine.command(conn, Command::Release { conn, packet_id });
    }

    fn set_keep_alive(&self, conn: u64, keep_alive_s: u16) {
        let conn = ConnId(conn);
        self.engine.command(conn, Command::KeepAlive { conn, keep_alive_s });
    }

    fn disconnect(&self, conn: u64, reason: i64, cause: usize) -> PyResult<()> {
        let reason = if reason <= 0 { 0 } else { reason_code(reason)? };
        self.engine.disconnect(ConnId(conn), reason, cause_of(cause)?);
        Ok(())
    }

    #[pyo3(signature = (session, filter, options, subscription_id=0))]
    fn subscribe(
        &self,
        py: Python<'_>,
        session: i64,
        filter: &str,
        options: u8,
        subscription_id: u32,
    ) -> PyResult<bool> {
        let id = subscriber(session).ok_or_else(|| key_error("session", &format!("not negative: {session}")))?;
        let granted = Granted { options, subscription_id };
        match self.engine.subscribe(id, filter, granted) {
            Ok(is_new) => Ok(is_new.unwrap_or(false)),
            Err(SubscribeError::Filter(error)) => Err(value_error(error)),
            Err(SubscribeError::Quota) => Err(quota_error(py, &self.engine, id)),
        }
    }

    fn unsubscribe(&self, session: i64, filter: &str) -> PyResult<bool> {
        subscriber(session).map_or(Ok(false), |id| self.engine.unsubscribe(id, filter).map_err(value_error))
    }

    #[pyo3(signature = (topic, payload, qos, is_retain, properties=None, expiry_s=0))]
    fn publish(
        &self,
        topic: &str,
        payload: &[u8],
        qos: u8,
        is_retain: bool,
        properties: Option<&[u8]>,
        expiry_s: u32,
    ) -> PyResult<u8> {
        topic::validate_topic(topic, usize::MAX).map_err(value_error)?;
        let message = OwnMessage {
            topic,
            payload,
            qos: qos_of(qos)?,
            is_retain,
            properties: properties.unwrap_or_default(),
            expiry_s,
        };
        Ok(self.engine.publish(&message) as u8)
    }

    #[pyo3(signature = (will, session, client_id, mountpoint, namespace=None))]
    fn publish_will(
        &self,
        will: &Bound<'_, PyWill>,
        session: i64,
        client_id: &str,
        mountpoint: &str,
        namespace: Option<&str>,
    ) -> u8 {
        let namespace = namespace.unwrap_or_default();
        let will = Arc::clone(&will.get().0);
        self.engine.publish_will(&will, subscriber(session), client_id, mountpoint, namespace) as u8
    }

    fn session_stats<'py>(&self, py: Python<'py>, session: i64) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        let Some(id) = subscriber(session) else {
            return Ok(dict);
        };
        let levels = self.engine.with_session(id, |_, state| state.levels());
        for (name, value) in levels.unwrap_or_default() {
            dict.set_item(name, value)?;
        }
        Ok(dict)
    }

    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (metric, name) in METRICS {
            dict.set_item(*name, self.engine.hub.counters.get(*metric))?;
        }
        Ok(dict)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, value) in self.engine.hub.levels() {
            dict.set_item(name, value)?;
        }
        Ok(dict)
    }

    fn retained_get<'py>(&self, py: Python<'py>, topic: &str) -> Option<(Bound<'py, PyBytes>, u8, i64)> {
        let now_ms = sys::now_ms();
        let message = self.engine.hub.retained.get(topic, now_ms)?;
        let left = if message.remaining_s(now_ms).is_none() {
            -1
        } else {
            i64::try_from(message.expires_at_ms.saturating_sub(now_ms)).unwrap_or(i64::MAX)
        };
        Some((PyBytes::new(py, message.payload()), message.qos as u8, left))
    }

    fn silence(&self, py: Python<'_>, client_id: &str) {
        py.detach(|| self.engine.silence(client_id));
    }

    fn unsilence(&self, client_id: &str) {
        self.engine.hub.silenced.remove(client_id);
    }

    fn retained_delete(&self, py: Python<'_>, filter: &str) -> PyResult<usize> {
        topic::validate_filter(filter, usize::MAX).map_err(value_error)?;
        Ok(py.detach(|| self.engine.hub.retained.remove_matching(filter)))
    }

    fn retained_expire(&self, py: Python<'_>) -> usize {
        py.detach(|| self.engine.hub.retained.expire(sys::now_ms()))
    }

    fn shutdown(&self, py: Python<'_>, reason: i64, drain_ms: u64) -> PyResult<()> {
        let reason = reason_code(reason)?;
        py.detach(|| self.engine.shutdown(reason, drain_ms));
        Ok(())
    }
}
