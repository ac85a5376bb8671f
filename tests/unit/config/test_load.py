"""Loading: layers, merging, and errors that say file, key, what was found and what is allowed."""

from pathlib import Path

import pytest

from pybroker.config.address import AccessRule, Bind
from pybroker.config.load import load
from pybroker.config.sections.access import BuiltInPasswords, JwtAuthenticator, ScramAuthenticator
from pybroker.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pybroker.toml"


def refusal(*sets: str, file: Path | None = None, env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, env, sets)
    return str(caught.value)


def test_stronger_layer_wins_and_is_remembered(file: Path) -> None:
    file.write_text("[mqtt]\nmax_inflight = 2\nmax_mqueue_len = 3\nmax_topic_levels = 4\n")
    env = {"PYBROKER__MQTT__MAX_INFLIGHT": "20", "PYBROKER__MQTT__MAX_MQUEUE_LEN": "30", "HOME": "/root"}
    loaded = load(file, env, ["mqtt.max_inflight=200"])
    mqtt = loaded.config.mqtt
    assert (mqtt.max_inflight, mqtt.max_mqueue_len, mqtt.max_topic_levels, mqtt.max_qos_allowed) == (200, 30, 4, 2)
    assert loaded.sources == {
        "mqtt.max_inflight": "--set",
        "mqtt.max_mqueue_len": "PYBROKER__MQTT__MAX_MQUEUE_LEN",
        "mqtt.max_topic_levels": str(file),
    }


def test_later_set_option_wins() -> None:
    assert load(sets=["mqtt.max_inflight=1", "mqtt.max_inflight=2"]).config.mqtt.max_inflight == 2


def test_file_changes_only_what_it_names(file: Path) -> None:
    file.write_text('[listeners.tcp.default]\nmax_connections = 5\n[listeners.tcp.extra]\nbind = "127.0.0.1:1999"\n')
    tcp = load(file).config.listeners.tcp
    assert tcp["default"].bind == Bind("127.0.0.1", 1883)
    assert tcp["default"].max_connections == 5
    assert tcp["extra"].bind == Bind("127.0.0.1", 1999)


def test_default_listener_is_switched_off_by_enable(file: Path) -> None:
    file.write_text("[listeners.ws.default]\nenable = false\n")
    assert not load(file).config.listeners.ws["default"].enable


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("response_information=abc", "abc"),
        ('response_information="a b"', "a b"),
        ("response_information=15", "15"),
        ("response_information=true", "true"),
        ("clientid_override=concat([clientid, 'x'])", "concat([clientid, 'x'])"),
        ("clientid_override=disabled", None),
        ("retain_available=false", False),
        ("mqueue_priorities={'a/b' = 3}", {"a/b": 3}),
        ("mqueue_priorities.'a/b'=4", {"a/b": 4}),
        ("server_keepalive=60", 60_000),
        ("retry_interval=10s", 10_000),
        ("retry_interval=infinity", None),
        ("keepalive_multiplier=2", 2.0),
    ],
)
def test_set_option_takes_toml_values_and_bare_words(option: str, expected: object) -> None:
    name = option.split("=", maxsplit=1)[0].split(".", maxsplit=1)[0]
    assert getattr(load(sets=[f"mqtt.{option}"]).config.mqtt, name) == expected


def test_lists_are_replaced_whole() -> None:
    config = load(sets=["listeners.tcp.default.access_rules=['deny 10.0.0.0/8', 'allow all']"]).config
    assert config.listeners.tcp["default"].access_rules == (AccessRule(False, "10.0.0.0/8"), AccessRule(True, "all"))


def test_set_option_takes_inline_tables() -> None:
    config = load(sets=['listeners.unix.local={bind="/run/x.sock"}']).config
    assert config.listeners.unix["local"].bind == "/run/x.sock"


def test_environment_names_sections_by_double_underscore() -> None:
    config = load(env={"PYBROKER__LISTENERS__TCP__DEFAULT__BIND": "127.0.0.1:5"}).config
    assert config.listeners.tcp["default"].bind.port == 5


def test_security_profile_has_a_variable_of_its_own() -> None:
    assert load(env={"PYBROKER_SECURITY_PROFILE": "hardened"}).config.security_profile == "hardened"
    assert refusal(env={"PYBROKER_SECURITY_PROFILE": "soft"}) == (
        'PYBROKER_SECURITY_PROFILE: security_profile: found "soft", allowed: one of "legacy", "hardened"'
    )


def test_lists_of_sections_take_their_kind(file: Path) -> None:
    file.write_text(
        '[[authentication]]\nmechanism = "password_based"\nbackend = "built_in_database"\nuser_id_type = "clientid"\n'
        '[[authentication]]\nmechanism = "jwt"\nfrom = "username"\nsecret = "s"\n'
        '[[authentication]]\nmechanism = "scram"\nalgorithm = "sha512"\n'
    )
    passwords, jwt, scram = load(file).config.authentication
    assert isinstance(passwords, BuiltInPasswords)
    assert passwords.user_id_type == "clientid"
    assert passwords.password_hash_algorithm.name == "argon2id"
    assert isinstance(jwt, JwtAuthenticator)
    assert jwt.from_ == "username"
    assert isinstance(scram, ScramAuthenticator)


def test_keys_without_effect_are_named_in_one_line(file: Path) -> None:
    file.write_text(
        '[retainer]\ndelivery_rate = "5/s"\n[mqtt]\nmax_inflight = 3\n'
        '[[authentication]]\nmechanism = "jwt"\nsecret = "s"\npool_size = 9\n'
    )
    loaded = load(file, sets=['prometheus.collectors={mnesia="enabled"}'])
    keys = f"retainer.delivery_rate ({file}), authentication[0].pool_size ({file}), prometheus.collectors (--set)"
    assert loaded.warnings == (f"accepted for compatibility, without effect: {keys}",)


def test_keys_without_effect_at_their_defaults_are_not_told(file: Path) -> None:
    file.write_text('[listeners.tcp.default]\nacceptors = 16\n[retainer]\ndelivery_rate = "1000/s"\n')
    assert load(file).warnings == ()


# What is refused, and how it reads.


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("mqtt.max_inflight=0", "found 0, allowed: integer 1..65535"),
        ("mqtt.max_inflight=many", 'found "many", allowed: integer 1..65535'),
        ("mqtt.max_inflight=1.5", "found 1.5, allowed: integer 1..65535"),
        ("mqtt.max_inflight=true", "found true, allowed: integer 1..65535"),
        ("mqtt.retain_available=1", "found 1, allowed: true or false"),
        ("mqtt.max_qos_allowed=3", "found 3, allowed: one of 0, 1, 2"),
        ("mqtt.keepalive_multiplier=0.5", "allowed: number 1..65535"),
        ("mqtt.mqueue_overflow=burst", 'allowed: one of "drop_oldest", "drop_newest", "reject", "disconnect"'),
        ("mqtt.idle_timeout=15", 'allowed: duration 1ms or more (a duration needs a unit, such as "15s")'),
        ("mqtt.max_packet_size=300MB", 'found "300MB", allowed: size 1B..268435455B'),
        ("mqtt.server_keepalive=70000", 'allowed: duration 1s..65535s or "disabled"'),
        ("mqtt.mqueue_priorities={a=0}", 'allowed: table of name = integer 1..255 or "disabled"'),
        ("mqtt.client_attrs_init=[{expression='x', set_as_attr='-a'}]", "allowed: letters, digits, - and _"),
        ("mqtt.client_attrs_init=[{set_as_attr='a'}]", "mqtt.client_attrs_init[0].expression: must be set: text"),
        ("mqtt.client_attrs_init=5", "found 5, allowed: "),
        ("mqtt.client_attrs_init=[5]", "mqtt.client_attrs_init[0]: found 5, allowed: table"),
        ("multi_tenancy.default_max_sessions=0", 'allowed: integer 1 or more or "infinity"'),
        ("listeners.tcp.default.bind=nowhere:1", "(the host is an IP address, not a name)"),
        (
            "listeners.tcp.default.max_conn_rate=0/s",
            'allowed: rate such as "1000/s" or "infinity" (a rate is above zero)',
        ),
        ("listeners.tcp.default.access_rules=['allow x']", "an access rule names an address"),
        ("listeners.tcp.default.enable_authn=maybe", 'allowed: true or false or "quick_deny_anonymous"'),
        ("listeners.tcp.default=5", "listeners.tcp.default: found 5, allowed: table"),
        ("listeners.tcp.'a b'.bind=1", 'found the name "a b", allowed: 1..64 letters, digits, - and _'),
        ("listeners.ssl.x.enable=false", "listeners.ssl.x.bind: must be set: port"),
        ("mqtt=5", "mqtt: found 5, allowed: table"),
        ("zones.z.mqtt.max_inflight=0", "zones.z.mqtt.max_inflight: found 0, allowed: integer 1..65535"),
        (
            "zones.z.mqtt.inflight=1",
            "zones.z.mqtt.inflight: unknown key; the nearest known one is zones.z.mqtt.max_inflight",
        ),
        ("node.name=nobody", 'found "nobody", allowed: name@host'),
        (
            "authentication=[{mechanism='ldap'}]",
            'authentication[0]: found {"mechanism": "ldap"}, allowed: mechanism and backend',
        ),
        ("authorization.sources=[{type='file', path='a'}, {type='file'}]", 'sources[1]: found a second "file"'),
        ("license.connection_low_watermark=90%", 'found "90%", allowed: below connection_high_watermark (80%)'),
        ("dashboard.sample_interval=7s", 'found "7s", allowed: a divisor of 60s'),
    ],
)
def test_wrong_value_is_refused(option: str, message: str) -> None:
    text = refusal(option)
    assert text.startswith("--set: ")
    assert message in text


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ("mqtt.max_inflght=1", "mqtt.max_inflight"),
        ("mqt.max_inflight=1", "mqtt"),
        ("max_inflight=1", "mqtt.max_inflight"),
        ("listeners.quic.x.bind=1", "listeners.unix"),
        ("listeners.tcp.default.ssl_option.certfile=x", "listeners.tcp.default.tcp_options"),
        ("log.console.levl=info", "log.console.level"),
    ],
)
def test_unknown_key_names_the_nearest_known_one(option: str, nearest: str) -> None:
    assert refusal(option).endswith(f": unknown key; the nearest known one is {nearest}")


def test_secret_is_not_repeated_in_an_error() -> None:
    text = refusal("authentication=[{mechanism='jwt', secret=['hunter2']}]")
    assert "hunter2" not in text
    assert "authentication[0].secret: found ******, allowed: text" in text


def test_all_errors_are_shown_together(file: Path) -> None:
    file.write_text("nonsense = 1\n[mqtt]\nmax_inflight = 0\nidle_timeout = true\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {"PYBROKER__NODE__COALESCE_US": "-1"}, ["retainer.enable=7", "oops"])
    assert {(problem.source, problem.path) for problem in caught.value.problems} == {
        (str(file), "nonsense"),
        (str(file), "mqtt.max_inflight"),
        (str(file), "mqtt.idle_timeout"),
        ("PYBROKER__NODE__COALESCE_US", "node.coalesce_us"),
        ("--set", "retainer.enable"),
        ("--set", "oops"),
    }
    assert len(str(caught.value).splitlines()) == 6


def test_broken_toml_names_line_and_column(file: Path) -> None:
    file.write_text("[mqtt]\nmax_inflight = \n")
    assert refusal(file=file) == f"{file}: is not TOML: invalid value (at line 2, column 16)"


def test_key_given_twice_in_a_file_is_refused(file: Path) -> None:
    file.write_text("[listeners.tcp.a]\nbind = 1\n[listeners.tcp.a]\nbind = 2\n")
    assert "is not TOML: cannot declare ('listeners', 'tcp', 'a') twice" in refusal(file=file)


def test_missing_file_is_refused(file: Path) -> None:
    assert refusal(file=file) == f"{file}: cannot be read: no such file or directory"


def test_file_that_is_not_text_is_refused(file: Path) -> None:
    file.write_bytes(b"[mqtt]\n# \xff\n")
    assert refusal(file=file) == f"{file}: is not UTF-8 at byte 9"


@pytest.mark.parametrize("option", ["mqtt.max_inflight", "=5", "a b=5", "mqtt..x=1"])
def test_set_option_without_key_or_value_is_refused(option: str) -> None:
    assert refusal(option) == f"--set: {option}: found no key, allowed: KEY=VALUE such as mqtt.max_inflight=64"


def test_variable_with_an_empty_name_is_refused() -> None:
    assert "found an empty name" in refusal(env={"PYBROKER__MQTT____X": "1"})
