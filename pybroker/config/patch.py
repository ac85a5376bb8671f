"""Changing a loaded configuration: part of it is replaced, the whole is checked, and all or nothing takes effect.

The result is a new `Config`; whoever holds the old one decides what to do with the difference.
"""

from collections.abc import Mapping

import msgspec

from pybroker.config.checks import find_problems
from pybroker.config.decode import Decoder, Given, Tree, grow, merge
from pybroker.config.keys import Key, Section, keys_of
from pybroker.config.render import leaves
from pybroker.config.schema import Config
from pybroker.errors import ConfigError

API_SOURCE = "api"
"""Source that errors of a change name if the caller gives none."""


class Patched(msgspec.Struct, frozen=True, kw_only=True):
    """A changed configuration.

    Args:
        config: the whole, checked.
        changed: dotted keys whose value differs, in the order of the schema.
        needs_restart: those of them that take effect at the next start only.
    """

    config: Config
    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]


def apply(config: Config, change: Mapping[str, object], *, source: str = API_SOURCE) -> Patched:
    """Return `config` with `change` put over it; `config` itself stays.

    Args:
        change: nested or dotted keys (`{"mqtt": {"max_inflight": 64}}` or `{"mqtt.max_inflight": 64}`), values as in a
            file. `None` takes a key to its default and removes a named section. A secret sent as `******` is kept.
        source: what errors name as the origin of the values.

    Raises:
        ConfigError: everything that is wrong with the change or with the result, in `problems`; nothing is changed.
    """
    decoder = Decoder()
    changed = decoder.section(Config, _undot(change, source), config)
    problems = decoder.problems
    if isinstance(changed, Config) and not problems:
        problems = [ConfigError(one.path, one.message, source=source) for one in find_problems(changed)]
    if problems or not isinstance(changed, Config):
        raise ConfigError.join(problems)
    return compare(config, changed)


def compare(old: Config, new: Config) -> Patched:
    """Return a checked configuration with what differs from an older one."""
    before = dict(leaves(old, masks_secrets=False))
    after = dict(leaves(new, masks_secrets=False))
    paths = [path for path in {**after, **before} if before.get(path) != after.get(path)]
    restart = [path for path in paths if needs_restart(path)]
    return Patched(config=new, changed=tuple(paths), needs_restart=tuple(restart))


def needs_restart(path: str) -> bool:
    """Return whether a change of the key at a dotted path takes effect at the next start only."""
    kind: type[Section] | None = Config
    names = iter(path.split("."))
    for name in names:
        key = _key(kind, name) if kind is not None else None
        if key is None:
            return False
        if key.rules.needs_restart:
            return True
        if key.shape == "named":
            next(names, None)
        kind = key.section
    return False


def _key(kind: type[Section], name: str) -> Key | None:
    return next((key for key in keys_of(kind) if key.name == name), None)


def _undot(change: Mapping[str, object], source: str) -> Tree:
    """Return the change as a tree; dots in top-level names separate sections."""
    tree: Tree = {}
    for path, value in change.items():
        *above, last = path.split(".")
        node: Tree = {last: grow(value, source) if isinstance(value, Mapping) else Given(value, source)}
        for name in reversed(above):
            node = {name: node}
        tree = merge(tree, node)
    return tree
