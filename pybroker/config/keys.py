"""What the schema says about one key beside its type, and how to read it back.

A key is a field of a frozen struct: `Annotated[type, key("what it does", ...)] = default`. `keys_of` turns a struct
into a list of `Key`, which loading, patching, rendering and the reference page share; they do not look at annotations.
"""

import types
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from pybroker.config.address import AccessRule, Bind, KeepaliveProbe
from pybroker.config.units import ByteRate, ByteSize, Duration, Percent, Rate

Shape = Literal["section", "named", "variants", "overrides", "leaf"]
"""How a key is read: a section of keys, sections by name, a list of sections of several kinds, keys of another section
that replace it in part, or one value."""

QUANTITIES = (Duration, ByteSize, Rate, ByteRate, Percent, Bind, AccessRule, KeepaliveProbe)
"""Types that parse their own text; all have `parse` and `render`."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every struct of the schema."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a key beside its type.

    Args:
        low: smallest value, in the type's own unit; `None`: no bound.
        high: largest value, likewise.
        word: text that stands for `None`, such as `infinity`; `None`: the key is left out for `None`.
        bare: unit of a number without one, for keys that EMQX writes as plain seconds.
        pattern: regular expression that a text must match as a whole.
        hint: what is allowed, in words, where the type does not say it.
        needs_restart: a change takes effect at the next start only.
        is_secret: never shown.
        variants: kinds of section in a list, by the joined values of `selector`.
        selector: keys that tell the kind.
        overrides: section whose keys may be replaced here in part.
        since: first version that has the key.
    """

    low: float | None = None
    high: float | None = None
    word: str | None = None
    bare: str | None = None
    pattern: str | None = None
    hint: str | None = None
    needs_restart: bool = False
    is_secret: bool = False
    variants: Mapping[str, type[Section]] | None = None
    selector: tuple[str, ...] = ()
    overrides: type[Section] | None = None
    since: str = "0.1.0"


def key(description: str, **rules: Any) -> msgspec.Meta:
    """Return the metadata of a key: `description` for the reference page; `rules` are the fields of `Rules`.

    Raises:
        TypeError: a name that `Rules` does not have; at import, hence never in a running broker.
    """
    return msgspec.Meta(description=description, extra={"rules": Rules(**rules)})


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a section.

    Args:
        name: as written in a file.
        attribute: name of the struct's field; differs where Python reserves the word.
        value_type: type of a value that is not `None`.
        is_optional: whether the value may be `None`.
        shape: how it is read.
        section: the section below, for every shape but `leaf` and `variants`.
        default: value where nothing is set; `msgspec.NODEFAULT`: the key must be set.
    """

    name: str
    attribute: str
    value_type: Any
    is_optional: bool
    shape: Shape
    section: type[Section] | None
    description: str
    rules: Rules
    default: Any

    @property
    def is_required(self) -> bool:
        """Whether the key has no default."""
        return self.default is msgspec.NODEFAULT

    @property
    def allowed(self) -> str:
        """Return what may be written, in words, for errors and for the reference page."""
        parts = [self.rules.hint or _describe(self.value_type, self.rules)]
        if self.rules.word is not None:
            parts.append(f'"{self.rules.word}"')
        return " or ".join(parts)


@cache
def keys_of(section: type[Section]) -> tuple[Key, ...]:
    """Return the keys of a section in the order of the schema. Cached; the first call reads the annotations."""
    hints = get_type_hints(section, include_extras=True)
    return tuple(_key_of(field, hints[field.name]) for field in msgspec.structs.fields(section))


def is_section(annotation: object) -> bool:
    """Return whether `annotation` is a struct of the schema."""
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _key_of(field: msgspec.structs.FieldInfo, hint: Any) -> Key:
    if get_origin(hint) is not Annotated:
        raise TypeError(f"key without a description: {field.name!r}")
    annotation, meta = get_args(hint)
    rules: Rules = meta.extra["rules"]
    is_optional = type(None) in get_args(annotation)
    if is_optional:
        members = tuple(arg for arg in get_args(annotation) if arg is not type(None))
        annotation = members[0] if len(members) == 1 else Union[members]  # noqa: UP007 - the members are a tuple
    shape, section = _shape_of(annotation, rules)
    default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    return Key(
        name=field.encode_name,
        attribute=field.name,
        value_type=annotation,
        is_optional=is_optional,
        shape=shape,
        section=section,
        description=meta.description,
        rules=rules,
        default=default,
    )


def _shape_of(annotation: Any, rules: Rules) -> tuple[Shape, type[Section] | None]:
    if rules.overrides is not None:
        return "overrides", rules.overrides
    if rules.variants is not None:
        return "variants", None
    if is_section(annotation):
        return "section", annotation
    arguments = get_args(annotation)
    if get_origin(annotation) is Mapping and is_section(arguments[1]):
        return "named", arguments[1]
    if get_origin(annotation) is tuple and is_section(arguments[0]):
        return "variants", arguments[0]
    return "leaf", None


_NAMES: dict[Any, str] = {
    bool: "true or false",
    str: "text",
    Duration: "duration",
    ByteSize: "size",
    Rate: "rate",
    ByteRate: "byte rate",
    Percent: "percentage",
    Bind: 'port, "address:port" or "[IPv6 address]:port"',
    AccessRule: '"allow" or "deny" followed by "all", an address or a network',
    KeepaliveProbe: '"idle,interval,probes" in seconds',
}
_EXAMPLES: dict[Any, str] = {Duration: ' such as "15s"', ByteSize: ' such as "1MB"', Rate: ' such as "1000/s"'}
_EXAMPLES |= {ByteRate: ' such as "1MB/s"', Percent: ' such as "75%"'}


def _describe(annotation: Any, rules: Rules) -> str:
    """Return the allowed values of a type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        words = ", ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in arguments)
        return words if len(arguments) == 1 else f"one of {words}"
    if origin in (types.UnionType, Union):
        return " or ".join(_describe(member, rules) for member in arguments)
    if origin is tuple:
        return f"list of: {_describe(arguments[0], rules)}"
    if origin is Mapping:
        return f"table of name = {_describe(arguments[1], rules)}"
    if is_section(annotation):
        return "table"
    bounds = _bounds(annotation, rules)
    if annotation in (int, float):
        return ("integer" if annotation is int else "number") + bounds
    return _NAMES[annotation] + (bounds or _EXAMPLES.get(annotation, ""))


def _bounds(annotation: Any, rules: Rules) -> str:
    if annotation in (bool, str):
        return ""
    low, high = (None if bound is None else show_bound(annotation, bound) for bound in (rules.low, rules.high))
    if low is not None and high is not None:
        return f" {low}..{high}"
    if low is not None:
        return f" {low} or more"
    return "" if high is None else f" {high} or less"


def show_bound(annotation: Any, bound: float) -> str:
    """Return a bound as it would be written in a file."""
    if annotation in (Duration, ByteSize):
        rendered: str = annotation(int(bound)).render()
        return rendered
    return f"{bound:g}" if annotation is float else str(int(bound))
