"""Who published a message, and when; known as long as the message is, whether the publisher is still there or not."""

from typing import NamedTuple


class Origin(NamedTuple):
    """Source of a message.

    Args:
        client_id: `None`: the broker itself, or an operator.
        username: of the client at the time; `None`: anonymous.
        published_ms: wall clock.
    """

    client_id: str | None
    username: str | None
    published_ms: int
