"""Keys that decide who may connect and what he may do: authentication, authorization, bans and API keys."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import field

from pybroker.config.keys import Section, key
from pybroker.config.units import ByteSize, Duration


class HttpSslOptions(Section, frozen=True):
    """TLS towards a server that is asked."""

    enable: Annotated[bool, key("Whether the connection is encrypted.")] = False
    cacertfile: Annotated[str, key("Authorities the server's certificate must come from.")] = ""
    certfile: Annotated[str, key("Own certificate.")] = ""
    keyfile: Annotated[str, key("Key of the own certificate.")] = ""
    verify: Annotated[Literal["verify_none", "verify_peer"], key("Whether the server is verified.")] = "verify_none"
    server_name_indication: Annotated[str, key("Name asked for; empty: the host.")] = ""


class NodeCache(Section, frozen=True):
    """Cache of the answers of remote servers, shared by all connections."""

    enable: Annotated[bool, key("Whether answers are kept.")] = True
    cache_ttl: Annotated[Duration, key("How long an answer holds.", low=1)] = Duration(60_000)
    cleanup_interval: Annotated[Duration, key("Pause between sweeps.", low=1)] = Duration(60_000)
    stat_update_interval: Annotated[Duration, key("Pause between measurements.", low=1)] = Duration(5_000)
    max_count: Annotated[int | None, key("Most answers kept.", low=1, word="unlimited")] = 1_000_000
    max_memory: Annotated[ByteSize | None, key("Most memory used.", low=1, word="unlimited")] = ByteSize(100 << 20)


class PasswordHash(Section, frozen=True):
    """How passwords are kept."""

    name: Annotated[
        Literal["argon2id", "plain", "md5", "sha", "sha256", "sha512", "bcrypt", "pbkdf2"], key("Algorithm.")
    ] = "argon2id"
    salt_position: Annotated[Literal["disable", "prefix", "suffix"], key("Where the salt goes.")] = "prefix"
    salt_rounds: Annotated[int, key("Cost of bcrypt; clamped to 5..10.", low=1, high=31)] = 10
    mac_fun: Annotated[
        Literal["md4", "md5", "ripemd160", "sha", "sha224", "sha256", "sha384", "sha512"], key("Digest of pbkdf2.")
    ] = "sha256"
    iterations: Annotated[int, key("Rounds of pbkdf2.", low=1)] = 600_000
    dk_length: Annotated[
        int | None, key("Length of the pbkdf2 result; `default`: the digest's.", low=1, word="default")
    ] = None


class Authenticator(Section, frozen=True, kw_only=True):
    """Keys of every authenticator."""

    mechanism: Annotated[Literal["password_based", "jwt", "scram", "cinfo"], key("What the client must show.")]
    enable: Annotated[bool, key("Whether it is asked.")] = True
    precondition: Annotated[
        str, key("Variform expression; unless it yields `true` it is skipped. Empty: always asked.")
    ] = ""


class BuiltInPasswords(Authenticator, frozen=True, kw_only=True):
    """User names and passwords in the broker's own database."""

    backend: Annotated[Literal["built_in_database"], key("Where users are kept.")] = "built_in_database"
    user_id_type: Annotated[Literal["username", "clientid"], key("What names a user.")] = "username"
    password_hash_algorithm: Annotated[PasswordHash, key("How new passwords are kept.")] = field(
        default_factory=PasswordHash
    )
    bootstrap_file: Annotated[str, key("Users to load at start.")] = ""
    bootstrap_type: Annotated[Literal["plain", "hash"], key("Whether the file holds passwords or hashes.")] = "plain"


class HttpPasswords(Authenticator, frozen=True, kw_only=True):
    """A web service that judges passwords."""

    backend: Annotated[Literal["http"], key("Where users are kept.")] = "http"
    method: Annotated[Literal["get", "post"], key("Method.")] = "post"
    url: Annotated[str, key("Address, may hold placeholders in path and query.")] = ""
    headers: Annotated[Mapping[str, str], key("Headers.", is_secret=True)] = field(default_factory=dict)
    body: Annotated[Mapping[str, str], key("Fields of the body or, for `get`, of the query.")] = field(
        default_factory=dict
    )
    pool_size: Annotated[int, key("Connections kept open.", low=1, high=1024)] = 8
    connect_timeout: Annotated[Duration, key("Longest wait for a connection.", low=1)] = Duration(15_000)
    enable_pipelining: Annotated[int, key("No effect: a connection carries one request at a time.", low=1)] = 100
    ssl: Annotated[HttpSslOptions, key("TLS.")] = field(default_factory=HttpSslOptions)
    request_timeout: Annotated[Duration, key("Longest wait for an answer.", low=1)] = Duration(5_000)


class JwtAuthenticator(Authenticator, frozen=True, kw_only=True):
    """Signed tokens."""

    from_: Annotated[Literal["password", "username"], key("Field that holds the token.")] = field(
        default="password", name="from"
    )
    acl_claim_name: Annotated[str, key("Claim that holds rules.")] = "acl"
    verify_claims: Annotated[Mapping[str, str], key("Claims that must be so.")] = field(default_factory=dict)
    disconnect_after_expire: Annotated[bool, key("End the connection when the token expires.")] = True
    on_missing_jwt: Annotated[Literal["ignore", "deny"], key("What a client without a token gets.")] = "ignore"
    algorithm: Annotated[Literal["hmac-based", "public-key"], key("Kind of signature.")] = "hmac-based"
    secret: Annotated[str, key("Secret of HMAC.", is_secret=True)] = ""
    secret_base64_encoded: Annotated[bool, key("Whether the secret is base64.")] = False
    public_key: Annotated[str, key("PEM text or file.")] = ""
    use_jwks: Annotated[bool, key("Fetch keys from `endpoint`.")] = False
    endpoint: Annotated[str, key("Address of the key set.")] = ""
    headers: Annotated[Mapping[str, str], key("Headers of that request.", is_secret=True)] = field(
        default_factory=lambda: {"accept": "application/json"}
    )
    refresh_interval: Annotated[
        Duration, key("Pause between fetches; a plain number counts seconds.", low=10_000, bare="s")
    ] = Duration(300_000)
    pool_size: Annotated[int, key("Connections kept open.", low=1, high=1024)] = 8
    ssl: Annotated[HttpSslOptions, key("TLS.")] = field(default_factory=HttpSslOptions)


class ScramAuthenticator(Authenticator, frozen=True, kw_only=True):
    """SCRAM by the enhanced authentication of MQTT 5.0."""

    backend: Annotated[Literal["built_in_database"], key("Where users are kept.")] = "built_in_database"
    algorithm: Annotated[Literal["sha256", "sha512"], key("Digest.")] = "sha256"
    iteration_count: Annotated[int, key("Rounds.", low=4096)] = 4096


class ClientInfoCheck(Section, frozen=True, kw_only=True):
    """One check of what is known about a client."""

    is_match: Annotated[tuple[str, ...], key("Variform expressions that must all yield `true`.")]
    result: Annotated[Literal["allow", "deny", "ignore"], key("What follows then.")]


class ClientInfoAuthenticator(Authenticator, frozen=True, kw_only=True):
    """Expressions over what is known about a client."""

    checks: Annotated[tuple[ClientInfoCheck, ...], key("Checks; the first that matches decides.")] = ()


AUTHENTICATORS: Mapping[str, type[Section]] = {
    "password_based:built_in_database": BuiltInPasswords,
    "password_based:http": HttpPasswords,
    "jwt": JwtAuthenticator,
    "scram:built_in_database": ScramAuthenticator,
    "cinfo": ClientInfoAuthenticator,
}
"""Kinds of authenticator by mechanism and backend."""


class AuthenticationSettings(Section, frozen=True):
    """What holds for the whole authentication chain."""

    ignore_backend_failures: Annotated[bool, key("Hardened profile: ask the next one when a server fails.")] = False
    node_cache: Annotated[NodeCache, key("Cache of remote answers.")] = field(default_factory=NodeCache)


class Source(Section, frozen=True, kw_only=True):
    """Keys of every source of rules."""

    type: Annotated[
        Literal["built_in_database", "file", "http", "mysql", "postgresql", "mongodb", "redis", "ldap"],
        key("Kind of source."),
    ]
    enable: Annotated[bool, key("Whether it is asked.")] = True
    precondition: Annotated[
        str, key("Variform expression; unless it yields `true` it is skipped. Empty: always asked.")
    ] = ""


class BuiltInSource(Source, frozen=True, kw_only=True):
    """Rules in the broker's own database."""

    max_rules: Annotated[int, key("Most rules of one client, one user, or all users.", low=1)] = 100


class FileSource(Source, frozen=True, kw_only=True):
    """Rules in an ACL file of EMQX."""

    path: Annotated[str, key("The file.")] = ""


class HttpSource(Source, frozen=True, kw_only=True):
    """A web service that judges each action."""

    method: Annotated[Literal["get", "post"], key("Method.")] = "post"
    url: Annotated[str, key("Address, may hold placeholders in path and query.")] = ""
    headers: Annotated[Mapping[str, str], key("Headers.", is_secret=True)] = field(default_factory=dict)
    body: Annotated[Mapping[str, str], key("Fields of the body or, for `get`, of the query.")] = field(
        default_factory=dict
    )
    pool_size: Annotated[int, key("Connections kept open.", low=1, high=1024)] = 8
    connect_timeout: Annotated[Duration, key("Longest wait for a connection.", low=1)] = Duration(15_000)
    enable_pipelining: Annotated[int, key("No effect: a connection carries one request at a time.", low=1)] = 100
    ssl: Annotated[HttpSslOptions, key("TLS.")] = field(default_factory=HttpSslOptions)
    request_timeout: Annotated[Duration, key("Longest wait for an answer.", low=1)] = Duration(30_000)


class DatabaseSource(Source, frozen=True, kw_only=True):
    """Rules in a database server or directory."""

    server: Annotated[str, key("Host and port.")] = ""
    database: Annotated[str, key("Name of the database.")] = ""
    username: Annotated[str, key("User of the broker.")] = ""
    password: Annotated[str, key("Password of the broker.", is_secret=True)] = ""
    query: Annotated[str, key("Statement that reads the rules.")] = ""
    cmd: Annotated[str, key("Command that reads the rules (redis).")] = ""
    collection: Annotated[str, key("Collection that holds the rules (mongodb).")] = ""
    base_dn: Annotated[str, key("Where to search (ldap).")] = ""
    filter: Annotated[str, key("What to search for (ldap, mongodb).")] = ""
    pool_size: Annotated[int, key("Connections kept open.", low=1, high=1024)] = 8
    ssl: Annotated[HttpSslOptions, key("TLS.")] = field(default_factory=HttpSslOptions)


SOURCES: Mapping[str, type[Section]] = {
    "built_in_database": BuiltInSource,
    "file": FileSource,
    "http": HttpSource,
    "mysql": DatabaseSource,
    "postgresql": DatabaseSource,
    "mongodb": DatabaseSource,
    "redis": DatabaseSource,
    "ldap": DatabaseSource,
}
"""Kinds of source by type."""


class DecisionCache(Section, frozen=True):
    """Cache of decisions, one for each connection."""

    enable: Annotated[bool, key("Whether decisions are kept.")] = True
    max_size: Annotated[int, key("Decisions of one connection.", low=1, high=1_048_576)] = 32
    ttl: Annotated[Duration, key("How long a decision holds.", low=1)] = Duration(60_000)
    excludes: Annotated[tuple[str, ...], key("Filters of topics that are decided each time.")] = ()


class TopicTemplateAllow(Section, frozen=True):
    """Characters that the value of a placeholder may hold."""

    plus: Annotated[bool, key("Allow `+`.")] = False
    hash: Annotated[bool, key("Allow `#`.")] = False
    slash: Annotated[bool, key("Allow `/`.")] = False


class AuthorizationSettings(Section, frozen=True):
    """What clients may publish and subscribe."""

    sources: Annotated[
        tuple[Source, ...],
        key("Sources of rules, in this order, one of each type.", variants=SOURCES, selector=("type",)),
    ] = (BuiltInSource(type="built_in_database"),)
    no_match: Annotated[
        Literal["allow", "deny"], key("What no rule decides: `allow` is blacklist mode, `deny` whitelist mode.")
    ] = "allow"
    deny_action: Annotated[
        Literal["ignore", "disconnect"], key("What a denied client gets: an answer, or the end of its connection.")
    ] = "ignore"
    cache: Annotated[DecisionCache, key("Cache of decisions.")] = field(default_factory=DecisionCache)
    include_mountpoint: Annotated[bool, key("Rules see the mountpoint before the topic.")] = False
    ignore_backend_failures: Annotated[bool, key("Hardened profile: ask the next one when a server fails.")] = False
    topic_template_allow: Annotated[TopicTemplateAllow, key("Values of placeholders.")] = field(
        default_factory=TopicTemplateAllow
    )
    node_cache: Annotated[NodeCache, key("Cache of remote answers.")] = field(default_factory=NodeCache)
    subscribe_match: Annotated[
        Literal["strict", "strict_overlap", "emqx"],
        key(
            "How a rule must cover the filter of a subscription: wholly, wholly with denials on any overlap, "
            "or as EMQX."
        ),
    ] = "strict"
    on_revoke: Annotated[
        Literal["unsubscribe", "disconnect", "ignore"], key("What happens to a subscription that lost its right.")
    ] = "unsubscribe"
    sys_topics: Annotated[
        Literal["loopback", "everyone", "nobody"], key("Who may subscribe `$SYS` topics where no rule decides.")
    ] = "loopback"


class PskAuthentication(Section, frozen=True):
    """Pre-shared keys of TLS."""

    enable: Annotated[bool, key("Whether they are accepted.")] = False
    init_file: Annotated[str, key("Lines of identity and secret.")] = ""
    separator: Annotated[str, key("What stands between them.", pattern=".")] = ":"
    chunk_size: Annotated[int, key("Lines loaded at a time.", low=1)] = 50


class BannedSettings(Section, frozen=True):
    """Bans."""

    bootstrap_file: Annotated[str, key("CSV of bans, loaded into an empty table at start.")] = ""


class ApiKeySettings(Section, frozen=True):
    """Keys of the API."""

    bootstrap_file: Annotated[
        str, key("Lines `key:secret[:role[:scopes]]`, loaded at start; a bad line loads none of them.")
    ] = ""
