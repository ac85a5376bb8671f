"""MQTT listeners."""

from typing import Any, Literal, Self

import msgspec

from pybroker.control.listeners import ListenerView


class ListenerQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which listeners."""

    type: Literal["tcp", "ssl", "ws", "wss", "quic", "unix"] | None = None


class ListenerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Whether it accepts connections, and how many it has."""

    running: bool
    max_connections: int | Literal["infinity"]
    current_connections: int

    @classmethod
    def of(cls, view: ListenerView) -> Self:
        """Return the status of one listener."""
        most: int | Literal["infinity"] = "infinity" if view.max_connections is None else view.max_connections
        return cls(running=view.is_running, max_connections=most, current_connections=view.connections)


class NodeListenerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Status on one node."""

    node: str
    status: ListenerStatus


class ListenerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A listener in a list; `number` is that of nodes."""

    id: str
    type: str
    name: str
    enable: bool
    bind: str
    acceptors: int
    number: int
    status: ListenerStatus
    node_status: list[NodeListenerStatus]

    @classmethod
    def of(cls, view: ListenerView, node: str) -> Self:
        """Return a listener as shown in a list."""
        status = ListenerStatus.of(view)
        return cls(
            id=view.id,
            type=view.type,
            name=view.name,
            enable=view.settings["enable"],
            bind=str(view.settings["bind"]),
            acceptors=view.settings["acceptors"],
            number=1,
            status=status,
            node_status=[NodeListenerStatus(node=node, status=status)],
        )


class ListenerGroup(msgspec.Struct, frozen=True, kw_only=True):
    """All listeners of one type together."""

    type: str
    enable: bool
    ids: list[str]
    status: ListenerStatus
    node_status: list[NodeListenerStatus]

    @classmethod
    def of(cls, kind: str, views: list[ListenerView], node: str) -> Self:
        """Return the listeners of a type, at least one, as shown together."""
        bounds = [view.max_connections for view in views]
        status = ListenerStatus(
            running=any(view.is_running for view in views),
            max_connections="infinity" if None in bounds else sum(bound or 0 for bound in bounds),
            current_connections=sum(view.connections for view in views),
        )
        return cls(
            type=kind,
            enable=any(view.settings["enable"] for view in views),
            ids=[view.id for view in views],
            status=status,
            node_status=[NodeListenerStatus(node=node, status=status)],
        )


def whole(view: ListenerView) -> dict[str, Any]:
    """Return a listener with all its settings."""
    return {
        **view.settings,
        "id": view.id,
        "type": view.type,
        "name": view.name,
        "running": view.is_running,
        "current_connections": view.connections,
    }
