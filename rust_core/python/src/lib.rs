//! Export list of `pybroker._core`; the reference for its users is `pybroker/_core.pyi`.

mod access;
mod acl;
mod acl_spec;
mod connect;
mod convert;
mod engine;
mod error;
mod inspect;
mod namespaces;
mod regex;
mod spec;
mod text;
mod topic;

use pybroker_engine::events::Cause;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// The Rust side of the broker.
#[pymodule(gil_used = false)]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<access::PyAccessChain>()?;
    m.add_class::<access::PyAccessSubject>()?;
    m.add_class::<acl::PyAccessClient>()?;
    m.add_class::<acl::PyAccessRules>()?;
    m.add_class::<error::RulesError>()?;
    m.add_class::<engine::PyEngine>()?;
    m.add_class::<connect::PyConnect>()?;
    m.add_class::<connect::PyWill>()?;
    m.add_class::<connect::PyConnack>()?;
    m.add_class::<regex::PyRegex>()?;
    m.add_function(wrap_pyfunction!(inspect::encode_properties, m)?)?;
    m.add_function(wrap_pyfunction!(text::graphemes, m)?)?;
    m.add_function(wrap_pyfunction!(text::md4, m)?)?;
    m.add_function(wrap_pyfunction!(topic::topic_matches, m)?)?;
    for (name, kind) in convert::EVENT_KINDS {
        m.add(*name, *kind)?;
    }
    for (name, cause) in CAUSES {
        m.add(*name, *cause as u8)?;
    }
    m.add("CLOSE_NAMES", PyTuple::new(m.py(), Cause::NAMES)?)?;
    Ok(())
}

const CAUSES: &[(&str, Cause)] = &[
    ("CLOSE_NORMAL", Cause::Normal),
    ("CLOSE_WITH_WILL", Cause::WithWill),
    ("CLOSE_TCP", Cause::Tcp),
    ("CLOSE_KEEPALIVE", Cause::KeepAlive),
    ("CLOSE_PROTOCOL", Cause::Protocol),
    ("CLOSE_TAKEN_OVER", Cause::TakenOver),
    ("CLOSE_KICKED", Cause::Kicked),
    ("CLOSE_SHUTDOWN", Cause::Shutdown),
    ("CLOSE_SLOW_CONSUMER", Cause::SlowConsumer),
    ("CLOSE_QUEUE_FULL", Cause::QueueFull),
    ("CLOSE_LISTENER", Cause::Listener),
    ("CLOSE_QUOTA", Cause::Quota),
    ("CLOSE_STALE", Cause::Stale),
    ("CLOSE_NOT_AUTHORIZED", Cause::NotAuthorized),
];
