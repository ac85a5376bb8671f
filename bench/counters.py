"""What a running pybroker has counted since its start, as its metrics for Prometheus say."""

import http.client
import re
import time
from collections.abc import Iterable

_PATH = "/api/v5/prometheus/stats"
_OPEN_S = 30.0


class CounterError(Exception):
    """A counter cannot be read; the text says which, or what was answered."""


def read(port: int, names: Iterable[str]) -> int:
    """Return the sum of counters.

    Args:
        port: of the API, which needs no credential for this.
        names: whole ones.

    Raises:
        CounterError: one of them is not there, or they are not shown.
    """
    client = _connected(port)
    client.request("GET", _PATH)
    reply = client.getresponse()
    text = reply.read().decode()
    client.close()
    if reply.status != 200:
        raise CounterError(f"{_PATH}: {reply.status} {text[:200]!r}")
    return sum_of(text, names)


def sum_of(exposition: str, names: Iterable[str]) -> int:
    """Return the sum of counters in the text format of Prometheus, over all their labels.

    Raises:
        CounterError: one of them is not there.
    """
    total = 0.0
    for name in names:
        found = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? ([0-9.e+]+)$", exposition, re.MULTILINE)
        if not found:
            raise CounterError(f"no such counter: {name}")
        total += sum(map(float, found))
    return round(total)


def _connected(port: int) -> http.client.HTTPConnection:
    """Return a connection; the API opens a moment after the listeners of clients."""
    deadline = time.monotonic() + _OPEN_S
    while True:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            client.connect()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return client
