"""The exception tree of the broker: every error that one part raises and another part handles.

Each error carries data (a reason code, a key, a limit) beside its sentence. Expected outcomes such as "denied" or
"queue full" on the message path are return values and have no class here. What an error becomes outside is decided
elsewhere: an MQTT reason in the plane, an HTTP status in the admin, an exit code in the command line.
"""

from collections.abc import Mapping, Sequence


class BrokerError(Exception):
    """Base of all errors that the broker raises on purpose."""


class ProtocolError(BrokerError):
    """A client broke the MQTT standard.

    Args:
        reason: MQTT 5 reason code, 0x80 to 0xFF; a 3.x connection maps or drops it.
        message: what was wrong, for the log; never sent to the client unless it asked for reason strings.
    """

    def __init__(self, reason: int, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class NotAuthorized(BrokerError):
    """A principal asked for something that its rights do not cover.

    Args:
        action: what was tried, such as `publish` or `listeners.update`.
        target: what it was tried on, such as a topic; empty where there is none.
    """

    def __init__(self, action: str, target: str = "") -> None:
        super().__init__(f"not authorized to {action}: {target!r}" if target else f"not authorized to {action}")
        self.action = action
        self.target = target


class QuotaExceeded(BrokerError):
    """A limit is used up.

    Args:
        quota: name of the limit as the configuration spells it, such as `max_sessions`.
        limit: the number that was reached.
    """

    def __init__(self, quota: str, limit: int) -> None:
        super().__init__(f"{quota} is used up: {limit}")
        self.quota = quota
        self.limit = limit


class ConfigError(BrokerError):
    """One or more configuration keys are wrong.

    Args:
        path: dotted key, such as `mqtt.max_inflight`; empty if a whole file could not be read.
        message: what was found and what is allowed.
        source: where the value came from, such as a file name; empty if unknown.
        problems: the single errors if this one stands for several.
    """

    def __init__(self, path: str, message: str, *, source: str = "", problems: Sequence["ConfigError"] = ()) -> None:
        super().__init__(": ".join(part for part in (source, path, message) if part))
        self.path = path
        self.message = message
        self.source = source
        self.problems: tuple[ConfigError, ...] = tuple(problems) or (self,)

    @classmethod
    def join(cls, problems: Sequence["ConfigError"]) -> "ConfigError":
        """Return one error that stands for all of `problems`, which must not be empty; their order is kept."""
        if len(problems) == 1:
            return problems[0]
        first = problems[0]
        return cls(first.path, first.message, source=first.source, problems=problems)

    def __str__(self) -> str:
        """Return one line per problem."""
        return "\n".join(str(problem.args[0]) for problem in self.problems)


class Refused(BrokerError):
    """An operator's request cannot be carried out.

    Args:
        code: stable code, upper snake case, from the table in `admin/codes.py`; it decides the HTTP status.
        message: why, for people; an object where programs read it.
    """

    def __init__(self, code: str, message: str | Mapping[str, object]) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class StoreError(BrokerError):
    """Something could not be read from or written to disk.

    Args:
        message: what failed.
        path: file or folder it concerns; empty where there is none.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{message}: {path!r}" if path else message)
        self.path = path


class ClusterError(BrokerError):
    """Another node did not do its part.

    Args:
        message: what failed.
        node: name of the other node; empty if it is unknown.
    """

    def __init__(self, message: str, node: str = "") -> None:
        super().__init__(f"{message}: {node!r}" if node else message)
        self.node = node
