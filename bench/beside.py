"""What a benchmark of one thing beside another shares: its options, its broker, its spans, the broker's API, its file.

A fresh broker; spans of a few seconds, in one of which a pair of clients is alone and in the next is not, take turns. A
span is held against its neighbour, because a machine has better and worse minutes. What is measured stands in the
modules that use this.
"""

import argparse
import contextlib
import http.client
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import peer as peers
from bench.run import LoadFailedError, commit, machine

PASSWORD = "Bench-password-1"
"""Of the administrator, in the variants of the broker that have an API."""

_ROOT = Path(__file__).parent.parent
_OPEN_S = 30.0
_WANTED = ("latency_p50_us", "latency_p99_us", "transit_p50_us", "transit_p99_us", "lateness_p99_us", "lost")

Figures = Mapping[str, float]
Spans = Sequence[Mapping[str, Any]]


def parser(about: str, name: str, *, repeat: int, seconds: float) -> argparse.ArgumentParser:
    """Return the options that every such benchmark has.

    Args:
        about: what it measures.
        name: of its file below `build/`.
        repeat: spans of each kind, unless the command line says otherwise.
        seconds: of a span, unless the command line says otherwise.
    """
    options = argparse.ArgumentParser(description=about)
    options.add_argument("--repeat", type=int, default=repeat, help="spans of each kind")
    options.add_argument("--seconds", type=float, default=seconds, help="of a span")
    options.add_argument("--load", type=Path, default=_ROOT / "target/release/pybroker-load")
    options.add_argument("--pybroker", default=f"{shlex.quote(sys.executable)} -m pybroker", help="command")
    options.add_argument("--output", type=Path, default=_ROOT / f"build/bench-{name}.json")
    return options


@contextlib.contextmanager
def broker(command: str, variant: str) -> Iterator[peers.RunningPeer]:
    """Run a fresh broker whose API answers.

    Args:
        command: that starts the broker.
        variant: of `bench/peers/pybroker.toml`.
    """
    peers.raise_file_limit()
    peer = peers.load(f"pybroker:{variant}", {"pybroker": command})
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        certificates = peers.Certificates.create(Path(folder))
        with peers.running(peer, variant, certificates) as running:
            Api(running.ports["other_port"]).wait()
            yield running


@contextlib.contextmanager
def within(limit_s: float) -> Iterator[None]:
    """End what takes longer: a benchmark that hangs would tell nobody.

    Raises:
        TimeoutError: the time is over; what was running has been ended.
    """

    def give_up(*_: object) -> None:
        raise TimeoutError(f"not finished within {limit_s:.0f} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def write(results: Mapping[str, Any], path: Path, text: str) -> None:
    """Write the results file and show what it says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(text)
    print(f"written: {path}")


def circumstances(**settings: object) -> dict[str, Any]:
    """Return the head of a results file: where, of what and when, and the settings."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"machine": machine(), "commit": commit(), "time": now, "settings": settings}


def take_turns(repeat: int, cases: Mapping[str, Callable[[], Figures]]) -> list[dict[str, Any]]:
    """Return the spans: every case once, in order, and so on; `case` says which it was."""
    return [{"case": name, **work()} for _ in range(repeat) for name, work in cases.items()]


def medians(spans: Spans, case: str) -> dict[str, float]:
    """Return the median of each figure over the spans of one case."""
    chosen = [span for span in spans if span["case"] == case]
    return {name: round(statistics.median(span[name] for span in chosen), 1) for name in chosen[0] if name != "case"}


def ratio(spans: Spans, case: str, base: str, figure: str) -> float:
    """Return how many times the base a case is: the median over the turns, of each of which a ratio is taken."""
    pairs = zip(_of(spans, case, figure), _of(spans, base, figure), strict=True)
    return statistics.median(value / other for value, other in pairs)


def _of(spans: Spans, case: str, figure: str) -> list[float]:
    return [span[figure] for span in spans if span["case"] == case]


def pair(load: Path, rate_per_s: int, seconds: float, target: Sequence[str]) -> dict[str, float]:
    """Return the latency of one publisher and one subscriber on a schedule.

    Args:
        load: the load generator.
        rate_per_s: messages.
        seconds: how long it is measured.
        target: where the broker is, as options of the generator.
    """
    command = [str(load), "paced", "--shape", "pairs", "--rate", str(rate_per_s), *target]
    command += ["--duration", str(seconds), "--warmup", "0.5"]
    # Before it has threads: what is set on a process later holds for its first thread alone.
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300, check=False, preexec_fn=step_ahead)
    if done.returncode != 0:
        raise LoadFailedError("the load generator failed")
    figures = json.loads(done.stdout)["figures"]
    return {name: figures[name] for name in _WANTED if name in figures}


def step_ahead() -> None:
    """Let this process wait for nobody, if that is permitted: clients stand for other machines."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def step_aside() -> None:
    """Let this process run only where nobody else wants the core: it stands for other machines."""
    # Systems that group processes by session share a core between the groups first, whatever their members are.
    with contextlib.suppress(OSError):
        os.setsid()
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("19", encoding="ascii")
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError:
        os.nice(19)


class Api:
    """The broker's API.

    Args:
        port: of the API.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    def wait(self) -> None:
        """Wait until it answers: it opens after the listeners of clients."""
        deadline = time.monotonic() + _OPEN_S
        while True:
            try:
                self.call("GET", "/status")
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def call(self, method: str, path: str, token: str = "", body: bytes | None = None, media_type: str = "") -> bytes:
        """Return the body of a reply, over a connection of its own.

        Args:
            method: of HTTP.
            path: the whole one.
            token: as the header says it.
            body: as it is sent.
            media_type: of the body; empty: JSON.

        Raises:
            RuntimeError: it was refused.
        """
        # Not kept between calls: the broker closes one that is idle for longer than a span.
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        headers = {"authorization": token, "content-type": media_type or "application/json"}
        client.request(method, path, body, headers)
        reply = client.getresponse()
        text = reply.read()
        client.close()
        if reply.status >= 300:
            raise RuntimeError(f"{method} {path}: {reply.status} {text[:200]!r}")
        return text

    def ask(self, method: str, path: str, token: str = "", body: object = None) -> Any:
        """Return the JSON of a reply of `/api/v5`, `None` if it is empty.

        Raises:
            RuntimeError: it was refused.
        """
        text = self.call(method, f"/api/v5{path}", token, None if body is None else json.dumps(body).encode())
        return json.loads(text) if text else None

    def log_in(self) -> str:
        """Return the header of a fresh token."""
        return f"Bearer {self.ask('POST', '/login', body={'username': 'admin', 'password': PASSWORD})['token']}"
