"""From the schema back to plain values, for showing and for storing."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from pybroker.config.decode import MASK
from pybroker.config.keys import QUANTITIES, Key, Section, keys_of

_NAME = re.compile(r'"(?:[^"\\]|\\.)*"|[^.]+')


def render(section: Section, *, masks_secrets: bool) -> dict[str, object]:
    """Return a section as nested plain values that `load` would read back to the same.

    Args:
        masks_secrets: whether secrets that are set are shown as `******`.
    """
    values = {
        key.name: render_value(key, getattr(section, key.attribute), masks_secrets=masks_secrets)
        for key in keys_of(type(section))
    }
    return {name: value for name, value in values.items() if value is not None}


def render_value(key: Key, value: object, *, masks_secrets: bool) -> object:
    """Return one value as plain data; `None` if the key is to be left out."""
    if value is None:
        return key.rules.word
    if key.shape == "overrides" and isinstance(value, Mapping) and key.rules.overrides is not None:
        others = {other.attribute: other for other in keys_of(key.rules.overrides)}
        return {
            others[name].name: render_value(others[name], part, masks_secrets=masks_secrets)
            for name, part in value.items()
        }
    return _plain(value, is_secret=key.rules.is_secret and masks_secrets, masks_secrets=masks_secrets)


def leaves(section: Section, *, masks_secrets: bool) -> Iterator[tuple[str, object]]:
    """Yield the dotted path and the plain value of every key, in the order of the schema; empty tables have none."""
    for name, value in render(section, masks_secrets=masks_secrets).items():
        yield from _leaves(value, name)


def nest(paths: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Return nested values from dotted paths and their values, the opposite of `leaves`."""
    tree: dict[str, Any] = {}
    for path, value in paths:
        *above, last = split(path)
        table = tree
        for name in above:
            table = table.setdefault(name, {})
        table[last] = value
    return tree


def split(path: str) -> list[str]:
    """Return the names of a dotted path; names with other characters than letters, digits, - and _ stand in quotes."""
    return [json.loads(name) if name.startswith('"') else name for name in _NAME.findall(path)]


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _leaves(part, _dotted(path, name))
    else:
        yield path, value


def _plain(value: object, *, is_secret: bool, masks_secrets: bool) -> object:
    if isinstance(value, Section):
        return render(value, masks_secrets=masks_secrets)
    if isinstance(value, Mapping):
        return {name: _plain(part, is_secret=is_secret, masks_secrets=masks_secrets) for name, part in value.items()}
    if isinstance(value, tuple):
        return [_plain(part, is_secret=is_secret, masks_secrets=masks_secrets) for part in value]
    if is_secret and value != "":
        return MASK
    return value.render() if isinstance(value, QUANTITIES) else value


def to_toml(values: Mapping[str, object], comments: Mapping[str, str] | None = None) -> str:
    """Return nested plain values as a TOML document.

    Args:
        comments: what to write behind the value of a dotted path.
    """
    lines: list[str] = []
    _write_table(values, "", comments or {}, lines)
    return "\n".join(lines).strip("\n") + "\n" if lines else ""


def _write_table(table: Mapping[str, object], path: str, comments: Mapping[str, str], lines: list[str]) -> None:
    simple = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    if path and (simple or not table):
        lines.extend(("", f"[{path}]"))
    for name, value in simple.items():
        below = _dotted(path, name)
        comment = f"  # {comments[below]}" if below in comments else ""
        lines.append(f"{_toml_key(name)} = {_toml_value(value)}{comment}")
    for name, value in table.items():
        if isinstance(value, Mapping):
            _write_table(value, _dotted(path, name), comments, lines)


def _toml_value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(name)} = {_toml_value(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(part) for part in value) + "]"
    if isinstance(value, str):
        return _toml_text(value)
    return msgspec.json.encode(value).decode()


def _toml_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_key(name: str) -> str:
    return (
        name
        if name and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in name)
        else _toml_text(name)
    )


def _dotted(path: str, name: str) -> str:
    return f"{path}.{_toml_key(name)}" if path else _toml_key(name)
