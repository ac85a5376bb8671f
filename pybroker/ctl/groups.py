"""The words of `pybroker ctl`, built from the command table: groups, arguments, options, help."""

import sys
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import click

from pybroker.ctl import client
from pybroker.ctl.commands import ALIASES, BY_NAME, COMMANDS
from pybroker.ctl.display import print_json, print_result
from pybroker.ctl.table import Command, Parameter
from pybroker.errors import Refused, StoreError

OpenFolder = Callable[[click.Context], Path]
"""Returns the data folder that the options before the command name."""

_VERIFY = "audit verify"
_TYPES: dict[str, Any] = {"number": int, "file": click.Path(exists=True, dir_okay=False, path_type=Path)}


def add_commands(root: click.Group, open_folder: OpenFolder) -> None:
    """Add every command below `ctl`."""
    for command in COMMANDS:
        group_name, _, rest = command.name.partition(" ")
        if not rest and not _is_group(group_name):
            root.add_command(_built(command, command.name, open_folder))
            continue
        group = root.commands.get(group_name)
        if group is None:
            group = _group(group_name, open_folder)
            root.add_command(group)
        if rest and isinstance(group, click.Group):
            group.add_command(_built(command, rest, open_folder))
    for alias, name in ALIASES.items():
        renamed = copy(root.commands[name])
        renamed.name, renamed.hidden = alias, True
        root.add_command(renamed)


def _is_group(name: str) -> bool:
    return any(command.name.startswith(f"{name} ") for command in COMMANDS)


def _group(name: str, open_folder: OpenFolder) -> click.Group:
    """Return a group; where the table has a command of its name, the bare word runs it."""
    own = BY_NAME.get(name) or BY_NAME.get(f"{name} list")
    words = " ".join(command.name.partition(" ")[2] for command in COMMANDS if command.name.startswith(f"{name} "))
    if own is None:
        return click.Group(name, help=f"{words}.")
    inner = _built(own, name, open_folder)

    def run_bare(**given: Any) -> None:
        context = click.get_current_context()
        if context.invoked_subcommand is None:
            context.invoke(inner, **given)

    options = [one for one in inner.params if isinstance(one, click.Option)]
    return click.Group(
        name, callback=run_bare, invoke_without_command=True, params=list(options), help=f"{own.summary} Or: {words}."
    )


def _built(command: Command, name: str, open_folder: OpenFolder) -> click.Command:
    def run(as_json: bool, **given: Any) -> None:
        _run(command, as_json or command.prints_json, given, open_folder)

    parameters = [_parameter(one) for one in command.parameters]
    parameters.append(click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."))
    return click.Command(name, callback=run, params=parameters, help=command.summary)


def _parameter(parameter: Parameter) -> click.Parameter:
    kind = click.Choice(parameter.choices) if parameter.choices else _TYPES.get(parameter.kind)
    if parameter.is_option:
        words = [f"--{parameter.name.replace('_', '-')}", parameter.name]
        if parameter.is_required:
            return click.Option(words, type=kind, required=True, help=parameter.about)
        return click.Option(
            words,
            type=kind,
            is_flag=parameter.kind == "flag",
            default=parameter.default,
            show_default=parameter.default not in (None, "", False),
            help=parameter.about,
        )
    if parameter.is_required:
        return click.Argument([parameter.name], type=kind)
    return click.Argument([parameter.name], type=kind, required=False, default=parameter.default)


def _run(command: Command, as_json: bool, given: dict[str, Any], open_folder: OpenFolder) -> None:
    """Send a command and print what came of it.

    Raises:
        Refused: the broker does not carry it out, or a check has failed.
        BrokerError: the broker cannot be reached.
    """
    folder = open_folder(click.get_current_context())
    arguments = {parameter.name: _value(command, parameter, given[parameter.name]) for parameter in command.parameters}
    try:
        result = _ask(folder, command, {name: value for name, value in arguments.items() if value is not None})
    except (Refused, client.Unreachable) as error:
        if as_json and isinstance(error, Refused):
            print_json({"error": error.message, "code": error.code})
        elif as_json:
            print_json({"error": str(error), "code": "SERVICE_UNAVAILABLE"})
        raise
    if as_json:
        print_json(result)
    else:
        print_result(result, command.columns)
    if command.name == _VERIFY and not result["is_intact"]:
        raise Refused("CONFLICT", f"the audit log does not fit its chain: {result['message']}")


def _ask(folder: Path, command: Command, arguments: dict[str, Any]) -> Any:
    try:
        return client.ask(folder, command.name, arguments)
    except client.Unreachable:
        if command.name != _VERIFY:
            raise
        try:
            return client.verify_stopped(folder)
        except StoreError as error:
            raise client.Unreachable(str(error)) from None


def _value(command: Command, parameter: Parameter, given: Any) -> Any:
    """Return what is sent for a parameter: the text of a file, and a secret that is asked for."""
    if isinstance(given, Path):
        try:
            return given.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"file cannot be read: {str(given)!r} ({error})") from None
    if parameter.kind == "secret" and given is None and not parameter.is_option:
        if sys.stdin.isatty():
            return click.prompt(parameter.name.replace("_", " "), hide_input=True, confirmation_prompt=True)
        return sys.stdin.readline().rstrip("\n")
    return given
