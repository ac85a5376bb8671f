//! Questions about topics and filters that Python asks away from the message path.

use pybroker_core::topic;
use pyo3::prelude::*;

use crate::error::value_error;

#[pyfunction]
pub fn topic_matches(filter: &str, topic: &str) -> PyResult<bool> {
    topic::validate_filter(filter, usize::MAX).map_err(value_error)?;
    Ok(topic::validate_topic(topic, usize::MAX).is_ok() && topic::matches(filter, topic))
}
