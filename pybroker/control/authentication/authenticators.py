"""The authenticators as operators change them: part of the configuration, in an order that matters."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pybroker.auth.authentication import authenticator_id
from pybroker.config.render import render
from pybroker.config.schema import Config
from pybroker.config.sections.access import AUTHENTICATORS, Authenticator
from pybroker.control.authentication.users import SCRAM, MqttUsers, find_authenticator
from pybroker.control.configs import Configs
from pybroker.control.configuration import Configuration
from pybroker.control.plane import Plane
from pybroker.errors import ConfigError, Refused

_BCRYPT_ROUNDS = (5, 10)


class Authenticators:
    """Reader and changer of the chain.

    Args:
        configuration: in effect.
        configs: changes it.
        plane: logs clients in.
        users: of those that have users.
    """

    def __init__(self, configuration: Configuration, configs: Configs, plane: Plane, users: MqttUsers) -> None:
        self._configuration = configuration
        self._configs = configs
        self._plane = plane
        self._users = users
        self._lock = asyncio.Lock()

    @property
    def names(self) -> list[str]:
        """The ids in their order."""
        return [authenticator_id(one) for one in self._current]

    def listed(self) -> list[dict[str, Any]]:
        """Return every authenticator in its order; secrets are masked."""
        return [_shown(one) for one in self._current]

    def find(self, name: str) -> dict[str, Any]:
        """Return one authenticator; secrets are masked.

        Raises:
            Refused: `NOT_FOUND`.
        """
        return _shown(find_authenticator(self._current, name))

    async def create(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Append an authenticator and return it.

        Raises:
            Refused: `ALREADY_EXISTS`; `BAD_REQUEST`: it cannot be.
        """
        name = _name_of(said)
        _check_rounds(said)
        async with self._lock:
            if name in self.names:
                raise Refused("ALREADY_EXISTS", f"authenticator exists: {name!r}")
            await self._replace(lambda rows: [*rows, {**said, "enable": said.get("enable", True)}])
        return self.find(name)

    async def change(self, name: str, said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Replace the settings of an authenticator; return them as before and now. A masked secret is kept.

        Raises:
            Refused: `NOT_FOUND`; `BAD_REQUEST`: it cannot be, or would be of another kind.
        """
        _check_rounds(said)
        async with self._lock:
            before = self.find(name)
            at = self.names.index(name)
            same = {part: before[part] for part in ("mechanism", "backend") if part in before}
            for part, value in same.items():
                if said.get(part, value) != value:
                    raise Refused("BAD_REQUEST", f"{part} cannot be changed: {said[part]!r}")
            await self._replace(lambda rows: [*rows[:at], {**said, **same}, *rows[at + 1 :]])
        return before, self.find(name)

    async def remove(self, name: str) -> dict[str, Any]:
        """Remove an authenticator with its users and counters.

        Raises:
            Refused: `NOT_FOUND`; `UPDATE_FAILED`: the broker would be open to strangers.
        """
        async with self._lock:
            before = self.find(name)
            at = self.names.index(name)
            await self._replace(lambda rows: [*rows[:at], *rows[at + 1 :]])
            await self._users.clear(name)
        return before

    async def move(self, name: str, position: str) -> None:
        """Move an authenticator to `front`, `rear`, `before:<id>` or `after:<id>`.

        Raises:
            Refused: `NOT_FOUND`; `BAD_REQUEST`: there is no such position.
        """
        async with self._lock:
            self.find(name)
            names = [one for one in self.names if one != name]
            side, _, other = position.partition(":")
            if position in ("front", "rear"):
                at = 0 if position == "front" else len(names)
            elif side in ("before", "after") and other in names:
                at = names.index(other) + (side == "after")
            else:
                raise Refused("BAD_REQUEST", f"position is none of front, rear, before:ID, after:ID: {position!r}")
            names.insert(at, name)
            await self._arrange(names)

    async def arrange(self, names: Sequence[str]) -> None:
        """Put the authenticators into another order, which names each exactly once.

        Raises:
            Refused: `BAD_REQUEST` with those that are missing, unknown or repeated.
        """
        async with self._lock:
            wrong = {
                "missing": [one for one in self.names if one not in names],
                "unknown": [one for one in names if one not in self.names],
                "repeated": sorted({one for one in names if names.count(one) > 1}),
            }
            found = [f"{word}: {', '.join(ids)}" for word, ids in wrong.items() if ids]
            if found:
                raise Refused("BAD_REQUEST", f"order must name every authenticator once; {'; '.join(found)}")
            await self._arrange(names)

    def status(self, name: str) -> tuple[str, dict[str, int | float]]:
        """Return `connected` or `disconnected`, and the counters.

        Raises:
            Refused: `NOT_FOUND`.
        """
        settings = find_authenticator(self._current, name)
        authentication = self._plane.authentication
        word = "connected" if not settings.enable or authentication.is_connected(name) else "disconnected"
        return word, authentication.meter(name).read()

    def reset(self, name: str) -> None:
        """Begin to count anew.

        Raises:
            Refused: `NOT_FOUND`.
        """
        find_authenticator(self._current, name)
        self._plane.authentication.meter(name).reset()

    def settings(self) -> dict[str, Any]:
        """Return what holds for the whole chain."""
        return render(self._configuration.current.authentication_settings, masks_secrets=True)

    async def change_settings(self, said: Mapping[str, Any]) -> None:
        """Replace what holds for the whole chain; what is not sent goes back to its default.

        Raises:
            Refused: `BAD_REQUEST`.
        """
        try:
            await self._configs.update({"authentication_settings": dict(said)}, replaced=("authentication_settings",))
        except ConfigError as error:
            raise Refused("BAD_REQUEST", str(error)) from None

    def cache_metrics(self) -> dict[str, Any]:
        """Return the counters of the cache of remote answers."""
        answers = self._plane.authentication.answers
        return {
            "hits": {"value": answers.hits},
            "misses": {"value": answers.misses},
            "inserts": {"value": answers.inserts},
            "count": len(answers),
            "memory": answers.memory,
        }

    def reset_cache(self) -> None:
        """Forget every remote answer and begin to count anew."""
        self._plane.authentication.answers.reset()

    @property
    def _current(self) -> tuple[Authenticator, ...]:
        return self._configuration.current.authentication

    async def _arrange(self, names: Sequence[str]) -> None:
        places = {name: at for at, name in enumerate(self.names)}
        await self._replace(lambda rows: [rows[places[name]] for name in names])

    async def _replace(self, edit: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """Put the list of authenticators through an edit. The caller holds the lock.

        Raises:
            Refused: `BAD_REQUEST`.
        """

        def changed(config: Config) -> dict[str, Any]:
            return {"authentication": edit([render(one, masks_secrets=False) for one in config.authentication])}

        try:
            await self._configs.edit(changed)
        except ConfigError as error:
            raise Refused("BAD_REQUEST", str(error)) from None


def _shown(settings: Authenticator) -> dict[str, Any]:
    return {"id": authenticator_id(settings), **render(settings, masks_secrets=True)}


def _name_of(said: Mapping[str, Any]) -> str:
    """Return the id that a new authenticator would have.

    Raises:
        Refused: `BAD_REQUEST`: there is no such kind.
    """
    parts = [str(said[part]) for part in ("mechanism", "backend") if said.get(part) is not None]
    name = ":".join(parts)
    if name == "scram":
        name = SCRAM
    if name not in AUTHENTICATORS:
        raise Refused("BAD_REQUEST", f"mechanism and backend must make one of {', '.join(AUTHENTICATORS)}: {name!r}")
    return name


def _check_rounds(said: Mapping[str, Any]) -> None:
    """Refuse a cost of bcrypt that a file's would be clamped to."""
    algorithm = said.get("password_hash_algorithm")
    rounds = algorithm.get("salt_rounds") if isinstance(algorithm, Mapping) else None
    low, high = _BCRYPT_ROUNDS
    if isinstance(rounds, int) and not low <= rounds <= high:
        raise Refused("BAD_REQUEST", f"password_hash_algorithm.salt_rounds must be {low}..{high}: {rounds}")
