"""The form of the command table. A command is a row.

The command line, its help, the check of arguments in the broker and the masking in the audit log read the rows.

Nothing here loads the broker: the command line starts with this module.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import msgspec

from pybroker.errors import Refused

MASK = "******"

Kind = Literal["text", "number", "flag", "file", "secret"]
"""How a parameter is given: `file` names one whose text is sent, `secret` is asked for if it is left out."""

Changes = Literal["nothing", "state", "configuration"]
"""What a command changes; of the configuration, the audit log keeps what was before and after."""

_TYPES: Mapping[Kind, Any] = {"text": str, "number": int, "flag": bool, "file": str, "secret": str}


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a command.

    Args:
        name: in snake case.
        about: one line for the help.
        kind: how it is given.
        is_option: written as `--name`; else its place tells.
        is_required: whether it must be given.
        default: where it is not given.
        choices: what it may be; empty: anything of its kind.
    """

    name: str
    about: str
    kind: Kind = "text"
    is_option: bool = False
    is_required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()

    @property
    def value_type(self) -> Any:
        """Type of the value in a request."""
        kind = Literal[self.choices] if self.choices else _TYPES[self.kind]
        return kind if self.is_required or self.default is not None else kind | None


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command.

    Args:
        name: its words.
        summary: one line.
        parameters: those without `--` in their order.
        changes: what it changes.
        columns: of the table that shows its rows; empty: all that the rows have.
        prints_json: its output is JSON for people too.
    """

    name: str
    summary: str
    parameters: tuple[Parameter, ...] = ()
    changes: Changes = "nothing"
    columns: tuple[str, ...] = ()
    prints_json: bool = False

    def read(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a request, checked and complete.

        Raises:
            Refused: `BAD_REQUEST`: one is unknown, missing or of the wrong type.
        """
        try:
            return msgspec.structs.asdict(msgspec.convert(arguments, _struct_of(self)))
        except msgspec.ValidationError as error:
            raise Refused("BAD_REQUEST", f"{self.name}: {str(error).lower()}") from None

    def words(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the command as it was typed, secrets masked, for the audit log."""
        words = self.name.split(" ")
        for parameter in self.parameters:
            value = arguments.get(parameter.name)
            if value is None or value == parameter.default:
                continue
            shown = MASK if parameter.kind in ("secret", "file") else str(value)
            if parameter.is_option:
                words.append(f"--{parameter.name.replace('_', '-')}")
            if parameter.kind != "flag":
                words.append(shown)
        return tuple(words)


@cache
def _struct_of(command: Command) -> type[msgspec.Struct]:
    fields = [
        (one.name, one.value_type, msgspec.NODEFAULT if one.is_required else one.default) for one in command.parameters
    ]
    return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
