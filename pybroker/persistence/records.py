"""What the database keeps, as frozen structs; each carries the version of its form.

A field may be added with a default. Any other change raises `FORM` and teaches `upgrade` to read the older form: a
record that was once written stays readable.
"""

from typing import Any, ClassVar, Literal

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every stored record."""

    FORM: ClassVar[int] = 1
    """Version that is written."""

    @classmethod
    def upgrade(cls, form: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of an older form in today's; without a change of form there is nothing to do."""
        return body


MfaState = Literal["pending", "verified", "disabled"]
MfaDecision = Literal["required", "exempted"]


class Mfa(msgspec.Struct, frozen=True, kw_only=True):
    """Second factor of a user.

    Args:
        state: `pending` until the first code was right; `disabled` once it was switched off.
        secret: base32 without padding; empty when disabled.
        last_step: number of the 30 s step whose code was used last; 0: none.
    """

    state: MfaState
    secret: str = ""
    last_step: int = 0


class UserRecord(Record, frozen=True, kw_only=True):
    """A user of the dashboard; the key is `backend:username`.

    Args:
        password_hash: argon2id in its text form; empty for users of other backends.
        password_changed_ms: wall time.
        role: bare role, without its namespace.
        scopes: as given; `None`: those of the role.
        mfa: `None`: never set up.
        mfa_decision: what an administrator decided; `None`: nothing.
        locked_until_ms: wall time until which logins are refused; 0: not locked.
    """

    username: str
    backend: str = "local"
    password_hash: str = ""
    password_changed_ms: int = 0
    description: str = ""
    role: str = "administrator"
    namespace: str | None = None
    scopes: tuple[str, ...] | None = None
    mfa: Mfa | None = None
    mfa_decision: MfaDecision | None = None
    locked_until_ms: int = 0


class TokenRecord(Record, frozen=True, kw_only=True):
    """A token of a user; the key is the SHA-256 of the token in hex.

    Args:
        owner: key of the user's record.
        role: as it was at the login.
        expires_ms: wall time; may lag behind the sliding expiry.
    """

    owner: str
    role: str
    namespace: str | None = None
    expires_ms: int


class ApiKeyRecord(Record, frozen=True, kw_only=True):
    """A key of the API; the key of the record is its name.

    Args:
        api_key: what the caller names; unique.
        salt: of the hash.
        secret_hash: HMAC-SHA256 of the secret.
        expires_s: wall time; `None`: never.
        scopes: as given; `None`: a record older than scopes, which may do everything its role may.
    """

    name: str
    api_key: str
    salt: bytes
    secret_hash: bytes
    is_enabled: bool = True
    expires_s: int | None = None
    created_s: int = 0
    description: str = ""
    role: str = "administrator"
    namespace: str | None = None
    scopes: tuple[str, ...] | None = None


class NamespaceRecord(Record, frozen=True, kw_only=True):
    """A managed namespace; the key is its name.

    Args:
        created_ms: wall time.
        config: limits as shown; empty: nothing was set.
        is_deleted: what belongs to it is still to be removed; the name cannot be taken until then.
    """

    name: str
    created_ms: int = 0
    config: dict[str, Any] = {}
    is_deleted: bool = False


class SettingRecord(Record, frozen=True, kw_only=True):
    """One value that the broker keeps for itself; the key is its name."""

    value: Any


class BanRecord(Record, frozen=True, kw_only=True):
    """A ban; the key is `kind:who`.

    Args:
        kind: what `who` is.
        who: in its one spelling.
        at_s: wall time.
        until_s: wall time; `None`: without end.
    """

    kind: Literal["clientid", "username", "peerhost", "clientid_re", "username_re", "peerhost_net"]
    who: str
    by: str = ""
    reason: str = ""
    at_s: int = 0
    until_s: int | None = None


class AlarmRecord(Record, frozen=True, kw_only=True):
    """An alarm that is raised; the key is its name.

    Args:
        activated_ms: wall time.
    """

    name: str
    message: str
    details: dict[str, Any]
    activated_ms: int


EVERY_QOS = (0, 1, 2)
"""Default of a rule: it is about every QoS."""


class AccessRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One access rule of a stored list; conditions that are `None` are not asked for.

    Args:
        topic: filter with placeholders, or a literal text after `eq `.
        qos: in rising order.
        retain: of a publish; `all` for a rule about subscriptions.
        created_ms: wall time.
        updated_ms: wall time of the last change.
    """

    topic: str
    permission: Literal["allow", "deny"]
    action: Literal["publish", "subscribe", "all"]
    qos: tuple[int, ...] = EVERY_QOS
    retain: bool | Literal["all"] = "all"
    clientid_re: str | None = None
    username_re: str | None = None
    ipaddr: str | None = None
    zone: str | None = None
    zone_re: str | None = None
    listener: str | None = None
    listener_re: str | None = None
    created_ms: int = 0
    updated_ms: int = 0


PrincipalKind = Literal["clientid", "username", "all"]


class AccessListRecord(Record, frozen=True, kw_only=True, gc=False):
    """The access rules of one principal in one namespace; the key is the JSON of namespace, kind and name.

    Args:
        namespace: `None`: global.
        name: client id or user name; empty for all users.
        rules: in the order in which they are tried.
    """

    namespace: str | None
    kind: PrincipalKind
    name: str
    rules: tuple[AccessRule, ...]


class MqttUserRecord(Record, frozen=True, kw_only=True, gc=False):
    """A user who shows a password; the key is namespace and user id around a unit separator.

    Args:
        namespace: `None`: global.
        password_hash: in the form of the algorithm.
        salt: as text; empty where the hash holds it.
        algorithm: text form, such as `sha256:prefix`.
    """

    user_id: str
    namespace: str | None = None
    password_hash: str
    salt: str = ""
    algorithm: str
    is_superuser: bool = False


class ScramUserRecord(Record, frozen=True, kw_only=True, gc=False):
    """A user who authenticates by SCRAM; the key is as that of `MqttUserRecord`, keys and salt are base64.

    Args:
        algorithm: `sha256` or `sha512`.
    """

    user_id: str
    namespace: str | None = None
    algorithm: str
    salt: str
    stored_key: str
    server_key: str
    iterations: int
    is_superuser: bool = False


class TraceRecord(Record, frozen=True, kw_only=True):
    """A trace; the key is its name.

    Args:
        value: client id, filter or address, by `kind`.
        starts_s: wall time.
        ends_s: wall time.
        payload_limit: bytes of a payload that are shown.
        namespace: whose clients are traced; `None`: all.
        created_ms: wall time; tells its file from those of earlier traces of the name.
        is_stopped: ended before its time.
    """

    name: str
    kind: Literal["clientid", "topic", "ip_address"]
    value: str
    starts_s: int = 0
    ends_s: int = 0
    payload_form: Literal["text", "hex", "hidden"] = "text"
    payload_limit: int = 1_024
    line_form: Literal["text", "json"] = "text"
    namespace: str | None = None
    created_ms: int = 0
    is_stopped: bool = False

    def stopped(self) -> "TraceRecord":
        """Return the record of the trace once it has ended before its time."""
        return msgspec.structs.replace(self, is_stopped=True)
