"""The figures of messages beside administration, as the page shows them."""

import json
from pathlib import Path

from bench import admin

_RESULTS = {
    "machine": {"cores": 2, "cpu": "c", "load_average": 0.4},
    "commit": "0123",
    "time": "now",
    "settings": {"connections": 19_000, "rate_per_s": 1_000, "seconds": 5.0, "repeat": 3, "logins_at_once": 10},
    "quiet": {"latency_p50_us": 100.0, "latency_p99_us": 200.0, "transit_p99_us": 100.0, "lateness_p99_us": 40.0},
    "busy": {
        "latency_p50_us": 110.0,
        "latency_p99_us": 300.0,
        "transit_p99_us": 150.0,
        "lateness_p99_us": 50.0,
        "pages_per_s": 50.0,
        "logins_per_s": 20.0,
    },
    "ratio": 1.5,
    "lists_ms": {"first_page": 4.2},
}


def test_section_shows_both_spans_and_their_ratio(tmp_path: Path) -> None:
    assert admin.section(tmp_path) == ""
    (tmp_path / "admin.json").write_text(json.dumps(_RESULTS), encoding="utf-8")
    text = admin.section(tmp_path)
    assert "| latency p99, us | 200 | 300 |" in text
    assert "lateness p99, us | 40 | 50 |" in text
    assert (
        "Transit p99 busy to quiet, the median of neighbouring spans: 1.50 (bound 2); load average when it began: 0"
        in text
    )
    assert "first page 4.2" in text
