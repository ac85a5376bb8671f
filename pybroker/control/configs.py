"""Changing the configuration while the broker runs: checked, put into effect, stored; all or nothing.

Every change of a key goes through `Configs`, whoever asks for it, so that what is in effect and what is stored cannot
part. Keys that need a restart are stored and take effect then; the caller is told which those are.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from pybroker.config.describe import describe
from pybroker.config.patch import Patched
from pybroker.config.render import render
from pybroker.config.schema import Config
from pybroker.control.configuration import Configuration, warn_of_inert
from pybroker.control.plane import Plane
from pybroker.errors import BrokerError, ConfigError, Refused
from pybroker.plane.settings import by_zone, connect_settings, engine_settings, listener_terms, subscribe_settings

ROOTS: tuple[str, ...] = tuple(field.encode_name for field in msgspec.structs.fields(Config))
"""Every top-level key."""

READ_ONLY = ("node",)
"""Roots that files and command line decide alone."""


HOT = "hotconf"
"""EMQX's name of the schema of what may be changed while the broker runs."""

MAX_HOCON_BYTES = 65_536
"""Of HOCON that is no JSON: its parser takes some ms a line. A whole configuration with comments is smaller."""


class Configs:
    """Reader and changer of the configuration.

    Args:
        configuration: in effect.
        plane: is told of changes.
    """

    def __init__(self, configuration: Configuration, plane: Plane) -> None:
        self._configuration = configuration
        self._plane = plane
        self.followers: list[Callable[[Config, Config], None]] = []
        """Called with the configuration before and after each change, once it is in effect; they must not fail."""

    def show(self, root: str | None = None) -> dict[str, Any]:
        """Return the configuration, or one root of it, as plain values; secrets are masked.

        Raises:
            Refused: `NOT_FOUND`: there is no such root, or it is no table.
        """
        values = render(self._configuration.current, masks_secrets=True)
        if root is None:
            return values
        found = values.get(root)
        if not isinstance(found, dict):
            raise Refused("NOT_FOUND", f"no such configuration: {root!r}")
        return found

    def schema(self, name: str) -> dict[str, Any]:
        """Return a schema as JSON Schema; `hotconf`: what the API may change. Nothing that is configured stands in it.

        Raises:
            Refused: `NOT_FOUND`: there is no such schema.
        """
        if name != HOT:
            raise Refused("NOT_FOUND", f"no such schema, there is {HOT!r}: {name!r}")
        return describe(READ_ONLY)

    async def update(self, change: Mapping[str, object], *, replaced: Sequence[str] = ()) -> Patched:
        """Put a change over the configuration, store it and put it into effect.

        Args:
            change: as `config.patch.apply` takes it.
            replaced: roots that go back to their defaults first.

        Raises:
            Refused: `UPDATE_FAILED`: a root is read only, or a listener could not be opened with it.
            ConfigError: something of it is wrong.
            StoreError: it could not be stored.
        """
        for root in {*change, *replaced}:
            if root.partition(".")[0] in READ_ONLY:
                raise Refused("UPDATE_FAILED", f"cannot be changed by the API: {root!r}")
        return await self.edit(lambda _: change, replaced=replaced)

    async def edit(self, make: Callable[[Config], Mapping[str, object]], *, replaced: Sequence[str] = ()) -> Patched:
        """Put a change that rests on what is in effect over the configuration; otherwise as `update`.

        Args:
            make: returns the change; nobody else changes the configuration between its call and the end.
        """
        async with self._configuration.lock:
            before = self._configuration.current
            # A change of a thousand wrong keys takes seconds to be judged.
            patched = await asyncio.to_thread(self._configuration.check, make(before), replaced=replaced)
            await self._follow(before, patched.config)
            try:
                await self._configuration.commit(patched)
            except BrokerError:
                await self._follow(patched.config, before)
                raise
        warn_of_inert(patched)
        return patched

    async def reload(self) -> Patched:
        """Read files and environment again and put what they say into effect; what the API has changed holds on.

        Raises:
            Refused: `UPDATE_FAILED`: a listener could not be opened with it.
            ConfigError: something of it is wrong; nothing has changed.
        """
        async with self._configuration.lock:
            before = self._configuration.current
            patched = await asyncio.to_thread(self._configuration.check_again, READ_ONLY)
            await self._follow(before, patched.config)
            self._configuration.replace(patched.config)
        warn_of_inert(patched)
        return patched

    async def _follow(self, before: Config, after: Config) -> None:
        """Put a configuration into effect, or leave everything as it was.

        Raises:
            Refused: `UPDATE_FAILED`.
        """
        plane = self._plane
        await plane.authorizer.apply(after.authorization)
        plane.listeners.terms_of = partial(listener_terms, after)
        try:
            plane.authentication.apply(after)
            plane.engine.configure(engine_settings(after))
            plane.listeners.follow(after.listeners)
        except (BrokerError, ValueError) as error:
            plane.listeners.terms_of = partial(listener_terms, before)
            plane.engine.configure(engine_settings(before))
            await plane.authorizer.apply(before.authorization)
            plane.authentication.apply(before)
            if isinstance(error, ConfigError):
                raise
            raise Refused("UPDATE_FAILED", str(error)) from None
        settings = connect_settings(after.mqtt)
        plane.connector.settings = settings
        plane.connector.zones = by_zone(after, connect_settings)
        plane.flapping.apply(after)
        plane.namespaces.apply(after)
        plane.sessions.max_expiry_s = settings.max_session_expiry_s
        plane.subscriber.settings = subscribe_settings(after.mqtt)
        plane.subscriber.zones = by_zone(after, subscribe_settings)
        plane.sys_topics.settings = after.sys_topics
        plane.retained.clear_interval_ms = int(after.retainer.msg_clear_interval)
        for follow in self.followers:
            follow(before, after)
        for target, old, new in (
            ("console", before.log.console, after.log.console),
            ("file", before.log.file, after.log.file),
        ):
            if old.level != new.level and new.enable and old.enable:
                plane.set_log_level(target, new.level)


def parse_hocon(text: bytes) -> dict[str, Any]:
    """Return the values of HOCON, of which JSON is a part. Slow; to be called in a thread. Nothing is included.

    Raises:
        Refused: `BAD_REQUEST`, or `PAYLOAD_TOO_LARGE`: it is no JSON and longer than `MAX_HOCON_BYTES`.
    """
    try:
        parsed = msgspec.json.decode(text)
    except msgspec.DecodeError:
        parsed = _parse_hocon(text)
    except RecursionError:
        raise Refused("BAD_REQUEST", "configuration is nested too deeply") from None
    except UnicodeDecodeError:
        raise Refused("BAD_REQUEST", "configuration is not UTF-8") from None
    if not isinstance(parsed, dict) or not parsed:
        raise Refused("BAD_REQUEST", "configuration is empty or no table")
    return parsed


def _parse_hocon(text: bytes) -> object:
    from pyhocon import ConfigFactory
    from pyhocon.exceptions import ConfigException
    from pyparsing import ParseBaseException

    if len(text) > MAX_HOCON_BYTES:
        raise Refused("PAYLOAD_TOO_LARGE", f"HOCON is larger than {MAX_HOCON_BYTES} bytes; send JSON, or parts of it")
    if b"include" in text:
        # An include would read files and addresses of the broker's machine.
        raise Refused("BAD_REQUEST", "include is not allowed")
    try:
        return ConfigFactory.parse_string(text.decode(), resolve=False).as_plain_ordered_dict()
    except (ConfigException, ParseBaseException, UnicodeDecodeError, RecursionError) as error:
        raise Refused("BAD_REQUEST", f"configuration is no HOCON: {error}") from None
