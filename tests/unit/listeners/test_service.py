"""Listeners: from configuration to the engine, and what a failure looks like."""

import errno
from pathlib import Path

import pytest

from pybroker.config.load import load
from pybroker.config.schema import Config, Listeners
from pybroker.errors import BrokerError, ConfigError
from pybroker.listeners.service import ListenerService, specification
from pybroker.plane.settings import ListenerTerms
from pybroker.ports import ListenerTraits
from pybroker.types import ListenerId
from tests.support.fake_core import FakeEngine

TCP = ListenerId("tcp:default")
WS = ListenerId("ws:default")


class Parts:
    """A service on a fake engine, with what it filled and announced."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.traits: dict[int, ListenerTraits] = {}
        self.lines: list[str] = []
        self.terms = ListenerTerms(idle_timeout_ms=15_000)
        self.service = ListenerService(self.engine.as_core(), self.traits, self.lines.append, lambda zone: self.terms)

    def open(self, listeners: Listeners) -> None:
        self.service.open_all(listeners)


@pytest.fixture
def parts() -> Parts:
    return Parts()


def configured(*sets: str) -> Config:
    return load(sets=sets).config


def test_default_listeners_are_opened_and_announced(parts: Parts) -> None:
    parts.open(Listeners())
    assert parts.lines == [
        "listener tcp:default started on 127.0.0.1:1883",
        "listener ws:default started on 127.0.0.1:8083",
    ]
    assert parts.traits == {
        1: ListenerTraits(id=TCP, port=1883),
        2: ListenerTraits(id=WS, port=8083),
    }
    assert parts.service.addresses == {TCP: "127.0.0.1:1883", WS: "127.0.0.1:8083"}
    assert parts.service.stats(WS) == (2, 2, 3)


def test_disabled_listener_is_known_but_closed(parts: Parts) -> None:
    parts.open(configured("listeners.ws.default.enable=false").listeners)
    assert list(parts.service.addresses) == [TCP]
    assert parts.service.start(WS) == "127.0.0.1:8083"
    assert parts.service.start(WS) == "127.0.0.1:8083"
    assert len(parts.engine.named("open_listener")) == 2


def test_every_setting_reaches_the_engine() -> None:
    config = configured(
        'listeners.tcp.a.bind="127.0.0.1:0"',
        "listeners.tcp.a.max_connections=5",
        'listeners.tcp.a.max_conn_rate="10/5s"',
        'listeners.tcp.a.messages_rate="3/s"',
        'listeners.tcp.a.bytes_rate="1KB/s"',
        "listeners.tcp.a.proxy_protocol=true",
        'listeners.tcp.a.access_rules=["deny 10.0.0.0/8", "allow all"]',
        'listeners.tcp.a.tcp_options={backlog = 7, nodelay = false, keepalive = "240,30,5", sndbuf = "4KB"}',
    )
    assert specification(
        "tcp", "a", config.listeners.tcp["a"], ListenerTerms(idle_timeout_ms=9, zone={"max_qos": 1})
    ) == {
        "kind": "tcp",
        "name": "tcp:a",
        "host": "127.0.0.1",
        "port": 0,
        "max_connections": 5,
        "max_conn_rate": 2.0,
        "messages_rate": 3.0,
        "bytes_rate": 1024.0,
        "proxy_protocol": True,
        "proxy_timeout_ms": 3_000,
        "idle_timeout_ms": 9,
        "zone": {"max_qos": 1},
        "access_rules": [(False, "10.0.0.0/8"), (True, "all")],
        "backlog": 7,
        "nodelay": False,
        "keepalive": (240, 30, 5),
        "sndbuf": 4096,
        "recbuf": 0,
    }


def test_tls_and_websocket_reach_the_engine(tmp_path: Path) -> None:
    files = [f"{tmp_path}/{name}" for name in ("cert", "key", "ca")]
    for file in files:
        Path(file).touch()
    config = configured(
        'listeners.wss.a.bind="[::1]:0"',
        f'listeners.wss.a.ssl_options.certfile="{files[0]}"',
        f'listeners.wss.a.ssl_options.keyfile="{files[1]}"',
        f'listeners.wss.a.ssl_options.cacertfile="{files[2]}"',
        'listeners.wss.a.ssl_options.verify="verify_peer"',
        "listeners.wss.a.ssl_options.fail_if_no_peer_cert=true",
        'listeners.wss.a.ssl_options.versions=["tlsv1.3"]',
        'listeners.wss.a.websocket={mqtt_path = "/m", max_frame_size = "1KB", check_origin_enable = true, '
        'check_origins = ["https://x"], allow_origin_absence = false, fail_if_no_subprotocol = false}',
    )
    spec = specification("wss", "a", config.listeners.wss["a"], ListenerTerms(idle_timeout_ms=9))
    assert (spec["host"], spec["port"]) == ("::1", 0)
    assert spec["tls"] == {
        "certfile": files[0],
        "keyfile": files[1],
        "cacertfile": files[2],
        "crlfile": None,
        "verify": True,
        "fail_if_no_peer_cert": True,
        "versions": ["tlsv1.3"],
    }
    assert spec["max_silence_ms"] == 7_200_000
    assert spec["websocket"] == {
        "path": "/m",
        "max_frame_bytes": 1024,
        "check_origin": True,
        "origins": ["https://x"],
        "allow_no_origin": False,
        "fail_if_no_subprotocol": False,
    }


def test_traits_tell_the_pipeline_what_the_listener_wants(parts: Parts) -> None:
    config = configured(
        'listeners.unix.a.bind="/run/x.sock"',
        'listeners.unix.a.mountpoint="m/"',
        'listeners.unix.a.enable_authn="quick_deny_anonymous"',
        "listeners.tcp.default.enable=false",
        "listeners.ws.default.enable=false",
    )
    parts.open(config.listeners)
    assert parts.traits == {
        1: ListenerTraits(id=ListenerId("unix:a"), mountpoint="m/", enable_authn="quick_deny_anonymous")
    }
    assert parts.lines == ["listener unix:a started on /run/x.sock"]


def test_certificates_are_watched_while_the_listener_is_open(parts: Parts, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("cert.pem", "key.pem")]
    for file in files:
        file.write_text("one")
    config = configured(
        'listeners.ssl.a.bind="127.0.0.1:0"',
        f'listeners.ssl.a.ssl_options.certfile="{files[0]}"',
        f'listeners.ssl.a.ssl_options.keyfile="{files[1]}"',
    )
    parts.open(config.listeners)
    files[1].write_text("another")
    parts.service.certificates.poll()
    assert parts.engine.named("reload_tls") == [("reload_tls", 2)]
    parts.service.stop(ListenerId("ssl:a"))
    files[1].write_text("a third")
    parts.service.certificates.poll()
    assert len(parts.engine.named("reload_tls")) == 1


def test_address_in_use_names_listener_address_and_remedy(parts: Parts) -> None:
    parts.engine.raises = OSError(errno.EADDRINUSE, "Address already in use")
    with pytest.raises(BrokerError) as caught:
        parts.open(Listeners())
    assert str(caught.value) == (
        "listener tcp:default cannot listen on 127.0.0.1:1883: address already in use; "
        "stop what uses it or change listeners.tcp.default.bind"
    )
    assert parts.lines == []


def test_unusable_socket_path_is_named(parts: Parts) -> None:
    parts.engine.raises = OSError(errno.ENOENT, "No such file or directory")
    config = configured(
        'listeners.unix.a.bind="/nowhere/x"', "listeners.tcp.default.enable=false", "listeners.ws.default.enable=false"
    )
    with pytest.raises(BrokerError, match="unix:a cannot listen on /nowhere/x: no such file"):
        parts.open(config.listeners)


def test_broken_certificate_is_an_error_of_the_configuration(parts: Parts) -> None:
    parts.engine.raises = ValueError("no certificate in '/etc/x.pem'")
    with pytest.raises(ConfigError, match=r"listeners\.tcp\.default: no certificate in '/etc/x\.pem'"):
        parts.open(Listeners())


def test_what_was_opened_before_a_failure_is_closed_again(parts: Parts) -> None:
    opened = parts.engine.open_listener

    def fail_on_websocket(spec: dict[str, object]) -> tuple[int, str]:
        if spec["kind"] == "ws":
            raise OSError(errno.EACCES, "Permission denied")
        return opened(spec)

    parts.engine.open_listener = fail_on_websocket  # type: ignore[method-assign]  # the second listener fails
    with pytest.raises(BrokerError):
        parts.open(Listeners())
    assert parts.engine.named("close_listener") == [("close_listener", 1, False, 0)]
    assert parts.service.addresses == {}


def test_listeners_that_swap_their_addresses_close_before_one_opens(parts: Parts) -> None:
    parts.open(Listeners())
    names = [f"listeners.{kind}.default.bind" for kind in ("tcp", "ws")]
    parts.service.follow(configured(f"{names[0]}=127.0.0.1:8083", f"{names[1]}=127.0.0.1:1883").listeners)
    done = [call[0] for call in parts.engine.calls if call[0].endswith("_listener")]
    assert done == ["open_listener"] * 2 + ["close_listener"] * 2 + ["open_listener"] * 2
    assert parts.service.addresses == {TCP: "127.0.0.1:8083", WS: "127.0.0.1:1883"}


def test_changed_listener_goes_on_where_it_listens(parts: Parts) -> None:
    parts.open(Listeners())
    parts.service.follow(configured("listeners.tcp.default.mountpoint=m/").listeners)
    (changed,) = parts.engine.named("change_listener")
    assert changed[1] == 1
    assert parts.traits[1].mountpoint == "m/"
    assert parts.engine.named("close_listener") == []
    parts.service.follow(configured("listeners.tcp.default.enable=false").listeners)
    assert parts.engine.named("close_listener") == [("close_listener", 1, True, 0x98)]


def test_terms_of_the_zone_are_followed(parts: Parts) -> None:
    parts.open(Listeners())
    parts.service.follow(Listeners())
    assert parts.engine.named("change_listener") == []
    parts.terms = ListenerTerms(idle_timeout_ms=7)
    parts.service.follow(Listeners())
    assert [call[2]["idle_timeout_ms"] for call in parts.engine.named("change_listener")] == [7, 7]


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (OSError(22, "x"), BrokerError, "tcp:default cannot be changed: invalid argument"),
        (ValueError("certfile"), ConfigError, "listeners.tcp.default: certfile"),
    ],
)
def test_change_that_fails_is_taken_back(parts: Parts, error: Exception, raised: type[BrokerError], said: str) -> None:
    parts.open(Listeners())
    fails = parts.engine.change_listener

    def fail_once(listener: int, spec: dict[str, object]) -> None:
        parts.engine.change_listener = fails  # type: ignore[method-assign]  # the next call succeeds
        raise error

    parts.engine.change_listener = fail_once  # type: ignore[method-assign]  # the engine refuses the change
    with pytest.raises(raised, match=said):
        parts.service.follow(configured("listeners.tcp.default.mountpoint=m/").listeners)
    assert [call[0] for call in parts.engine.calls[-1:]] == ["change_listener"]
    assert parts.traits[1].mountpoint == ""
    assert parts.service.is_open(TCP)


def test_stopping_ends_connections_and_restarting_opens_anew(parts: Parts) -> None:
    parts.open(Listeners())
    assert parts.service.stop(TCP)
    assert not parts.service.stop(TCP)
    assert parts.engine.calls[-1] == ("close_listener", 1, True, 0x98)
    assert 1 not in parts.traits
    parts.service.start(TCP)
    assert parts.traits[3].id == TCP
    parts.service.restart(WS)
    assert parts.engine.named("close_listener")[-1] == ("close_listener", 2, True, 0x98)
    assert parts.traits[4].id == WS


def test_at_the_end_listeners_close_without_their_connections(parts: Parts) -> None:
    parts.open(Listeners())
    parts.service.close_all()
    assert parts.engine.calls[-2:] == [("close_listener", 1, False, 0), ("close_listener", 2, False, 0)]
    # What was accepted before is still to be decided about.
    assert set(parts.traits) == {1, 2}


def test_unknown_listener_is_a_key_error(parts: Parts) -> None:
    with pytest.raises(KeyError):
        parts.service.start(TCP)
    with pytest.raises(KeyError):
        parts.service.stats(TCP)
