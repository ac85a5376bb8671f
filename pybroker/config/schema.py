"""The whole configuration: one frozen struct, the single source for file, environment, `--set`, API and reference page.

Sections stand in `pybroker.config.sections`; this module puts them together and re-exports what other parts need. A key
that holds a quantity is a number in its type's unit (`Duration`: ms, `ByteSize`: bytes); `None` is the key's word, such
as `infinity`. Which keys are accepted and do nothing says `pybroker.config.inert`.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import field

from pybroker.config.address import AccessRule, Bind, KeepaliveProbe
from pybroker.config.keys import Section, key
from pybroker.config.sections.access import (
    AUTHENTICATORS,
    ApiKeySettings,
    AuthenticationSettings,
    Authenticator,
    AuthorizationSettings,
    BannedSettings,
    PskAuthentication,
)
from pybroker.config.sections.dashboard import DashboardSettings, HttpListener, HttpsListener
from pybroker.config.sections.listener import (
    AnyListener,
    Listener,
    Listeners,
    ListenerType,
    SslListener,
    SslOptions,
    TcpListener,
    TcpOptions,
    UnixListener,
    WebsocketOptions,
    WsListener,
    WssListener,
    listener_id,
)
from pybroker.config.sections.mqtt import (
    DelayedSettings,
    FlappingDetect,
    MqttSettings,
    RetainerSettings,
    SysEventMessages,
    SysTopics,
    Zone,
)
from pybroker.config.sections.namespace import LicenseSettings, LimiterSettings, MultiTenancy
from pybroker.config.sections.observe import (
    AlarmSettings,
    LogConsole,
    LogFile,
    LogSettings,
    PrometheusSettings,
    SlowSubscriptions,
    TraceSettings,
)
from pybroker.config.units import ByteRate, ByteSize, Duration, Percent, Rate

__all__ = [
    "AccessRule",
    "AnyListener",
    "Bind",
    "ByteRate",
    "ByteSize",
    "Config",
    "Duration",
    "FlappingDetect",
    "HttpListener",
    "HttpsListener",
    "KeepaliveProbe",
    "Listener",
    "ListenerType",
    "Listeners",
    "LogConsole",
    "LogFile",
    "LogSettings",
    "MqttSettings",
    "NodeSettings",
    "Percent",
    "Rate",
    "RetainerSettings",
    "SslListener",
    "SslOptions",
    "SysEventMessages",
    "SysTopics",
    "TcpListener",
    "TcpOptions",
    "UnixListener",
    "WebsocketOptions",
    "WsListener",
    "WssListener",
    "Zone",
    "listener_id",
]


class NodeSettings(Section, frozen=True):
    """This process."""

    name: Annotated[
        str,
        key(
            "Name of the node, part of `$SYS` topics.",
            pattern="[A-Za-z0-9_-]+@[A-Za-z0-9_.:-]+",
            hint="name@host",
            needs_restart=True,
        ),
    ] = "pybroker@127.0.0.1"
    data_dir: Annotated[
        str,
        key(
            "Folder of everything that is stored, relative to the working directory.", pattern=".+", needs_restart=True
        ),
    ] = "data"
    io_threads: Annotated[
        int | None,
        key(
            "Threads that move bytes; `auto`: one a core, at most 8; 0: none, the event loop does it.",
            low=0,
            high=64,
            word="auto",
            needs_restart=True,
        ),
    ] = None
    coalesce_us: Annotated[
        int,
        key("Microseconds that a thread waits for more work under load; saves CPU, costs delay.", low=0, high=10_000),
    ] = 0


class Config(Section, frozen=True):
    """Every key of the broker."""

    allow_anonymous: Annotated[
        bool | None,
        key(
            "Whether clients without a user name may enter. `auto`: yes while only this machine can reach the "
            "listeners and no authenticator is configured.",
            word="auto",
        ),
    ] = None
    security_profile: Annotated[
        Literal["legacy", "hardened"],
        key("What happens in doubt; also read from `PYBROKER_SECURITY_PROFILE`.", needs_restart=True),
    ] = "legacy"
    node: Annotated[NodeSettings, key("This process.")] = field(default_factory=NodeSettings)
    listeners: Annotated[Listeners, key("MQTT listeners.")] = field(default_factory=Listeners)
    mqtt: Annotated[MqttSettings, key("The protocol.")] = field(default_factory=MqttSettings)
    zones: Annotated[Mapping[str, Zone], key("Settings by zone.")] = field(default_factory=dict)
    retainer: Annotated[RetainerSettings, key("Retained messages.")] = field(default_factory=RetainerSettings)
    delayed: Annotated[DelayedSettings, key("Delayed messages.")] = field(default_factory=DelayedSettings)
    sys_topics: Annotated[SysTopics, key("Topics below `$SYS`.")] = field(default_factory=SysTopics)
    authentication: Annotated[
        tuple[Authenticator, ...],
        key(
            "Authenticators, in this order, one of each kind.",
            variants=AUTHENTICATORS,
            selector=("mechanism", "backend"),
        ),
    ] = ()
    authentication_settings: Annotated[AuthenticationSettings, key("The whole chain.")] = field(
        default_factory=AuthenticationSettings
    )
    authorization: Annotated[AuthorizationSettings, key("What clients may do.")] = field(
        default_factory=AuthorizationSettings
    )
    psk_authentication: Annotated[PskAuthentication, key("Pre-shared keys.")] = field(default_factory=PskAuthentication)
    banned: Annotated[BannedSettings, key("Bans.")] = field(default_factory=BannedSettings)
    flapping_detect: Annotated[FlappingDetect, key("Clients that connect too often.")] = field(
        default_factory=FlappingDetect
    )
    multi_tenancy: Annotated[MultiTenancy, key("Namespaces.")] = field(default_factory=MultiTenancy)
    limiter: Annotated[LimiterSettings, key("Limits of namespaces and clients.")] = field(
        default_factory=LimiterSettings
    )
    license: Annotated[LicenseSettings, key("Quota of connections.")] = field(default_factory=LicenseSettings)
    dashboard: Annotated[DashboardSettings, key("Dashboard and API.")] = field(default_factory=DashboardSettings)
    api_key: Annotated[ApiKeySettings, key("Keys of the API.")] = field(default_factory=ApiKeySettings)
    log: Annotated[LogSettings, key("Logs.")] = field(default_factory=LogSettings)
    prometheus: Annotated[PrometheusSettings, key("Metrics for Prometheus.")] = field(
        default_factory=PrometheusSettings
    )
    trace: Annotated[TraceSettings, key("Traces.")] = field(default_factory=TraceSettings)
    slow_subs: Annotated[SlowSubscriptions, key("Slow subscriptions.")] = field(default_factory=SlowSubscriptions)
    alarm: Annotated[AlarmSettings, key("Alarms.")] = field(default_factory=AlarmSettings)

    @property
    def has_authentication(self) -> bool:
        """Whether an authenticator judges clients."""
        return any(authenticator.enable for authenticator in self.authentication)

    @property
    def is_anonymous_allowed(self) -> bool:
        """Whether a client that no authenticator accepted may enter.

        Without authenticators anyone may, unless `allow_anonymous` is false or the profile is hardened; with them
        only clients without a user name, and only if `allow_anonymous` is true.
        """
        if self.security_profile == "hardened":
            return False
        if self.has_authentication:
            return self.allow_anonymous is True
        return self.allow_anonymous is not False
