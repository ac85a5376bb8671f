"""The command table as a whole."""

import inspect

import pytest

from pybroker.ctl.commands import COMMANDS
from pybroker.ctl.handlers import HANDLERS
from pybroker.ctl.table import Command, Parameter
from pybroker.errors import Refused

_NAMES = [command.name for command in COMMANDS]


def test_no_command_stands_twice() -> None:
    assert len(set(_NAMES)) == len(_NAMES)


def test_every_command_has_a_handler_and_every_handler_a_command() -> None:
    assert sorted(HANDLERS) == sorted(_NAMES)


@pytest.mark.parametrize("command", COMMANDS, ids=_NAMES)
def test_handler_takes_the_parameters_of_its_command(command: Command) -> None:
    taken = inspect.signature(HANDLERS[command.name]).parameters
    names = {one.name for one in command.parameters}
    if any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        assert {name for name in taken if name not in ("control", "rest")} <= names
    else:
        assert set(taken) == {"control", *names}


@pytest.mark.parametrize("command", COMMANDS, ids=_NAMES)
def test_command_is_described(command: Command) -> None:
    assert command.summary.endswith(".")
    assert all(one.about.endswith(".") for one in command.parameters)


_SAMPLE = Command(
    name="keys add",
    summary="Make one.",
    parameters=(
        Parameter(name="count", about="x", kind="number", is_required=True),
        Parameter(name="secret", about="x", kind="secret"),
        Parameter(name="is_new", about="x", kind="flag", is_option=True, default=False),
        Parameter(name="kind", about="x", is_option=True, choices=("a", "b"), default="a"),
    ),
)


def test_missing_arguments_have_their_defaults() -> None:
    assert _SAMPLE.read({"count": 1}) == {"count": 1, "secret": None, "is_new": False, "kind": "a"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "count"),
        ({"count": "1"}, "count"),
        ({"count": 1, "more": 2}, "more"),
        ({"count": 1, "kind": "c"}, "'c'"),
        ({"count": 1, "is_new": 1}, "is_new"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(Refused, match=text) as caught:
        _SAMPLE.read(arguments)
    assert caught.value.code == "BAD_REQUEST"


def test_secrets_do_not_stand_among_the_words() -> None:
    words = _SAMPLE.words({"count": 1, "secret": "hunter2", "is_new": True, "kind": "b"})
    assert words == ("keys", "add", "1", "******", "--is-new", "--kind", "b")
