"""What Prometheus scrapes of authentication: every authenticator under EMQX's names, and the number of users."""

from collections.abc import Iterator

from pybroker.control.authentication.authenticators import Authenticators
from pybroker.control.authentication.users import PASSWORDS, SCRAM, MqttUsers
from pybroker.metrics.prometheus import Family, Sample

_COUNTS = ("total", "success", "failed", "nomatch")


class LoginFamilies:
    """Maker of the families.

    Args:
        authenticators: what is asked.
        users: those of the broker's own database.
    """

    def __init__(self, authenticators: Authenticators, users: MqttUsers) -> None:
        self._authenticators = authenticators
        self._users = users

    def __call__(self) -> Iterator[Family]:
        """Yield every family; none grows with clients or users."""
        shown = {str(one["id"]): one for one in self._authenticators.listed()}
        states = {name: self._authenticators.status(name) for name in shown}

        yield Family(
            "emqx_authn_enable", "gauge", [Sample(int(one["enable"]), {"id": name}) for name, one in shown.items()]
        )
        yield Family(
            "emqx_authn_status",
            "gauge",
            [Sample(int(word == "connected"), {"id": name}) for name, (word, _) in states.items()],
        )
        for count in _COUNTS:
            samples = [Sample(counts[count], {"id": name}) for name, (_, counts) in states.items()]
            yield Family(f"emqx_authn_{count}", "counter", samples)
        kept = [Sample(len(self._users.table(name)), {"id": name}) for name in (PASSWORDS, SCRAM) if name in shown]
        yield Family("emqx_authn_users_count", "gauge", kept)
