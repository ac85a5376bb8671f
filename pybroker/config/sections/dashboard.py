"""Keys of the HTTP side: listeners, accounts and sign-on of the dashboard and the API."""

from typing import Annotated, Literal

from msgspec import field

from pybroker.config.address import Bind
from pybroker.config.keys import Section, key
from pybroker.config.sections.access import HttpSslOptions
from pybroker.config.sections.listener import SslOptions
from pybroker.config.units import Duration


class HttpListener(Section, frozen=True):
    """Plain HTTP."""

    bind: Annotated[
        Bind, key("Where to listen; port 0: off. A bare port in the hardened profile: for this machine only.")
    ] = Bind("127.0.0.1", 18083)
    num_acceptors: Annotated[int, key("Accepted for files of EMQX.", low=1, high=65535)] = 8
    max_connections: Annotated[int, key("Connections at a time.", low=1)] = 512
    backlog: Annotated[int, key("Connections that may wait to be accepted.", low=1, high=65535)] = 1024
    send_timeout: Annotated[Duration, key("Cut off a client that takes nothing of its reply for so long.", low=1)] = (
        Duration(10_000)
    )
    inet6: Annotated[bool, key("Listen on IPv6 where `bind` is a plain port.")] = False
    ipv6_v6only: Annotated[bool, key("Do not accept IPv4 on an IPv6 address.")] = False
    proxy_header: Annotated[bool, key("Expect a PROXY protocol header; not available here.")] = False


class HttpsListener(HttpListener, frozen=True):
    """HTTP over TLS."""

    bind: Annotated[Bind, key("Where to listen; port 0: off.")] = Bind("127.0.0.1", 0)
    ssl_options: Annotated[SslOptions, key("TLS.")] = field(default_factory=SslOptions)


class DashboardListeners(Section, frozen=True):
    """Where dashboard and API are served."""

    http: Annotated[HttpListener, key("Plain HTTP.")] = field(default_factory=HttpListener)
    https: Annotated[HttpsListener, key("HTTP over TLS.")] = field(default_factory=HttpsListener)


class DefaultMfa(Section, frozen=True, kw_only=True):
    """Second factor of new users."""

    mechanism: Annotated[Literal["totp"], key("Kind of second factor.")]


class SsoBackend(Section, frozen=True):
    """Keys of every sign-on backend."""

    enable: Annotated[bool, key("Whether it may be used.")] = False
    force_mfa: Annotated[bool, key("Ask its users for a second factor.")] = False


class LdapSso(SsoBackend, frozen=True):
    """Sign-on by a directory."""

    backend: Annotated[Literal["ldap"], key("Kind of backend.")] = "ldap"
    server: Annotated[str, key("Host and port.")] = ""
    pool_size: Annotated[int, key("Connections kept open.", low=1, high=1024)] = 8
    username: Annotated[str, key("Name the broker binds as.")] = ""
    password: Annotated[str, key("Its password, or `file://` and a path.", is_secret=True)] = ""
    request_timeout: Annotated[Duration, key("Longest wait for an answer.", low=1)] = Duration(10_000)
    query_timeout: Annotated[Duration, key("Longest search.", low=1)] = Duration(5_000)
    base_dn: Annotated[str, key("Where to search.")] = ""
    filter: Annotated[str, key("What to search for.")] = "(& (objectClass=person) (uid=${username}))"
    ssl: Annotated[HttpSslOptions, key("TLS.")] = field(default_factory=HttpSslOptions)


class SamlSso(SsoBackend, frozen=True):
    """Sign-on by SAML."""

    backend: Annotated[Literal["saml"], key("Kind of backend.")] = "saml"
    dashboard_addr: Annotated[str, key("Address of the dashboard as browsers see it.")] = "https://127.0.0.1:18083"
    idp_metadata_url: Annotated[str, key("Metadata of the identity provider.")] = ""
    sp_sign_request: Annotated[bool, key("Sign requests.")] = False
    sp_public_key: Annotated[str, key("Own certificate.")] = ""
    sp_private_key: Annotated[str, key("Key of the own certificate.", is_secret=True)] = ""
    idp_signs_envelopes: Annotated[
        bool | None, key("Require signed answers; `default`: by profile.", word="default")
    ] = None
    idp_signs_assertions: Annotated[
        bool | None, key("Require signed assertions; `default`: by profile.", word="default")
    ] = None


class OidcSso(SsoBackend, frozen=True):
    """Sign-on by OpenID Connect."""

    backend: Annotated[Literal["oidc"], key("Kind of backend.")] = "oidc"
    issuer: Annotated[str, key("Address of the identity provider.")] = ""
    clientid: Annotated[str, key("Name of the broker there.")] = ""
    secret: Annotated[str, key("Its secret.", is_secret=True)] = ""
    scopes: Annotated[tuple[str, ...], key("Scopes that are asked for.")] = ("openid",)
    name_var: Annotated[str, key("Claim that is the user name.")] = "${sub}"
    name_var_source: Annotated[Literal["userinfo", "id_token"], key("Where that claim is.")] = "userinfo"
    role_source: Annotated[Literal["userinfo", "id_token"], key("Where the role is.")] = "userinfo"
    role_expr: Annotated[str, key("Expression that yields the role; empty: as stored.")] = ""
    namespace_source: Annotated[Literal["userinfo", "id_token"], key("Where the namespace is.")] = "userinfo"
    namespace_expr: Annotated[str, key("Expression that yields the namespace; empty: as stored.")] = ""
    dashboard_addr: Annotated[str, key("Address of the dashboard as browsers see it.")] = "http://127.0.0.1:18083"
    session_expiry: Annotated[Duration, key("Time to finish a sign-on.", low=1_000)] = Duration(30_000)
    require_pkce: Annotated[bool, key("Require PKCE.")] = False
    preferred_auth_methods: Annotated[tuple[str, ...], key("Methods of client authentication, best first.")] = ()
    provider: Annotated[Literal["generic", "okta"], key("Kind of provider.")] = "generic"
    fallback_methods: Annotated[tuple[str, ...], key("Signatures accepted where the provider names none.")] = ("RS256",)
    client_jwks: Annotated[str | None, key("Key set of the broker.", word="none", is_secret=True)] = None
    ssl: Annotated[HttpSslOptions, key("TLS.")] = field(default_factory=HttpSslOptions)


class SsoSettings(Section, frozen=True):
    """Sign-on by other systems."""

    ldap: Annotated[LdapSso, key("Directory.")] = field(default_factory=LdapSso)
    saml: Annotated[SamlSso, key("SAML.")] = field(default_factory=SamlSso)
    oidc: Annotated[OidcSso, key("OpenID Connect.")] = field(default_factory=OidcSso)


class DashboardSettings(Section, frozen=True):
    """Dashboard and API."""

    listeners: Annotated[DashboardListeners, key("Where they are served.", needs_restart=True)] = field(
        default_factory=DashboardListeners
    )
    default_username: Annotated[
        str,
        key("Administrator that is made at the first start; empty: none.", needs_restart=True, pattern="[A-Za-z0-9_]*"),
    ] = "admin"
    default_password: Annotated[
        str | None,
        key("Its password; `generate`: made up and printed once.", word="generate", is_secret=True, needs_restart=True),
    ] = None
    token_expired_time: Annotated[Duration, key("Life of a token, from its last use.", low=1_000)] = Duration(3_600_000)
    password_expired_time: Annotated[Duration, key("Age at which a password must be changed; 0s: never.")] = Duration(0)
    cors: Annotated[bool, key("Answer pages of other origins.")] = False
    swagger_support: Annotated[bool, key("Serve the description of the API.", needs_restart=True)] = True
    sample_interval: Annotated[
        Duration, key("Pause between points of the time series; a divisor of 60s.", low=1_000, high=60_000)
    ] = Duration(10_000)
    hwmark_expire_time: Annotated[Duration, key("How long the peak of sessions is remembered.", low=1_000)] = Duration(
        604_800_000
    )
    default_mfa: Annotated[DefaultMfa | None, key("Second factor of new users.", word="none")] = None
    unsuccessful_login_max_attempts: Annotated[int, key("Wrong passwords that lock an account.", low=1)] = 5
    unsuccessful_login_interval: Annotated[Duration, key("Time in which they are counted.", low=1_000)] = Duration(
        300_000
    )
    unsuccessful_login_lock_duration: Annotated[Duration, key("How long the lock holds.", low=1_000)] = Duration(
        600_000
    )
    sso: Annotated[SsoSettings, key("Sign-on by other systems.")] = field(default_factory=SsoSettings)
