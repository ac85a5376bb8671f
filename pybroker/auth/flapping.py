"""Clients that connect too often: counted by client id, also when they are refused later, and banned for a while.

The first CONNECT of a client id opens its window; those within it are counted. Only the id is banned, never the
address. What a ban does to live connections, and where it is kept, is not known here.
"""

from collections.abc import Callable

from pybroker.clock import Clock
from pybroker.config.schema import Config
from pybroker.config.sections.mqtt import FlappingDetect
from pybroker.ports import Applicant
from pybroker.types import ClientId

CAPACITY = 100_000
"""Client ids that are counted at a time, some 20 MB; the one whose window opened first makes room."""


class FlappingDetector:
    """Counter of CONNECTs. One that is off costs a truth test each.

    Args:
        clock: measures the windows.
        capacity: most client ids.
    """

    def __init__(self, clock: Clock, capacity: int = CAPACITY) -> None:
        self.on_flapping: Callable[[ClientId, int], None] = lambda client_id, ban_ms: None
        """Called with a client id and how long it is to be banned."""
        self._clock = clock
        self._capacity = capacity
        self._general = FlappingDetect()
        self._zones: dict[str, FlappingDetect] = {}
        self._is_on = False
        # Client id: when its window ends, and CONNECTs in it; the oldest window first.
        self._windows: dict[ClientId, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._windows)

    def apply(self, config: Config) -> None:
        """Count by another configuration from the next CONNECT on; windows that are open stay as they are."""
        self._general = config.flapping_detect
        self._zones = {
            name: zone.flapping_over(self._general) for name, zone in config.zones.items() if zone.flapping_detect
        }
        self._is_on = self._general.enable or any(zone.enable for zone in self._zones.values())
        if not self._is_on:
            self._windows.clear()

    def count(self, applicant: Applicant) -> bool:
        """Count a CONNECT; return whether its client id is banned by that."""
        if not self._is_on:
            return False
        settings = self._zones.get(applicant.zone, self._general)
        if not settings.enable:
            return False
        now_ms, client_id, windows = self._clock.now_ms(), applicant.client_id, self._windows
        ends_ms, count = windows.get(client_id, (0, 0))
        if ends_ms <= now_ms:
            windows.pop(client_id, None)
            self._make_room(now_ms)
            ends_ms, count = now_ms + settings.window_time, 0
        count += 1
        if count < settings.max_count:
            windows[client_id] = (ends_ms, count)
            return False
        windows.pop(client_id, None)
        self.on_flapping(client_id, int(settings.ban_time))
        return True

    def _make_room(self, now_ms: int) -> None:
        """Forget up to two windows that have passed, and the oldest one if there is no room."""
        windows = self._windows
        for _ in range(2):
            oldest = next(iter(windows), None)
            if oldest is None or (windows[oldest][0] > now_ms and len(windows) < self._capacity):
                return
            del windows[oldest]
