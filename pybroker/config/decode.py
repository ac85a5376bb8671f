"""From raw values to the schema: every value checked, every error collected, every source remembered.

Input is a tree of dictionaries whose leaves are `Given` values; the same code reads files, text from the environment or
`--set`, and changes that come from the API. Cross checks between keys are in `checks`, merging of layers in `load`.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping

import msgspec

from pybroker.config.keys import QUANTITIES, Key, Section, keys_of
from pybroker.config.schema import Config
from pybroker.config.units import LARGEST
from pybroker.errors import ConfigError

MASK = "******"
"""What is shown instead of a secret, and what keeps the stored one when it is sent back."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SUGGESTIONS = 20
"""Unknown keys of a table whose nearest known one is looked for, which takes about a millisecond each."""


class Given(msgspec.Struct, frozen=True):
    """A value that somebody set.

    Args:
        value: what TOML or JSON holds; `None` takes a key back to its default, or removes a named section.
        source: file name, name of a variable, `--set` or `api`.
        is_text: whether `value` is bare text that is still to be read as TOML or as it stands.
    """

    value: object
    source: str
    is_text: bool = False


Tree = dict[str, "Tree | Given"]


def grow(values: Mapping[str, object], source: str) -> Tree:
    """Return plain nested values as a tree whose leaves all come from `source`."""
    return {
        name: grow(value, source) if isinstance(value, Mapping) else Given(value, source)
        for name, value in values.items()
    }


def merge(below: Tree, above: Tree) -> Tree:
    """Return a tree in which `above` wins; sections are merged key by key, lists are replaced whole."""
    merged = dict(below)
    for name, node in above.items():
        old = merged.get(name)
        merged[name] = merge(old, node) if isinstance(old, dict) and isinstance(node, dict) else node
    return merged


def fell(node: "Tree | Given") -> object:
    """Return the plain values of a tree, the opposite of `grow`; bare text is read as TOML."""
    if isinstance(node, Given):
        return _as_toml(node) if node.is_text else node.value
    return {name: fell(child) for name, child in node.items()}


class Decoder:
    """Reader of one tree.

    After `section` returned, `problems` lists everything that was wrong, in the order of the tree, and `sources` says
    for each key that was set where its value comes from.
    """

    def __init__(self) -> None:
        self.problems: list[ConfigError] = []
        self.sources: dict[str, str] = {}

    def section(self, kind: type[Section], tree: Tree, base: Section | None, path: str = "") -> Section | None:
        """Read the keys of one section over the values of `base`, or over the defaults.

        Returns:
            The section; a key that is wrong keeps the value of `base`. `None` if a key that must be set is missing.
        """
        keys = {key.name: key for key in keys_of(kind)}
        self._refuse_unknown([name for name in tree if name not in keys], list(keys), tree, path)
        values: dict[str, object] = {}
        for key in keys.values():
            previous = key.default if base is None else getattr(base, key.attribute)
            node_or_none = tree.get(key.name)
            value = previous if node_or_none is None else self._key(key, node_or_none, previous, _join(path, key.name))
            if value is msgspec.NODEFAULT:
                if node_or_none is None:
                    source = next(_sources(tree), "")
                    self.problems.append(
                        ConfigError(_join(path, key.name), f"must be set: {key.allowed}", source=source)
                    )
                continue
            values[key.attribute] = value
        complete = all(key.attribute in values for key in keys.values())
        return kind(**values) if complete else None

    def _key(self, key: Key, node: "Tree | Given", previous: object, path: str) -> object:
        """Read one key; `previous` is what it keeps if the value is wrong."""
        if isinstance(node, Given) and node.value is None:
            if key.is_required:
                self._refuse(path, f"must be set: {key.allowed}", node)
                return previous
            return key.default
        if key.shape == "leaf":
            return self._leaf(key, node, previous, path)
        if key.shape == "variants":
            return self._variants(key, node, previous, path)
        if isinstance(node, Given) and key.rules.word is not None and node.value == key.rules.word:
            self.sources[path] = node.source
            return None
        tree = _table(node)
        if tree is None:
            self._refuse(path, f"found {show(fell(node))}, allowed: {key.allowed}", node)
            return previous
        if key.section is not None and key.shape == "section":
            base = previous if isinstance(previous, Section) else None
            return self.section(key.section, tree, base, path) or previous
        if key.section is not None and key.shape == "named":
            return self._named(key.section, tree, previous, path)
        return self._overrides(key, tree, previous, path)

    def _named(self, kind: type[Section], tree: Tree, previous: object, path: str) -> object:
        """Read sections by name; those of `previous` stay unless the tree changes or removes them."""
        sections: dict[str, Section] = dict(previous) if isinstance(previous, Mapping) else {}
        for name, node in tree.items():
            below = _join(path, name)
            if not _NAME.fullmatch(name):
                self._refuse(path, f"found the name {show(name)}, allowed: 1..64 letters, digits, - and _", node)
                continue
            if isinstance(node, Given) and node.value is None:
                sections.pop(name, None)
                continue
            table = _table(node)
            if table is None:
                self._refuse(below, f"found {show(fell(node))}, allowed: table", node)
                continue
            section = self.section(kind, table, sections.get(name), below)
            if section is not None:
                sections[name] = section
        return sections

    def _overrides(self, key: Key, tree: Tree, previous: object, path: str) -> object:
        """Read the keys that replace some of another section; only those that were set are in the result."""
        values: dict[str, object] = dict(previous) if isinstance(previous, Mapping) else {}
        kind = key.rules.overrides or Section
        keys = {other.name: other for other in keys_of(kind)}
        unknown = [name for name in tree if name not in keys]
        self._refuse_unknown(unknown, list(keys), tree, path)
        for name, node in tree.items():
            other = keys.get(name)
            if other is None:
                continue
            if isinstance(node, Given) and node.value is None:
                values.pop(other.attribute, None)
            else:
                found = len(self.problems)
                value = self._key(other, node, values.get(other.attribute, other.default), _join(path, name))
                if len(self.problems) == found:
                    values[other.attribute] = value
        return values

    def _variants(self, key: Key, node: "Tree | Given", previous: object, path: str) -> object:
        """Read a list of sections; it replaces `previous` whole, from which only masked secrets are taken."""
        if not isinstance(node, Given):
            return self._wrong(key, fell(node), path, next(_sources(node), ""), previous)
        items = fell(node)
        if not isinstance(items, list | tuple):
            return self._wrong(key, items, path, node.source, previous)
        stored = previous if isinstance(previous, tuple) else ()
        sections = []
        for index, item in enumerate(items):
            section = self._variant(key, item, stored, f"{path}[{index}]", node.source)
            if section is not None:
                sections.append(section)
        self.sources[path] = node.source
        return tuple(sections)

    def _variant(self, key: Key, item: object, stored: tuple[Section, ...], path: str, source: str) -> Section | None:
        given = Given(item, source)
        if not isinstance(item, Mapping):
            self._refuse(path, f"found {show(item)}, allowed: table", given)
            return None
        kind = key.section if key.rules.variants is None else kind_of(key, item)
        if kind is None:
            found = {part: item[part] for part in key.rules.selector if part in item}
            self._refuse(path, f"found {show(found)}, allowed: {_kinds(key)}", given)
            return None
        twin = next((section for section in stored if _is_twin(key, section, item)), None)
        tree = grow(item, source)
        return self.section(kind, tree if twin is None else _unmask(tree, twin), None, path)

    def _leaf(self, key: Key, node: "Tree | Given", previous: object, path: str) -> object:
        source = node.source if isinstance(node, Given) else next(_sources(node), "")
        value = fell(node)
        if key.rules.is_secret and previous is not None and previous is not msgspec.NODEFAULT:
            value = _keep_masked(value, previous)
        # Bare text is a TOML value if the key takes that, else the text itself: a password may look like a number.
        candidates = [value, node.value] if isinstance(node, Given) and node.is_text else [value]
        detail = ""
        for candidate in candidates:
            try:
                converted = convert(key, candidate)
            except ValueError as error:
                detail = detail or str(error)
            else:
                self.sources[path] = source
                return converted
        return self._wrong(key, value, path, source, previous, detail)

    def _wrong(self, key: Key, value: object, path: str, source: str, previous: object, detail: str = "") -> object:
        found = MASK if key.rules.is_secret else show(value)
        reason = f" ({detail})" if detail and not key.rules.is_secret else ""
        self.problems.append(ConfigError(path, f"found {found}, allowed: {key.allowed}{reason}", source=source))
        return previous

    def _refuse_unknown(self, names: list[str], known: list[str], tree: Tree, path: str) -> None:
        for place, name in enumerate(names):
            message = _unknown(path, name, known) if place < _SUGGESTIONS else "unknown key"
            self._refuse(_join(path, name), message, tree[name])

    def _refuse(self, path: str, message: str, node: "Tree | Given") -> None:
        source = node.source if isinstance(node, Given) else next(_sources(node), "")
        self.problems.append(ConfigError(path, message, source=source))


def convert(key: Key, value: object) -> object:
    """Return `value` as the type of a leaf key has it; `None` for the key's word.

    Raises:
        ValueError: it is of another type or outside the bounds; the text says more only where the type cannot.
    """
    rules = key.rules
    if rules.word is not None and value == rules.word:
        return None
    if rules.bare is not None and type(value) is int:
        value = f"{value}{rules.bare}"
    try:
        converted: object = msgspec.convert(value, key.value_type, dec_hook=_parse_quantity)
    except msgspec.ValidationError as error:
        raise ValueError(str(error.__cause__ or "")) from None
    for part in _parts(converted):
        if isinstance(part, str):
            if "\0" in part:
                raise ValueError("a text has no U+0000")
            if rules.pattern is not None and not re.fullmatch(rules.pattern, part):
                raise ValueError("")
        if isinstance(part, int | float) and not isinstance(part, bool):
            if part > LARGEST:
                raise ValueError(f"a number is at most {LARGEST}")
            if rules.low is not None and part < rules.low:
                raise ValueError("")
            if rules.high is not None and part > rules.high:
                raise ValueError("")
    return converted


def kind_of(key: Key, item: Mapping[str, object]) -> type[Section] | None:
    """Return the section that a table of a list is, by the values of the key's selector; `None`: there is none."""
    variants = key.rules.variants or {}
    name = ":".join(str(item[part]) for part in key.rules.selector if part in item)
    if name in variants:
        return variants[name]
    longer = [kind for variant, kind in variants.items() if variant.startswith(f"{name}:")]
    return longer[0] if name and len(longer) == 1 else None


def _kinds(key: Key) -> str:
    names = ", ".join(f'"{name}"' for name in key.rules.variants or ())
    return f"{' and '.join(key.rules.selector)} that make one of {names}"


def show(value: object) -> str:
    """Return a value as it would be written in a file, cut to 60 characters."""
    if isinstance(value, Mapping) and not value:
        return "an empty table"
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _parse_quantity(kind: type, value: object) -> object:
    if kind not in QUANTITIES:
        raise TypeError(f"schema uses a type that is no quantity: {kind.__name__!r}")
    return kind.parse(value)


def _parts(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, tuple):
        yield from value
    else:
        yield value


def _as_toml(node: Given) -> object:
    """Return bare text read as a TOML value, or as it stands if it is none."""
    try:
        return tomllib.loads(f"value = {node.value}")["value"]
    except tomllib.TOMLDecodeError:
        return node.value


def _table(node: "Tree | Given") -> Tree | None:
    """Return a node as a tree if it is one, or is text that holds an inline table."""
    if not isinstance(node, Given):
        return node
    table = _as_toml(node) if node.is_text else None
    return grow(table, node.source) if isinstance(table, dict) else None


def _is_twin(key: Key, section: Section, item: Mapping[str, object]) -> bool:
    """Return whether a stored section of a list is the one that `item` means."""
    kind = key.section if key.rules.variants is None else kind_of(key, item)
    selected = (
        getattr(section, part, None) == item.get(part, getattr(section, part, None)) for part in key.rules.selector
    )
    return type(section) is kind and all(selected) and bool(key.rules.selector)


def _unmask(tree: Tree, twin: Section) -> Tree:
    """Return a tree whose masked secrets are those of `twin`."""
    unmasked = dict(tree)
    for key in keys_of(type(twin)):
        node, stored = unmasked.get(key.name), getattr(twin, key.attribute)
        if node is None:
            continue
        if key.rules.is_secret:
            value = _keep_masked(fell(node), stored)
            source = node.source if isinstance(node, Given) else next(_sources(node), "")
            unmasked[key.name] = grow(value, source) if isinstance(value, Mapping) else Given(value, source)
        elif isinstance(stored, Section) and isinstance(node, dict):
            unmasked[key.name] = _unmask(node, stored)
    return unmasked


def _keep_masked(value: object, stored: object) -> object:
    """Return `value`, or what is stored where it is masked; tables are looked into."""
    if isinstance(value, Mapping) and isinstance(stored, Mapping):
        return {name: _keep_masked(part, stored.get(name, part)) for name, part in value.items()}
    return stored if value == MASK else value


def _sources(tree: "Tree | Given") -> Iterator[str]:
    if isinstance(tree, Given):
        yield tree.source
    else:
        for node in tree.values():
            yield from _sources(node)


def _join(path: str, name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        name = json.dumps(name)
    return f"{path}.{name}" if path else name


def _unknown(path: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"unknown key; the nearest known one is {_join(path, close[0])}"
    elsewhere = [other for other in _every_path() if other.rpartition(".")[2] == name]
    nearest = elsewhere or [_join(path, other) for other in difflib.get_close_matches(name, known, n=1, cutoff=0.0)]
    return f"unknown key; the nearest known one is {nearest[0]}" if nearest else "unknown key"


def _every_path() -> list[str]:
    """Return the dotted paths of all keys, with NAME for the name of a section."""
    return list(_paths(Config, ""))


def _paths(kind: type[Section], path: str) -> Iterator[str]:
    for key in keys_of(kind):
        below = _join(path, key.name)
        yield below
        if key.section is not None and key.shape in ("section", "named"):
            yield from _paths(key.section, below if key.shape == "section" else f"{below}.NAME")
