"""The list of those who may not connect: names, patterns, addresses and networks, each with its end.

What stands here decides; where it is stored and who may change it is not asked. An entry whose time is over bans
nobody, whether or not it has been swept.
"""

import ipaddress
from collections.abc import Callable
from typing import Literal

from pybroker._core import Regex
from pybroker.auth.flapping import FlappingDetector
from pybroker.ports import Applicant

BanKind = Literal["clientid", "username", "peerhost", "clientid_re", "username_re", "peerhost_net"]

_PATTERN_BYTES = 1 << 20  # 100 classes of letters

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class BanList:
    """The list; implements `ports.Banned`. An empty one costs a truth test a CONNECT.

    Args:
        now_s: wall clock, in seconds.
        flapping: counts those who are not banned; `None`: nobody is counted.
    """

    def __init__(self, now_s: Callable[[], int], flapping: FlappingDetector | None = None) -> None:
        self.flapping = flapping
        self._now_s = now_s
        self._names: dict[BanKind, dict[str, int | None]] = {"clientid": {}, "username": {}, "peerhost": {}}
        self._patterns: dict[BanKind, dict[str, tuple[Regex, int | None]]] = {
            "clientid_re": {},
            "username_re": {},
        }
        self._networks: dict[str, tuple[_Network, int | None]] = {}
        self._is_empty = True

    def add(self, kind: BanKind, who: str, until_s: int | None) -> None:
        """Ban somebody; an entry that is there is replaced.

        Args:
            kind: what `who` is.
            who: in the spelling of `normalize`.
            until_s: wall seconds; `None`: without end.
        """
        self._is_empty = False
        if kind == "peerhost_net":
            self._networks[who] = (ipaddress.ip_network(who), until_s)
        elif kind in self._patterns:
            self._patterns[kind][who] = (pattern(who), until_s)
        else:
            self._names[kind][who] = until_s

    def remove(self, kind: BanKind, who: str) -> None:
        """Lift a ban; a missing one is no error."""
        if kind == "peerhost_net":
            self._networks.pop(who, None)
        elif kind in self._patterns:
            self._patterns[kind].pop(who, None)
        else:
            self._names[kind].pop(who, None)
        self._is_empty = not (self._networks or any(self._names.values()) or any(self._patterns.values()))

    def is_banned(self, applicant: Applicant) -> bool:
        """Whether the applicant's client id, user name or address is banned now."""
        return not self._is_empty and self.covers(applicant.client_id, applicant.username, applicant.host)

    def count_connect(self, applicant: Applicant) -> bool:
        """Count a CONNECT of somebody who is not banned; return whether that bans the client id."""
        return self.flapping is not None and self.flapping.count(applicant)

    def covers(self, client_id: str, username: str | None, host: str) -> bool:
        """Whether an entry bans this client now; O(patterns + networks).

        Args:
            client_id: as the broker uses it.
            username: `None`: none, which no entry names.
            host: address without port; empty for a unix socket, which no entry names.
        """
        names = self._names
        if _holds(names["clientid"].get(client_id, 0), self._now_s):
            return True
        if username is not None and _holds(names["username"].get(username, 0), self._now_s):
            return True
        if self._matches("clientid_re", client_id):
            return True
        if username is not None and self._matches("username_re", username):
            return True
        return bool(host and (names["peerhost"] or self._networks)) and self._covers_host(host)

    def _matches(self, kind: BanKind, text: str) -> bool:
        entries = self._patterns[kind].values()
        return any(_holds(until_s, self._now_s) and found_in(regex, text) for regex, until_s in entries)

    def _covers_host(self, host: str) -> bool:
        address = address_of(host)
        if _holds(self._names["peerhost"].get(str(address), 0), self._now_s):
            return True
        networks = self._networks.values()
        return any(address in network and _holds(until_s, self._now_s) for network, until_s in networks)


def normalize(kind: BanKind, who: str) -> str:
    """Return `who` in the one spelling under which it is stored.

    Raises:
        ValueError: it is empty, or no address, network or regular expression where one is needed.
    """
    if not who:
        raise ValueError("who must not be empty")
    if kind == "peerhost":
        return str(address_of(who))
    if kind == "peerhost_net":
        return str(ipaddress.ip_network(who, strict=False))
    if kind in ("clientid_re", "username_re"):
        pattern(who)
    return who


def pattern(text: str) -> Regex:
    """Return a compiled regular expression; its search is linear in the text.

    Raises:
        ValueError: it is not valid, or too large.
    """
    try:
        return Regex(text, _PATTERN_BYTES)
    except ValueError as error:
        raise ValueError(f"regular expression is not valid: {error}") from None


def found_in(regex: Regex, text: str) -> bool:
    """Return whether a pattern occurs in a text; one that is too long to be searched counts as if it did."""
    try:
        return regex.is_match(text)
    except OverflowError:
        return True


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address; one of IPv4 that is written in IPv6 is that of IPv4.

    Raises:
        ValueError: the text is no address.
    """
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _holds(until_s: int | None, now_s: Callable[[], int]) -> bool:
    """Whether an entry still bans; 0 stands for no entry."""
    return until_s is None or (until_s != 0 and until_s > now_s())
