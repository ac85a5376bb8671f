"""Keys of namespaces, limiters and the connection quota."""

from typing import Annotated, Literal

from pybroker.config.keys import Section, key
from pybroker.config.units import TIME_OFFSET, TIME_OFFSET_HINT, Percent


class MultiTenancy(Section, frozen=True):
    """Namespaces."""

    allow_only_managed_namespaces: Annotated[bool, key("Refuse clients of namespaces that nobody created.")] = False
    default_max_sessions: Annotated[
        int | None, key("Sessions of a namespace that has no limit of its own.", low=1, word="infinity")
    ] = None
    deny_namespaces: Annotated[tuple[str, ...], key("Names that no namespace may have.")] = (
        "global",
        "undefined",
        "null",
        "none",
    )
    post_auth_tns_expression: Annotated[
        str, key("Variform expression that gives the namespace after authentication; empty: off.")
    ] = ""


class LimiterSettings(Section, frozen=True):
    """Limits of namespaces and clients."""

    on_exceed: Annotated[Literal["reject", "pause"], key("Answer 0x97 and drop QoS 0, or stop reading the client.")] = (
        "reject"
    )


class LicenseSettings(Section, frozen=True):
    """The quota of connections; no licence is ever needed."""

    connection_quota: Annotated[int, key("Sessions at which the alarm counts 100 %; 0: no quota.", low=0)] = 0
    connection_low_watermark: Annotated[Percent, key("The alarm ends below it.")] = Percent(75)
    connection_high_watermark: Annotated[Percent, key("The alarm is raised above it.")] = Percent(80)
    high_watermark_timezone: Annotated[
        str, key("Time zone of the daily and monthly peaks.", pattern=TIME_OFFSET, hint=TIME_OFFSET_HINT)
    ] = "system"
