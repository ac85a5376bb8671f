"""The configuration that is in effect, and what the API has changed of it.

Changes are stored as the keys that differ from what files, environment and command line said at the time; at the next
start they are put over those again, so that what an operator has changed holds until he changes it back.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import structlog
from msgspec import structs

from pybroker.config import patch
from pybroker.config.inert import inert_keys
from pybroker.config.keys import Section, keys_of
from pybroker.config.patch import Patched
from pybroker.config.render import render_value, split
from pybroker.config.schema import Config
from pybroker.persistence.records import SettingRecord
from pybroker.persistence.sqlite import Database
from pybroker.persistence.table import RecordTable, apply

logger = structlog.get_logger(__name__)

SOURCE = "changes by the API"
"""What errors name as the origin of a stored change."""

_STORED = "configuration"


class Configuration:
    """Holder of the current configuration. Hold `lock` from `check` to `commit`.

    Args:
        config: as loaded at the start, with the stored changes over it.
        database: keeps the changes; `None`: they are not kept.
        settings: table of single values.
        load_again: reads files and environment anew, in a thread; `None`: nothing was read.
    """

    def __init__(
        self,
        config: Config,
        database: Database | None = None,
        settings: RecordTable[SettingRecord] | None = None,
        load_again: Callable[[], Config] | None = None,
    ) -> None:
        self._load_again = load_again
        self._current = config
        self._database = database
        self._settings = settings
        self.lock = asyncio.Lock()

    @property
    def current(self) -> Config:
        """What is in effect now."""
        return self._current

    def replace(self, config: Config) -> None:
        """Put a checked configuration into effect for whoever asks from now on."""
        self._current = config

    def check(self, change: Mapping[str, object], *, replaced: Sequence[str] = ()) -> Patched:
        """Return the configuration with `change` put over it; nothing takes effect yet.

        Args:
            change: as `config.patch.apply` takes it.
            replaced: roots that go back to their defaults first.

        Raises:
            ConfigError: something of it is wrong.
        """
        base = self._current
        if replaced:
            base = patch.apply(base, dict.fromkeys(replaced)).config
        return patch.compare(self._current, patch.apply(base, change).config)

    def check_again(self, kept: Sequence[str]) -> Patched:
        """Return the configuration with what files and environment say now; nothing takes effect yet.

        What the API has changed stands over it, as at a start.

        Args:
            kept: roots that stay as they are; those of them that would differ are among what needs a restart.

        Raises:
            ConfigError: something of it is wrong.
        """
        before = self._current
        loaded = before if self._load_again is None else self._load_again()
        stored = None if self._settings is None else self._settings.get(_STORED)
        if stored is not None:
            loaded = patch.apply(loaded, stored.value, source=SOURCE).config
        whole = patch.compare(before, loaded)
        fresh = patch.compare(before, structs.replace(loaded, **{root: getattr(before, root) for root in kept}))
        restart = [path for path in whole.changed if path in whole.needs_restart or path not in fresh.changed]
        return Patched(config=fresh.config, changed=whole.changed, needs_restart=tuple(restart))

    async def commit(self, patched: Patched) -> None:
        """Store a checked change, then put it into effect for whoever asks from now on.

        Raises:
            StoreError: it could not be stored; nothing has changed.
        """
        if self._database is not None and self._settings is not None and patched.changed:
            stored = self._settings.get(_STORED)
            tree: dict[str, Any] = _copy(stored.value) if stored else {}
            for names, value in _stored_values(patched):
                _put(tree, names, value)
            await apply(self._database, self._settings.put(_STORED, SettingRecord(value=tree)))
        self._current = patched.config


async def open_configuration(
    database: Database, config: Config, load_again: Callable[[], Config] | None = None
) -> Configuration:
    """Return what was loaded with the stored changes over it.

    Args:
        load_again: as `Configuration` takes it.

    Raises:
        ConfigError: the changes do not fit what was loaded any more.
        StoreError: they cannot be read.
    """
    settings = RecordTable(database, "setting", SettingRecord)
    await settings.load()
    stored = settings.get(_STORED)
    if stored is not None:
        patched = patch.apply(config, stored.value, source=SOURCE)
        warn_of_inert(patched)
        config = patched.config
    return Configuration(config, database, settings, load_again)


def warn_of_inert(patched: Patched) -> None:
    """Log, in one line, the keys that a change has set away from their defaults though they do nothing."""
    touched = {stem for path in patched.changed for stem in accumulate(path.split("."), "{}.{}".format)}
    keys = [path for path in inert_keys(patched.config) if path.partition("[")[0] in touched]
    if keys:
        logger.warning("settings_without_effect", keys=keys)


def _stored_values(patched: Patched) -> Iterable[tuple[tuple[str, ...], object]]:
    """Yield each key of the schema that a change has touched, and its value now; `None` for what is gone."""
    seen: set[tuple[str, ...]] = set()
    for path in patched.changed:
        names, value = _value_at(patched.config, split(path))
        if names not in seen:
            seen.add(names)
            yield names, value


def _value_at(config: Config, parts: list[str]) -> tuple[tuple[str, ...], object]:
    """Return the names down to the key that is read as one value, or to the named section that is gone; and it."""
    section: Section = config
    names: list[str] = []
    while True:
        key = next(one for one in keys_of(type(section)) if one.name == parts[len(names)])
        names.append(key.name)
        value = getattr(section, key.attribute)
        if key.shape == "named":
            names.append(parts[len(names)])
            value = value.get(names[-1])
            if value is None:
                return tuple(names), None
        if not isinstance(value, Section):
            return tuple(names), render_value(key, value, masks_secrets=False)
        section = value


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _copy(node) if isinstance(node, Mapping) else node for name, node in tree.items()}


def _put(tree: dict[str, Any], names: tuple[str, ...], value: object) -> None:
    for name in names[:-1]:
        below = tree.get(name)
        if not isinstance(below, dict):
            below = tree[name] = {}
        tree = below
    tree[names[-1]] = value
