"""What a change of many access rules costs: the messages meanwhile, and the operator.

    python -m bench.access --output bench/results/access.json

A fresh broker. One pair runs on a schedule while nothing else happens, then while 100,000 rules are imported from CSV
again and again, each time with other permissions. Then single rules are changed under those 100,000, each time until
a check sees the change.
"""

import argparse
import http.client
import json
import os
import shlex
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import admin
from bench import peer as peers
from bench.run import commit, machine

_ROOT = Path(__file__).parent.parent
_RULES = "/authorization/sources/built_in_database"
_NICE = 10
_CHANGES = 50
_OPEN_S = 10.0


def main() -> int:
    """Measure and write the results file; 1 if a bound is broken: 3 s an import, 50 ms a change, doubled latency."""
    options = _parse()
    results = measure(options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: results[name] for name in ("ratio", "import_s", "export_s", "change_ms")}))
    print(f"written: {options.output}")
    return int(results["ratio"] > 2 or results["import_s"] > 3 or results["change_ms"]["median"] > 50)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure messages beside changes of access rules.")
    parser.add_argument("--rules", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3, help="quiet and busy spans")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a span")
    parser.add_argument("--load", type=Path, default=_ROOT / "target/release/pybroker-load")
    parser.add_argument("--pybroker", default=f"{shlex.quote(sys.executable)} -m pybroker", help="command")
    parser.add_argument("--output", type=Path, default=_ROOT / "build/bench-access.json")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the results of one broker."""
    broker = peers.load("pybroker:administered", {"pybroker": options.pybroker})
    spans: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        certificates = peers.Certificates.create(Path(folder))
        with peers.running(broker, "administered", certificates) as running:
            target = ["--target", f"127.0.0.1:{running.ports['tcp_port']}", "--pid", str(running.pid)]
            operator = Operator(running.ports["other_port"], options.rules)
            times = [operator.load()]
            for _ in range(options.repeat):
                spans.append({"operator": "quiet", **admin.pair(options.load, options.seconds, target)})
                spans.append({"operator": "imports", **_while_importing(operator, times, options, target)})
            exported = _timed(operator.export)
            changes = sorted(operator.change(at) for at in range(_CHANGES))
    quiet, busy = (_p99(spans, name) for name in ("quiet", "imports"))
    return {
        "machine": machine(),
        "commit": commit(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": {
            "rules": options.rules,
            "seconds": options.seconds,
            "repeat": options.repeat,
            "operator_nice": _NICE,
        },
        "latency_p99_us": {"quiet": quiet, "imports": busy},
        "ratio": busy / quiet,
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
        self._port = port
        self._token = _log_in(port)
        self._rules = rules
        self._turn = 0

    def load(self) -> float:
        """Import all rules, each time with the other permission; return seconds."""
        self._turn += 1
        access = ("allow", "deny")[self._turn % 2]
        lines = ["clientid,topic,action,access", *(f"c{at},a/{at}/+,pub,{access}" for at in range(self._rules))]
        body = "\n".join(lines)
        return _timed(lambda: self._ask("POST", f"{_RULES}/rules/import", body, "text/csv"))

    def export(self) -> None:
        """Export all rules."""
        self._ask("GET", f"{_RULES}/rules/export?kind=clientid")

    def change(self, at: int) -> float:
        """Change one rule and check that it is in force; return milliseconds until it was answered."""
        topic, access = f"a/{at}/+", ("deny", "allow")[self._turn % 2 ^ at % 2]
        record = {"clientid": f"c{at}", "topic": topic, "action": "pub", "access": access}
        asked = {"clientid": f"c{at}", "action": "publish", "topic": f"a/{at}/x"}
        started = time.perf_counter()
        self._ask("PUT", f"{_RULES}/records", json.dumps(record))
        answered = (time.perf_counter() - started) * 1_000
        found = json.loads(self._ask("POST", "/authorization/explain", json.dumps(asked)))
        if found["decision"] != access:
            raise RuntimeError(f"the change is not in force: {found}")
        return answered

    def _ask(self, method: str, path: str, body: str | None = None, media_type: str = "application/json") -> bytes:
        headers = {"authorization": self._token, "content-type": media_type}
        # Not kept between calls: the broker closes one that is idle for longer than a span.
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        client.request(method, f"/api/v5{path}", body, headers)
        reply = client.getresponse()
        answer = reply.read()
        client.close()
        if reply.status >= 300:
            raise RuntimeError(f"{path}: {reply.status} {answer[:200]!r}")
        return answer


def _while_importing(
    operator: Operator, times: list[float], options: argparse.Namespace, target: Sequence[str]
) -> dict[str, float]:
    """Return the latency of the pair while rules are imported all the time; adds the seconds of each import."""
    stopping = threading.Event()

    def work() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while not stopping.is_set():
            times.append(operator.load())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        return admin.pair(options.load, options.seconds, target)
    finally:
        stopping.set()
        thread.join()


def _log_in(port: int) -> str:
    """Return the header of a token; HTTP opens a moment after MQTT."""
    deadline = time.monotonic() + _OPEN_S
    while True:
        try:
            return admin.log_in(port)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _p99(spans: Sequence[dict[str, Any]], operator: str) -> float:
    figures: list[float] = [span["latency_p99_us"] for span in spans if span["operator"] == operator]
    return statistics.median(figures)


if __name__ == "__main__":
    sys.exit(main())
