"""The figures of tenants beside each other, as the page shows them."""

import json
from pathlib import Path

import pytest

from bench import tenants

_LATENCY = {"latency_p50_us": 100.0, "latency_p99_us": 200.0, "transit_p99_us": 150.0}
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
    "noisy": {**_LATENCY, "latency_p99_us": 220.0, "refused_per_s": 9_500},
    "ratios": {"latency_p99_us": 1.1, "transit_p99_us": 1.05},
    "refusal_us": 0.4,
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
    assert "| at 20 times its rate | 100 | 220 | 150 |" in text
    assert "latency p99 1.10, transit p99 1.05 (bound 1.2)" in text
    assert "A message over the rate costs 0.4 us" in text
    assert "after 1.5 s (bound 5) and take 900 bytes each" in text
    assert "9,500 of its messages were refused a second, and 0 of the quiet" in text


def test_a_refusal_costs_what_is_beyond_the_rate_itself() -> None:
    spans = [
        {"case": "within_rate", "shard_cpu_ms_per_s": 20.0, "refused_per_s": 0},
        {"case": "noisy", "shard_cpu_ms_per_s": 29.5, "refused_per_s": 9_500},
    ]
    assert tenants._refusal_us(spans) == 1.0


@pytest.mark.parametrize(("refused_per_s", "status"), [(9_400, 0), (3_000, 2)])
def test_noise_that_a_busy_machine_has_held_up_is_no_noise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refused_per_s: int, status: int
) -> None:
    noisy = {**_LATENCY, "refused_per_s": refused_per_s}
    monkeypatch.setattr("sys.argv", ["tenants", "--output", str(tmp_path / "tenants.json")])
    monkeypatch.setattr(tenants, "measure", lambda _: {**_RESULTS, "noisy": noisy})
    assert tenants.main() == status


def test_a_run_that_cannot_be_judged_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(_: object) -> None:
        raise TimeoutError("not finished within 300 s")

    monkeypatch.setattr("sys.argv", ["tenants"])
    monkeypatch.setattr(tenants, "measure", measure)
    assert tenants.main() == 2
    assert "bench.tenants: not finished within 300 s" in capsys.readouterr().err
