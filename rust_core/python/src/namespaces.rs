//! Namespaces: limits from a dictionary, and their figures.

use std::sync::Arc;

use pybroker_engine::namespace::{ClientLimits, Namespace, NamespaceLimits, QUOTAS, TenantLimits};
use pybroker_engine::rate::{Limit, MAX_INTERVAL_MS, Rate};
use pybroker_engine::sys;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::engine::PyEngine;
use crate::error::{key_error, value_error};
use crate::spec::Keys;

type NamespaceRow<'py> = (String, Bound<'py, PyDict>);

fn rate(key: &str, name: &str, value: Option<(u64, u64)>) -> PyResult<Option<Rate>> {
    let Some((amount, interval_ms)) = value else {
        return Ok(None);
    };
    let wrong = || {
        let allowed = format!("None or (amount above 0, ms from 1 to {MAX_INTERVAL_MS}): ({amount}, {interval_ms})");
        key_error(&format!("{key}.{name}"), &allowed)
    };
    Rate::new(amount, interval_ms).map(Some).ok_or_else(wrong)
}

fn limit(keys: &Keys<'_>, scope: &str, name: &str) -> PyResult<Limit> {
    let key = format!("{scope}.{name}");
    let Some(parts) = keys.take_dict(name)? else {
        return Ok(Limit::default());
    };
    let limit = Limit {
        rate: rate(&key, "rate", parts.take("rate", None)?)?,
        burst: rate(&key, "burst", parts.take("burst", None)?)?,
    };
    parts.finish(&key)?;
    Ok(limit)
}

fn tenant(keys: Keys<'_>) -> PyResult<TenantLimits> {
    let limits =
        TenantLimits { messages: limit(&keys, "tenant", "messages")?, bytes: limit(&keys, "tenant", "bytes")? };
    keys.finish("tenant")?;
    Ok(limits)
}

fn client(keys: Keys<'_>) -> PyResult<ClientLimits> {
    let limits = ClientLimits {
        messages: limit(&keys, "client", "messages")?,
        bytes: limit(&keys, "client", "bytes")?,
        delivery_messages: limit(&keys, "client", "delivery_messages")?,
        delivery_bytes: limit(&keys, "client", "delivery_bytes")?,
        subscribes: limit(&keys, "client", "subscribes")?,
    };
    keys.finish("client")?;
    Ok(limits)
}

/// Limits of a namespace, and whether it is counted.
fn namespace_limits(dict: &Bound<'_, PyDict>) -> PyResult<(NamespaceLimits, bool)> {
    let keys = Keys::new(dict)?;
    let mut limits = NamespaceLimits {
        tenant: keys.take_dict("tenant")?.map(tenant).transpose()?.map(Box::new),
        client: keys.take_dict("client")?.map(client).transpose()?.map(Box::new),
        ..NamespaceLimits::default()
    };
    limits.has_tenant = limits.tenant.is_some();
    limits.has_client = limits.client.is_some();
    for (most, (_, key, _)) in limits.quotas.iter_mut().zip(QUOTAS) {
        *most = keys.take(key, None)?;
    }
    let on_exceed: String = keys.take("on_exceed", "reject".to_owned())?;
    limits.pauses = match on_exceed.as_str() {
        "reject" => false,
        "pause" => true,
        _ => return Err(key_error("on_exceed", &format!("reject or pause: {on_exceed}"))),
    };
    let is_counted = keys.take("has_counters", false)?;
    keys.finish("a namespace")?;
    Ok((limits, is_counted))
}

fn stats_of<'py>(py: Python<'py>, namespace: &Namespace) -> PyResult<Bound<'py, PyDict>> {
    let stats = PyDict::new(py);
    for (name, value) in namespace.stats() {
        stats.set_item(name, value)?;
    }
    Ok(stats)
}

#[pymethods]
impl PyEngine {
    fn set_namespace(&self, name: &str, limits: &Bound<'_, PyDict>) -> PyResult<()> {
        if name.is_empty() {
            return Err(value_error("name of a namespace must not be empty: ''"));
        }
        let (limits, is_counted) = namespace_limits(limits)?;
        self.engine.hub.namespaces.configure(name, limits, is_counted, sys::now_ms());
        Ok(())
    }

    fn drop_namespace(&self, name: &str) -> bool {
        self.engine.hub.namespaces.drop(name, sys::now_ms())
    }

    fn empty_namespace(&self, py: Python<'_>, name: &str, mountpoint: &str) -> usize {
        let prefix = (!mountpoint.is_empty()).then_some(mountpoint);
        py.detach(|| {
            let hub = &self.engine.hub;
            hub.retained.remove_of_namespace(name, prefix) + hub.delayed.lock().remove_of_namespace(name, prefix)
        })
    }

    fn namespace_stats<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyDict>> {
        match self.engine.hub.namespaces.get(name) {
            Some(namespace) => stats_of(py, &namespace),
            None => Ok(PyDict::new(py)),
        }
    }

    fn page_namespaces<'py>(
        &self,
        py: Python<'py>,
        after: &str,
        limit: usize,
    ) -> PyResult<(Vec<NamespaceRow<'py>>, bool)> {
        let (page, has_more) = self.engine.hub.namespaces.page(after, limit);
        let row = |namespace: &Arc<Namespace>| Ok((namespace.name.to_string(), stats_of(py, namespace)?));
        Ok((page.iter().map(row).collect::<PyResult<_>>()?, has_more))
    }
}
