"""The Rust side of the broker, as Python sees it.

One `Engine` owns every socket, the subscription trie, retained messages and the QoS state of sessions. Python owns
decisions: it reads batches of events from `Engine.drain_events` and answers each with one short call. No call here
blocks on the network; calls that may take long release the GIL and say so.

Numbers that name things:
    conn: one network connection, unique for the life of the process; a call on a connection that is gone is a no-op
        (a `CLOSED` event tells).
    session: slot of a session in the engine, small and reused after `drop_session`.
    listener: number given by `open_listener`, never reused.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, Required, TypedDict, final

__all__ = [
    "CLOSE_KEEPALIVE",
    "CLOSE_KICKED",
    "CLOSE_LISTENER",
    "CLOSE_NAMES",
    "CLOSE_NORMAL",
    "CLOSE_NOT_AUTHORIZED",
    "CLOSE_PROTOCOL",
    "CLOSE_QUEUE_FULL",
    "CLOSE_QUOTA",
    "CLOSE_SHUTDOWN",
    "CLOSE_SLOW_CONSUMER",
    "CLOSE_STALE",
    "CLOSE_TAKEN_OVER",
    "CLOSE_TCP",
    "CLOSE_WITH_WILL",
    "EVENT_AUTH",
    "EVENT_AUTHORIZE",
    "EVENT_CLOSED",
    "EVENT_CONNECT",
    "EVENT_LOG",
    "EVENT_QUOTA",
    "EVENT_SHARD_FAILED",
    "EVENT_SUBSCRIBE",
    "EVENT_UNSUBSCRIBE",
    "EVENT_WITHDRAWN",
    "AccessChain",
    "AccessClient",
    "AccessRules",
    "AccessSubject",
    "Connack",
    "Connect",
    "Engine",
    "Regex",
    "RulesError",
    "Will",
    "encode_properties",
    "graphemes",
    "md4",
    "topic_matches",
]

# Kinds of event: the first item of every tuple that `drain_events` returns.
EVENT_CONNECT: Final[int]  # (kind, conn, Connect)
EVENT_SUBSCRIBE: Final[int]  # (kind, conn, session, packet_id, subscription_id | 0, [_FilterRequest, ...])
EVENT_UNSUBSCRIBE: Final[int]  # (kind, conn, session, packet_id, [filter, ...])
EVENT_CLOSED: Final[int]  # (kind, conn, session, CloseCause number, reason code, session_expiry_s | -1, sends_will)
EVENT_AUTH: Final[int]  # (kind, conn, session | -1, reason, method, data)
EVENT_LOG: Final[int]  # (kind, level 10..50, event name, {field: value})
EVENT_SHARD_FAILED: Final[int]  # (kind, shard, text): a shard thread died; the broker must stop with an error
# (kind, namespace, key of the quota as in `set_namespace`, is_exceeded, level, quota | None): something was refused for
# the first time, or (False) a tenth of the quota is free again
EVENT_QUOTA: Final[int]
EVENT_AUTHORIZE: Final[
    int
]  # (kind, conn, session, version of the chain, step, topic, qos, retain): PUBLISH to be judged
EVENT_WITHDRAWN: Final[int]  # (kind, conn, session, [filter]): granted, but beyond the quota of the namespace

# What one SUBSCRIBE asks for: (filter as written, options byte: qos | no_local << 2 | retain_as_published << 3 |
# retain_handling << 4, kind: 0 plain, 1 shared, 2 exclusive, reason: 0, or the code (0x8F) that its syntax earns,
# inner filter without `$share/g/`, `$queue/` or `$exclusive/`, has_wildcard)
_FilterRequest = tuple[str, int, int, int, str, bool]

# Who published a message: (client id, or None for the broker itself; user name or None; wall ms when it came in).
_Origin = tuple[str | None, str | None, int]

class _TraceRecord(TypedDict):
    """A packet that was traced: `topic` and the fields behind it are those of a PUBLISH, where they are told."""

    time_ms: int  # wall clock
    is_delivery: bool  # it went to the client
    packet: str  # in capitals
    client_id: str
    peer: str  # address:port; empty for a unix socket
    namespace: str | None
    topic: str | None  # as routed
    qos: int
    is_retain: bool
    is_dup: bool
    packet_id: int  # 0: none
    reason: int  # of an acknowledgement or DISCONNECT
    payload: bytes  # its first bytes
    payload_bytes: int  # its whole length

# Why a connection ended: the fourth item of EVENT_CLOSED; `CLOSE_NAMES[n]` is EMQX's word for the log and REST.
CLOSE_NAMES: Final[tuple[str, ...]]
CLOSE_NORMAL: Final[int]  # DISCONNECT 0x00 (3.x: any DISCONNECT); the will is deleted
CLOSE_WITH_WILL: Final[int]  # DISCONNECT with another code
CLOSE_TCP: Final[int]  # the peer closed or reset without DISCONNECT
CLOSE_KEEPALIVE: Final[int]
CLOSE_PROTOCOL: Final[int]  # malformed packet or protocol error; the reason code says which
CLOSE_TAKEN_OVER: Final[int]
CLOSE_KICKED: Final[int]  # `Engine.disconnect`
CLOSE_SHUTDOWN: Final[int]
CLOSE_SLOW_CONSUMER: Final[int]
CLOSE_QUEUE_FULL: Final[int]
CLOSE_LISTENER: Final[int]
CLOSE_QUOTA: Final[int]  # receive maximum, packet size, rate
CLOSE_STALE: Final[int]  # answered (accept) after the connection had gone
CLOSE_NOT_AUTHORIZED: Final[int]  # denied by access control, where `deny_action` is `disconnect`

class _Rule(TypedDict, total=False):
    """One access rule; `permission`, `action` and one of `topic` and `topics` are required.

    Conditions must all hold. A text of more than 4,096 bytes is not searched by an expression: it counts as found for
    a deny rule and as not found for an allow rule.
    """

    topic: str  # a filter with placeholders, or a literal text after "eq "
    topics: Sequence[str] | Literal["all"]  # one must match, none never does; "all": every topic, `$` ones too
    permission: Required[Literal["allow", "deny"]]
    action: Required[Literal["publish", "subscribe", "all"]]
    qos: Sequence[int]  # default: all
    retain: bool | Literal["all"]  # of PUBLISH only; default: "all"
    clientid: str
    clientid_re: str  # unanchored, in the syntax of the Rust crate `regex`
    username: str
    username_re: str
    ipaddr: str | Sequence[str]  # addresses and networks, one of which must hold the peer
    zone: str
    zone_re: str
    listener: str
    listener_re: str
    # A clause of a file, a dictionary with one key: a condition from above; `and` or `or` with a list of clauses;
    # `profile` with the name of one; `client_attr` with a dictionary of `name` and either `is` or `re`.
    who: Mapping[str, object]

# (namespace, None: global; whose rules; client id or user name, "" for all; rules in the order they are tried). The
# names "${clientid}" and "${username}" stand for every client and every client with a user name.
_RuleList = tuple[str | None, Literal["clientid", "username", "all"], str, Sequence[_Rule | Mapping[str, object]]]

# (decision; scope, list and index of the rule that decided). Without a rule the last three are "", "" and -1: on
# "nomatch", and on "deny" for a `$delayed/` topic without a second slash. Of rules in a list that are equal but for
# their permission the last counts, at the place of the first.
_Verdict = tuple[
    Literal["allow", "deny", "nomatch"],
    Literal["", "global", "namespace"],
    Literal["", "clientid", "${clientid}", "username", "${username}", "all"],
    int,
]

# (scope, list, index, outcome, is_reached: whether the check came so far, placeholder at fault, index of the equal rule
# that replaced this one). Outcomes: matches, denies (hardened profile: a placeholder has no usable value), action, qos,
# retain, topic, placeholder_absent, placeholder_forbidden, condition, superseded.
_TraceEntry = tuple[str, str, int, str, bool, str | None, int | None]

@final
class AccessClient:
    """What access rules may know of one client; immutable."""

    def __new__(
        cls,
        client_id: str,
        username: str | None = None,
        *,
        peer_ip: str | None = None,
        peer_port: int = 0,
        local_port: int = 0,
        namespace: str | None = None,
        zone: str = "",
        listener: str = "",
        cert_common_name: str | None = None,
        attributes: Sequence[tuple[str, str]] = ...,
        handshake: Sequence[tuple[str, str]] = ...,
        mountpoint: str = "",
    ) -> AccessClient:
        """Describe a client.

        Args:
            username: empty counts as none.
            peer_ip: without port; `None` for a unix socket.
            namespace: empty counts as none.
            listener: as `tcp:default`.
            local_port: of the listener; rules see neither port.
            attributes: client attributes, name and value; none by default.
            handshake: what TLS and WebSocket have told, name and value, for Python alone; nothing by default.
            mountpoint: prefix of its topics; `AccessRules` puts it before every topic, a chain only if it is told to.

        Raises:
            ValueError: `peer_ip` is no IP address.
        """

@final
class AccessRules:
    """A compiled set of access rules; immutable, safe to share between threads. `len` is the number of rules."""

    @staticmethod
    def compile(
        lists: Iterable[_RuleList],
        *,
        subscribe_match: Literal["strict", "strict_overlap", "emqx"] = "strict",
        profile: Literal["legacy", "hardened"] = "legacy",
        template_allow: Sequence[Literal["plus", "hash", "slash"]] = ...,
        allows_partial_placeholders: bool = False,
    ) -> AccessRules:
        """Compile rules; of two lists of one principal the later counts. The GIL is released while compiling.

        Give a generator from another thread for many lists: the event loop then runs between two of them.

        Args:
            template_allow: characters that values may hold although they mean something in a filter; none by default.
            allows_partial_placeholders: whether a placeholder may be a part of a level; for files, JWT and HTTP rules.

        Raises:
            RulesError: some rules are not valid.
            ValueError: a key is unknown or missing, or a value has another type.
        """

    def reading(self, subscribe_match: Literal["strict", "strict_overlap", "emqx"]) -> AccessRules:
        """Return the same rules with another reading of SUBSCRIBE filters; nothing is compiled.

        Raises:
            ValueError: another word.
        """

    def replace(self, lists: Iterable[_RuleList]) -> AccessRules:
        """Return a copy in which these lists take the place of those of the same principals; `[]` removes one.

        Lists that stay are shared: about 2 ms where 100,000 principals have rules. Raises as `compile`.
        """

    def __len__(self) -> int: ...
    def check(
        self,
        client: AccessClient,
        action: Literal["publish", "subscribe"],
        topic: str,
        qos: int = 0,
        retain: bool = False,
    ) -> _Verdict:
        """Decide whether a client may do something. What holds where no rule matches is the caller's.

        Args:
            topic: as the client wrote it, `$share/g/`, `$queue/`, `$exclusive/` and `$delayed/n/` included.
            qos: of the PUBLISH, or the one that SUBSCRIBE asks for.
            retain: of the PUBLISH.

        Raises:
            ValueError: `action` or `qos` is not one of those values.
        """

    def judge(
        self,
        subject: AccessSubject,
        action: Literal["publish", "subscribe"],
        topic: str,
        qos: int = 0,
        retain: bool = False,
    ) -> Literal["allow", "deny", "nomatch"]:
        """Decide as `check` does; `topic` is taken as it is: without prefixes, behind a mountpoint that rules see.

        Raises:
            ValueError: `action` or `qos` is not one of those values.
        """

    def explain(
        self,
        client: AccessClient,
        action: Literal["publish", "subscribe"],
        topic: str,
        qos: int = 0,
        retain: bool = False,
        limit: int = 1000,
    ) -> tuple[_Verdict, list[_TraceEntry], int]:
        """Decide as `check` does and say of each rule of the client's lists what came of it.

        Returns:
            The verdict; at most `limit` entries in the order in which rules are tried, replaced ones at the end of
            their list; how many entries were left out. Raises as `check`. O(rules of the client's lists).
        """

@final
class AccessSubject:
    """A client as access control sees it; immutable. The engine keeps one for each session."""

    def __new__(
        cls,
        client: AccessClient,
        *,
        is_superuser: bool = False,
        acl: AccessRules | None = None,
        is_acl_final: bool = False,
        expire_at_s: int | None = None,
    ) -> AccessSubject:
        """Describe a client and its rights.

        Args:
            acl: rules of its own, asked before every source.
            is_acl_final: whether what they do not match is denied.
            expire_at_s: Unix second from which on everything is denied; `None`: never.
        """

    def with_superuser(self, is_superuser: bool) -> AccessSubject:
        """Return the same client with or without the rights of a superuser."""

    @property
    def is_superuser(self) -> bool: ...
    @property
    def client_id(self) -> str: ...
    @property
    def username(self) -> str | None: ...
    @property
    def peer_ip(self) -> str | None: ...
    @property
    def peer_port(self) -> int: ...
    @property
    def local_port(self) -> int: ...
    @property
    def zone(self) -> str: ...
    @property
    def listener(self) -> str: ...
    @property
    def cert_common_name(self) -> str | None: ...
    @property
    def attributes(self) -> dict[str, str]: ...
    @property
    def handshake(self) -> dict[str, str]: ...
    @property
    def mountpoint(self) -> str: ...

@final
class AccessChain:
    """Sources in their order, and what holds where none decides; immutable."""

    def __new__(
        cls,
        steps: Sequence[tuple[str, AccessRules | None]],
        *,
        no_match: Literal["allow", "deny"] = "allow",
        disconnects: bool = False,
        includes_mountpoint: bool = False,
        sys_topics: Literal["loopback", "everyone", "nobody"] = "loopback",
        keeps: bool = True,
        max_kept: int = 32,
        ttl_ms: int = 60_000,
        excludes: Sequence[str] = ...,
    ) -> AccessChain:
        """Put sources in order.

        Args:
            steps: type and rules of each enabled source; without rules Python is asked.
            disconnects: whether a client is disconnected when a PUBLISH is denied.
            keeps: whether verdicts on publications are kept, at most `max_kept` of a client for `ttl_ms`.
            excludes: filters of topics whose verdicts are not kept.

        Raises:
            ValueError: another word, or `excludes` holds what is no filter.
        """

# (decision, what decided: a source's type, "client_info", "superuser", "expired", "malformed" or "no_match"; scope,
# list and index of the rule as in `_Verdict`; version of the chain; index of the step that decided or must be asked)
_Decision = tuple[
    Literal["allow", "deny", "ask"],
    str,
    Literal["", "global", "namespace"],
    Literal["", "clientid", "${clientid}", "username", "${username}", "all"],
    int,
    int,
    int,
]

# (session, filter as its client would write it, granted QoS, decision)
_Doubted = tuple[int, str, int, Literal["deny", "ask"]]

@final
class RulesError(ValueError):
    """Access rules that do not compile.

    `errors` has at most 1,000 rows in the order of the lists: (index of the list, index of the rule or `None` if the
    principal is at fault, field, code, message). Codes: INVALID_TOPIC, INVALID_PLACEHOLDER, INVALID_VALUE.
    """

    @property
    def errors(self) -> list[tuple[int, int | None, str, str, str]]: ...

class _Limit(TypedDict, total=False):
    """A rate and its burst, each (amount, interval in ms): a bucket that holds the amount and refills steadily.

    What the rate's bucket does not hold comes from the burst's. `None`: no limit, or no burst.
    """

    rate: tuple[int, int] | None
    burst: tuple[int, int] | None

class _TenantLimits(TypedDict, total=False):
    """Limits of all clients of a namespace together."""

    messages: _Limit | None  # published
    bytes: _Limit | None  # of their payloads

class _ClientLimits(TypedDict, total=False):
    """Limits of each client of a namespace; all five take the place of the listener's rates."""

    messages: _Limit | None
    bytes: _Limit | None
    delivery_messages: _Limit | None
    delivery_bytes: _Limit | None
    subscribes: _Limit | None  # SUBSCRIBE packets

class _NamespaceLimits(TypedDict, total=False):
    """What an operator sets for a namespace; quotas are `None` for any number."""

    tenant: _TenantLimits | None  # None: disabled
    client: _ClientLimits | None
    max_subscriptions: int | None
    max_retained: int | None
    max_retained_bytes: int | None  # topics, properties and payloads
    max_queued_bytes: int | None
    on_exceed: Literal["reject", "pause"]  # default: reject; what becomes of who publishes or subscribes too fast
    has_counters: bool  # default: False

@final
class Will:
    """Will message of a CONNECT, kept as the client sent it (not mounted)."""

    topic: str
    payload: bytes
    qos: int
    is_retain: bool
    delay_s: int
    message_expiry_s: int | None

@final
class Connect:
    """One decoded CONNECT and what is known about its connection. Attributes are built when read."""

    version: int  # 3 (MQTT 3.1), 4 (3.1.1) or 5
    client_id: str
    is_clean_start: bool
    is_bridge: bool
    keep_alive_s: int
    username: str | None
    password: bytes | None
    will: Will | None
    session_expiry_s: int  # 0 when absent; 0xFFFFFFFF: never ends
    receive_maximum: int
    max_packet_bytes: int  # 0 when the client set no limit
    topic_alias_maximum: int
    requests_response_information: bool
    requests_problem_information: bool
    user_properties: list[tuple[str, str]]
    authentication_method: str | None
    authentication_data: bytes | None
    listener: int
    peer: tuple[str, int]  # source address (PROXY protocol applied); ("", 0) for unix sockets
    certificate_common_name: str | None
    certificate_subject: str | None
    certificate_der: bytes | None
    certificate_sans: list[str]  # `DNS:a.example`, `IP:10.0.0.1`, `email:...`, `URI:...`, in the certificate's order
    server_name: str | None  # SNI, or the PROXY v2 authority
    websocket_path: str | None
    websocket_cookie: str | None  # `Cookie` as sent, several joined by `; `

@final
class Connack:
    """Optional properties of a CONNACK (or of the AUTH exchange); left out for 3.x clients."""

    def __new__(
        cls,
        *,
        assigned_client_id: str | None = None,
        server_keep_alive_s: int | None = None,
        session_expiry_s: int | None = None,
        reason_string: str | None = None,
        response_information: str | None = None,
        server_reference: str | None = None,
        user_properties: Sequence[tuple[str, str]] | None = None,
        authentication_method: str | None = None,
        authentication_data: bytes | None = None,
    ) -> Connack: ...

@final
class Engine:
    """Sockets, routing and QoS state of one broker process."""

    def __new__(cls, io_threads: int, node: str) -> Engine:
        """Build an engine.

        Args:
            io_threads: shards that run as threads; 0: one shard, driven by `turn` from the event loop.
            node: node name, part of `$SYS` topics only.

        Raises:
            OSError: epoll or eventfd could not be created.
        """

    def configure(self, settings: dict[str, object]) -> None:
        """Replace the engine-wide settings (keys: see docs/reference; unknown ones are an error).

        Keys (all optional, defaults in brackets): max_packet_bytes [1048576], max_topic_levels [128], max_qos [2],
        max_topic_alias [65535], is_retain_available [True], is_wildcard_available [True], is_shared_available [True],
        shared_strategy ["round_robin"], ignores_loop_deliver [False], is_strict [False], upgrades_qos [False],
        keepalive_multiplier [1.5], retry_interval_ms [0: never], message_expiry_ms [0: none], max_inflight [32],
        receive_maximum [100], max_awaiting_rel [100], await_rel_timeout_ms [300000], max_mqueue_len [1000],
        max_mqueue_bytes [0: none], mqueue_overflow ["drop_oldest"], stores_qos0 [True], mqueue_priorities [{}],
        mqueue_default_priority [0], is_retainer_enabled [True], max_retained [0: none], max_retained_payload_bytes
        [1048576], retained_expiry_ms [0: none], retained_override_ms [0: none],
        is_retained_clear_stopped [False], is_delayed_enabled [True], max_delayed [0: none],
        slow [None, or ("whole" | "internal" | "response", threshold_ms, most rows)], coalesce_us [0].

        Raises:
            ValueError: names the key and what is allowed.
        """

    def start(self) -> None:
        """Start the shard threads (none when driven)."""

    def event_fd(self) -> int:
        """Descriptor that is readable while events wait; for `loop.add_reader`."""

    def shard_fd(self) -> int:
        """Epoll descriptor of the driven shard; -1 when shards are threads."""

    def turn(self) -> int | None:
        """Run one turn of the driven shard without waiting; GIL released. Returns ms until the next timer is due."""

    def drain_events(self, limit: int) -> list[tuple[object, ...]]:
        """Take up to `limit` events, oldest first; order holds per connection. Clears `event_fd` when none is left."""

    def gather(self) -> None:
        """Wake no shard for an answer until `deliver`; a shard that is awake anyway may take it earlier."""

    def deliver(self) -> None:
        """Wake the shards once for all answers since `gather`."""

    def open_listener(self, spec: dict[str, object]) -> tuple[int, str]:
        """Bind and listen; returns (listener, address as bound: "127.0.0.1:1883" or a path).

        Keys of `spec`: kind ("tcp" | "ssl" | "ws" | "wss" | "unix"), name, host, port (or path), backlog, nodelay,
        keepalive (None or (idle_s, interval_s, probes)), sndbuf, recbuf (0: system default), max_connections (0: no
        limit), max_conn_rate (per s, 0: none), messages_rate, bytes_rate (per s, 0: none), proxy_protocol,
        proxy_timeout_ms, idle_timeout_ms (handshakes and CONNECT), max_silence_ms (0: keep alive alone
        decides), access_rules ([(is_allow, "cidr" | "all")]),
        tls (None or {certfile, keyfile, cacertfile, crlfile, verify: bool, fail_if_no_peer_cert, versions}),
        websocket (None or {path, max_frame_bytes, check_origin, origins, allow_no_origin, fail_if_no_subprotocol}),
        zone (what `configure` sets otherwise for its clients: max_packet_bytes, max_qos, max_topic_alias,
        is_retain_available, is_wildcard_available, is_shared_available, receive_maximum, max_awaiting_rel,
        await_rel_timeout_ms, keepalive_multiplier, retry_interval_ms, is_strict, ignores_loop_deliver).

        Raises:
            OSError: the address is in use or may not be bound.
            ValueError: a key is missing or wrong; a certificate file is broken (named).
        """

    def change_listener(self, listener: int, spec: dict[str, object]) -> None:
        """Put another specification in force for connections to come; those that are open keep theirs.

        Where it listens stays, whatever `spec` says.

        Raises:
            OSError: an option of the socket is refused, or the listener is not open.
            ValueError: as `open_listener`; nothing has changed.
        """

    def close_listener(self, listener: int, closes_connections: bool, reason: int) -> None:
        """Stop accepting; with `closes_connections` end its connections too (5.0 clients: DISCONNECT `reason`)."""

    def reload_tls(self, listener: int) -> bool:
        """Read the certificate files again. Returns whether they had changed.

        Raises:
            ValueError: a file is broken; the listener keeps what it had.
        """

    def listener_stats(self, listener: int) -> tuple[int, int, int]:
        """(current connections, accepted since start, refused since start)."""

    def create_session(self, client_id: str, mountpoint: str, namespace: str | None = None) -> int:
        """Make an empty session; packet ids start at 1.

        Args:
            namespace: tenant whose limits hold and whose levels count it; empty counts as none. It need not be
                configured: one that is not lives as long as a session or a retained message belongs to it.
        """

    def set_username(self, session: int, username: str | None) -> None:
        """Note the user name of a session's client, for those who ask later who published a message."""

    def drop_session(self, session: int) -> None:
        """End a session: subscriptions, queue and windows go; shared messages pass to other members. [row 101]"""

    def accept(
        self,
        conn: int,
        session: int,
        is_present: bool,
        keep_alive_s: int,
        connack: Connack | None = None,
    ) -> None:
        """Answer a CONNECT with CONNACK 0 and attach the connection to `session`.

        A connection that the session already has is ended first (5.0: DISCONNECT 0x8E). Then unfinished messages are
        sent again and queued ones follow. If `conn` has gone meanwhile an EVENT_CLOSED with CLOSE_STALE follows.
        Limits that the engine enforces are added to the CONNACK by the engine.
        """

    def refuse(self, conn: int, reason: int, return_code: int, connack: Connack | None = None) -> None:
        """Answer a CONNECT with a refusal (5.0: `reason`; 3.x: `return_code`, or nothing if it is 0) and close."""

    def challenge(self, conn: int, reason: int, connack: Connack) -> None:
        """Send AUTH (0x18 continue, 0x00 success of a re-authentication) and wait for the client's next packet."""

    def grant(self, conn: int, packet_id: int, codes: bytes | None = None) -> None:
        """Answer the SUBSCRIBE that waits: one code per filter (0..2 granted QoS, or a 5.0 reason >= 0x80).

        None grants every filter as asked (lowered to the maximum QoS; syntax errors keep their code). The engine
        subscribes, sends SUBACK (codes turned into 0x80 for 3.x), then retained messages as each option says.
        """

    def release(self, conn: int, packet_id: int) -> None:
        """Let the UNSUBSCRIBE that waits take effect and answer UNSUBACK."""

    def set_keep_alive(self, conn: int, keep_alive_s: int) -> None:
        """Change the keep alive of a connection; 0: none. Silence counts from now."""

    def disconnect(self, conn: int, reason: int, cause: int) -> None:
        """End a connection (5.0: DISCONNECT `reason`, unless it is 0 or less); EVENT_CLOSED with `cause` follows."""

    def subscribe(self, session: int, filter: str, options: int, subscription_id: int = 0) -> bool:
        """Subscribe on behalf of a session (filter as the client would write it). Returns whether it was new.

        Raises:
            ValueError: the filter is not valid.
            QuotaExceeded: the namespace of the session has as many subscriptions as it may have.
        """

    def unsubscribe(self, session: int, filter: str) -> bool:
        """Unsubscribe on behalf of a session. Returns whether it existed."""

    def subscriptions(self, session: int) -> list[tuple[str, int, int]]:
        """(filter as routed: with mountpoint and `$share/g/`, options byte, subscription id) of one session."""

    def page_subscriptions(self, cursor: int, limit: int) -> tuple[list[tuple[int, str, int, int]], int]:
        """(session, filter as routed with its group in front, options byte, subscription id) of up to `limit`
        subscriptions from `cursor` on (0: the first), and the cursor of the next page or -1. GIL released."""

    def page_topics(self, cursor: int, limit: int) -> tuple[list[str], int]:
        """Up to `limit` distinct filters that somebody subscribes to, and the next cursor or -1. GIL released."""

    def page_retained(
        self, filter: str | None, cursor: int, limit: int
    ) -> tuple[list[tuple[str, bytes, int, int, _Origin]], int]:
        """(topic, payload, qos, ms left or -1, origin) of up to `limit` retained messages, and the next cursor or
        -1. With a filter the cursor counts matches, and the order is arbitrary but stable.

        Raises:
            ValueError: the filter is not valid, or the cursor is negative.
        """

    def session_messages(
        self, session: int, kind: str, after: tuple[int, int] | None, limit: int
    ) -> tuple[list[tuple[int, int, str, int, bool, bytes, _Origin]], bool]:
        """(position, priority, topic as routed, qos, is_retain, payload, origin) of the messages of one session, and
        whether more follow: `kind` "mqueue" or "inflight", from behind `after` (position and priority, whose message
        may have left; `None`: the first) on. O(messages of the session).

        Raises:
            ValueError: another kind.
        """

    def page_delayed(
        self, after: tuple[int, int] | None, limit: int
    ) -> tuple[list[tuple[tuple[int, int], str, int, bytes, int, _Origin]], bool]:
        """(id, topic as routed, qos, payload, wall ms when due, origin) of delayed messages, those due first first,
        from behind the id `after` on, whose message may have left, and whether more follow. Payloads are empty here."""

    def delayed_get(self, number: tuple[int, int]) -> tuple[tuple[int, int], str, int, bytes, int, _Origin] | None:
        """Return one delayed message as `page_delayed` does; `None`: there is none of this id."""

    def delayed_remove(self, number: tuple[int, int]) -> bool:
        """Drop one delayed message. Returns whether it was there."""

    def slow_subscriptions(self) -> list[tuple[str, str, int, int]]:
        """(client id, topic as routed, how long its latest slow delivery took in ms, wall ms of that), slowest first;
        at most as many as the setting `slow` allows."""

    def slow_forget(self, older_than_ms: int, most: int) -> None:
        """Forget slow deliveries older than this, and of the others all but the `most` slowest."""

    def set_traces(
        self, clients: Sequence[str], addresses: Sequence[str], filters: Sequence[str], payload_bytes: int
    ) -> None:
        """Trace packets of these clients and addresses and PUBLISH packets to these topics from now on, and no others.

        Args:
            filters: over topics as routed.
            payload_bytes: most bytes of a payload that are kept.

        Raises:
            ValueError: an address or a filter is not valid; nothing changes.
        """

    def take_traces(self, limit: int) -> tuple[list[_TraceRecord], int]:
        """Take up to `limit` of what was traced, oldest first per connection, and how many records were lost since the
        last call because more than 8 MiB waited."""

    def delayed_remove_topic(self, topic: str) -> int:
        """Drop the delayed messages that would be routed to a topic; returns how many. O(delayed messages)."""

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        is_retain: bool,
        properties: bytes | None = None,
        expiry_s: int = 0,
    ) -> int:
        """Publish as the broker itself (no mountpoint), also `$delayed/n/topic`.

        Args:
            properties: encoded 5.0 properties that are forwarded.

        Returns:
            Reason code: 0x00, 0x10 when nobody matched, 0x97 when the retained store is full.

        Raises:
            ValueError: the topic is not a valid topic name.
        """

    def publish_will(
        self, will: Will, session: int, client_id: str, mountpoint: str, namespace: str | None = None
    ) -> int:
        """Publish a will as its client (mountpoint applied, retained under the namespace's quota); same answers as
        `publish`."""

    def set_access(self, chain: AccessChain) -> int:
        """Put a chain in force from the next turn of each shard on, and return its version.

        Every kept verdict is forgotten, also when the chain is the one before.
        """

    def set_subject(self, session: int, subject: AccessSubject) -> None:
        """Tell who a session's client is; its kept verdicts are forgotten. A stored session keeps the last one."""

    def subject(self, session: int) -> AccessSubject | None:
        """Who a session's client is; `None`: there is no such session."""

    def check_access(
        self,
        asker: int | AccessSubject,
        action: Literal["publish", "subscribe"],
        topic: str,
        qos: int = 0,
        retain: bool = False,
        *,
        step: int = 0,
        counts: bool = True,
    ) -> _Decision:
        """Judge an action by the chain in force, from `step` on. On "ask" Python judges the step that is named, counts
        it with `count_access` and goes on behind it.

        Args:
            asker: a session, or who is judged.
            topic: as the client wrote it, prefixes included.
            counts: whether counters move.

        Raises:
            ValueError: there is no such session, or `action` or `qos` is not one of those values.
        """

    def count_access(self, source: str, said: Literal["allow", "deny", "nomatch", "ignore"], is_final: bool) -> None:
        """Count what a step said that Python has judged; `is_final`: it decided the check."""

    def access_stats(self, source: str) -> list[int]:
        """How often a source said allow, deny, nomatch and ignore."""

    def reset_access_stats(self, source: str) -> None:
        """Start the counters of a source at zero."""

    def authorize(self, conn: int, is_allowed: bool, is_kept: bool = True) -> None:
        """Answer EVENT_AUTHORIZE. `is_kept`: the verdict also holds for the same publication later."""

    def access_cache(self, session: int) -> list[tuple[str, int, bool, bool, int]]:
        """(topic, qos, retain, is_allowed, age in ms) of the verdicts that a connected client's shard keeps, oldest
        first. Waits for the shard, at most a second; GIL released: call it in a thread."""

    def forget_access(self, session: int) -> None:
        """Forget the verdicts that are kept for one client."""

    def recheck_access(self, cursor: int, limit: int, chain: AccessChain | None = None) -> tuple[list[_Doubted], int]:
        """Judge the subscriptions of up to `limit` sessions from `cursor` on (0: the first) and return those that are
        not simply allowed, and the cursor of the next page or -1. Nothing is counted. GIL released.

        Args:
            chain: judge by it instead of the one in force.

        Raises:
            ValueError: the cursor is negative.
        """

    def recheck_session(self, session: int, chain: AccessChain | None = None) -> list[_Doubted]:
        """As `recheck_access`, for one session."""

    def revoke(self, session: int, filter: str) -> bool:
        """Take a subscription away, and from the queue what came by it alone. Returns whether it existed.

        Raises:
            ValueError: the filter is not valid.
        """

    def session_stats(self, session: int) -> dict[str, int]:
        """Counters and levels of one session: subscriptions, inflight, mqueue_len, mqueue_bytes, mqueue_dropped,
        awaiting_rel, and while connected recv_oct, recv_cnt (reads of the socket), recv_pkt, recv_msg, send_oct,
        send_pkt, send_msg, out_bytes (unsent)."""

    def set_namespace(self, name: str, limits: _NamespaceLimits) -> None:
        """Configure a namespace; what is left out is not limited. Replaces what was set before.

        New numbers hold at once, also for live connections. A limiter that is enabled or disabled is so for connections
        accepted from then on; those that have it keep the last numbers.

        Raises:
            ValueError: names the key and what is allowed.
        """

    def drop_namespace(self, name: str) -> bool:
        """Delete a namespace: its limits, for live connections too, and its counters. Returns whether there was one.

        Its sessions stay, but nothing that they publish is retained or delayed any more. Who comes by the name from
        then on is in a new one.
        """

    def empty_namespace(self, name: str, mountpoint: str) -> int:
        """Drop what clients of a namespace, deleted or not, have left: retained and delayed messages, and those of
        anybody whose topic as routed begins with `mountpoint` (empty: none). Returns how many. O(all of them), GIL
        released.
        """

    def namespace_stats(self, name: str) -> dict[str, int]:
        """Levels of a namespace: sessions, subscriptions, retained, retained_bytes, queued_bytes; with `has_counters`
        also the counters of `metrics`, from zero. Empty when nothing is known of it."""

    def page_namespaces(self, after: str, limit: int) -> tuple[list[tuple[str, dict[str, int]]], bool]:
        """(name, stats as above) of up to `limit` namespaces behind the name `after` ("": from the first on), in the
        order of the names' bytes, and whether more follow."""

    def metrics(self) -> dict[str, int]:
        """Counters since start under EMQX's names (`messages.received`, `packets.publish.sent`, ...)."""

    def stats(self) -> dict[str, int]:
        """Levels: connections, sessions, subscriptions, subscriptions.shared, topics, retained, retained_bytes,
        delayed."""

    def retained_get(self, topic: str) -> tuple[bytes, int, int] | None:
        """(payload, qos, ms left before expiry or -1)."""

    def silence(self, client_id: str) -> None:
        """Deliver nothing any more of what a client has published: messages that wait in queues or for their time are
        dropped, retained ones are passed over until `unsilence`. O(sessions + waiting messages); GIL released."""

    def unsilence(self, client_id: str) -> None:
        """Deliver retained messages of a client again."""

    def retained_delete(self, filter: str) -> int:
        """Delete retained messages that match; returns how many."""

    def retained_expire(self) -> int:
        """Drop expired retained messages now; returns how many."""

    def shutdown(self, reason: int, drain_ms: int) -> None:
        """Close listeners, DISCONNECT 5.0 clients with `reason`, flush for at most `drain_ms`, close. GIL released.

        EVENT_CLOSED of every connection can be drained afterwards. The engine cannot be started again.
        """

@final
class Regex:
    """A compiled regular expression in the syntax of the Rust crate `regex`; immutable.

    Search time is linear in the text whatever the pattern is: there is no look-around and there are no back
    references. Texts have at most 4,096 bytes, because a search cannot be interrupted.
    """

    def __new__(cls, pattern: str, max_compiled_bytes: int) -> Regex:
        """Compile a pattern; a class of letters takes some 10 KiB, because it knows all of Unicode.

        Raises:
            ValueError: it is not valid, or takes more than `max_compiled_bytes` when compiled.
        """

    def is_match(self, text: str) -> bool:
        """Whether the pattern occurs anywhere in the text.

        Raises:
            OverflowError: the text is too long.
        """

    def groups(self, text: str) -> list[str] | None:
        """Groups of the first match, without the whole match; one that took no part is empty. `None`: no match.

        Raises:
            OverflowError: the text is too long.
        """

    def replace(self, text: str, replacement: str, max_bytes: int, budget_ms: int) -> str:
        """Replace all matches; `${1}` is a group, `${0}` the whole match, `$$` a dollar sign.

        Raises:
            OverflowError: the text is too long, or the result has more than `max_bytes`.
            TimeoutError: it takes more processor time than `budget_ms`; only many long searches in one text do.
        """

def encode_properties(
    *,
    payload_format: bool | None = None,
    content_type: str | None = None,
    response_topic: str | None = None,
    correlation_data: bytes | None = None,
    user_properties: Sequence[tuple[str, str]] | None = None,
) -> bytes:
    """Encode properties that a server forwards, for `Engine.publish`; user properties keep their order.

    Raises:
        ValueError: a text is longer than 65,535 bytes or holds U+0000.
    """

def graphemes(text: str) -> list[str]:
    """Split a text into extended grapheme clusters (Unicode, UAX 29)."""

def md4(data: bytes) -> bytes:
    """Return the MD4 digest, 16 bytes; for data that was hashed elsewhere, never for security."""

def topic_matches(filter: str, topic: str) -> bool:
    """Whether a bare filter matches a topic name; a text that is not a topic name is matched by nothing.

    Raises:
        ValueError: the filter is not valid.
    """
