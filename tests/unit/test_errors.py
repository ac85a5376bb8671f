"""The exception tree: its shape, and that each error carries its data."""

import inspect

from pybroker import errors
from pybroker.errors import (
    BrokerError,
    ClusterError,
    ConfigError,
    NotAuthorized,
    ProtocolError,
    QuotaExceeded,
    Refused,
    StoreError,
)


def test_every_error_hangs_below_broker_error() -> None:
    classes = [member for _, member in inspect.getmembers(errors, inspect.isclass) if issubclass(member, Exception)]
    assert len(classes) == 8
    assert all(issubclass(member, BrokerError) for member in classes)


def test_protocol_error_carries_the_reason_code() -> None:
    error = ProtocolError(0x81, "malformed packet")
    assert (error.reason, str(error)) == (0x81, "malformed packet")


def test_not_authorized_names_action_and_target() -> None:
    error = NotAuthorized("publish", "a/b")
    assert (error.action, error.target, str(error)) == ("publish", "a/b", "not authorized to publish: 'a/b'")


def test_quota_error_names_quota_and_limit() -> None:
    error = QuotaExceeded("max_sessions", 5)
    assert (error.quota, error.limit, str(error)) == ("max_sessions", 5, "max_sessions is used up: 5")


def test_refusal_carries_code_and_message() -> None:
    error = Refused("NOT_FOUND", "no such key: 'x'")
    assert (error.code, error.message, str(error)) == ("NOT_FOUND", "no such key: 'x'", "NOT_FOUND: no such key: 'x'")


def test_store_and_cluster_errors_name_their_place() -> None:
    assert str(StoreError("cannot write", "/x/y")) == "cannot write: '/x/y'"
    assert str(ClusterError("no answer", "n2@10.0.0.2")) == "no answer: 'n2@10.0.0.2'"


def test_config_error_reads_source_key_and_message() -> None:
    error = ConfigError("mqtt.max_inflight", "found 0", source="p.toml")
    assert str(error) == "p.toml: mqtt.max_inflight: found 0"
    assert error.problems == (error,)


def test_joined_config_error_shows_every_problem() -> None:
    problems = [ConfigError("a.b", "one"), ConfigError("c", "two", source="env")]
    joined = ConfigError.join(problems)
    assert str(joined) == "a.b: one\nenv: c: two"
    assert joined.problems == tuple(problems)
    assert joined.path == "a.b"


def test_joining_a_single_problem_keeps_it() -> None:
    problem = ConfigError("a.b", "one")
    assert ConfigError.join([problem]) is problem
