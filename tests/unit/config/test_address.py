"""Addresses: what a listener may bind, whom it admits, and which addresses collide."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybroker.config.address import AccessRule, Bind, KeepaliveProbe


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        (1883, "0.0.0.0", 1883),
        (":1883", "0.0.0.0", 1883),
        ("1883", "0.0.0.0", 1883),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("localhost:1883", "127.0.0.1", 1883),
        ("[::1]:8883", "::1", 8883),
        ("[::]:8883", "::", 8883),
    ],
)
def test_bind_is_read(value: object, host: str, port: int) -> None:
    bind = Bind.parse(value)
    assert bind == Bind(host, port)
    assert bind.is_bare is (str(value).strip().rpartition(":")[0] == "")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "127.0.0.1",
        "example.org:1883",
        "127.0.0.1:65536",
        "::1:1883",
        "[127.0.0.1]:1883",
        "127.0.0.1:-1",
        -1,
        70000,
        None,
        True,
        1.5,
    ],
)
def test_other_binds_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"port|host|address"):
        Bind.parse(value)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(0, 65535))
def test_bind_survives_rendering(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    bind = Bind(str(address), port)
    if "%" not in bind.host:
        assert Bind.parse(bind.render()) == bind


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
    ],
)
def test_loopback_is_known(host: str, is_loopback: bool) -> None:
    assert Bind(host, 1).is_loopback is is_loopback


@pytest.mark.parametrize(
    ("one", "other", "overlaps"),
    [
        ("127.0.0.1:1883", "127.0.0.1:1883", True),
        ("0.0.0.0:1883", "127.0.0.1:1883", True),
        ("127.0.0.1:1883", "127.0.0.1:1884", False),
        ("127.0.0.1:1883", "127.0.0.2:1883", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("[::]:1883", "0.0.0.0:1883", False),
    ],
)
def test_overlapping_addresses_are_found(one: str, other: str, overlaps: bool) -> None:
    assert Bind.parse(one).overlaps(Bind.parse(other)) is overlaps
    assert Bind.parse(other).overlaps(Bind.parse(one)) is overlaps


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("allow all", "allow all"),
        ("deny 10.0.0.0/8", "deny 10.0.0.0/8"),
        ("allow 192.0.2.7", "allow 192.0.2.7/32"),
        ("deny  ::1", "deny ::1/128"),
        ("deny 10.1.2.3/8", "deny 10.0.0.0/8"),
    ],
)
def test_access_rule_is_read(text: str, rendered: str) -> None:
    rule = AccessRule.parse(text)
    assert rule.render() == rendered
    assert AccessRule.parse(rendered) == rule


@pytest.mark.parametrize("value", ["", "allow", "permit all", "allow everyone", "allow all all", 5])
def test_other_access_rules_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="access rule"):
        AccessRule.parse(value)


def test_keepalive_probe_is_read_and_rendered() -> None:
    probe = KeepaliveProbe.parse("240, 30,5")
    assert (probe.idle_s, probe.interval_s, probe.probes, probe.render()) == (240, 30, 5, "240,30,5")


@pytest.mark.parametrize("value", ["", "1,2", "0,1,1", "1,1,128", "a,b,c", 5])
def test_other_keepalive_probes_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="keep-alive"):
        KeepaliveProbe.parse(value)
