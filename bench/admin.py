"""What administration costs the messages: the latency of one pair while operators are quiet, and while they are not.

    python -m bench.admin --output bench/results/admin.json

A fresh broker holds thousands of idle connections. Quiet and busy spans alternate. In a busy one, one operator lists
all clients page by page, one exports them in the largest pages, and ten log in at once, all again and again. Operators
run at a lower priority than the broker: they stand for other machines.
"""

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import peer as peers
from bench.run import LoadFailedError, commit, in_background, machine

_ROOT = Path(__file__).parent.parent
_PASSWORD = "Bench-password-1"
_RATE = 1_000
_LOGINS = 10
_PAGE = 100
_EXPORT_PAGE = 10_000
_NICE = 10

Figures = Mapping[str, float]


def main() -> int:
    """Measure, write the results file; 1 if busy operators more than double the latency."""
    options = _parse()
    peers.raise_file_limit()
    results = measure(options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(markdown(results))
    print(f"written: {options.output}")
    return int(results["ratio"] > 2)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure messages beside administration.")
    parser.add_argument("--connections", type=int, default=19_000, help="idle ones")
    parser.add_argument("--repeat", type=int, default=5, help="quiet and busy spans")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a span")
    parser.add_argument("--load", type=Path, default=_ROOT / "target/release/pybroker-load")
    parser.add_argument("--pybroker", default=f"{shlex.quote(sys.executable)} -m pybroker", help="command")
    parser.add_argument("--output", type=Path, default=_ROOT / "build/bench-admin.json")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the results of one broker."""
    broker = peers.load("pybroker:administered", {"pybroker": options.pybroker})
    spans: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        certificates = peers.Certificates.create(Path(folder))
        with peers.running(broker, "administered", certificates) as running:
            target = ["--target", f"127.0.0.1:{running.ports['tcp_port']}", "--pid", str(running.pid)]
            idle = ["idle", "--connections", str(options.connections), "--subscribe", "--duration", "2400"]
            port = running.ports["other_port"]
            with in_background(options.load, [*idle, *target, "--prefix", "idle", "--warmup", "0"]):
                lists = _time_lists(port)
                for _ in range(options.repeat):
                    spans.append({"operators": "quiet", **pair(options.load, options.seconds, target)})
                    spans.append(
                        {"operators": "busy", **_while_busy(port, lambda: pair(options.load, options.seconds, target))}
                    )
    quiet, busy = (_median(spans, name) for name in ("quiet", "busy"))
    return {
        "machine": machine(),
        "commit": commit(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": {
            "connections": options.connections,
            "rate_per_s": _RATE,
            "seconds": options.seconds,
            "repeat": options.repeat,
            "logins_at_once": _LOGINS,
            "operators_nice": _NICE,
        },
        "quiet": quiet,
        "busy": busy,
        # Transit: what the generator's own delay adds on a crowded machine is not the broker's.
        "ratio": busy["transit_p99_us"] / quiet["transit_p99_us"],
        "lists_ms": lists,
        "spans": spans,
    }


def pair(load: Path, seconds: float, target: Sequence[str]) -> dict[str, float]:
    """Return the latency of one publisher and one subscriber on a schedule.

    Args:
        load: the load generator.
        seconds: how long it is measured.
        target: where the broker is, as options of the generator.
    """
    command = [str(load), "paced", "--shape", "pairs", "--rate", str(_RATE), *target]
    command += ["--duration", str(seconds), "--warmup", "0.5"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with contextlib.suppress(OSError):
        # The clients stand for other machines: neither operators nor the broker take their time.
        os.sched_setscheduler(process.pid, os.SCHED_FIFO, os.sched_param(1))
    output, _ = process.communicate(timeout=300)
    if process.returncode != 0:
        raise LoadFailedError("the load generator failed")
    figures = json.loads(output)["figures"]
    wanted = ("latency_p50_us", "latency_p99_us", "transit_p50_us", "transit_p99_us", "lateness_p99_us", "lost")
    return {name: figures[name] for name in wanted if name in figures}


def _while_busy(port: int, work: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Do the work while operators are busy, and return its figures with theirs."""
    context = multiprocessing.get_context("spawn")
    stopping, counts = context.Event(), context.Queue()
    process = context.Process(target=_operate, args=(port, stopping, counts))
    process.start()
    try:
        counts.get(timeout=60)
        started = time.monotonic()
        figures = work()
        seconds = time.monotonic() - started
    finally:
        stopping.set()
    done: dict[str, int] = counts.get(timeout=60)
    process.join(60)
    return {**figures, **{f"{name}_per_s": round(count / seconds, 1) for name, count in done.items()}}


def _operate(port: int, stopping: Any, counts: Any) -> None:
    """Be the operators, in a process of their own, until told to stop; says when it begins and what was done."""
    # A session has its own share of the machine, as far as the system groups processes by it.
    os.setsid()
    os.nice(_NICE)
    token = log_in(port)
    done = {"pages": 0, "exports": 0, "logins": 0}
    together = threading.Barrier(_LOGINS)

    def list_pages() -> None:
        client, page = http.client.HTTPConnection("127.0.0.1", port), 1
        while not stopping.is_set():
            body = _get(client, f"/clients?limit={_PAGE}&page={page}", token)
            page = page + 1 if b'"hasnext":true' in body[-60:] else 1
            done["pages"] += 1

    def export() -> None:
        client, cursor = http.client.HTTPConnection("127.0.0.1", port), ""
        while not stopping.is_set():
            body = _get(client, f"/clients_v2?limit={_EXPORT_PAGE}&cursor={cursor}", token)
            # The cursor stands at the end; reading all of it would cost the operator more than the broker.
            _, found, rest = body[-80:].decode().rpartition('"cursor":"')
            cursor = rest.partition('"')[0] if found else ""
            done["exports"] += 1

    def log_in_together() -> None:
        while not stopping.is_set():
            try:
                together.wait(10)
            except threading.BrokenBarrierError:
                return
            log_in(port)
            done["logins"] += 1

    threads = [threading.Thread(target=work) for work in (list_pages, export, *[log_in_together] * _LOGINS)]
    for thread in threads:
        thread.start()
    counts.put("begun")
    stopping.wait()
    together.abort()
    for thread in threads:
        thread.join()
    counts.put(done)


def _time_lists(port: int) -> dict[str, float]:
    """Return milliseconds of lists without other load, the median of 20."""
    client, token = http.client.HTTPConnection("127.0.0.1", port), log_in(port)
    paths = {
        "first_page": "/clients?limit=100",
        "last_page": "/clients?limit=100&page=190",
        "by_part_of_name": "/clients?like_clientid=i1899",
        "by_state": "/clients?conn_state=disconnected",
        "by_address_and_time": "/clients?ip_address=127.0.0.1&gte_connected_at=1&limit=100&page=100",
        "by_user": "/clients?username=nobody",
    }
    return {
        name: round(statistics.median(_timed(client, path, token) for _ in range(20)), 2)
        for name, path in paths.items()
    }


def _timed(client: http.client.HTTPConnection, path: str, token: str) -> float:
    started = time.perf_counter()
    _get(client, path, token)
    return (time.perf_counter() - started) * 1_000


def _get(client: http.client.HTTPConnection, path: str, token: str) -> bytes:
    client.request("GET", f"/api/v5{path}", headers={"authorization": token})
    reply = client.getresponse()
    body = reply.read()
    if reply.status != 200:
        raise RuntimeError(f"{path}: {reply.status} {body[:200]!r}")
    return body


def log_in(port: int) -> str:
    """Return the header of a fresh token."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"username": "admin", "password": _PASSWORD})
    client.request("POST", "/api/v5/login", body, {"content-type": "application/json"})
    reply = json.loads(client.getresponse().read())
    client.close()
    return f"Bearer {reply['token']}"


def _median(spans: Sequence[Mapping[str, Any]], operators: str) -> dict[str, float]:
    chosen = [span for span in spans if span["operators"] == operators]
    names = [name for name in chosen[0] if name != "operators"]
    return {name: round(statistics.median(span[name] for span in chosen), 1) for name in names}


def section(folder: Path) -> str:
    """Return the section of docs/benchmarks.md, empty if a folder of results has no figures of this."""
    path = folder / "admin.json"
    return markdown(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else ""


def markdown(results: Mapping[str, Any]) -> str:
    """Return figures as text."""
    where, settings, quiet, busy = (results[name] for name in ("machine", "settings", "quiet", "busy"))
    rows = [
        ("transit p99 (from the send on), us", quiet["transit_p99_us"], busy["transit_p99_us"]),
        ("latency p50, us", quiet["latency_p50_us"], busy["latency_p50_us"]),
        ("latency p99, us", quiet["latency_p99_us"], busy["latency_p99_us"]),
    ]
    table = "".join(f"| {name} | {before:,.0f} | {after:,.0f} |\n" for name, before, after in rows)
    lists = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in results["lists_ms"].items())
    return (
        f"\n## Messages beside administration\n\n`make bench-admin` on {where['cores']} cores of {where['cpu']}, commit"
        f" {results['commit']}, {results['time']}. One pair at {settings['rate_per_s']:,} messages/s beside"
        f" {settings['connections']:,} idle connections, the median of {settings['repeat']} spans of"
        f" {settings['seconds']:g} s. Busy: one operator lists all clients in pages of {_PAGE}"
        f" ({busy['pages_per_s']:,.0f} pages/s), one exports them in pages of {_EXPORT_PAGE:,}, and"
        f" {settings['logins_at_once']} log in at once without a pause ({busy['logins_per_s']:,.0f} logins/s, argon2)."
        f"\n\n| | quiet | busy |\n| --- | ---: | ---: |\n{table}\n"
        f"Transit p99 busy to quiet: {results['ratio']:.2f} (bound 2);"
        f" load average when it began: {where['load_average']:.0f}."
        f" Lists without other load, ms: {lists}.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
