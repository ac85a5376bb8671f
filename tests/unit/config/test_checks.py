"""Checks between keys: strangers, shared addresses, certificate files."""

from pathlib import Path

import pytest

from pybroker.config.checks import can_write_below
from pybroker.config.load import load
from pybroker.errors import ConfigError


def refusal(*sets: str, file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, None, sets)
    return str(caught.value)


@pytest.mark.parametrize("bind", ["0.0.0.0:1883", "1883", ":1883", "[::]:1883", "192.0.2.1:1883"])
def test_open_listener_needs_an_explicit_line(bind: str) -> None:
    text = refusal(f"listeners.tcp.default.bind={bind}")
    assert "is reachable from other machines" in text
    assert text.endswith("allow_anonymous = true")


def test_the_line_that_the_refusal_prints_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "pybroker.toml"
    body = "[listeners.tcp.default]\nbind = 1883\n"
    file.write_text(body)
    line = refusal(file=file).rpartition(": ")[2]
    file.write_text(f"{line}\n{body}")
    assert load(file).config.is_anonymous_allowed


def test_refusal_names_the_file_and_every_open_listener(tmp_path: Path) -> None:
    file = tmp_path / "pybroker.toml"
    file.write_text('[listeners.tcp.default]\nbind = 1883\n[listeners.ws.w]\nbind = "[::]:8099"\n')
    lines = refusal(file=file).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [str(file), "listeners.tcp.default.bind"],
        [str(file), "listeners.ws.w.bind"],
    ]


@pytest.mark.parametrize(
    "sets",
    [
        ["listeners.tcp.default.bind=[::1]:1883"],
        ["listeners.tcp.default.bind=0.0.0.0:1883", "listeners.tcp.default.enable=false"],
        ["listeners.tcp.default.bind=0.0.0.0:1883", "allow_anonymous=false"],
        ["listeners.tcp.default.bind=0.0.0.0:1883", "security_profile=hardened"],
        ["listeners.unix.local.bind=/run/pybroker.sock"],
    ],
)
def test_closed_or_local_listener_needs_no_line(sets: list[str]) -> None:
    load(sets=sets)


def test_authenticator_opens_a_listener_and_a_disabled_one_does_not() -> None:
    load(sets=["listeners.tcp.default.bind=1883", "authentication=[{mechanism='jwt', secret='s'}]"])
    disabled = "authentication=[{mechanism='jwt', secret='s', enable=false}]"
    assert "no authentication is in effect" in refusal("listeners.tcp.default.bind=1883", disabled)


def test_pre_shared_keys_are_refused_with_what_to_use_instead() -> None:
    text = refusal("psk_authentication.enable=true")
    assert "psk_authentication.enable: found true" in text
    assert "client certificates" in text


@pytest.mark.parametrize("listener", ["http", "https"])
def test_proxy_header_of_the_dashboard_is_refused_with_what_to_use_instead(listener: str) -> None:
    text = refusal(f"dashboard.listeners.{listener}.proxy_header=true")
    assert f"dashboard.listeners.{listener}.proxy_header: found true" in text
    assert "X-Forwarded-For" in text


@pytest.mark.parametrize(
    ("option", "taken"),
    [
        ("listeners.tcp.a.bind=127.0.0.1:8083", "listeners.ws.default.bind: found"),
        ("listeners.tcp.a.bind=127.0.0.1:18083", "dashboard.listeners.http.bind: found"),
        ("listeners.tcp.a.bind=127.0.0.1:1883", "listeners.tcp.a.bind: found"),
    ],
)
def test_two_listeners_on_one_address_are_refused(option: str, taken: str) -> None:
    assert taken in refusal(option)


def test_two_unix_listeners_on_one_path_are_refused() -> None:
    text = refusal("listeners.unix.a.bind=/run/x", "listeners.unix.b.bind=/run/x")
    assert 'listeners.unix.b.bind: found "/run/x", which listeners.unix.a.bind has taken' in text


def test_disabled_listener_takes_no_address() -> None:
    load(sets=["listeners.tcp.a={bind='127.0.0.1:1883', enable=false}"])


@pytest.mark.parametrize("kind", ["ssl", "wss"])
def test_tls_needs_certificate_and_key(kind: str) -> None:
    text = refusal(f"listeners.{kind}.x.bind=127.0.0.1:8883")
    assert f"listeners.{kind}.x.ssl_options.certfile: must be set" in text
    assert f"listeners.{kind}.x.ssl_options.keyfile: must be set" in text


def test_https_of_the_dashboard_needs_certificate_and_key() -> None:
    assert "dashboard.listeners.https.ssl_options.certfile: must be set" in refusal(
        "dashboard.listeners.https.bind=127.0.0.1:18084"
    )


def tls(tmp_path: Path, *options: str) -> list[str]:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("x")
    files = f"certfile='{tmp_path}/cert.pem', keyfile='{tmp_path}/key.pem'"
    return ["listeners.ssl.x={bind='127.0.0.1:8883', ssl_options={" + ", ".join([files, *options]) + "}}"]


def test_tls_with_readable_files_is_accepted(tmp_path: Path) -> None:
    load(sets=tls(tmp_path))


def test_unreadable_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    text = refusal(*tls(tmp_path, "cacertfile='/nowhere/ca.pem'"))
    assert 'found "/nowhere/ca.pem", allowed: path of a file that can be read (no such file or directory)' in text


def test_folder_is_no_certificate(tmp_path: Path) -> None:
    assert "(is a directory)" in refusal(*tls(tmp_path, f"crlfile='{tmp_path}'"))


def test_client_certificates_need_authorities(tmp_path: Path) -> None:
    assert "cacertfile: must be set with verify_peer" in refusal(*tls(tmp_path, "verify='verify_peer'"))


def test_required_client_certificate_needs_verification(tmp_path: Path) -> None:
    assert "allowed: true only with verify" in refusal(*tls(tmp_path, "fail_if_no_peer_cert=true"))


def test_tls_needs_a_version(tmp_path: Path) -> None:
    assert "versions: found [], allowed: at least one version" in refusal(*tls(tmp_path, "versions=[]"))


@pytest.mark.parametrize(
    ("option", "path", "reason"),
    [
        ("mqtt.clientid_override=\"concat(client_attrs.tns, '-', clientid)\"", "mqtt.clientid_override", "column 1"),
        ('mqtt.clientid_override="no such"', "mqtt.clientid_override", "line 1, column 4"),
        (
            'mqtt.client_attrs_init=[{expression="nosuch(username)", set_as_attr="tns"}]',
            "mqtt.client_attrs_init[0].expression",
            "nosuch",
        ),
        (
            'mqtt.client_attrs_init=[{expression="", set_as_attr="tns"}]',
            "mqtt.client_attrs_init[0].expression",
            "empty",
        ),
        ('zones.z.mqtt.clientid_override="("', "zones.z.mqtt.clientid_override", "column"),
        (
            'multi_tenancy.post_auth_tns_expression="nth(1)"',
            "multi_tenancy.post_auth_tns_expression",
            "nth",
        ),
    ],
)
def test_expression_that_is_none_is_refused_with_its_place(option: str, path: str, reason: str) -> None:
    message = refusal(option)
    assert path in message
    assert reason in message


def test_variable_that_may_not_exist_is_accepted() -> None:
    assert load(None, None, ('mqtt.clientid_override="nosuch"',)).config.mqtt.clientid_override == "nosuch"


def test_writable_folder_is_told_without_making_it(tmp_path: Path) -> None:
    assert can_write_below(str(tmp_path / "a" / "b"))
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    assert not can_write_below(str(tmp_path / "file" / "b"))
