"""Access rules read one by one, as the contract words them: the plain answer that the compiled rules are held to.

Nothing is indexed, shared or split beforehand. Rules, lists and answers have the shapes of `pybroker._core`.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Rule = Mapping[str, Any]
RuleList = tuple[str | None, str, str, Sequence[Rule]]
Verdict = tuple[str, str, str, int]

NO_RULE = ("nomatch", "", "", -1)
CONDITION_KEYS = (
    "clientid",
    "clientid_re",
    "username",
    "username_re",
    "zone",
    "zone_re",
    "listener",
    "listener_re",
    "who",
)
PLACEHOLDER = re.compile(r"\$\{(\$|clientid|username|cert_common_name|zone|client_attrs\.[A-Za-z0-9_.-]+)\}")


@dataclass(frozen=True)
class Settings:
    """How rules are read."""

    subscribe_match: str = "strict"
    profile: str = "legacy"
    template_allow: tuple[str, ...] = ()
    allows_partial_placeholders: bool = False


@dataclass(frozen=True)
class Subject:
    """Who asks."""

    client_id: str = "c1"
    username: str | None = None
    peer_ip: str | None = None
    namespace: str | None = None
    zone: str = "default"
    listener: str = "tcp:default"
    cert_common_name: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    mountpoint: str = ""


@dataclass(frozen=True)
class Asked:
    """What is asked for."""

    action: str
    topic: str
    qos: int = 0
    retain: bool = False


class Unrenderable(Exception):
    """A placeholder has no value (`is_absent`), or one that it must not have."""

    def __init__(self, is_absent: bool) -> None:
        super().__init__(is_absent)
        self.is_absent = is_absent


def check(settings: Settings, lists: Sequence[RuleList], subject: Subject, asked: Asked) -> Verdict:
    """Decide one request."""
    topic = judged(asked.action, asked.topic)
    if topic is None:
        return ("deny", "", "", -1)
    asked = replace(asked, topic=subject.mountpoint + topic)
    stored = {(namespace, kind, name): rules for namespace, kind, name, rules in lists}
    namespace = subject.namespace or None
    if not any(rules for (owner, _, _), rules in stored.items() if owner == namespace):
        namespace = None
    scope = "global" if namespace is None else "namespace"
    for label, kind, name in principals(subject):
        for index, rule in effective(kind, stored.get((namespace, kind, name), [])):
            decision = decide(settings, rule, subject, asked)
            if decision:
                return (decision, scope, label, index)
    return NO_RULE


def judged(action: str, topic: str) -> str | None:
    """Return what rules see of a topic; `None` for a delayed one without a second slash."""
    if action == "subscribe":
        if topic.startswith("$share/"):
            topic = topic.split("/", 2)[2]
        elif topic.startswith(("$queue/", "$exclusive/")):
            topic = topic.split("/", 1)[1]
    if topic.startswith("$delayed/"):
        parts = topic.split("/", 2)
        return parts[2] if len(parts) == 3 else None
    return topic


def principals(subject: Subject) -> Iterator[tuple[str, str, str]]:
    """Yield the lists that concern a client, in order: label, kind, name.

    A client that bears the name of a placeholder has no list of its own: that name means every client.
    """
    if subject.client_id != "${clientid}":
        yield "clientid", "clientid", subject.client_id
    yield "${clientid}", "clientid", "${clientid}"
    if subject.username:
        if subject.username != "${username}":
            yield "username", "username", subject.username
        yield "${username}", "username", "${username}"
    yield "all", "all", ""


def effective(kind: str, rules: Sequence[Rule]) -> list[tuple[int, Rule]]:
    """Return the rules that count: of equal ones the last, at the place of the first; of all users every one."""
    if kind == "all":
        return list(enumerate(rules))
    kept: dict[object, tuple[int, Rule]] = {}
    for index, rule in enumerate(rules):
        kept[identity(rule)] = (index, rule)
    return list(kept.values())


def identity(rule: Rule) -> object:
    """Return what makes two rules equal but for their permission."""
    topics = "all" if rule.get("topics") == "all" else tuple(rule["topics"] if "topics" in rule else [rule["topic"]])
    qos = frozenset(rule.get("qos", (0, 1, 2)))
    retain = "all" if rule["action"] == "subscribe" else rule.get("retain", "all")
    conditions = [repr(rule.get(key)) for key in CONDITION_KEYS]
    networks = rule.get("ipaddr", [])
    addresses = [str(network(text)) for text in ([networks] if isinstance(networks, str) else networks)]
    return (topics, rule["action"], qos, retain, tuple(conditions), tuple(addresses))


def decide(settings: Settings, rule: Rule, subject: Subject, asked: Asked) -> str | None:
    """Return what one rule decides, or `None` if it does not match."""
    if rule["action"] not in (asked.action, "all") or asked.qos not in rule.get("qos", (0, 1, 2)):
        return None
    retain = rule.get("retain", "all")
    if asked.action == "publish" and retain not in ("all", asked.retain):
        return None
    permission: str = rule["permission"]
    if not conditions_hold(rule, settings, subject, is_deny=permission == "deny"):
        return None
    if rule.get("topics") == "all":
        return permission
    topics = rule["topics"] if "topics" in rule else [rule["topic"]]
    is_matched = False
    is_void = False
    for topic in topics:
        try:
            is_matched |= fits(settings, permission, render(settings, topic, subject), asked)
        except Unrenderable as fault:
            if settings.profile == "hardened" and fits(settings, permission, holes(settings, topic, subject), asked):
                return "deny"
            is_void |= not fault.is_absent
    return permission if is_matched and not is_void else None


def conditions_hold(rule: Rule, settings: Settings, subject: Subject, is_deny: bool) -> bool:
    """Return whether every condition of a rule holds."""
    conditions = {
        key: value
        for key, value in rule.items()
        if key
        not in {
            "topic",
            "topics",
            "permission",
            "action",
            "qos",
            "retain",
        }
    }
    return all(condition_holds(key, value, settings, subject, is_deny) for key, value in conditions.items())


def condition_holds(key: str, value: Any, settings: Settings, subject: Subject, is_deny: bool) -> bool:
    """Return whether one condition or clause holds."""
    if key == "who":
        ((inner, wanted),) = value.items()
        return condition_holds(inner, wanted, settings, subject, is_deny)
    if key in ("and", "or"):
        each = (condition_holds("who", clause, settings, subject, is_deny) for clause in value)
        return all(each) if key == "and" else any(each)
    if key == "profile":
        return bool(value == settings.profile)
    if key == "ipaddr":
        return address_holds([value] if isinstance(value, str) else value, subject)
    if key == "client_attr":
        text = subject.attributes.get(value["name"])
        return text_holds(text, value.get("is"), value.get("re"), is_deny)
    texts = {
        "clientid": subject.client_id,
        "username": subject.username or None,
        "zone": subject.zone,
        "listener": subject.listener,
    }
    name = key.removesuffix("_re")
    return text_holds(texts[name], None if name != key else value, value if name != key else None, is_deny)


def text_holds(text: str | None, wanted: str | None, pattern: str | None, is_deny: bool) -> bool:
    """Return whether a text is there and equal, or has the pattern; one too long to be searched sides with denial."""
    if text is None:
        return False
    if pattern is None:
        return text == wanted
    return is_deny if len(text.encode()) > 4096 else re.search(pattern, text) is not None


def address_holds(networks: Sequence[str], subject: Subject) -> bool:
    """Return whether the peer is in one of the networks."""
    if subject.peer_ip is None:
        return False
    address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(subject.peer_ip)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network(text) for text in networks)


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the network that is written, as IPv4 where it lies inside the mapped range."""
    found = ipaddress.ip_network(text, strict=False)
    if isinstance(found, ipaddress.IPv6Network) and found.network_address.ipv4_mapped and found.prefixlen >= 96:
        return ipaddress.ip_network((found.network_address.ipv4_mapped, found.prefixlen - 96))
    return found


class Hole(str):
    """A level of a rule that fits any level."""

    __slots__ = ()


class Literal(str):
    """A level of a rule that is compared as text, even if it is `#`."""

    __slots__ = ()


def value_of(name: str, subject: Subject) -> str | None:
    """Return the value of a placeholder."""
    if name.startswith("client_attrs."):
        return subject.attributes.get(name.removeprefix("client_attrs."))
    values: dict[str, str | None] = {
        "clientid": subject.client_id,
        "username": subject.username or None,
        "zone": subject.zone,
        "cert_common_name": subject.cert_common_name,
    }
    return values[name]


def filled(text: str, values: Mapping[str, str | None]) -> str:
    """Return a text with its placeholders replaced."""

    def replacement(found: re.Match[str]) -> str:
        return "$" if found[1] == "$" else values[found[1]] or ""

    return PLACEHOLDER.sub(replacement, text)


def render(settings: Settings, topic: str, subject: Subject) -> list[str] | str:
    """Return the levels of a rule's topic with its values, or the literal text after `eq `.

    Raises:
        Unrenderable: a placeholder has no usable value; one that it must not have comes first.
    """
    if topic.startswith("eq "):
        return topic[3:]
    allowed = {{"plus": "+", "hash": "#", "slash": "/"}[name] for name in settings.template_allow}
    names = [name for name in PLACEHOLDER.findall(topic) if name != "$"]
    values = {name: value_of(name, subject) for name in names}
    if any(character in "+#/" and character not in allowed for value in values.values() for character in value or ""):
        raise Unrenderable(is_absent=False)
    if None in values.values():
        raise Unrenderable(is_absent=True)
    levels = filled(topic, values).split("/")
    last = len(levels) - 1
    return [Literal(level) if level == "#" and at != last else level for at, level in enumerate(levels)]


def holes(settings: Settings, topic: str, subject: Subject) -> list[str] | str:
    """Return the levels of a rule's topic, those with an unusable value as holes."""
    levels: list[str] = []
    for level in topic.split("/"):
        names = [name for name in PLACEHOLDER.findall(level) if name != "$"]
        values = {name: value_of(name, subject) for name in names}
        if any(value is None or set(value) & set("+#/") for value in values.values()):
            levels.append(Hole(level))
        else:
            levels.append(filled(level, values))
    return levels


def fits(settings: Settings, permission: str, rule: list[str] | str, asked: Asked) -> bool:
    """Return whether a rendered rule topic fits what was asked, in the reading that holds for it."""
    if isinstance(rule, str):
        return rule == asked.topic
    written = asked.topic.split("/")
    if asked.action == "publish" or settings.subscribe_match == "emqx":
        return matches(written, rule)
    if permission == "allow":
        return contains(written, rule)
    return matches(written, rule) or (settings.subscribe_match == "strict_overlap" and overlaps(written, rule))


def is_wild(level: str) -> bool:
    """Return whether a level of a rule is a wildcard."""
    return level in ("+", "#") and not isinstance(level, Hole | Literal)


def matches(written: list[str], rule: list[str]) -> bool:
    """Apply the four rules of matching: what the client wrote is text."""
    if written[0].startswith("$") and is_wild(rule[0]):
        return False
    return words_match(written, rule)


def words_match(written: list[str], rule: list[str]) -> bool:
    """Compare level by level."""
    if not rule:
        return not written
    if rule == ["#"] and is_wild(rule[0]):
        return True
    if not written:
        return False
    is_equal = isinstance(rule[0], Hole) or rule[0] == written[0] or (rule[0] == "+" and is_wild(rule[0]))
    return is_equal and words_match(written[1:], rule[1:])


def contains(written: list[str], rule: list[str]) -> bool:
    """Return whether a rule covers every topic of a filter: as matching, but `+` does not stand for `#`."""
    covered = [rule[at] if at < len(rule) else "" for at in range(len(written))]
    if any(word == "#" and level == "+" and is_wild(level) for word, level in zip(written, covered, strict=True)):
        return False
    return matches(written, rule)


def overlaps(written: list[str], rule: list[str]) -> bool:
    """Return whether some topic matches both the filter and the rule."""
    if is_wild(rule[0]) and written[0].startswith("$"):
        return False
    if written[0] in ("+", "#") and rule[0].startswith("$") and not isinstance(rule[0], Hole):
        return False
    return levels_overlap(written, rule)


def levels_overlap(written: list[str], rule: list[str]) -> bool:
    """Compare level by level, wildcards on both sides."""
    if written == ["#"] or (rule == ["#"] and is_wild(rule[0])):
        return True
    if not written or not rule:
        return not written and not rule
    word, level = written[0], rule[0]
    is_equal = word in (level, "+") or is_wild(level) or isinstance(level, Hole)
    return is_equal and levels_overlap(written[1:], rule[1:])
