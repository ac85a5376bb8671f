"""Where expressions stand, and which variables each place binds.

A `Context` knows the names, for notices when an expression is saved; the functions build the variables for one
evaluation. A name that exists only with TLS or WebSocket is left out where it does not, so that it is unbound; a client
without user name has the name, bound to null.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pybroker.variform.values import Bindings, Value, from_bytes


class Context(NamedTuple):
    """Names that are bound at one place.

    Args:
        names: those with a single value, dots included.
        maps: those below which any name may be.
    """

    names: frozenset[str]
    maps: frozenset[str]

    def knows(self, name: str) -> bool:
        """Whether a variable may be bound here; `a..b` is `a.b`."""
        parts = [part for part in name.split(".") if part]
        return parts[0] in self.maps or ".".join(parts) in self.names


class AlternativeNames(NamedTuple):
    """Alternative names of a client certificate by kind; all empty without a certificate."""

    dns: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    email: tuple[str, ...] = ()
    uri: tuple[str, ...] = ()


_NO_ALTERNATIVES = AlternativeNames()


class ClientFacts(NamedTuple):
    """What every expression may see of a client.

    Args:
        client_id: as far as it is decided at that moment.
        username: `None` for an anonymous client.
        zone: name of the zone.
        listener: as `type:name`.
        peer_host: printable address; empty for a unix socket.
        peer_name: address and port; empty for a unix socket.
        port: the listener's port.
        protocol: `mqtt`.
        server_name: SNI or the PROXY v2 authority; `None` without.
        websocket_cookies: by name; `None` without WebSocket.
        common_name: of the client certificate; `None` without.
        subject: of the client certificate; `None` without.
    """

    client_id: str
    username: str | None
    zone: str
    listener: str
    peer_host: str
    peer_name: str
    port: int
    protocol: str = "mqtt"
    server_name: str | None = None
    websocket_cookies: Mapping[str, str] | None = None
    common_name: str | None = None
    subject: str | None = None


_CLIENT = frozenset({"clientid", "username", "zone", "listener", "peerhost", "peername", "sockport", "peersni"})
_SHORT = frozenset({"protocol", "cn", "dn"})
_LONG = frozenset({"proto_name", "cert_common_name", "cert_subject"})
_ALTERNATIVES = frozenset({"cert_san.dns", "cert_san.ip", "cert_san.email", "cert_san.uri"})

CLIENT_ATTRS_INIT = Context(
    _CLIENT | _SHORT | _ALTERNATIVES | {"password", "cert_common_name", "cert_subject"},
    frozenset({"user_property", "ws_cookie"}),
)
"""`mqtt.client_attrs_init`: after the client id is chosen, before anything is decided."""

CLIENTID_OVERRIDE = Context(_CLIENT | _SHORT, frozenset({"client_attrs", "ws_cookie"}))
"""`mqtt.clientid_override`."""

POST_AUTH_TNS_EXPRESSION = Context(CLIENTID_OVERRIDE.names | {"is_superuser"}, CLIENTID_OVERRIDE.maps)
"""`multi_tenancy.post_auth_tns_expression`: with the attributes as authentication left them."""

AUTHENTICATOR_PRECONDITION = Context(_CLIENT | _LONG | {"password"}, CLIENTID_OVERRIDE.maps)
"""`precondition` of an authenticator."""

AUTHORIZATION_PRECONDITION = Context(_CLIENT | _LONG | {"action", "topic"}, CLIENTID_OVERRIDE.maps)
"""`precondition` of an authorization source."""


def bind_client_attrs_init(
    facts: ClientFacts,
    password: bytes | None,
    user_properties: Iterable[tuple[str, str]] = (),
    alternative_names: AlternativeNames = _NO_ALTERNATIVES,
) -> Bindings:
    """Return the variables of `CLIENT_ATTRS_INIT`; of user properties with one name the last counts."""
    bindings = _bind_client(facts, ("protocol", "cn", "dn"))
    _bind_present(bindings, {"cert_common_name": facts.common_name, "cert_subject": facts.subject})
    bindings["password"] = None if password is None else from_bytes(password)
    bindings["user_property"] = dict(user_properties)
    bindings["cert_san"] = alternative_names._asdict()
    return bindings


def bind_clientid_override(facts: ClientFacts, attributes: Mapping[str, str]) -> Bindings:
    """Return the variables of `CLIENTID_OVERRIDE`."""
    return {**_bind_client(facts, ("protocol", "cn", "dn")), "client_attrs": attributes}


def bind_post_auth(facts: ClientFacts, attributes: Mapping[str, str], is_superuser: bool) -> Bindings:
    """Return the variables of `POST_AUTH_TNS_EXPRESSION`."""
    return {**bind_clientid_override(facts, attributes), "is_superuser": is_superuser}


def bind_authenticator(facts: ClientFacts, attributes: Mapping[str, str], password: bytes | None) -> Bindings:
    """Return the variables of `AUTHENTICATOR_PRECONDITION`."""
    return {
        **_bind_client(facts, ("proto_name", "cert_common_name", "cert_subject")),
        "client_attrs": attributes,
        "password": None if password is None else from_bytes(password),
    }


def bind_authorization(facts: ClientFacts, attributes: Mapping[str, str], action: str, topic: str) -> Bindings:
    """Return the variables of `AUTHORIZATION_PRECONDITION`; `action` is `publish` or `subscribe`."""
    return {
        **_bind_client(facts, ("proto_name", "cert_common_name", "cert_subject")),
        "client_attrs": attributes,
        "action": action,
        "topic": topic,
    }


def _bind_client(facts: ClientFacts, names: tuple[str, str, str]) -> dict[str, Value]:
    """Return what every place has; `names` are those of protocol, common name and subject at this one."""
    protocol, common_name, subject = names
    bindings: dict[str, Value] = {
        "clientid": facts.client_id,
        "username": facts.username,
        "zone": facts.zone,
        "listener": facts.listener,
        "peerhost": facts.peer_host,
        "peername": facts.peer_name,
        "sockport": facts.port,
        protocol: facts.protocol,
    }
    _bind_present(
        bindings,
        {
            "peersni": facts.server_name,
            "ws_cookie": facts.websocket_cookies,
            common_name: facts.common_name,
            subject: facts.subject,
        },
    )
    return bindings


def _bind_present(bindings: dict[str, Value], values: Mapping[str, Value]) -> None:
    bindings.update({name: value for name, value in values.items() if value is not None})
