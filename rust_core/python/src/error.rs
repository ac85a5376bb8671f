//! The only file that turns a Rust error into a Python exception.

use std::fmt::Display;
use std::io;

use pybroker_core::acl::RuleError;
use pyo3::exceptions::{PyOSError, PyOverflowError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;

/// An `OSError` with number and text of the system.
pub fn os_error(error: &io::Error, what: &str) -> PyErr {
    match error.raw_os_error() {
        Some(number) => PyOSError::new_err((number, error.to_string(), what.to_owned())),
        None => PyOSError::new_err(format!("{error}: {what}")),
    }
}

/// A `ValueError` with a message that ends with the value at fault.
pub fn value_error(error: impl Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A `ValueError` for a key of a dictionary.
pub fn key_error(key: &str, allowed: &str) -> PyErr {
    PyValueError::new_err(format!("{key} must be {allowed}"))
}

/// An `OverflowError` for something longer than it may be.
pub fn limit_error(what: &str, max_bytes: usize) -> PyErr {
    PyOverflowError::new_err(format!("{what} has more bytes than allowed: {max_bytes}"))
}

/// A `TimeoutError` for work that took longer than it may.
pub fn timeout_error(what: &str, budget_ms: u64) -> PyErr {
    PyTimeoutError::new_err(format!("{what} takes longer than allowed: {budget_ms} ms"))
}

/// The broker's own exception for a quota that is used up.
pub fn quota_exceeded(py: Python<'_>, quota: &str, most: u64) -> PyErr {
    let made = py.import("pybroker.errors").and_then(|errors| errors.getattr("QuotaExceeded")?.call1((quota, most)));
    made.map_or_else(|error| error, PyErr::from_value)
}

/// One fault of access rules: list, rule, field, code, message.
type RuleErrorRow = (usize, Option<usize>, &'static str, &'static str, String);

/// Access rules that do not compile; `errors` has a row for each fault.
#[pyclass(name = "RulesError", module = "pybroker._core", extends = PyValueError, frozen)]
pub struct RulesError {
    #[pyo3(get)]
    errors: Vec<RuleErrorRow>,
}

#[pymethods]
impl RulesError {
    fn __str__(&self) -> String {
        let first = self.errors.first().map_or("", |error| &error.4);
        match self.errors.len() {
            0 | 1 => first.to_owned(),
            count => format!("{first} (the first of {count} faults)"),
        }
    }
}

/// The exception for access rules that do not compile.
pub fn rules_error(py: Python<'_>, errors: Vec<RuleError>) -> PyErr {
    let row = |error: RuleError| (error.list, error.rule, error.field, error.code.as_str(), error.message);
    let errors = errors.into_iter().map(row).collect();
    match Bound::new(py, RulesError { errors }) {
        Ok(error) => PyErr::from_value(error.into_any()),
        Err(error) => error,
    }
}
