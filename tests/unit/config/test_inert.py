"""Keys without effect: the list is complete, names only keys that exist, and finds what somebody has set."""

import ast
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

import admin
import pybroker
from pybroker.config.inert import INERT, inert_keys, reason_of
from pybroker.config.keys import Key, Section, keys_of
from pybroker.config.load import load
from pybroker.config.schema import Config

# Read as a whole, or by what the key tells apart.
_READ_OTHERWISE = {
    "allow_anonymous": "by properties of the whole configuration",
    "psk_authentication.enable": "by the checks, which refuse it",
    "dashboard.listeners.http.proxy_header": "by the checks, which refuse it",
    "dashboard.listeners.https.proxy_header": "by the checks, which refuse it",
    "dashboard.default_mfa.mechanism": "there is one mechanism; whether it is set counts",
}


def every_leaf(kind: type[Section] = Config, path: str = "") -> Iterator[tuple[str, Key]]:
    for key in keys_of(kind):
        below = f"{path}.{key.name}" if path else key.name
        if key.shape == "section" and key.section is not None:
            yield from every_leaf(key.section, below)
        elif key.shape == "named" and key.section is not None:
            yield from every_leaf(key.section, f"{below}.NAME")
        elif key.shape == "variants":
            kinds = key.rules.variants or ({"": key.section} if key.section is not None else {})
            yield from chain.from_iterable(every_leaf(other, below) for other in kinds.values())
        elif key.rules.overrides is not None:
            yield from every_leaf(key.rules.overrides, f"{below}")
        else:
            yield below, key


def names_read_outside_of_the_configuration() -> set[str]:
    names: set[str] = set()
    for package in (pybroker, admin):
        root = Path(package.__file__ or "").parent
        for file in root.rglob("*.py"):
            if root / "config" not in file.parents:
                nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
                names.update(node.attr for node in nodes if isinstance(node, ast.Attribute))
    return names


def test_every_key_is_read_or_said_to_be_without_effect() -> None:
    read = names_read_outside_of_the_configuration()
    forgotten = [
        path
        for path, key in every_leaf()
        if key.attribute not in read and reason_of(path) is None and path not in _READ_OTHERWISE
    ]
    assert forgotten == []


def test_every_row_names_a_key() -> None:
    known = [path.split(".") for path, _ in every_leaf()]
    for row in INERT:
        names = row.split(".")
        assert any(
            len(names) <= len(path) and all(name in ("*", part) for name, part in zip(names, path, strict=False))
            for path in known
        ), row


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("retainer.backend", True),
        ("retainer.backend.storage_type", True),
        ("authentication[0].secret", False),
        ("authentication[2].enable_pipelining", True),
        ("authorization.sources[http].enable_pipelining", True),
        ("authorization.cache.ttl", False),
        ("listeners.tcp.default.zone", False),
        ("zones.outside.mqtt.max_inflight", True),
        ("zones.outside.mqtt.clientid_override", False),
        ("listeners.tcp.default.bind", False),
        ("mqtt.max_inflight", False),
    ],
)
def test_keys_without_effect_are_known(path: str, expected: bool) -> None:
    assert (reason_of(path) is not None) is expected


@pytest.mark.parametrize(
    ("option", "found"),
    [
        ("listeners.tcp.default.acceptors=8", ["listeners.tcp.default.acceptors"]),
        ("listeners.tcp.default.acceptors=16", []),
        ("zones.slow.mqtt.receive_maximum=1", []),
        ("zones.slow.mqtt.max_inflight=1", ["zones.slow.mqtt.max_inflight"]),
        ("zones.slow.mqtt.max_inflight=32", []),
        ("zones.slow.mqtt.server_keepalive=10", []),
        ("dashboard.sso.oidc.issuer=x", ["dashboard.sso.oidc.issuer"]),
        ('authorization.sources=[{type="mysql", server="h:1"}]', ["authorization.sources[0].server"]),
        ("mqtt.max_inflight=1", []),
    ],
)
def test_keys_that_are_set_and_do_nothing_are_found(option: str, found: list[str]) -> None:
    assert inert_keys(load(sets=[option]).config) == found
