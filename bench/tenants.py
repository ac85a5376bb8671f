"""What tenants cost each other: a quiet one beside a noisy one, and the memory and time of very many.

    python -m bench.tenants --output bench/results/tenants.json

A fresh broker has a tenant whose rate is limited. One pair of another tenant is measured alone, while the limited one
keeps to its rate, and while it publishes twenty times as much; the spans alternate. The noisy clients run at a lower
priority than the broker: they stand for other machines. What a namespace costs its own messages is shown by
`bench.paired`.
"""

import argparse
import http.client
import json
import multiprocessing
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from bench import peer as peers
from bench.run import commit, in_background, machine
from pybroker._core import Engine

_ROOT = Path(__file__).parent.parent
_PASSWORD = "Bench-password-1"
_NOISY_RATE = 500
_NOISY_CLIENTS = 10
_EXCESS = 20
_QUIET_RATE = 500
_NICE = 10
_START_S = 30.0
_NAMESPACES = 10_000
_CLIENTS_EACH = 10
_MANAGED = 1_000

_CASES = {"alone": 0, "within_rate": 1, "noisy": _EXCESS}
"""How many times its rate the other tenant publishes."""


def main() -> int:
    """Measure, write the results file; 1 if a bound of the design is broken."""
    options = _parse()
    peers.raise_file_limit()
    results = measure(options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(markdown(results))
    print(f"written: {options.output}")
    many = results["many"]
    return int(results["ratio"] > 1.2 or many["bytes_per_namespace"] > 1_000 or many["seconds"] > 5)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure tenants beside each other.")
    parser.add_argument("--repeat", type=int, default=5, help="spans of each kind")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a span")
    parser.add_argument("--load", type=Path, default=_ROOT / "target/release/pybroker-load")
    parser.add_argument("--pybroker", default=f"{shlex.quote(sys.executable)} -m pybroker", help="command")
    parser.add_argument("--output", type=Path, default=_ROOT / "build/bench-tenants.json")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the results of one broker, and those of the core with very many namespaces."""
    broker = peers.load("pybroker:tenants", {"pybroker": options.pybroker})
    spans: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        certificates = peers.Certificates.create(Path(folder))
        with peers.running(broker, "tenants", certificates) as running:
            _limit(running.ports["other_port"])
            target = ["--target", f"127.0.0.1:{running.ports['tcp_port']}"]
            for _ in range(options.repeat):
                for case, excess in _CASES.items():
                    spans.append({"case": case, **_span(options, target, running.pid, excess)})
            dropped = _dropped(running.ports["other_port"])
    medians = {case: _median(spans, case) for case in _CASES}
    return {
        "machine": machine(),
        "commit": commit(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": {
            "noisy_rate_per_s": _NOISY_RATE,
            "excess": _EXCESS,
            "noisy_clients": _NOISY_CLIENTS,
            "quiet_rate_per_s": _QUIET_RATE,
            "seconds": options.seconds,
            "repeat": options.repeat,
            "noise_nice": _NICE,
        },
        **medians,
        "ratio": medians["noisy"]["latency_p99_us"] / medians["within_rate"]["latency_p99_us"],
        "dropped": dropped,
        "many": _many(),
        "spans": spans,
    }


def _span(options: argparse.Namespace, target: Sequence[str], pid: int, excess: int) -> dict[str, float]:
    """Return the latency of the quiet pair while the other tenant publishes `excess` times its rate."""
    with ExitStack() as stack:
        if excess:
            noise = [
                "paced",
                "--shape",
                "pairs",
                "--publishers",
                str(_NOISY_CLIENTS),
                "--subscribers",
                str(_NOISY_CLIENTS),
                "--rate",
                str(excess * _NOISY_RATE),
            ]
            noise += [*target, "--prefix", "noisy", "--duration", "2400", "--warmup", "0"]
            stack.enter_context(in_background(Path("nice"), ["-n", str(_NICE), str(options.load), *noise]))
        command = [str(options.load), "paced", "--shape", "pairs", "--rate", str(_QUIET_RATE), *target]
        command += ["--prefix", "quiet", "--pid", str(pid), "--duration", str(options.seconds), "--warmup", "1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    figures = json.loads(done.stdout)["figures"]
    wanted = ("latency_p50_us", "latency_p99_us", "transit_p99_us", "lateness_p99_us", "lost")
    return {name: figures[name] for name in wanted if name in figures}


def _limit(port: int) -> None:
    _wait_for_administration(port)
    token = _log_in(port)
    _call(port, "POST", "/mt/ns/noisy", token)
    _call(port, "POST", "/mt/ns/quiet", token)
    limiter = {"tenant": {"messages": {"rate": f"{_NOISY_RATE}/1s"}}}
    _call(port, "PUT", "/mt/ns/noisy/config", token, {"limiter": limiter})


def _wait_for_administration(port: int) -> None:
    """Wait until the API answers: it opens after the listeners of clients."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _dropped(port: int) -> dict[str, int]:
    """Return what the limits dropped of each tenant: the proof that they were reached by one and not by the other."""
    token = _log_in(port)
    stats = {
        name: _call(port, "GET", f"/mt/ns/{name}/metrics", token)["messaging_stats"] for name in ("noisy", "quiet")
    }
    return {name: figures["messages.dropped.quota_exceeded"] for name, figures in stats.items()}


def _call(port: int, method: str, path: str, token: str, body: object = None) -> Any:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"authorization": token, "content-type": "application/json"}
    client.request(method, f"/api/v5{path}", None if body is None else json.dumps(body), headers)
    reply = client.getresponse()
    text = reply.read()
    client.close()
    if reply.status >= 300:
        raise RuntimeError(f"{method} {path}: {reply.status} {text[:200]!r}")
    return json.loads(text) if text else None


def _log_in(port: int) -> str:
    return f"Bearer {_call(port, 'POST', '/login', '', {'username': 'admin', 'password': _PASSWORD})['token']}"


def _median(spans: Sequence[Mapping[str, Any]], case: str) -> dict[str, float]:
    chosen = [span for span in spans if span["case"] == case]
    return {name: round(statistics.median(span[name] for span in chosen), 1) for name in chosen[0] if name != "case"}


def _many() -> dict[str, float]:
    """Return what namespaces add to their clients in the core: seconds in all, bytes each."""
    bare, with_namespaces = _in_fresh_process(0), _in_fresh_process(_NAMESPACES)
    return {
        "namespaces": _NAMESPACES,
        "managed": _MANAGED,
        "clients_each": _CLIENTS_EACH,
        "seconds": round(with_namespaces["seconds"], 2),
        "bytes_per_namespace": round((with_namespaces["bytes"] - bare["bytes"]) / _NAMESPACES),
        "bytes_per_client": round(bare["bytes"] / (_NAMESPACES * _CLIENTS_EACH)),
    }


def _in_fresh_process(namespaces: int) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    results: Queue[dict[str, float]] = context.Queue()
    process = context.Process(target=_fill, args=(namespaces, results))
    process.start()
    found = results.get(timeout=120)
    process.join(60)
    return found


def _fill(namespaces: int, results: "Queue[dict[str, float]]") -> None:
    """Make all sessions, each with a subscription, in none or so many namespaces.

    As many of these as an operator may manage are limited and counted.
    """
    core = Engine(1, "bench@127.0.0.1")
    limits: Any = {
        "tenant": {"messages": {"rate": (1_000, 1_000)}},
        "client": {"bytes": {"rate": (100_000, 1_000), "burst": (100_000, 60_000)}},
        "max_subscriptions": 1_000,
        "has_counters": True,
    }
    before, started = _resident(), time.perf_counter()
    for number in range(min(namespaces, _MANAGED)):
        core.set_namespace(f"tenant-{number}", limits)
    for number in range(_NAMESPACES * _CLIENTS_EACH):
        owner = f"tenant-{number // _CLIENTS_EACH}" if namespaces else None
        core.subscribe(core.create_session(f"client-{number}", "", owner), f"site/{number}", 1)
    seconds = time.perf_counter() - started
    results.put({"seconds": seconds, "bytes": _resident() - before})


def _resident() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def section(folder: Path) -> str:
    """Return the section of docs/benchmarks.md, empty if a folder of results has no figures of this."""
    path = folder / "tenants.json"
    return markdown(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else ""


def markdown(results: Mapping[str, Any]) -> str:
    """Return figures as text."""
    where, settings, many = (results[name] for name in ("machine", "settings", "many"))
    names = {
        "alone": "alone",
        "within_rate": "other tenant at its rate",
        "noisy": f"at {settings['excess']} times its rate",
    }
    rows = "".join(
        f"| {names[case]} | {results[case]['latency_p50_us']:,.0f} | {results[case]['latency_p99_us']:,.0f} |\n"
        for case in _CASES
    )
    return (
        f"\n## Tenants beside each other\n\n`make bench-tenants` on {where['cores']} cores of {where['cpu']}, commit"
        f" {results['commit']}, {results['time']}. One pair of a quiet tenant at {settings['quiet_rate_per_s']:,}"
        f" messages/s, the median of {settings['repeat']} spans of {settings['seconds']:g} s, beside a tenant of"
        f" {settings['noisy_clients']} pairs whose limit is {settings['noisy_rate_per_s']:,} messages/s"
        f" ({results['dropped']['noisy']:,} of its messages were refused, {results['dropped']['quiet']:,} of the quiet"
        f" one's).\n\n| quiet tenant | latency p50, us | latency p99, us |\n| --- | ---: | ---: |\n{rows}\n"
        f"p99 beside a noisy tenant to p99 beside one within its rate: {results['ratio']:.2f} (bound 1.2)."
        f" {many['namespaces']:,} namespaces ({many['managed']:,} of them limited and counted) with"
        f" {many['clients_each']} sessions each stand in the core after {many['seconds']:g} s (bound 5)"
        f" and take {many['bytes_per_namespace']:,} bytes each beyond"
        f" {many['bytes_per_client']:,} per session (bound 1,000).\n"
    )


if __name__ == "__main__":
    sys.exit(main())
