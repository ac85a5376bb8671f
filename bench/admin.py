"""What administration costs the messages: the latency of one pair while operators are quiet, and while they are not.

    python -m bench.admin --output bench/results/admin.json

A fresh broker holds thousands of idle connections. Quiet and busy spans take turns. In a busy one, one operator lists
all clients page by page, one exports them in the largest pages, and ten log in at once, all again and again. Operators
and clients stand for other machines: the former take only time that nobody else wants, the latter wait for nobody.
"""

import argparse
import http.client
import json
import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench import beside
from bench.run import in_background

_RATE = 1_000
_LOGINS = 10
_PAGE = 100
_EXPORT_PAGE = 10_000


def main() -> int:
    """Measure, write the results file; 1 if busy operators more than double the latency."""
    options = _parse()
    results = measure(options)
    beside.write(results, options.output, markdown(results))
    return int(results["ratio"] > 2)


def _parse() -> argparse.Namespace:
    parser = beside.parser("Measure messages beside administration.", "admin", repeat=10, seconds=3.0)
    parser.add_argument("--connections", type=int, default=19_000, help="idle ones")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the results of one broker."""
    with beside.broker(options.pybroker, "administered") as running:
        target = ["--target", f"127.0.0.1:{running.ports['tcp_port']}", "--pid", str(running.pid)]
        idle = ["idle", "--connections", str(options.connections), "--subscribe", "--duration", "2400"]
        port = running.ports["other_port"]

        def quiet() -> dict[str, float]:
            return beside.pair(options.load, _RATE, options.seconds, target)

        with in_background(options.load, [*idle, *target, "--prefix", "idle", "--warmup", "0"]):
            lists = _time_lists(port)
            spans = beside.take_turns(options.repeat, {"quiet": quiet, "busy": lambda: _while_busy(port, quiet)})
    return {
        **beside.circumstances(
            connections=options.connections,
            rate_per_s=_RATE,
            seconds=options.seconds,
            repeat=options.repeat,
            logins_at_once=_LOGINS,
        ),
        "quiet": beside.medians(spans, "quiet"),
        "busy": beside.medians(spans, "busy"),
        # Transit: what the generator's own delay adds on a crowded machine is not the broker's.
        "ratio": beside.ratio(spans, "busy", "quiet", "transit_p99_us"),
        "lists_ms": lists,
        "spans": spans,
    }


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
    beside.step_aside()
    api = beside.Api(port)
    token = api.log_in()
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
            api.log_in()
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
    client, token = http.client.HTTPConnection("127.0.0.1", port), beside.Api(port).log_in()
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
        ("of that the generator's own lateness p99, us", quiet["lateness_p99_us"], busy["lateness_p99_us"]),
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
        f"Transit p99 busy to quiet, the median of neighbouring spans: {results['ratio']:.2f} (bound 2);"
        f" load average when it began: {where['load_average']:.0f}."
        f" Lists without other load, ms: {lists}.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
