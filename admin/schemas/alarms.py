"""Alarms."""

from typing import Any, Self

import msgspec

from admin.schemas.page import PageQuery
from pybroker.control.alarms import Alarm
from pybroker.control.timestamp import render_ms


class AlarmQuery(PageQuery, frozen=True, kw_only=True):
    """Alarms that are raised, or past ones."""

    activated: bool = True


class AlarmRow(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm as shown.

    Args:
        duration: milliseconds.
        deactivate_at: of past ones only.
    """

    node: str
    name: str
    message: str
    details: dict[str, Any]
    duration: int
    activate_at: str
    deactivate_at: str | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, alarm: Alarm, node: str) -> Self:
        """Return an alarm as shown."""
        ended_ms = alarm.deactivated_ms
        return cls(
            node=node,
            name=alarm.name,
            message=alarm.message,
            details=alarm.details,
            duration=alarm.duration_ms,
            activate_at=render_ms(alarm.activated_ms),
            deactivate_at=msgspec.UNSET if ended_ms is None else render_ms(ended_ms),
        )


class ForceDeactivate(msgspec.Struct, frozen=True, kw_only=True):
    """Name of the alarm."""

    name: str | None = None
