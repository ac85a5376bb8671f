//! The only file that turns a Rust error into a Python exception.

use std::fmt::Display;
use std::io;

use pyo3::PyErr;
use pyo3::exceptions::{PyOSError, PyOverflowError, PyTimeoutError, PyValueError};

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
