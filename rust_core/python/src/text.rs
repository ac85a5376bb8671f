//! What Python's standard library lacks about text: grapheme clusters, and the digest MD4.

use ::md4::{Digest, Md4};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use unicode_segmentation::UnicodeSegmentation;

#[pyfunction]
pub fn graphemes(text: &str) -> Vec<&str> {
    text.graphemes(true).collect()
}

#[pyfunction]
pub fn md4<'py>(py: Python<'py>, data: &[u8]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &Md4::digest(data))
}
