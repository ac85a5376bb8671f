"""Run scenarios against brokers, interleaved, and write one results file.

    python -m bench.run --brokers pybroker,mosquitto --tier table

Every run gets a fresh broker. The order is scenario, repeat, broker: a slow minute of the machine hits all of them.
"""

import argparse
import contextlib
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from bench import counters, summary, verdict
from bench import peer as peers
from bench import scenario as scenarios
from bench.memory import Watch

_ROOT = Path(__file__).parent.parent
_FORMAT = 1
_BACKGROUND_S = 1200
_READY_S = 180.0
_COUNTED_S = 2.0
_UNSTATED = ("target", "pids", "prefix", "cafile", "label")


def main() -> int:
    """Run what the command line asks for; 1 if a broker of ours failed a run, or lost what it had promised."""
    options = _parse()
    # Ended from outside, a run still ends its broker and its loads.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    peers.raise_file_limit()
    chosen = scenarios.choose(scenarios.load_all(), options.tier, options.scenarios)
    if not chosen:
        sys.exit("no scenario matches")
    try:
        brokers = _load_peers(options)
    except peers.PeerError as error:
        sys.exit(str(error))
    if not options.load.exists():
        sys.exit(f"no load generator: {options.load}: run cargo build --release -p pybroker-load")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        try:
            certificates = peers.Certificates.create(Path(folder))
        except peers.PeerError as error:
            sys.exit(str(error))
        runner = Runner(options.load, certificates, options)
        runs = list(_all_runs(runner, chosen, brokers, options.repeat))
    results = _results(runs, chosen, brokers, options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    _print_table(results)
    print(f"written: {options.output}")
    broken = verdict.broken_promises(results, "pybroker")
    print("".join(f"{line}\n" for line in broken), end="")
    return int(bool(broken))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure brokers side by side.")
    parser.add_argument(
        "--brokers", default="pybroker,mosquitto,relay", help="names in bench/peers, NAME:VARIANT pins a variant"
    )
    parser.add_argument("--tier", default="table", choices=["table", "more", "growth", "smoke", "all"])
    parser.add_argument("--scenarios", nargs="*", default=[], help="name patterns instead of a tier")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time of one run")
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--at-most", type=float, help="bound of a scenario's own measured time, seconds")
    parser.add_argument("--load", type=Path, default=_ROOT / "target/release/pybroker-load")
    parser.add_argument(
        "--pybroker",
        default=os.environ.get("PYBROKER_COMMAND", f"{shlex.quote(sys.executable)} -m pybroker"),
        help="command that starts pybroker",
    )
    parser.add_argument("--skip-missing", action="store_true", help="leave out brokers that are not installed")
    parser.add_argument("--output", type=Path, default=_ROOT / "build/bench.json")
    return parser.parse_args()


def _load_peers(options: argparse.Namespace) -> list[peers.Peer]:
    loaded = []
    relay = options.load.resolve().with_name("pybroker-relay")
    programs = {"pybroker": options.pybroker, "relay": shlex.quote(str(relay))}
    for name in options.brokers.split(","):
        try:
            loaded.append(peers.load(name, programs))
        except peers.PeerError as error:
            if not options.skip_missing:
                raise
            print(f"left out: {error}", file=sys.stderr)
    return loaded


class Runner:
    """Starts one broker and puts one scenario's load on it."""

    def __init__(self, load: Path, certificates: peers.Certificates, options: argparse.Namespace) -> None:
        self._load = load
        self._certificates = certificates
        self._seconds: float = options.seconds
        self._warmup: float = options.warmup
        self._at_most: float | None = options.at_most

    def run(self, scenario: scenarios.Scenario, peer: peers.Peer, variant: str) -> dict[str, Any]:
        """Return one run's record; a failed run has `error` instead of figures."""
        record: dict[str, Any] = {
            "scenario": scenario.name,
            "figure": scenario.figure,
            "broker": peer.name,
            "variant": variant,
        }
        try:
            _, cores = _cores_of(scenario)
            with peers.running(peer, variant, self._certificates, cores) as broker:
                report = self._measure(scenario, peer, broker)
        except (peers.PeerError, LoadFailedError) as error:
            return {**record, "error": str(error)}
        return {**record, **report}

    def _measure(self, scenario: scenarios.Scenario, peer: peers.Peer, broker: peers.RunningPeer) -> dict[str, Any]:
        port = broker.ports[peer.port_name(scenario.transport, is_v5=bool(scenario.load.get("v5")))]
        target = [
            "--target", f"127.0.0.1:{port}",
            "--pid", str(broker.pid), *self._transport(scenario.transport),
        ]  # fmt: skip
        with contextlib.ExitStack() as stack:
            for number, options in enumerate(scenario.background):
                own = ["--prefix", f"background{number}", "--duration", str(_BACKGROUND_S), "--warmup", "0"]
                stack.enter_context(in_background(self._load, [*scenarios.arguments(options), *target, *own]))
            own = ["--duration", str(self._seconds_of(scenario)), "--warmup", str(self._warmup)]
            command = [str(self._load), *scenarios.arguments(scenario.load), *target, *own]
            watch = self._watch(scenario, broker)
            if watch:
                stack.enter_context(watch)
            try:
                done = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    timeout=900,
                    check=False,
                    preexec_fn=peers.on_cores(_cores_of(scenario)[0]),
                )
            except subprocess.TimeoutExpired:
                raise LoadFailedError("the load generator did not end") from None
        if done.returncode != 0:
            raise LoadFailedError(f"{done.stderr.strip()}; broker: {broker.log_tail()}")
        report: dict[str, Any] = json.loads(done.stdout)
        if watch:
            report["memory"] = watch.samples
            report["figures"].update(watch.figures())
        # The last subscriber of retained messages leaves in the middle of its replay: what it misses is nobody's loss.
        if peer.drops and not scenario.background and scenario.load["mode"] != "retained":
            report["drops"] = _drops(broker.ports["other_port"], peer.drops, report["balance"])
        return report

    def _watch(self, scenario: scenarios.Scenario, broker: peers.RunningPeer) -> Watch | None:
        """Return what samples the broker's memory; a shortened run is sampled as often as a whole one."""
        if not scenario.sample_s or not scenario.seconds:
            return None
        return Watch(broker.pid, scenario.sample_s * self._seconds_of(scenario) / scenario.seconds)

    def _seconds_of(self, scenario: scenarios.Scenario) -> float:
        own = scenario.seconds or self._seconds
        return min(own, self._at_most) if self._at_most and scenario.seconds else own

    def _transport(self, transport: str) -> list[str]:
        secure = ["--tls", "--cafile", str(self._certificates.cafile)]
        return {"tcp": [], "tls": secure, "ws": ["--ws"]}[transport]


def _cores_of(scenario: scenarios.Scenario) -> tuple[set[int] | None, set[int] | None]:
    """Return the cores of the clients and of the broker, `None` for all; with one core both are on it."""
    if scenario.cores is None:
        return None, None
    first, *_, last = [*sorted(os.sched_getaffinity(0))] * 2
    return {first if scenario.cores == "two" else last}, {last}


def _drops(port: int, names: Sequence[str], balance: Mapping[str, Any]) -> dict[str, int]:
    """Return how many deliveries of a run are missing, and how many the broker says it dropped since its start.

    A fresh broker has dropped nothing before. Counters follow within moments: what differs is looked at again for a
    while.
    """
    missing = balance["lost"] + balance["slow"]["lost"]
    deadline = time.monotonic() + _COUNTED_S
    while (counted := counters.read(port, names)) != missing and time.monotonic() < deadline:
        time.sleep(0.05)
    return {"missing": missing, "counted": counted}


@contextlib.contextmanager
def in_background(load: Path, arguments: Sequence[str], before: Callable[[], None] | None = None) -> Iterator[None]:
    """Run the load generator beside what is measured, from the moment on in which it measures itself.

    Args:
        load: the load generator.
        arguments: of it.
        before: what its process does first.

    Raises:
        LoadFailedError: it did not begin, or ended early.
    """
    process = subprocess.Popen(
        [str(load), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,  # noqa: PLW1509 # it calls the system and nothing else
    )
    try:
        _wait_for_line(process, "measuring")
        yield
        if process.poll() is not None:
            raise LoadFailedError("a background load ended early")
    finally:
        process.terminate()
        process.wait()


class LoadFailedError(Exception):
    """A run has no figures; the text is what the load generator said."""


def _wait_for_line(process: "subprocess.Popen[str]", wanted: str) -> None:
    stream = process.stderr
    assert stream is not None
    seen: list[str] = []
    ready = threading.Event()

    def read(lines: IO[str]) -> None:
        for line in lines:
            seen.append(line.strip())
            if line.strip() == wanted:
                ready.set()
        ready.set()

    threading.Thread(target=read, args=(stream,), daemon=True).start()
    ready.wait(_READY_S)
    if wanted not in seen:
        raise LoadFailedError(f"a background load did not begin: {' '.join(seen)}")


def _all_runs(
    runner: Runner, chosen: Sequence[scenarios.Scenario], brokers: Sequence[peers.Peer], repeat: int
) -> Iterator[dict[str, Any]]:
    for scenario in chosen:
        able = [peer for peer in brokers if _reason_against(peer, scenario) is None]
        variants = {peer.name: _best_variant(runner, scenario, peer) for peer in able}
        for number in range(min(repeat, scenario.repeat or repeat)):
            for peer in able:
                start = time.monotonic()
                run = runner.run(scenario, peer, variants[peer.name])
                run["repeat"] = number
                _print_run(run, time.monotonic() - start)
                yield run


def _reason_against(peer: peers.Peer, scenario: scenarios.Scenario) -> str | None:
    """Return why a scenario cannot be put on a broker, or `None`."""
    if scenario.variant and scenario.variant not in peer.variants:
        return f"it has no variant for it: {scenario.variant}"
    return peer.reason_against(scenario.name, scenario.transport)


def _best_variant(runner: Runner, scenario: scenarios.Scenario, peer: peers.Peer) -> str:
    """Try the variants that compete and return the one with the lowest figure; one run each, not counted."""
    if scenario.variant:
        return scenario.variant
    if not peer.best_of:
        return next(iter(peer.variants))
    trials = {variant: runner.run(scenario, peer, variant) for variant in peer.best_of}
    return min(trials, key=lambda variant: trials[variant].get("figures", {}).get(scenario.figure, float("inf")))


def _print_run(run: Mapping[str, Any], seconds: float) -> None:
    name = f"{run['scenario']:<24} {run['broker']:<12}"
    if "error" in run:
        print(f"{name} failed: {run['error'][:200]}", flush=True)
        return
    marks = " (generator was the limit)" if run["generator_limited"] else ""
    value = run["figures"].get(run["figure"], float("nan"))
    print(f"{name} {value:12.3f} {run['figure']}{marks}  [{seconds:.1f} s]", flush=True)


def _results(
    runs: list[dict[str, Any]],
    chosen: Sequence[scenarios.Scenario],
    brokers: Sequence[peers.Peer],
    options: argparse.Namespace,
) -> dict[str, Any]:
    medians = summary.summarize(runs)
    figure_of = {scenario.name: scenario.figure for scenario in chosen}
    loads = {run["scenario"]: _stated(run.pop("settings")) for run in runs if "settings" in run}
    return {
        "format": _FORMAT,
        "machine": machine(),
        "commit": commit(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": {
            "repeat": options.repeat,
            "seconds": options.seconds,
            "warmup": options.warmup,
            "arguments": _shareable(sys.argv[1:]),
        },
        "brokers": {peer.name: _about(peer, chosen) for peer in brokers},
        "scenarios": {
            one.name: {
                "title": one.title,
                "tier": one.tier,
                "figure": one.figure,
                "transport": one.transport,
                "targets": dict(one.targets),
                "mosquitto_ratio": one.mosquitto_ratio,
                "limit": one.limit,
                "load": loads.get(one.name, dict(one.load)),
                "background": [dict(options) for options in one.background],
                "sweep": one.sweep,
                "at_most": one.at_most,
                "shown": list(one.shown),
                "cores": one.cores,
                "repeat": one.repeat,
            }
            for one in chosen
        },
        "medians": medians,
        "ratios": summary.ratios(medians, figure_of, "mosquitto"),
        "runs": runs,
    }


def _shareable(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without those that name places of this machine."""
    kept, is_value = [], False
    for one in arguments:
        is_place = one.partition("=")[0] in ("--output", "--load", "--pybroker")
        if not is_place and not is_value:
            kept.append(shlex.quote(one))
        is_value = is_place and "=" not in one
    return kept


def _about(peer: peers.Peer, chosen: Sequence[scenarios.Scenario]) -> dict[str, Any]:
    reasons = {one.name: _reason_against(peer, one) for one in chosen}
    cannot = {name: reason for name, reason in reasons.items() if reason}
    return {"title": peer.title, "version": peer.version, "cannot": cannot, "is_broker": peer.is_broker}


def _stated(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the load generator without what differs from run to run."""
    return {key: value for key, value in settings.items() if key not in _UNSTATED}


def machine() -> dict[str, Any]:
    """Return what a results file says of the machine."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "open_files": peers.raise_file_limit(),
        "load_average": os.getloadavg()[0],
    }


def commit() -> str:
    """Return the commit of the working tree, marked if it is changed."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def _print_table(results: Mapping[str, Any]) -> None:
    names = list(results["brokers"])
    wide = {name: max(16, len(name) + 2) for name in names}
    print("\n" + f"{'scenario':<28}" + "".join(f"{name:>{wide[name]}}" for name in names) + "   target")
    for scenario, brokers in results["medians"].items():
        about = results["scenarios"][scenario]
        row = f"{scenario:<28}"
        for name in names:
            one = brokers.get(name)
            value = one["figures"].get(about["figure"]) if one else None
            cell = "-" if one is None else "failed" if value is None else f"{value:.2f}{'~' if one['is_noisy'] else ''}"
            row += f"{cell:>{wide[name]}}"
        print(row + f"   {about['targets'].get(about['figure'], '')}")
    print(f"~ runs differ by more than {summary.NOISY_SPREAD:.0%}")


if __name__ == "__main__":
    sys.exit(main())
