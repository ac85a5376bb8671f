//! `Regex`: regular expressions in linear time, bounded in size, text and time, for expressions that operators write.

use pyo3::prelude::*;
use regex::{Regex, RegexBuilder};
use rustix::time::{ClockId, clock_gettime};

use crate::error::{limit_error, timeout_error, value_error};

/// Longest text that is searched. A search cannot be interrupted, and the slowest patterns that the compiled size allows
/// need about 3 µs for each byte.
const MAX_TEXT_BYTES: usize = 4_096;

/// Matches between two looks at the clock, which costs as much as a short search.
const MATCHES_PER_LOOK: usize = 16;

/// A compiled pattern; immutable.
#[pyclass(name = "Regex", module = "pybroker._core", frozen)]
pub struct PyRegex(Regex);

#[pymethods]
impl PyRegex {
    #[new]
    fn new(pattern: &str, max_compiled_bytes: usize) -> PyResult<Self> {
        let built = RegexBuilder::new(pattern).size_limit(max_compiled_bytes).build();
        built.map(Self).map_err(|error| value_error(explain(&error)))
    }

    fn is_match(&self, text: &str) -> PyResult<bool> {
        check_text(text)?;
        Ok(self.0.is_match(text))
    }

    fn groups<'a>(&self, text: &'a str) -> PyResult<Option<Vec<&'a str>>> {
        check_text(text)?;
        let Some(captures) = self.0.captures(text) else { return Ok(None) };
        Ok(Some(captures.iter().skip(1).map(|group| group.map_or("", |found| found.as_str())).collect()))
    }

    fn replace(&self, text: &str, replacement: &str, max_bytes: usize, budget_ms: u64) -> PyResult<String> {
        check_text(text)?;
        let deadline_ms = processor_ms().saturating_add(budget_ms);
        let mut out = String::with_capacity(text.len());
        let mut copied = 0;
        // One search is linear; all of them together can be quadratic, so time is looked at in between.
        for (at, captures) in self.0.captures_iter(text).enumerate() {
            let whole = captures.get_match();
            out.push_str(text.get(copied..whole.start()).unwrap_or_default());
            captures.expand(replacement, &mut out);
            copied = whole.end();
            if out.len() > max_bytes {
                return Err(limit_error("replaced text", max_bytes));
            }
            if at % MATCHES_PER_LOOK == MATCHES_PER_LOOK - 1 && processor_ms() > deadline_ms {
                return Err(timeout_error("replacing", budget_ms));
            }
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        Ok(out)
    }
}

/// Processor time of this thread: a busy machine must not fail a replacement.
fn processor_ms() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let ms = time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000);
    u64::try_from(ms).unwrap_or_default()
}

fn check_text(text: &str) -> PyResult<()> {
    if text.len() > MAX_TEXT_BYTES { Err(limit_error("searched text", MAX_TEXT_BYTES)) } else { Ok(()) }
}

/// One line: the crate draws the pattern with a mark below the fault and says on the last line what it is.
fn explain(error: &regex::Error) -> String {
    let text = error.to_string();
    let reason = text.lines().next_back().unwrap_or_default();
    format!("pattern is not valid: {}", reason.strip_prefix("error: ").unwrap_or(reason))
}
