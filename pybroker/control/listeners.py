"""MQTT listeners: shown, made, changed, started, stopped and deleted while the broker runs.

They are part of the configuration: every change is stored there, so a listener that was stopped stays stopped.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from pybroker.config.render import render
from pybroker.config.schema import AnyListener, Config, Listeners, ListenerType, listener_id
from pybroker.control.configs import Configs
from pybroker.control.configuration import Configuration
from pybroker.control.plane import Plane
from pybroker.errors import BrokerError, ConfigError, Refused

TYPES: tuple[ListenerType, ...] = get_args(ListenerType)

_ID = re.compile(r"([a-z]{2,4}):([A-Za-z0-9_-]{1,64})")
_SHOWN = ("id", "type", "name", "running", "current_connections", "number", "status", "node_status")
"""Fields of a listener as shown that are not settings of it."""


class ListenerView(NamedTuple):
    """A listener as it is now.

    Args:
        settings: as configured, as plain values.
        connections: open ones.
        max_connections: `None`: no limit.
    """

    id: str
    type: ListenerType
    name: str
    settings: Mapping[str, Any]
    is_running: bool
    connections: int
    max_connections: int | None


class ListenerControl:
    """Every MQTT listener.

    Args:
        plane: opens and closes them.
        configuration: says which there are.
        configs: changes it.
    """

    def __init__(self, plane: Plane, configuration: Configuration, configs: Configs) -> None:
        self._plane = plane
        self._configuration = configuration
        self._configs = configs

    def listed(self, kind: str | None = None) -> list[ListenerView]:
        """Return all listeners, or those of one type."""
        listeners = self._configuration.current.listeners
        return [self._view(*entry) for entry in listeners.each() if kind in (None, entry[0])]

    def find(self, name: str) -> ListenerView:
        """Return one listener by its id.

        Raises:
            Refused: `BAD_REQUEST`: that is no id; `BAD_LISTENER_ID`: there is none.
        """
        kind, _ = parse_id(name)
        found = next((view for view in self.listed(kind) if view.id == name), None)
        if found is None:
            raise Refused("BAD_LISTENER_ID", f"no such listener: {name!r}")
        return found

    async def create(self, body: Mapping[str, Any]) -> ListenerView:
        """Make a listener and open it, unless it is not enabled.

        Args:
            body: `type`, `name` and its settings.

        Raises:
            Refused: `BAD_LISTENER_ID`: it exists; `BAD_REQUEST`: it cannot be.
        """
        kind, name = parse_id(f"{body.get('type')}:{body.get('name')}")
        if body.get("id", f"{kind}:{name}") != f"{kind}:{name}":
            raise Refused("BAD_LISTENER_ID", "id does not fit type and name")
        await self._store(kind, name, _settings_of(body), is_new=True)
        return self.find(f"{kind}:{name}")

    async def update(self, listener: str, body: Mapping[str, Any]) -> ListenerView:
        """Change settings of a listener; those that are not given stay.

        Open connections keep what held when they came; they end only where `bind`, `sndbuf` or `recbuf` changes.

        Raises:
            Refused: as `find`; `BAD_REQUEST`: the settings cannot be.
        """
        kind, name = parse_id(listener)
        for field in ("id", "type"):
            if field not in body:
                raise Refused("BAD_REQUEST", f"must be given: {field}")
        if body["id"] != listener or body["type"] != kind:
            raise Refused("BAD_LISTENER_ID", "id of the path and of the body differ")
        await self._store(kind, name, _settings_of(body))
        return self.find(listener)

    async def remove(self, listener: str) -> None:
        """Close a listener with its connections and delete it.

        Raises:
            Refused: as `find`.
        """
        await self._store(*parse_id(listener), None)

    async def start(self, listener: str) -> None:
        """Open a listener and keep it enabled; one that is open is left alone.

        Raises:
            Refused: as `find`; `BAD_REQUEST`: it cannot be opened.
        """
        await self._store(*parse_id(listener), {"enable": True})

    async def stop(self, listener: str) -> None:
        """Close a listener with its connections and keep it disabled.

        Raises:
            Refused: as `find`.
        """
        await self._store(*parse_id(listener), {"enable": False})

    async def restart(self, listener: str) -> None:
        """Close a listener with its connections and open it again; it is enabled then.

        Raises:
            Refused: as `start`.
        """
        if not self.find(listener).is_running:
            await self.start(listener)
            return
        try:
            self._plane.listeners.restart(listener_id(*parse_id(listener)))
        except BrokerError as error:
            raise Refused("BAD_REQUEST", str(error)) from None

    async def _store(
        self, kind: ListenerType, name: str, settings: Mapping[str, Any] | None, *, is_new: bool = False
    ) -> None:
        """Put settings of one listener into effect, `None`: delete it. Whether it exists is judged when its turn comes.

        Raises:
            Refused: `BAD_LISTENER_ID`: it exists although it is new, or there is none; `BAD_REQUEST`.
        """

        def change(config: Config) -> Mapping[str, object]:
            if (name in _named(config.listeners, kind)) is is_new:
                state = "listener exists" if is_new else "no such listener"
                raise Refused("BAD_LISTENER_ID", f"{state}: {kind}:{name}")
            return {"listeners": {kind: {name: settings}}}

        try:
            await self._configs.edit(change)
        except ConfigError as error:
            raise Refused("BAD_REQUEST", str(error)) from None
        except Refused as error:
            code = "BAD_REQUEST" if error.code == "UPDATE_FAILED" else error.code
            raise Refused(code, error.message) from None

    def _view(self, kind: ListenerType, name: str, settings: AnyListener) -> ListenerView:
        listener, service = listener_id(kind, name), self._plane.listeners
        is_running = service.is_open(listener)
        return ListenerView(
            id=listener,
            type=kind,
            name=name,
            settings=render(settings, masks_secrets=True),
            is_running=is_running,
            connections=service.stats(listener).current if is_running else 0,
            max_connections=settings.max_connections,
        )


def parse_id(text: str) -> tuple[ListenerType, str]:
    """Return type and name of an id such as `tcp:default`.

    Raises:
        Refused: `BAD_REQUEST`.
    """
    match = _ID.fullmatch(text)
    kind = next((known for known in TYPES if match is not None and known == match[1]), None)
    if match is None or kind is None:
        raise Refused("BAD_REQUEST", f"listener id is TYPE:NAME, type one of {', '.join(TYPES)}: {text!r}")
    return kind, match[2]


def _named(listeners: Listeners, kind: ListenerType) -> Mapping[str, AnyListener]:
    by_name: Mapping[str, AnyListener] = getattr(listeners, kind)
    return by_name


def _settings_of(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in _SHOWN}
