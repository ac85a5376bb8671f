"""Checks that look at more than one key, or at the files that a key names. Nothing is written or opened for writing."""

import os
from collections.abc import Iterator

import msgspec

from pybroker.clock import Clock
from pybroker.config.address import Bind
from pybroker.config.decode import show
from pybroker.config.schema import Config, MqttSettings, SslListener, SslOptions, UnixListener, WssListener
from pybroker.errors import ConfigError
from pybroker.variform.compile import Compiler
from pybroker.variform.errors import ExpressionError

_ALLOW_LINE = "allow_anonymous = true"


def find_problems(config: Config) -> list[ConfigError]:
    """Return everything that is wrong between the keys of a configuration, in the order of the schema."""
    return [
        *_open_to_strangers(config),
        *_shared_addresses(config),
        *_tls_files(config),
        *_repeated_kinds(config),
        *_unavailable(config),
        *_order_of_numbers(config),
        *_expressions(config),
    ]


def _open_to_strangers(config: Config) -> Iterator[ConfigError]:
    """Refuse listeners that other machines reach while nobody is asked who he is, unless the operator wants it."""
    if config.allow_anonymous is not None or config.has_authentication or config.security_profile == "hardened":
        return
    for kind, name, listener in config.listeners.each():
        if not listener.enable or isinstance(listener, UnixListener) or listener.bind.is_loopback:
            continue
        yield ConfigError(
            f"listeners.{kind}.{name}.bind",
            f"{listener.bind.render()} is reachable from other machines and no authentication is in effect; bind a "
            f"loopback address, or add this line at the top of the file to let everybody in: {_ALLOW_LINE}",
        )


def _shared_addresses(config: Config) -> Iterator[ConfigError]:
    bound: list[tuple[str, Bind | str]] = [
        (f"listeners.{kind}.{name}.bind", listener.bind)
        for kind, name, listener in config.listeners.each()
        if listener.enable
    ]
    dashboard = config.dashboard.listeners
    bound += [
        (f"dashboard.listeners.{name}.bind", listener.bind)
        for name, listener in (("http", dashboard.http), ("https", dashboard.https))
        if listener.bind.port
    ]
    for index, (path, address) in enumerate(bound):
        for earlier, other in bound[:index]:
            if isinstance(address, Bind) and isinstance(other, Bind):
                is_shared = address.overlaps(other)
            else:
                is_shared = address == other
            if is_shared:
                found = address.render() if isinstance(address, Bind) else address
                yield ConfigError(
                    path, f"found {show(found)}, which {earlier} has taken; choose another address or port"
                )


def _tls_files(config: Config) -> Iterator[ConfigError]:
    for kind, name, listener in config.listeners.each():
        if listener.enable and isinstance(listener, SslListener | WssListener):
            yield from _ssl_options(f"listeners.{kind}.{name}.ssl_options", listener.ssl_options)
    https = config.dashboard.listeners.https
    if https.bind.port:
        yield from _ssl_options("dashboard.listeners.https.ssl_options", https.ssl_options)


def _ssl_options(path: str, options: SslOptions) -> Iterator[ConfigError]:
    for name in ("certfile", "keyfile"):
        if not getattr(options, name):
            yield ConfigError(f"{path}.{name}", "must be set: path of a PEM file that can be read")
    if options.verify == "verify_peer" and not options.cacertfile:
        yield ConfigError(f"{path}.cacertfile", "must be set with verify_peer: path of a PEM file that can be read")
    if options.fail_if_no_peer_cert and options.verify == "verify_none":
        yield ConfigError(f"{path}.fail_if_no_peer_cert", 'found true, allowed: true only with verify = "verify_peer"')
    if not options.versions:
        yield ConfigError(f"{path}.versions", "found [], allowed: at least one version")
    for name in ("certfile", "keyfile", "cacertfile", "crlfile"):
        file = getattr(options, name)
        if file:
            yield from _readable(f"{path}.{name}", file)


def _readable(path: str, file: str) -> Iterator[ConfigError]:
    try:
        with open(file, "rb"):
            return
    except OSError as error:
        reason = (error.strerror or "error").lower()
    yield ConfigError(path, f"found {show(file)}, allowed: path of a file that can be read ({reason})")


def _repeated_kinds(config: Config) -> Iterator[ConfigError]:
    kinds = [f"{item.mechanism}:{getattr(item, 'backend', '')}" for item in config.authentication]
    types = [source.type for source in config.authorization.sources]
    for path, names in (("authentication", kinds), ("authorization.sources", types)):
        for index, name in enumerate(names):
            if name in names[:index]:
                yield ConfigError(
                    f"{path}[{index}]", f"found a second {show(name.rstrip(':'))}, allowed: one of each kind"
                )


def _unavailable(config: Config) -> Iterator[ConfigError]:
    if config.psk_authentication.enable:
        yield ConfigError(
            "psk_authentication.enable",
            "found true, allowed: false; the TLS of this broker has no pre-shared keys, use client certificates",
        )
    dashboard = config.dashboard.listeners
    for name, listener in (("http", dashboard.http), ("https", dashboard.https)):
        if listener.proxy_header:
            # Passed over, every request of the proxy would be a malformed one, without a word why.
            yield ConfigError(
                f"dashboard.listeners.{name}.proxy_header",
                "found true, allowed: false; the HTTP listeners do not read the PROXY protocol, let the proxy set "
                "X-Forwarded-For",
            )


def _order_of_numbers(config: Config) -> Iterator[ConfigError]:
    if config.license.connection_low_watermark >= config.license.connection_high_watermark:
        yield ConfigError(
            "license.connection_low_watermark",
            f"found {show(config.license.connection_low_watermark.render())}, allowed: below "
            f"connection_high_watermark ({config.license.connection_high_watermark.render()})",
        )
    if 60_000 % config.dashboard.sample_interval:
        yield ConfigError(
            "dashboard.sample_interval",
            f'found {show(config.dashboard.sample_interval.render())}, allowed: a divisor of 60s, such as "10s"',
        )


def _expressions(config: Config) -> Iterator[ConfigError]:
    """Compile every expression of the client's way in; an empty text is none."""
    texts = [*_mqtt_expressions("mqtt", config.mqtt)]
    for name, zone in config.zones.items():
        over = {key: value for key, value in zone.mqtt.items() if key in ("client_attrs_init", "clientid_override")}
        texts += _mqtt_expressions(f"zones.{name}.mqtt", msgspec.structs.replace(MqttSettings(), **over))
    texts.append(("multi_tenancy.post_auth_tns_expression", config.multi_tenancy.post_auth_tns_expression))
    texts = [(path, text) for path, text in texts if text]
    if not texts:
        return
    compiler = Compiler(Clock())
    for path, text in texts:
        try:
            compiler.compile(text)
        except ExpressionError as error:
            yield ConfigError(path, f"found {show(text)}, which is no expression: {error}")


def _mqtt_expressions(path: str, mqtt: MqttSettings) -> list[tuple[str, str]]:
    texts = [
        (f"{path}.client_attrs_init[{index}].expression", attribute.expression)
        for index, attribute in enumerate(mqtt.client_attrs_init)
    ]
    # An attribute without an expression is a mistake; an override without one is off.
    texts = [(where, text or " ") for where, text in texts]
    return [*texts, (f"{path}.clientid_override", mqtt.clientid_override or "")]


def can_write_below(folder: str) -> bool:
    """Return whether `folder`, or the nearest folder above it that exists, may be written; nothing is created."""
    path = os.path.abspath(folder)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)
