//! Dictionaries from the configuration as settings and listener specifications; unknown and wrong keys are errors.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use pybroker_core::codec::QoS;
use pybroker_core::session::Overflow;
use pybroker_engine::listener::{AccessRule, Bind, ListenerSpec, ZoneTerms};
use pybroker_engine::settings::Settings;
use pybroker_engine::slow::{Measure, SlowRule};
use pybroker_engine::transport::tls::{TlsAcceptor, TlsSettings, TlsVersion, Verify};
use pybroker_engine::transport::websocket::WsSettings;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{key_error, value_error};

/// Reads one value, naming the key where its type is wrong.
fn read<'a, 'py, T: for<'b> FromPyObject<'b, 'py>>(key: &str, value: &'a Bound<'py, PyAny>) -> PyResult<T> {
    value.extract::<T>().map_err(|_| key_error(key, &format!("of another type: {value}")))
}

/// Applies the keys of `dict` to the defaults.
///
/// # Errors
/// `ValueError` that names the key.
pub fn settings(dict: &Bound<'_, PyDict>) -> PyResult<Settings> {
    let mut settings = Settings::default();
    for (key, value) in dict.iter() {
        let key: String = read("key", &key)?;
        if !set_limit(&mut settings, &key, &value)? && !set_policy(&mut settings, &key, &value)? {
            return Err(value_error(format!("unknown setting of the engine: {key}")));
        }
    }
    Ok(settings)
}

fn set_limit(settings: &mut Settings, key: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    match key {
        "max_packet_bytes" => settings.max_packet_bytes = read(key, value)?,
        "max_topic_levels" => settings.max_topic_levels = read(key, value)?,
        "max_topic_alias" => settings.max_topic_alias = read(key, value)?,
        "retry_interval_ms" => settings.retry_interval_ms = read(key, value)?,
        "message_expiry_ms" => settings.message_expiry_ms = read(key, value)?,
        "max_inflight" => settings.limits.max_inflight = read(key, value)?,
        "receive_maximum" => settings.receive_maximum = read(key, value)?,
        "max_awaiting_rel" => settings.max_awaiting_rel = read(key, value)?,
        "await_rel_timeout_ms" => settings.await_rel_timeout_ms = read(key, value)?,
        "max_mqueue_len" => settings.limits.max_queue_len = read(key, value)?,
        "max_mqueue_bytes" => settings.limits.max_queue_bytes = read(key, value)?,
        "max_retained" => settings.max_retained = read(key, value)?,
        "max_retained_payload_bytes" => settings.max_retained_payload_bytes = read(key, value)?,
        "retained_expiry_ms" => settings.retained_expiry_ms = read(key, value)?,
        "retained_override_ms" => settings.retained_override_ms = read(key, value)?,
        "max_delayed" => settings.max_delayed = read(key, value)?,
        "coalesce_us" => settings.coalesce_us = read(key, value)?,
        "keepalive_multiplier" => settings.keepalive_multiplier = read(key, value)?,
        "mqueue_default_priority" => settings.default_priority = read(key, value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn slow_rule(key: &str, name: &str, threshold_ms: u64, most: usize) -> PyResult<SlowRule> {
    let measure = match name {
        "whole" => Measure::Whole,
        "internal" => Measure::Internal,
        "response" => Measure::Response,
        _ => return Err(key_error(key, &format!("whole, internal or response: {name}"))),
    };
    Ok(SlowRule { measure, threshold_ms, most })
}

fn set_policy(settings: &mut Settings, key: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    match key {
        "max_qos" => {
            let qos: u8 = read(key, value)?;
            settings.max_qos = QoS::try_from(qos).map_err(|_| key_error(key, &format!("0, 1 or 2: {qos}")))?;
        }
        "is_retain_available" => settings.is_retain_available = read(key, value)?,
        "is_wildcard_available" => settings.is_wildcard_available = read(key, value)?,
        "is_shared_available" => settings.is_shared_available = read(key, value)?,
        "ignores_loop_deliver" => settings.ignores_loop_deliver = read(key, value)?,
        "is_strict" => settings.is_strict = read(key, value)?,
        "upgrades_qos" => settings.upgrades_qos = read(key, value)?,
        "stores_qos0" => settings.limits.stores_qos0 = read(key, value)?,
        "is_retainer_enabled" => settings.is_retainer_enabled = read(key, value)?,
        "is_retained_clear_stopped" => settings.is_retained_clear_stopped = read(key, value)?,
        "is_delayed_enabled" => settings.is_delayed_enabled = read(key, value)?,
        "mqueue_priorities" => {
            let priorities: HashMap<String, i16> = read(key, value)?;
            settings.priorities = priorities.into_iter().map(|(topic, priority)| (topic.into(), priority)).collect();
        }
        "mqueue_overflow" => {
            let name: String = read(key, value)?;
            settings.limits.overflow = match name.as_str() {
                "drop_oldest" => Overflow::DropOldest,
                "drop_newest" => Overflow::DropNewest,
                "reject" => Overflow::Reject,
                "disconnect" => Overflow::Disconnect,
                _ => {
                    return Err(key_error(key, &format!("drop_oldest, drop_newest, reject or disconnect: {name}")));
                }
            };
        }
        "slow" => {
            let rule = read::<Option<(String, u64, usize)>>(key, value)?;
            settings.slow =
                rule.map(|(name, threshold_ms, most)| slow_rule(key, &name, threshold_ms, most)).transpose()?;
        }
        "shared_strategy" => {
            let name: String = read(key, value)?;
            settings.shared_strategy =
                name.parse().map_err(|_| key_error(key, &format!("a known strategy: {name}")))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A dictionary whose keys are taken one by one; what is left over is an error.
pub struct Keys<'py> {
    dict: Bound<'py, PyDict>,
}

impl<'py> Keys<'py> {
    /// A copy of the dictionary; the caller's stays whole.
    pub fn new(dict: &Bound<'py, PyDict>) -> PyResult<Self> {
        Ok(Self { dict: dict.copy()? })
    }

    /// Takes the value of a key, or the default.
    pub fn take<T: for<'b> FromPyObject<'b, 'py>>(&self, key: &str, default: T) -> PyResult<T> {
        match self.dict.get_item(key)? {
            Some(value) => {
                self.dict.del_item(key)?;
                read(key, &value)
            }
            None => Ok(default),
        }
    }

    /// Takes the dictionary of a key; `None` where it is left out or is None.
    pub fn take_dict(&self, key: &str) -> PyResult<Option<Keys<'py>>> {
        let Some(value) = self.dict.get_item(key)? else {
            return Ok(None);
        };
        self.dict.del_item(key)?;
        if value.is_none() {
            return Ok(None);
        }
        let dict = value.cast::<PyDict>().map_err(|_| key_error(key, "a dictionary"))?;
        Self::new(dict).map(Some)
    }

    /// Insists that every key was taken.
    pub fn finish(self, what: &str) -> PyResult<()> {
        match self.dict.keys().get_item(0) {
            Ok(key) => Err(value_error(format!("unknown key of {what}: {key}"))),
            Err(_) => Ok(()),
        }
    }
}

/// The specification of a listener.
///
/// # Errors
/// `ValueError` that names the key, or the certificate file that is broken.
pub fn listener(dict: &Bound<'_, PyDict>) -> PyResult<ListenerSpec> {
    let keys = Keys::new(dict)?;
    let kind: String = keys.take("kind", String::new())?;
    let bind = bind(&keys, &kind)?;
    let tls = match keys.take_dict("tls")? {
        Some(tls) => Some(tls_acceptor(tls)?),
        None if matches!(kind.as_str(), "ssl" | "wss") => {
            return Err(key_error("tls", "given for this kind of listener"));
        }
        None => None,
    };
    let websocket = match keys.take_dict("websocket")? {
        Some(websocket) => Some(Arc::new(websocket_settings(&websocket).and_then(|settings| {
            websocket.finish("a listener")?;
            Ok(settings)
        })?)),
        None if matches!(kind.as_str(), "ws" | "wss") => Some(Arc::new(WsSettings::default())),
        None => None,
    };
    let spec = ListenerSpec {
        name: keys.take("name", kind)?,
        bind,
        backlog: keys.take("backlog", 1024)?,
        is_nodelay: keys.take("nodelay", true)?,
        keepalive: keys.take("keepalive", None)?,
        send_buffer_bytes: keys.take("sndbuf", 0)?,
        receive_buffer_bytes: keys.take("recbuf", 0)?,
        max_connections: keys.take("max_connections", 0)?,
        max_conn_rate: keys.take("max_conn_rate", 0.0)?,
        messages_rate: keys.take("messages_rate", 0.0)?,
        bytes_rate: keys.take("bytes_rate", 0.0)?,
        is_proxied: keys.take("proxy_protocol", false)?,
        proxy_timeout_ms: keys.take("proxy_timeout_ms", 3_000)?,
        idle_timeout_ms: keys.take("idle_timeout_ms", 15_000)?,
        max_silence_ms: keys.take("max_silence_ms", 0)?,
        access_rules: access_rules(&keys)?,
        tls,
        websocket,
        zone: match keys.take_dict("zone")? {
            Some(zone) => zone_terms(zone)?,
            None => ZoneTerms::default(),
        },
    };
    keys.finish("a listener")?;
    Ok(spec)
}

fn zone_terms(keys: Keys<'_>) -> PyResult<ZoneTerms> {
    let max_qos: Option<u8> = keys.take("max_qos", None)?;
    let to_qos = |qos| QoS::try_from(qos).map_err(|_| key_error("max_qos", &format!("0, 1 or 2: {qos}")));
    let terms = ZoneTerms {
        max_packet_bytes: keys.take("max_packet_bytes", None)?,
        max_qos: max_qos.map(to_qos).transpose()?,
        max_topic_alias: keys.take("max_topic_alias", None)?,
        is_retain_available: keys.take("is_retain_available", None)?,
        is_wildcard_available: keys.take("is_wildcard_available", None)?,
        is_shared_available: keys.take("is_shared_available", None)?,
        receive_maximum: keys.take("receive_maximum", None)?,
        max_awaiting_rel: keys.take("max_awaiting_rel", None)?,
        await_rel_timeout_ms: keys.take("await_rel_timeout_ms", None)?,
        keepalive_multiplier: keys.take("keepalive_multiplier", None)?,
        retry_interval_ms: keys.take("retry_interval_ms", None)?,
        is_strict: keys.take("is_strict", None)?,
        ignores_loop_deliver: keys.take("ignores_loop_deliver", None)?,
    };
    keys.finish("the zone of a listener")?;
    Ok(terms)
}

fn bind(keys: &Keys<'_>, kind: &str) -> PyResult<Bind> {
    match kind {
        "unix" => {
            let path: PathBuf = keys.take("path", PathBuf::new())?;
            Ok(Bind::Unix(path))
        }
        "tcp" | "ssl" | "ws" | "wss" => {
            let host: String = keys.take("host", "127.0.0.1".to_owned())?;
            let port: u16 = keys.take("port", 0)?;
            let ip: IpAddr = host.parse().map_err(|_| key_error("host", &format!("an IP address: {host}")))?;
            Ok(Bind::Tcp(SocketAddr::new(ip, port)))
        }
        _ => Err(key_error("kind", &format!("tcp, ssl, ws, wss or unix: {kind}"))),
    }
}

fn access_rules(keys: &Keys<'_>) -> PyResult<Vec<AccessRule>> {
    let rules: Vec<(bool, String)> = keys.take("access_rules", Vec::new())?;
    rules
        .iter()
        .map(|(is_allow, network)| Ok(AccessRule { is_allow: *is_allow, network: network_of(network)? }))
        .collect()
}

fn network_of(text: &str) -> PyResult<Option<(IpAddr, u8)>> {
    if text == "all" {
        return Ok(None);
    }
    let wrong = || key_error("access_rules", &format!("all, an address or a network: {text}"));
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let prefix = if prefix.is_empty() { width } else { prefix.parse().map_err(|_| wrong())? };
    if prefix > width { Err(wrong()) } else { Ok(Some((address, prefix))) }
}

fn tls_acceptor(keys: Keys<'_>) -> PyResult<TlsAcceptor> {
    let versions: Vec<String> = keys.take("versions", Vec::new())?;
    let settings = TlsSettings {
        certfile: keys.take("certfile", PathBuf::new())?,
        keyfile: keys.take("keyfile", PathBuf::new())?,
        cacertfile: keys.take("cacertfile", None)?,
        crlfile: keys.take("crlfile", None)?,
        verify: if keys.take("verify", false)? { Verify::Peer } else { Verify::None },
        fail_if_no_peer_cert: keys.take("fail_if_no_peer_cert", false)?,
        versions: versions.iter().map(|name| tls_version(name)).collect::<PyResult<_>>()?,
    };
    keys.finish("a listener")?;
    TlsAcceptor::load(&settings).map_err(value_error)
}

fn tls_version(name: &str) -> PyResult<TlsVersion> {
    match name {
        "tlsv1.2" => Ok(TlsVersion::V12),
        "tlsv1.3" => Ok(TlsVersion::V13),
        _ => Err(key_error("versions", &format!("tlsv1.2 or tlsv1.3: {name}"))),
    }
}

fn websocket_settings(keys: &Keys<'_>) -> PyResult<WsSettings> {
    let default = WsSettings::default();
    Ok(WsSettings {
        path: keys.take("path", default.path)?,
        check_origin: keys.take("check_origin", default.check_origin)?,
        allowed_origins: keys.take("origins", default.allowed_origins)?,
        allow_no_origin: keys.take("allow_no_origin", default.allow_no_origin)?,
        fail_if_no_subprotocol: keys.take("fail_if_no_subprotocol", default.fail_if_no_subprotocol)?,
        max_frame_bytes: keys.take("max_frame_bytes", default.max_frame_bytes)?,
        max_header_bytes: default.max_header_bytes,
    })
}
