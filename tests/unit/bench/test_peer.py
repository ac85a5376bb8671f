"""Peers: what is refused, and that every file of the folder can be read."""

import contextlib
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from bench import peer as peers
from bench import scenario as scenarios


@pytest.mark.parametrize("name", sorted(path.stem for path in peers.FOLDER.glob("*.toml")))
def test_every_shipped_peer_is_readable_or_says_how_to_install_it(name: str) -> None:
    try:
        peer = peers.load(name, {"pybroker": "true", "relay": "true"})
    except peers.PeerError as error:
        assert "is not installed" in str(error)  # noqa: PT017
    else:
        assert "tcp" in peer.transports
        assert set(peer.best_of) <= set(peer.variants)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(peers.PeerError, match="no such peer: nobody"):
        peers.load("nobody", {})
    with pytest.raises(peers.PeerError, match="no variant: nothing"):
        peers.load("pybroker:nothing", {"pybroker": "true"})


def test_variant_of_the_name_is_the_only_one() -> None:
    peer = peers.load("pybroker:two-shards", {"pybroker": "true"})
    assert list(peer.variants) == ["two-shards"]
    assert peer.title == "pybroker (two-shards)"


def test_version_5_has_a_port_of_its_own_only_where_the_peer_says_so() -> None:
    peer = peers.load("pybroker", {"pybroker": "true"})
    assert peer.port_name("ws", is_v5=True) == "ws_port"
    assert replace(peer, v5_port="other_port").port_name("tcp", is_v5=True) == "other_port"
    assert replace(peer, v5_port="other_port").port_name("tcp", is_v5=False) == "tcp_port"


def test_peer_says_why_a_scenario_is_not_for_it() -> None:
    peer = replace(peers.load("pybroker", {"pybroker": "true"}), transports=["tcp"], cannot={"match-*": "never ends"})
    assert peer.reason_against("pairs-tls", "tls") == "no TLS listener"
    assert peer.reason_against("match-wildcards", "tcp") == "never ends"
    assert peer.reason_against("connect", "tcp") is None


def test_only_the_relay_is_no_broker() -> None:
    programs = {"pybroker": "true", "relay": "true"}
    found = {}
    for path in peers.FOLDER.glob("*.toml"):
        with contextlib.suppress(peers.PeerError):
            found[path.stem] = peers.load(path.stem, programs).is_broker
    assert {name for name, is_broker in found.items() if not is_broker} == {"relay"}
    assert found["pybroker"]


@pytest.mark.parametrize("scenario", [one for one in scenarios.load_all() if one.limit], ids=lambda one: one.name)
def test_relay_is_measured_wherever_a_scenario_has_a_limit(scenario: scenarios.Scenario) -> None:
    relay = peers.load("relay", {"relay": "true"})
    # What an idle connection costs it is known, but says nothing: it keeps no client.
    if scenario.figure != "bytes_per_connection":
        assert relay.reason_against(scenario.name, scenario.transport) is None


def test_cores_are_those_of_the_new_process() -> None:
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=peers.on_cores([core]),
    )
    assert done.stdout == f"{{{core}}}\n"
    assert peers.on_cores(None) is None


def test_file_of_a_variant_is_its_line_so_many_times_and_its_tail() -> None:
    text = peers.load("pybroker:access-rules", {"pybroker": "true"}).variants["access-rules"].files["acl.conf"]
    lines = text.splitlines()
    assert len(lines) == 10_001
    assert lines[7] == '{allow, {user, "user-7"}, all, ["plant/site-7/#"]}.'
    assert lines[-1] == "{allow, all}."
