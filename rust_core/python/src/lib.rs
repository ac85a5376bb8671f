//! Export list of `pybroker._core`.
use pyo3::prelude::*;

/// The Rust side of the broker.
#[pymodule(gil_used = false)]
fn _core(_m: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
