"""What tenants cost each other: a quiet one beside a noisy one, and the memory and time of very many.

    python -m bench.tenants --output bench/results/tenants.json

A fresh broker has a tenant whose rate is limited. One pair of another tenant is measured alone, while the limited one
keeps to its rate, and while it publishes twenty times as much; the spans take turns. All clients stand for other
machines: the pair waits for nobody, the noise takes only time that nobody else wants. What a namespace costs its
own messages is shown by `bench.paired`.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from bench import beside
from bench.run import in_background
from pybroker._core import Engine

_NOISY_RATE = 500
_NOISY_CLIENTS = 10
_EXCESS = 20
_QUIET_RATE = 1_000
_NAMESPACES = 10_000
_CLIENTS_EACH = 10
_MANAGED = 1_000
_CASE_OVERHEAD_S = 10.0
_BOUND = 1.2

_CASES = {"alone": 0, "within_rate": 1, "noisy": _EXCESS}
"""How many times its rate the other tenant publishes."""
_JUDGED = ("latency_p99_us", "transit_p99_us")
"""From the time at which a message was due, and from the send on."""


def main() -> int:
    """Measure, write the results file; 1 if a bound of the design is broken, 2 if the figures say nothing."""
    options = _parse()
    limit_s = 60 + options.repeat * len(_CASES) * (options.seconds + _CASE_OVERHEAD_S)
    try:
        with beside.within(limit_s):
            results = measure(options)
    except TimeoutError as error:
        print(f"bench.tenants: {error}", file=sys.stderr)
        return 2
    beside.write(results, options.output, markdown(results))
    refused_per_s, expected = results["noisy"]["refused_per_s"], (_EXCESS - 1) * _NOISY_RATE
    if refused_per_s < 0.8 * expected:
        # A busy machine has kept the noise from being what the figures are said to be of.
        print(f"bench.tenants: too little noise: {refused_per_s:,.0f}/s refused, not {expected:,}/s", file=sys.stderr)
        return 2
    many = results["many"]
    is_noticed = max(results["ratios"].values()) > _BOUND
    return int(is_noticed or many["bytes_per_namespace"] > 1_000 or many["seconds"] > 5)


def _parse() -> argparse.Namespace:
    return beside.parser("Measure tenants beside each other.", "tenants", repeat=12, seconds=2.0).parse_args()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the results of one broker, and those of the core with very many namespaces."""
    with beside.broker(options.pybroker, "tenants") as running:
        api = beside.Api(running.ports["other_port"])
        token = api.log_in()
        _limit(api, token)
        target = ["--target", f"127.0.0.1:{running.ports['tcp_port']}"]
        quiet = [*target, "--prefix", "quiet", "--pid", str(running.pid)]

        def span(excess: int) -> dict[str, float]:
            with ExitStack() as stack:
                if excess:
                    stack.enter_context(_noise(options.load, target, excess))
                before, cpu, started = _refused(api, token)["noisy"], _shard_cpu_s(running.pid), time.monotonic()
                figures = beside.pair(options.load, _QUIET_RATE, options.seconds, quiet)
                elapsed_s, cpu = time.monotonic() - started, _shard_cpu_s(running.pid) - cpu
                refused = _refused(api, token)["noisy"] - before
            return {
                **figures,
                "refused_per_s": round(refused / elapsed_s),
                "shard_cpu_ms_per_s": round(cpu / elapsed_s * 1_000, 2),
            }

        spans = beside.take_turns(options.repeat, {case: partial(span, excess) for case, excess in _CASES.items()})
        dropped = _refused(api, token)
    return {
        **beside.circumstances(
            noisy_rate_per_s=_NOISY_RATE,
            excess=_EXCESS,
            noisy_clients=_NOISY_CLIENTS,
            quiet_rate_per_s=_QUIET_RATE,
            seconds=options.seconds,
            repeat=options.repeat,
        ),
        **{case: beside.medians(spans, case) for case in _CASES},
        "ratios": {figure: beside.ratio(spans, "noisy", "within_rate", figure) for figure in _JUDGED},
        "dropped": dropped,
        "refusal_us": _refusal_us(spans),
        "many": _many(),
        "spans": spans,
    }


@contextmanager
def _noise(load: Path, target: Sequence[str], excess: int) -> Iterator[None]:
    clients = ["--publishers", str(_NOISY_CLIENTS), "--subscribers", str(_NOISY_CLIENTS)]
    noise = ["paced", "--shape", "pairs", *clients, "--rate", str(excess * _NOISY_RATE), *target]
    noise += ["--prefix", "noisy", "--duration", "2400", "--warmup", "0"]
    with in_background(load, noise, before=beside.step_aside):
        yield


def _shard_cpu_s(pid: int) -> float:
    """Return the processor time of the threads that move messages."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    shards = [task for task in tasks if (task / "comm").read_text(encoding="utf-8").startswith("shard-")]
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in shards) / 1e9


def _refusal_us(spans: beside.Spans) -> float:
    """Return processor time of the broker for each message over the rate, beyond that of the rate itself."""
    noisy, within_rate = (beside.medians(spans, case) for case in ("noisy", "within_rate"))
    more_us = (noisy["shard_cpu_ms_per_s"] - within_rate["shard_cpu_ms_per_s"]) * 1_000
    return round(more_us / noisy["refused_per_s"], 2)


def _limit(api: beside.Api, token: str) -> None:
    for name in ("noisy", "quiet"):
        api.ask("POST", f"/mt/ns/{name}", token)
    limiter = {"tenant": {"messages": {"rate": f"{_NOISY_RATE}/1s"}}}
    api.ask("PUT", "/mt/ns/noisy/config", token, {"limiter": limiter})


def _refused(api: beside.Api, token: str) -> dict[str, int]:
    """Return what the limits refused of each tenant: the proof that they were reached by one and not by the other."""
    stats = {name: api.ask("GET", f"/mt/ns/{name}/metrics", token)["messaging_stats"] for name in ("noisy", "quiet")}
    return {name: figures["messages.dropped.quota_exceeded"] for name, figures in stats.items()}


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
    where, settings, many, ratios = (results[name] for name in ("machine", "settings", "many", "ratios"))
    names = {
        "alone": "alone",
        "within_rate": "other tenant at its rate",
        "noisy": f"at {settings['excess']} times its rate",
    }
    figures = ("latency_p50_us", "latency_p99_us", "transit_p99_us")
    rows = "".join(
        f"| {names[case]} | {' | '.join(f'{results[case][figure]:,.0f}' for figure in figures)} |\n" for case in _CASES
    )
    return (
        f"\n## Tenants beside each other\n\n`make bench-tenants` on {where['cores']} cores of {where['cpu']}, commit"
        f" {results['commit']}, {results['time']}. One pair of a quiet tenant at {settings['quiet_rate_per_s']:,}"
        f" messages/s, the median of {settings['repeat']} spans of {settings['seconds']:g} s, beside a tenant of"
        f" {settings['noisy_clients']} pairs whose limit is {settings['noisy_rate_per_s']:,} messages/s"
        f" ({results['noisy']['refused_per_s']:,.0f} of its messages were refused a second, and"
        f" {results['dropped']['quiet']:,} of the quiet one's in all).\n\n"
        f"| quiet tenant | latency p50, us | latency p99, us | transit p99 (from the send on), us |\n"
        f"| --- | ---: | ---: | ---: |\n{rows}\n"
        f"Beside a noisy tenant to beside one within its rate, the median over the turns: latency p99"
        f" {ratios['latency_p99_us']:.2f}, transit p99 {ratios['transit_p99_us']:.2f} (bound {_BOUND:g})."
        f" A message over the rate costs {results['refusal_us']:g} us of the broker."
        f" {many['namespaces']:,} namespaces ({many['managed']:,} of them limited and counted) with"
        f" {many['clients_each']} sessions each stand in the core after {many['seconds']:g} s (bound 5)"
        f" and take {many['bytes_per_namespace']:,} bytes each beyond"
        f" {many['bytes_per_client']:,} per session (bound 1,000).\n"
    )


if __name__ == "__main__":
    sys.exit(main())
