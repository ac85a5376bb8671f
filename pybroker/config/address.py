"""Addresses in the configuration: where a listener binds, who may connect to it, and how a peer is probed.

Only literal addresses (and `localhost`) are accepted: a name that resolves differently tomorrow must not decide what
a listener is exposed to.
"""

import ipaddress
import re
from typing import Self

from pybroker.config.units import Value

_ANY = "0.0.0.0"  # EMQX's bare port; loading refuses it together with anonymous access


class Bind(Value):
    """Address and port of a listener.

    Args:
        host: literal IPv4 or IPv6 address, without brackets.
        port: 0 to 65535; 0 lets the system choose (for the dashboard: off).
        is_bare: whether a port was written and no address; it makes no difference to what is equal.
    """

    __slots__ = ("host", "is_bare", "port")

    host: str
    port: int
    is_bare: bool

    def __init__(self, host: str, port: int, *, is_bare: bool = False) -> None:
        super().__init__(host, is_bare, port)

    def _parts(self) -> tuple[object, ...]:
        return self.host, self.port

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read `1883` or `":1883"` (all IPv4 addresses), `"127.0.0.1:1883"`, `"localhost:1883"` or `"[::1]:1883"`.

        Raises:
            ValueError: no port, a port out of range, or a host that is no literal address.
        """
        if isinstance(value, int) and not isinstance(value, bool):
            host, port_text = "", str(value)
        elif isinstance(value, str):
            host, _, port_text = value.strip().rpartition(":")
        else:
            raise ValueError("an address is a port or a text such as 127.0.0.1:1883")
        if not re.fullmatch(r"[0-9]{1,5}", port_text) or int(port_text) > 65535:
            raise ValueError("a port is 0 to 65535")
        return cls(cls._literal(host), int(port_text), is_bare=not host)

    @staticmethod
    def _literal(host: str) -> str:
        if host in ("", "*"):
            return _ANY
        if host == "localhost":
            return "127.0.0.1"
        is_bracketed = host.startswith("[") and host.endswith("]")
        try:
            address = ipaddress.ip_address(host[1:-1] if is_bracketed else host)
        except ValueError:
            raise ValueError("the host is an IP address, not a name") from None
        if (address.version == 6) != is_bracketed:
            raise ValueError("an IPv6 address, and nothing else, stands in brackets: [::1]:1883")
        return str(address)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        address = ipaddress.ip_address(self.host)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            return address.ipv4_mapped.is_loopback
        return address.is_loopback

    def overlaps(self, other: "Bind") -> bool:
        """Return whether both cannot be bound at once: same port and same or all-covering address of one family."""
        if self.port == 0 or self.port != other.port:
            return False
        mine, theirs = ipaddress.ip_address(self.host), ipaddress.ip_address(other.host)
        if mine.version != theirs.version:
            return False
        return mine == theirs or mine.is_unspecified or theirs.is_unspecified

    def render(self) -> str:
        """Return the text, such as `127.0.0.1:1883` or `[::1]:1883`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class AccessRule(Value):
    """One line of a listener's `access_rules`; the first that covers the peer decides.

    Args:
        is_allow: whether the peer may connect.
        network: CIDR text, or `all`.
    """

    __slots__ = ("is_allow", "network")

    is_allow: bool
    network: str

    def __init__(self, is_allow: bool, network: str) -> None:
        super().__init__(is_allow, network)

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read `"allow all"`, `"deny 10.0.0.0/8"` or `"allow 192.0.2.7"`.

        Raises:
            ValueError: another verb, or no address or network.
        """
        words = value.split() if isinstance(value, str) else []
        if len(words) != 2 or words[0] not in ("allow", "deny"):
            raise ValueError('an access rule is "allow" or "deny" and a network or "all"')
        network = words[1]
        if network != "all":
            try:
                network = str(ipaddress.ip_network(network, strict=False))
            except ValueError:
                raise ValueError("an access rule names an address, a network such as 10.0.0.0/8, or all") from None
        return cls(words[0] == "allow", network)

    def render(self) -> str:
        """Return the text, such as `deny 10.0.0.0/8`."""
        return f"{'allow' if self.is_allow else 'deny'} {self.network}"


class KeepaliveProbe(Value):
    """TCP keep-alive of the accepted sockets.

    Args:
        idle_s: silence before the first probe.
        interval_s: pause between probes.
        probes: unanswered probes until the connection is dead.
    """

    __slots__ = ("idle_s", "interval_s", "probes")

    idle_s: int
    interval_s: int
    probes: int

    def __init__(self, idle_s: int, interval_s: int, probes: int) -> None:
        super().__init__(idle_s, interval_s, probes)

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read `"240,30,5"`: idle and interval in seconds, number of probes.

        Raises:
            ValueError: another shape, or a number outside what the system takes.
        """
        parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else []
        if len(parts) != 3 or not all(re.fullmatch(r"[0-9]{1,5}", part) for part in parts):
            raise ValueError("TCP keep-alive is three numbers: idle seconds, interval seconds, probes")
        idle_s, interval_s, probes = map(int, parts)
        if not (1 <= idle_s <= 32767 and 1 <= interval_s <= 32767 and 1 <= probes <= 127):
            raise ValueError("TCP keep-alive takes 1..32767 seconds twice and 1..127 probes")
        return cls(idle_s, interval_s, probes)

    def render(self) -> str:
        """Return the text, such as `240,30,5`."""
        return f"{self.idle_s},{self.interval_s},{self.probes}"
