"""The subscriptions whose deliveries were slow of late; measured in the core while it is enabled."""

from typing import NamedTuple

from pybroker.config.schema import Config
from pybroker.control.configuration import Configuration
from pybroker.control.plane import Plane


class SlowSubscription(NamedTuple):
    """A client that was late on a topic.

    Args:
        topic: as routed.
        timespan_ms: how long its latest slow delivery took.
        updated_ms: wall clock.
    """

    client_id: str
    topic: str
    timespan_ms: int
    updated_ms: int


class SlowSubscriptions:
    """The list.

    Args:
        plane: measures.
        configuration: says what is slow, how many are kept, and how long.
    """

    def __init__(self, plane: Plane, configuration: Configuration) -> None:
        self._engine = plane.engine
        self._configuration = configuration

    def list(self) -> list[SlowSubscription]:
        """Return those of late, slowest first."""
        self.sweep()
        return [SlowSubscription(*row) for row in self._engine.slow_subscriptions()]

    def clear(self) -> None:
        """Forget all of them."""
        self._engine.slow_forget(0, 0)

    def sweep(self) -> None:
        """Forget those that are too old, which makes room for less slow ones."""
        settings = self._configuration.current.slow_subs
        self._engine.slow_forget(int(settings.expire_interval), settings.top_k_num)

    def follow(self, before: Config, after: Config) -> None:
        """Forget what was measured by other settings; called when the configuration has changed."""
        if before.slow_subs != after.slow_subs:
            self.clear()
