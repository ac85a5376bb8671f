"""Nodes of the cluster."""

from typing import Self

import msgspec

from pybroker.control.nodes import Node, render_bytes


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A node as shown; words and units are EMQX's.

    Args:
        connections: sessions, connected or not.
        live_connections: sockets.
        process_available: tasks of the system that it may have.
        otp_release: version of the runtime.
    """

    node: str
    node_status: str
    role: str
    version: str
    edition: str
    uptime: int
    connections: int
    live_connections: int
    cluster_sessions: int
    load1: float
    load5: float
    load15: float
    memory_total: str
    memory_used: str
    process_available: int
    process_used: int
    max_fds: int
    otp_release: str
    sys_path: str
    log_path: str

    @classmethod
    def of(cls, node: Node) -> Self:
        """Return what is shown of a running node."""
        load1, load5, load15 = (round(load, 2) for load in node.load)
        return cls(
            node=node.name,
            node_status="running",
            role="core",
            version=node.version,
            edition="Enterprise",
            uptime=node.uptime_ms,
            connections=node.sessions,
            live_connections=node.connections,
            cluster_sessions=node.sessions,
            load1=load1,
            load5=load5,
            load15=load15,
            memory_total=render_bytes(node.memory_total),
            memory_used=render_bytes(node.memory_used),
            process_available=node.max_threads,
            process_used=node.threads,
            max_fds=node.max_files,
            otp_release=node.runtime,
            sys_path=node.folder,
            log_path=node.log_folder or "log.file.enable is false, not logging to file",
        )
