"""Names for the plain values that travel through the whole broker, so that mypy tells a topic from a filter.

Only `NewType`s and constants stand here: no class with behaviour, and nothing that imports the core.
"""

from typing import NewType

ClientId = NewType("ClientId", str)
"""Identifier of a client as the broker uses it: after certificate, assignment and override."""

Username = NewType("Username", str)
"""User name of a CONNECT or of a certificate; an anonymous client has none, not an empty one."""

Topic = NewType("Topic", str)
"""Where one message goes; holds no wildcard."""

Filter = NewType("Filter", str)
"""What a subscription asks for; may hold wildcards, `$share` and `$exclusive` included."""

Namespace = NewType("Namespace", str)
"""Name of a tenant; "no namespace" is `None`, never an empty string."""

Mountpoint = NewType("Mountpoint", str)
"""Prefix put before every topic and filter of a client; empty means none."""

ReasonCode = NewType("ReasonCode", int)
"""MQTT 5 reason code, 0x00 to 0xFF; 0x80 and above is a failure."""

ListenerId = NewType("ListenerId", str)
"""A listener as `type:name`, such as `tcp:default`."""

NodeName = NewType("NodeName", str)
"""Name of a node as `name@host`."""
