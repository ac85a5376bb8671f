"""Every command of `pybroker ctl`. What the broker does for each stands in `handlers/`, under the same name."""

from typing import Any

from pybroker.ctl.table import Command, Parameter

MAX_LIMIT = 1_000
"""Rows of a page; more would keep the loop of the broker busy for too long."""


def _word(name: str, about: str, **rest: Any) -> Parameter:
    return Parameter(name=name, about=about, is_required=rest.pop("is_required", True), **rest)


def _option(name: str, about: str, **rest: Any) -> Parameter:
    return Parameter(name=name, about=about, is_option=True, **rest)


_PAGE = (
    _option("page", "Which page, from 1 on.", kind="number", default=1),
    _option("limit", f"Rows of a page, {MAX_LIMIT:,} at most.", kind="number", default=100),
)
_CLIENT_ID = _word("client_id", "Client id.")
_TOPIC = _word("topic", "Topic filter.")
_LISTENER = _word("listener", "Listener, such as tcp:default.")
_USER = _word("username", "Name of the user.")
_KEY = _option("name", "Name of the key.", is_required=True)
_TRACE = _word("name", "Name of the trace.")
_BAN_KINDS = ("clientid", "username", "peerhost", "clientid_re", "username_re", "peerhost_net")
_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_BOOLEANS = ("true", "false")

_KEY_COLUMNS = ("name", "api_key", "role", "namespace", "enable", "expired_at")
_SUBSCRIPTION_COLUMNS = ("clientid", "topic", "qos", "nl", "rap", "rh")

COMMANDS: tuple[Command, ...] = (
    Command(name="status", summary="Show whether the broker runs, and how busy it is."),
    Command(name="broker", summary="Show what the broker is."),
    Command(name="broker stats", summary="Show its levels."),
    Command(name="broker metrics", summary="Show its counters."),
    Command(
        name="clients list",
        summary="List clients.",
        parameters=(
            *_PAGE,
            _option("like_clientid", "Part of the client id."),
            _option("username", "User name."),
            _option("state", "Whether they are connected.", choices=("connected", "disconnected")),
        ),
        columns=("clientid", "username", "connected", "ip_address", "proto_ver", "subscriptions_cnt", "mqueue_len"),
    ),
    Command(name="clients show", summary="Show one client.", parameters=(_CLIENT_ID,)),
    Command(
        name="clients kick",
        summary="End a client's connection and session.",
        parameters=(_CLIENT_ID,),
        changes="state",
    ),
    Command(
        name="subscriptions list",
        summary="List subscriptions.",
        parameters=(*_PAGE, _option("topic", "Topic filter, as subscribed.")),
        columns=_SUBSCRIPTION_COLUMNS,
    ),
    Command(
        name="subscriptions show",
        summary="List the subscriptions of a client.",
        parameters=(_CLIENT_ID,),
        columns=_SUBSCRIPTION_COLUMNS,
    ),
    Command(
        name="subscriptions add",
        summary="Subscribe a client.",
        parameters=(_CLIENT_ID, _TOPIC, _word("qos", "0, 1 or 2.", kind="number", is_required=False, default=0)),
        changes="state",
    ),
    Command(
        name="subscriptions del",
        summary="Unsubscribe a client.",
        parameters=(_CLIENT_ID, _TOPIC),
        changes="state",
    ),
    Command(
        name="topics list",
        summary="List the filters that somebody subscribes to.",
        parameters=_PAGE,
        columns=("topic",),
    ),
    Command(name="topics show", summary="Show one of them.", parameters=(_TOPIC,)),
    Command(
        name="listeners",
        summary="List listeners.",
        columns=("id", "bind", "enable", "running", "current_connections", "max_connections"),
    ),
    Command(name="listeners start", summary="Open a listener.", parameters=(_LISTENER,), changes="configuration"),
    Command(
        name="listeners stop",
        summary="Close a listener and its connections.",
        parameters=(_LISTENER,),
        changes="configuration",
    ),
    Command(
        name="listeners restart",
        summary="Close a listener and its connections, and open it again.",
        parameters=(_LISTENER,),
        changes="configuration",
    ),
    Command(
        name="listeners enable",
        summary="Open or close a listener, now and at every start.",
        parameters=(_LISTENER, _word("enable", "true or false.", choices=_BOOLEANS)),
        changes="configuration",
    ),
    Command(
        name="admins list",
        summary="List the users of the dashboard.",
        columns=("username", "role", "namespace", "description", "mfa"),
    ),
    Command(
        name="admins add",
        summary="Create a user of the dashboard.",
        parameters=(
            _USER,
            _word("password", "Password; asked for if it is left out.", kind="secret", is_required=False),
            _word("description", "What the user is for.", is_required=False, default=""),
            _word(
                "role",
                "administrator, viewer, or one of a namespace: ns:NAME::viewer.",
                is_required=False,
                default="administrator",
            ),
        ),
        changes="state",
    ),
    Command(
        name="admins passwd",
        summary="Set a password without the old one, and lift a lock.",
        parameters=(_USER, _word("password", "Asked for if it is left out.", kind="secret", is_required=False)),
        changes="state",
    ),
    Command(
        name="admins del",
        summary="Delete a user, the default administrator too.",
        parameters=(_USER, _word("backend", "Where the user is from.", is_required=False, default="local")),
        changes="state",
    ),
    Command(
        name="admins mfa",
        summary="Switch the second factor of a user on or off.",
        parameters=(
            _USER,
            _word("action", "enable or disable.", choices=("enable", "disable")),
            _word("mechanism", "Only totp.", is_required=False, default="totp", choices=("totp",)),
        ),
        changes="state",
    ),
    Command(name="api_keys list", summary="List API keys.", columns=_KEY_COLUMNS, prints_json=True),
    Command(name="api_keys show", summary="Show one key.", parameters=(_KEY,), prints_json=True),
    Command(
        name="api_keys add",
        summary="Make a key; a generated secret is shown once.",
        parameters=(
            _KEY,
            _option("api_secret", "Secret of 32 bytes or more; generated if it is left out.", kind="secret"),
            _option("valid_days", "Days until it ends, or infinity.", default="infinity"),
            _option("role", "administrator, viewer or publisher, also of a namespace.", default="administrator"),
            _option("desc", "What it is for.", default=""),
            _option("scopes", "Names with commas between them; by default those of the role."),
        ),
        changes="state",
        prints_json=True,
    ),
    Command(
        name="api_keys enable", summary="Let a key be used.", parameters=(_KEY,), changes="state", prints_json=True
    ),
    Command(
        name="api_keys disable", summary="Let a key not be used.", parameters=(_KEY,), changes="state", prints_json=True
    ),
    Command(name="api_keys del", summary="Delete a key.", parameters=(_KEY,), changes="state", prints_json=True),
    Command(name="banned list", summary="List bans.", columns=("as", "who", "by", "reason", "at", "until")),
    Command(
        name="banned add",
        summary="Ban clients; who is connected is disconnected.",
        parameters=(
            _word("as", "What WHO is.", choices=_BAN_KINDS),
            _word("who", "Name, address, network or regular expression."),
            _option("reason", "Why.", default=""),
            _option("until", "RFC 3339 time, epoch seconds, or infinity.", default="infinity"),
        ),
        changes="state",
    ),
    Command(
        name="banned del",
        summary="Lift a ban.",
        parameters=(_word("as", "What WHO is.", choices=_BAN_KINDS), _word("who", "As it was banned.")),
        changes="state",
    ),
    Command(name="banned clear", summary="Lift every ban.", changes="state"),
    Command(
        name="authz cache-clean",
        summary="Forget access decisions that are kept.",
        parameters=(_word("who", "Client id; `all`, or nothing: of every client.", is_required=False, default="all"),),
        changes="state",
    ),
    Command(
        name="authz reload",
        summary="Read the file of access rules again, after it was changed on the disk.",
        changes="configuration",
    ),
    Command(name="retained info", summary="Show how many messages are retained."),
    Command(
        name="retained topics",
        summary="List the topics of retained messages.",
        parameters=(*_PAGE, _option("topic", "Filter that they match.")),
        columns=("topic", "qos"),
    ),
    Command(name="retained show", summary="Show one retained message.", parameters=(_word("topic", "Its topic."),)),
    Command(
        name="retained clean",
        summary="Delete retained messages.",
        parameters=(_word("topic", "Filter that they match; every one if it is left out.", is_required=False),),
        changes="state",
    ),
    Command(
        name="traces list",
        summary="List traces.",
        columns=("name", "type", "status", "start_at", "end_at", "log_size"),
    ),
    Command(
        name="traces start",
        summary="Follow a client, a topic or an address for some time, into a file.",
        parameters=(
            _TRACE,
            _word("type", "What VALUE is.", choices=("clientid", "topic", "ip_address")),
            _word("value", "Client id, topic filter or address."),
            _word("duration_s", "Seconds until it ends.", kind="number", is_required=False, default=600),
            _option("payload", "How payloads are written.", default="text", choices=("text", "hex", "hidden")),
        ),
        changes="state",
    ),
    Command(name="traces stop", summary="End a trace; its file stays.", parameters=(_TRACE,), changes="state"),
    Command(name="traces delete", summary="Delete a trace with its file.", parameters=(_TRACE,), changes="state"),
    Command(name="traces log", summary="Show what was traced, its first MiB.", parameters=(_TRACE,)),
    Command(name="log", summary="Show where log lines go, and from which level on.", columns=("id", "enable", "level")),
    Command(
        name="log level",
        summary="Set the least level that is written.",
        parameters=(
            _word("level", "Level.", choices=_LEVELS),
            _option("target", "Only there.", choices=("console", "file")),
        ),
        changes="configuration",
    ),
    Command(name="license info", summary="Show the connection quota."),
    Command(
        name="license update",
        summary="Take a licence key; none is needed.",
        parameters=(_word("key", "The key.", kind="secret"),),
        changes="state",
    ),
    Command(
        name="license history",
        summary="Show the most sessions of days or months.",
        parameters=(
            _word("limit", "How many.", kind="number", is_required=False),
            _option("period", "Which.", default="monthly", choices=("daily", "monthly")),
        ),
        columns=("period", "high_watermark", "observed_at"),
    ),
    Command(
        name="conf show",
        summary="Show the configuration that is in effect; secrets are masked.",
        parameters=(_word("key", "Only this key or what is below it.", is_required=False),),
        prints_json=True,
    ),
    Command(name="conf show_keys", summary="List the top-level keys."),
    Command(
        name="conf load",
        summary="Put a file of HOCON or JSON over the configuration.",
        parameters=(
            _word("path", "The file.", kind="file"),
            _option("replace", "Roots of the file return to their defaults first.", kind="flag", default=False),
            _option("merge", "Keys that the file does not have stay; so by default.", kind="flag", default=False),
        ),
        changes="configuration",
    ),
    Command(
        name="conf reload",
        summary="Read the file and the environment that the broker was started with again.",
        changes="configuration",
    ),
    Command(name="audit verify", summary="Check the chain of the audit log; works while no broker runs too."),
)
"""In the order in which the help shows them."""

BY_NAME = {command.name: command for command in COMMANDS}

ALIASES = {"retainer": "retained", "trace": "traces"}
"""Groups by their names in EMQX, where those are others."""
