"""Rules that a login brings with it, from the claim of a token or the answer of a service, compiled for its client.

The form is laxer than that of the API: words and numbers as EMQX takes them there. A rule that cannot be read refuses
the login, because to leave it out would change what the others mean.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pybroker._core import AccessRules
from pybroker.config.schema import Config
from pybroker.ports import ClientAcl

_ACTIONS = {"publish": "publish", "pub": "publish", "subscribe": "subscribe", "sub": "subscribe", "all": "all"}
_RETAIN: dict[object, bool | str] = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}
_RETAIN |= {"all": "all"}
_CONDITIONS = ("clientid_re", "username_re", "ipaddr", "zone", "zone_re", "listener", "listener_re")
_MAP_ACTIONS = {"pub": "publish", "sub": "subscribe", "all": "all"}
_EVERY_QOS = (0, 1, 2)


class AclCompiler:
    """Compiles rules under the settings of access control; `follow` tells them."""

    def __init__(self) -> None:
        self._options: dict[str, Any] = {}

    def follow(self, config: Config) -> None:
        """Compile under another configuration from now on."""
        allow = config.authorization.topic_template_allow
        self._options = {
            "subscribe_match": config.authorization.subscribe_match,
            "profile": config.security_profile,
            "template_allow": [name for name in ("plus", "hash", "slash") if getattr(allow, name)],
            "allows_partial_placeholders": True,
        }

    def compile(self, claim: object) -> ClientAcl:
        """Return the rules of a claim: a list in order, or a map that allows what it names and denies all else.

        Raises:
            ValueError: it is neither, or a rule of it cannot be read; the text names the rule.
        """
        if isinstance(claim, Mapping):
            return ClientAcl(rules=self._compile(_rules_of_map(claim)), is_final=True)
        return self.compile_list(claim)

    def compile_list(self, claim: object) -> ClientAcl:
        """Return the rules of a list; what none of them matches is for the configured sources.

        Raises:
            ValueError: as `compile`.
        """
        if not isinstance(claim, list):
            raise ValueError("acl is neither a list nor a map")
        rules = [_rule_of(rule, index) for index, rule in enumerate(claim)]
        return ClientAcl(rules=self._compile(rules))

    def _compile(self, rules: list[dict[str, Any]]) -> AccessRules:
        return AccessRules.compile([(None, "all", "", rules)], **self._options)


def _rules_of_map(claim: Mapping[str, object]) -> list[dict[str, Any]]:
    rules = []
    for name, action in _MAP_ACTIONS.items():
        topics = claim.get(name)
        if topics is None:
            continue
        if not isinstance(topics, list) or not all(isinstance(topic, str) for topic in topics):
            raise ValueError(f"acl.{name} is no list of topics")
        rules.append({"permission": "allow", "action": action, "topics": topics})
    return rules


def _rule_of(rule: object, index: int) -> dict[str, Any]:
    if not isinstance(rule, Mapping):
        raise ValueError(f"acl[{index}] is no rule")
    given = {name: value for name, value in rule.items() if value is not None}
    read: dict[str, Any] = {
        "permission": _one_of(given, "permission", {"allow": "allow", "deny": "deny"}, index),
        "action": _one_of(given, "action", _ACTIONS, index),
        "qos": _qos(given.get("qos", _EVERY_QOS), index),
    }
    if "retain" in given:
        read["retain"] = _one_of(given, "retain", _RETAIN, index)
    if "topics" in given:
        read["topics"] = _texts(given["topics"], "topics", index)
    elif "topic" in given:
        read["topic"] = _text(given["topic"], "topic", index)
    else:
        raise ValueError(f"acl[{index}] has neither topic nor topics")
    for name in _CONDITIONS:
        if name in given:
            read[name] = _text(given[name], name, index)
    return read


def _one_of(rule: Mapping[str, object], name: str, words: Mapping[Any, object], index: int) -> object:
    value = rule.get(name)
    if not isinstance(value, str | int) or value not in words:
        raise ValueError(f"acl[{index}].{name} is not one of {', '.join(map(str, words))}")
    return words[value]


def _qos(value: object, index: int) -> list[int]:
    parts: Sequence[object] = value.split(",") if isinstance(value, str) else [value]
    if isinstance(value, list | tuple):
        parts = value
    found = []
    for part in parts:
        text = str(part).strip()
        if isinstance(part, bool) or text not in ("0", "1", "2"):
            raise ValueError(f"acl[{index}].qos is none of 0, 1, 2")
        found.append(int(text))
    return found


def _texts(value: object, name: str, index: int) -> list[str]:
    if not isinstance(value, list):
        raise ValueError(f"acl[{index}].{name} is no list")
    return [_text(part, name, index) for part in value]


def _text(value: object, name: str, index: int) -> str:
    if not isinstance(value, str):
        raise ValueError(f"acl[{index}].{name} is no text")
    return value
