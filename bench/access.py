"""What a change of many access rules costs: the messages meanwhile, and the operator.

    python -m bench.access --output bench/results/access.json

A fresh broker. One pair runs on a schedule while nothing else happens, then while 100,000 rules are imported from CSV
again and again, each time with other permissions. Then single rules are changed under those 100,000, each time until
a check sees the change. All the time somebody asks the API for its status: what holds up its loop holds up the answer.
"""

import argparse
import contextlib
import http.client
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from bench import beside
from pybroker._core import AccessRules

_RATE = 1_000
_RULES = "/authorization/sources/built_in_database"
_NICE = 10
_CHANGES = 100
_PING_S = 0.005


def main() -> int:
    """Measure and write the results file; 1 if a bound is broken.

    At most 1 s to compile, 3 s an import, 50 ms a change in the median, and twice the latency.
    """
    options = _parse()
    results = measure(options)
    shown = {name: results[name] for name in ("ratio", "build_s", "import_s", "export_s", "change_ms", "api_ms")}
    beside.write(results, options.output, json.dumps(shown))
    is_slow = results["build_s"] > 1 or results["import_s"] > 3 or results["change_ms"]["median"] > 50
    return int(results["ratio"] > 2 or is_slow)


def _parse() -> argparse.Namespace:
    parser = beside.parser("Measure messages beside changes of access rules.", "access", repeat=3, seconds=10.0)
    parser.add_argument("--rules", type=int, default=100_000)
    return parser.parse_args()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the results of one broker."""
    with beside.broker(options.pybroker, "administered") as running:
        target = ["--target", f"127.0.0.1:{running.ports['tcp_port']}", "--pid", str(running.pid)]
        operator = Operator(running.ports["other_port"], options.rules)
        times = [operator.load()]

        def quiet() -> dict[str, float]:
            with _pinging(running.ports["other_port"]) as pings:
                figures = beside.pair(options.load, _RATE, options.seconds, target)
            return {**figures, **_summary(pings)}

        cases = {"quiet": quiet, "imports": lambda: _while_importing(operator, times, quiet)}
        spans = beside.take_turns(options.repeat, cases)
        exported = _timed(operator.export)
        changes = sorted(operator.change(at) for at in range(_CHANGES))
    return {
        **beside.circumstances(rules=options.rules, rate_per_s=_RATE, seconds=options.seconds, repeat=options.repeat),
        "quiet": beside.medians(spans, "quiet"),
        "imports": beside.medians(spans, "imports"),
        "ratio": beside.ratio(spans, "imports", "quiet", "latency_p99_us"),
        "build_s": _build(options.rules),
        "api_ms": {case: _api_ms(spans, case) for case in cases},
        "import_s": round(statistics.median(times), 2),
        "export_s": round(exported, 2),
        "change_ms": {"median": round(statistics.median(changes), 1), "highest": round(changes[-1], 1)},
        "spans": spans,
    }


class Operator:
    """One operator.

    Args:
        port: of the API.
        rules: how many he imports.
    """

    def __init__(self, port: int, rules: int) -> None:
        self._api = beside.Api(port)
        self._token = self._api.log_in()
        # Made once: the pings are taken in this process too.
        self._files = {access: _file(rules, access) for access in ("allow", "deny")}
        self._turn = 0

    def load(self) -> float:
        """Import all rules, each time with the other permission; return seconds."""
        self._turn += 1
        access = ("allow", "deny")[self._turn % 2]
        return _timed(lambda: self._ask("POST", f"{_RULES}/rules/import", self._files[access], "text/csv"))

    def export(self) -> None:
        """Export all rules."""
        self._ask("GET", f"{_RULES}/rules/export?kind=clientid")

    def change(self, at: int) -> float:
        """Change one rule and check that it is in force; return milliseconds until it was answered."""
        topic, access = f"a/{at}/+", ("deny", "allow")[self._turn % 2 ^ at % 2]
        record = {"clientid": f"c{at}", "topic": topic, "action": "pub", "access": access}
        asked = {"clientid": f"c{at}", "action": "publish", "topic": f"a/{at}/x"}
        started = time.perf_counter()
        self._ask("PUT", f"{_RULES}/records", json.dumps(record).encode())
        answered = (time.perf_counter() - started) * 1_000
        found = json.loads(self._ask("POST", "/authorization/explain", json.dumps(asked).encode()))
        if found["decision"] != access:
            raise RuntimeError(f"the change is not in force: {found}")
        return answered

    def _ask(self, method: str, path: str, body: bytes | None = None, media_type: str = "application/json") -> bytes:
        return self._api.call(method, f"/api/v5{path}", self._token, body, media_type)


def _file(count: int, access: str) -> bytes:
    rows = "\n".join(f"c{at},a/{at}/+,pub,{access}" for at in range(count))
    return f"clientid,topic,action,access\n{rows}".encode()


def _while_importing(operator: Operator, times: list[float], work: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return the figures of the work while rules are imported all the time; adds the seconds of each import."""
    stopping = threading.Event()

    def load() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while not stopping.is_set():
            times.append(operator.load())

    thread = threading.Thread(target=load)
    thread.start()
    try:
        return work()
    finally:
        stopping.set()
        thread.join()


def _build(count: int) -> float:
    """Return the seconds in which the core compiles all rules."""
    kind: Literal["clientid"] = "clientid"
    action = {"permission": "allow", "action": "publish"}
    lists = [(None, kind, f"c{at}", [{"topic": f"a/{at}/+", **action}]) for at in range(count)]
    return round(_timed(lambda: AccessRules.compile(lists)), 2)


@contextlib.contextmanager
def _pinging(port: int) -> Iterator[list[float]]:
    """Ask the API for its status all the time: whoever holds up its loop shows in the milliseconds of the list."""
    stopping, pings = threading.Event(), list[float]()

    def ping() -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not stopping.wait(_PING_S):
            started = time.perf_counter()
            client.request("GET", "/status")
            client.getresponse().read()
            pings.append((time.perf_counter() - started) * 1_000)
        client.close()

    thread = threading.Thread(target=ping)
    thread.start()
    try:
        yield pings
    finally:
        stopping.set()
        thread.join()


def _summary(pings: list[float]) -> dict[str, float]:
    """Return the median, the 99th percentile and the highest of the pings; the last is the longest stall."""
    ordered = sorted(pings)
    return {
        "api_p50_ms": round(statistics.median(ordered), 2),
        "api_p99_ms": round(ordered[len(ordered) * 99 // 100], 2),
        "api_highest_ms": round(ordered[-1], 2),
    }


def _api_ms(spans: beside.Spans, case: str) -> dict[str, float]:
    chosen = [span for span in spans if span["case"] == case]
    return {
        "p99": round(statistics.median(span["api_p99_ms"] for span in chosen), 2),
        "highest": max(span["api_highest_ms"] for span in chosen),
    }


def _timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
