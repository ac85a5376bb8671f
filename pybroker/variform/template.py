"""Texts with `${name}` placeholders: mountpoints of listeners, topics of access rules.

A template is no expression: a placeholder is a name and nothing else. It is parsed once; what a placeholder renders to
is never parsed again, so that a client cannot bring placeholders in. `${$}` stands for a dollar sign.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from pybroker.variform.contexts import Context

MOUNTPOINT = Context(
    frozenset({"clientid", "username", "endpoint_name", "peerhost", "zone"}),
    frozenset({"client_attrs"}),
)
"""Placeholders of a listener's mountpoint."""

RULE_TOPIC = Context(
    frozenset({"clientid", "username", "cert_common_name", "zone"}),
    frozenset({"client_attrs"}),
)
"""Placeholders of a topic in an access rule."""

_PLACEHOLDER = re.compile(r"\$\{(\$|[A-Za-z0-9_.-]+)\}")
_ATTRIBUTES = "client_attrs."


class TemplateValues(NamedTuple):
    """What placeholders render to, by the names of the templates; `None` is missing, the empty text is a value."""

    values: Mapping[str, str | None]
    attributes: Mapping[str, str]

    def find(self, name: str) -> str | None:
        """Return the value of a placeholder; `None` if it is missing."""
        if name.startswith(_ATTRIBUTES):
            return self.attributes.get(name.removeprefix(_ATTRIBUTES))
        return self.values.get(name)


class Placeholder(NamedTuple):
    """A name that a template renders, and how it was written."""

    name: str

    def __str__(self) -> str:
        """Return it as written."""
        return f"${{{self.name}}}"


class Missing(NamedTuple):
    """A template that cannot be rendered.

    Args:
        name: the first placeholder without a value.
    """

    name: str


class Template:
    """A parsed template; immutable.

    Args:
        text: as it was written.
        context: the placeholders that exist; any other stays as it is written.
    """

    __slots__ = ("_parts", "names", "partial_levels", "text", "unknown")

    def __init__(self, text: str, context: Context) -> None:
        self.text = text
        self._parts: tuple[str | Placeholder, ...]
        self.names: tuple[str, ...]
        """Placeholders that are rendered, in the order of the text."""
        self.unknown: tuple[str, ...]
        """Names between `${` and `}` that do not exist and therefore stay; for a notice when the template is saved."""
        self.partial_levels: tuple[int, ...]
        """Levels, counted from 0, that hold a placeholder and something else."""
        self._parts, self.unknown = _parse(text, context)
        self.names = tuple(part.name for part in self._parts if isinstance(part, Placeholder))
        self.partial_levels = _find_partial_levels(self._parts)

    @property
    def is_constant(self) -> bool:
        """Whether it renders to the same text for every client."""
        return not self.names

    def render(self, values: TemplateValues) -> str:
        """Return the text for one client; a placeholder without value stays as it is written."""
        return "".join(self._render(part, values) for part in self._parts)

    def render_all(self, values: TemplateValues) -> str | Missing:
        """Return the text for one client, or the first placeholder without value."""
        for name in self.names:
            if values.find(name) is None:
                return Missing(name)
        return self.render(values)

    @staticmethod
    def _render(part: str | Placeholder, values: TemplateValues) -> str:
        if isinstance(part, str):
            return part
        value = values.find(part.name)
        return str(part) if value is None else value


def _parse(text: str, context: Context) -> tuple[tuple[str | Placeholder, ...], tuple[str, ...]]:
    parts: list[str | Placeholder] = []
    unknown: list[str] = []
    literal = ""
    done = 0
    for found in _PLACEHOLDER.finditer(text):
        name = found[1]
        literal += text[done : found.start()]
        done = found.end()
        if name == "$":
            literal += "$"
        elif _exists(name, context):
            parts.extend([literal, Placeholder(name)] if literal else [Placeholder(name)])
            literal = ""
        else:
            literal += found[0]
            unknown.append(name)
    literal += text[done:]
    if literal:
        parts.append(literal)
    return tuple(parts), tuple(unknown)


def _exists(name: str, context: Context) -> bool:
    """Whether a name is spelled exactly as the context has it; an attribute's name must not be empty."""
    head, dot, attribute = name.partition(".")
    return name in context.names or bool(head in context.maps and dot and attribute)


def _find_partial_levels(parts: tuple[str | Placeholder, ...]) -> tuple[int, ...]:
    levels: list[list[str | Placeholder]] = [[]]
    for part in parts:
        if isinstance(part, Placeholder):
            levels[-1].append(part)
            continue
        first, *others = part.split("/")
        levels[-1].append(first)
        levels.extend([other] for other in others)
    return tuple(
        at
        for at, level in enumerate(levels)
        if any(isinstance(part, Placeholder) for part in level) and len([part for part in level if part]) > 1
    )
