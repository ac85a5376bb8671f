"""Keys of what an operator sees: logs, audit, traces, slow subscriptions, alarms and Prometheus."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import field

from pybroker.config.keys import Section, key
from pybroker.config.units import TIME_OFFSET, TIME_OFFSET_HINT, ByteSize, Duration, Rate

LogLevel = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
LogFormatter = Literal["text", "json"]


class LogConsole(Section, frozen=True):
    """Log lines on the standard error stream."""

    enable: Annotated[bool, key("Whether lines are written.")] = True
    level: Annotated[LogLevel, key("Least level that is written.")] = "info"
    formatter: Annotated[LogFormatter, key("For people or for programs.")] = "text"


class LogFile(Section, frozen=True):
    """Log lines in a file."""

    enable: Annotated[bool, key("Whether lines are written.")] = False
    level: Annotated[LogLevel, key("Least level that is written.")] = "info"
    formatter: Annotated[LogFormatter, key("For people or for programs.")] = "text"
    path: Annotated[str, key("The file; empty: `log/pybroker.log` in the data folder.", needs_restart=True)] = ""
    rotation_size: Annotated[
        ByteSize | None, key("Size at which a new file is begun.", low=1024, word="infinity", needs_restart=True)
    ] = ByteSize(50 << 20)
    rotation_count: Annotated[int, key("Old files that are kept.", low=1, high=128, needs_restart=True)] = 10


class LogAudit(Section, frozen=True):
    """Record of what operators did."""

    enable: Annotated[bool, key("Whether it is kept.")] = False
    path: Annotated[str, key("The file; empty: `log/audit.log` in the data folder.", needs_restart=True)] = ""
    rotation_count: Annotated[int, key("Old files that are kept.", low=1, high=128, needs_restart=True)] = 10
    rotation_size: Annotated[
        ByteSize | None, key("Size at which a new file is begun.", low=1024, word="infinity", needs_restart=True)
    ] = ByteSize(50 << 20)
    cache_size: Annotated[int, key("Newest records that the API shows.", low=10, high=30_000)] = 5_000
    ignore_high_frequency_request: Annotated[bool, key("Leave out publish, subscribe and the like.")] = True
    time_offset: Annotated[
        str, key("Time zone of the file.", pattern=TIME_OFFSET, hint=TIME_OFFSET_HINT, needs_restart=True)
    ] = "system"
    timestamp_format: Annotated[
        Literal["auto", "epoch", "rfc3339"],
        key("Times in the file: `epoch` in microseconds, else as text.", needs_restart=True),
    ] = "auto"


class LogSettings(Section, frozen=True):
    """Logs."""

    console: Annotated[LogConsole, key("Standard error stream.")] = field(default_factory=LogConsole)
    file: Annotated[LogFile, key("File.")] = field(default_factory=LogFile)
    audit: Annotated[LogAudit, key("What operators did.")] = field(default_factory=LogAudit)


class PushGateway(Section, frozen=True):
    """Gateway that metrics are pushed to."""

    enable: Annotated[bool, key("Whether they are pushed.")] = False
    url: Annotated[str, key("Its address.")] = "http://127.0.0.1:9091"
    interval: Annotated[Duration, key("Pause between pushes.", low=1_000)] = Duration(15_000)
    method: Annotated[Literal["put", "post"], key("Replace what is there, or add.")] = "put"
    headers: Annotated[Mapping[str, str], key("Headers of the request.", is_secret=True)] = field(default_factory=dict)
    job_name: Annotated[str, key("Label `job`.")] = "${name}/instance/${name}~${host}"


class NamespacedMetricsLimiter(Section, frozen=True):
    """Guard of the scrape of all namespaces."""

    rate: Annotated[Rate | None, key("Scrapes that are answered.", word="infinity")] = Rate(1, 5_000)


class PrometheusSettings(Section, frozen=True):
    """Metrics for Prometheus."""

    enable_basic_auth: Annotated[bool, key("Ask scrapers for an API key.")] = True
    compat_names: Annotated[bool, key("Names of EMQX for per-namespace series.")] = True
    push_gateway: Annotated[PushGateway, key("Gateway.")] = field(default_factory=PushGateway)
    collectors: Annotated[
        Mapping[str, str], key("Collectors of EMQX's virtual machine.", hint='table of name = "enabled" or "disabled"')
    ] = field(default_factory=dict)
    latency_buckets: Annotated[tuple[Duration, ...], key("Bounds of the latency histograms.")] = tuple(
        Duration(ms) for ms in (10, 100, 1_000, 5_000, 30_000)
    )
    namespaced_metrics_limiter: Annotated[NamespacedMetricsLimiter, key("Scrape of all namespaces.")] = field(
        default_factory=NamespacedMetricsLimiter
    )


class TraceSettings(Section, frozen=True):
    """Traces of clients, topics and addresses."""

    max_traces: Annotated[int, key("Traces at a time.", low=1)] = 30
    max_file_size: Annotated[ByteSize, key("Size at which a trace ends.", low=1024)] = ByteSize(128 << 20)


class SlowSubscriptions(Section, frozen=True):
    """Subscriptions that receive late."""

    enable: Annotated[bool, key("Whether delays are measured.")] = False
    threshold: Annotated[Duration, key("Delay that counts as slow.", low=1)] = Duration(500)
    expire_interval: Annotated[Duration, key("How long a slow one is listed.", low=1_000)] = Duration(300_000)
    top_k_num: Annotated[int, key("How many are listed.", low=1, high=1_000)] = 10
    stats_type: Annotated[
        Literal["whole", "internal", "response"],
        key("From arrival to acknowledgement, to sending, or from sending on."),
    ] = "whole"


class AlarmSettings(Section, frozen=True):
    """Alarms."""

    size_limit: Annotated[int, key("Past alarms that are kept.", low=1, high=3_000)] = 1_000
    validity_period: Annotated[Duration, key("How long they are kept.", low=1_000)] = Duration(86_400_000)
