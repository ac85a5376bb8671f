"""The figures of tenants beside each other, as the page shows them."""

import json
from pathlib import Path

from bench import tenants

_LATENCY = {"latency_p50_us": 100.0, "latency_p99_us": 200.0}
_RESULTS = {
    "machine": {"cores": 2, "cpu": "c"},
    "commit": "0123",
    "time": "now",
    "settings": {
        "noisy_rate_per_s": 500,
        "excess": 20,
        "noisy_clients": 10,
        "quiet_rate_per_s": 500,
        "seconds": 5.0,
        "repeat": 3,
    },
    "alone": _LATENCY,
    "within_rate": _LATENCY,
    "noisy": {**_LATENCY, "latency_p99_us": 220.0},
    "ratio": 1.1,
    "dropped": {"noisy": 47_500, "quiet": 0},
    "many": {
        "namespaces": 10_000,
        "managed": 1_000,
        "clients_each": 10,
        "seconds": 1.5,
        "bytes_per_namespace": 900,
        "bytes_per_client": 500,
    },
}


def test_section_shows_every_case_and_the_bounds(tmp_path: Path) -> None:
    assert tenants.section(tmp_path) == ""
    (tmp_path / "tenants.json").write_text(json.dumps(_RESULTS), encoding="utf-8")
    text = tenants.section(tmp_path)
    assert "| at 20 times its rate | 100 | 220 |" in text
    assert "1.10 (bound 1.2)" in text
    assert "after 1.5 s (bound 5) and take 900 bytes each" in text
    assert "47,500 of its messages were refused, 0 of the quiet" in text


def test_median_is_taken_of_each_figure_by_itself() -> None:
    spans = [{"case": "noisy", "a": value, "b": -value} for value in (1, 5, 2)]
    assert tenants._median([*spans, {"case": "alone", "a": 9, "b": 9}], "noisy") == {"a": 2, "b": -2}
