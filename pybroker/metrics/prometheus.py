"""The text form that Prometheus reads, and the names that EMQX gives its metrics there.

`Family` is one metric with its samples; `render` writes families in the exposition format 0.0.4. EMQX's names carry no
`_total`, whatever their kind: boards match on them. What EMQX does not have is named `pybroker_*`. Labels may hold any
text: quotes, backslashes and line feeds are escaped, so that a listener's name cannot forge a sample.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of the exposition."""

Kind = Literal["counter", "gauge"]

_RENAMED = {
    "packets.connect.received": "emqx_packets_connect",
    "messages.dropped.await_pubrel_timeout": "emqx_messages_dropped_expired",
}

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Sample(NamedTuple):
    """One value.

    Args:
        value: integers are written without a fraction.
        labels: by name; empty: none.
    """

    value: float
    labels: Mapping[str, str] = {}


class Family(NamedTuple):
    """One metric.

    Args:
        name: as scraped.
        kind: counters only grow while the process lives.
        samples: in the order in which they are written; none: the metric is left out.
    """

    name: str
    kind: Kind
    samples: Iterable[Sample]


def emqx_name(dotted: str) -> str:
    """Return EMQX's Prometheus name of one of its metrics or levels, such as `packets.publish.received`."""
    return _RENAMED.get(dotted) or f"emqx_{dotted.replace('.', '_')}"


def families_of(numbers: Mapping[str, float], kind: Kind, labels: Mapping[str, str] | None = None) -> list[Family]:
    """Return one family for each number under its dotted name."""
    shared = labels or {}
    return [Family(emqx_name(name), kind, (Sample(value, shared),)) for name, value in numbers.items()]


def render(families: Iterable[Family], labels: Mapping[str, str] | None = None) -> bytes:
    """Write families, each once and in their order; families of one name are put together.

    Args:
        labels: put before the labels of every sample, such as the node.
    """
    kinds: dict[str, Kind] = {}
    lines: dict[str, list[str]] = {}
    shared = dict(labels or {})
    for family in families:
        kinds.setdefault(family.name, family.kind)
        written = lines.setdefault(family.name, [])
        written += [
            f"{family.name}{_labels({**shared, **one.labels})} {_number(one.value)}\n" for one in family.samples
        ]
    return "".join(f"# TYPE {name} {kinds[name]}\n{''.join(rows)}" for name, rows in lines.items() if rows).encode()


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items()) + "}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))
