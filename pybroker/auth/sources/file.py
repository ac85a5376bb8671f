"""Rules of an ACL file in the form of EMQX (`type: file`): one Erlang term a rule, the first that matches wins."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pybroker._core import AccessRules, RulesError
from pybroker.auth.sources.source import Answer, Question
from pybroker.auth.sources.terms import Atom, Term, TermError, Tuple, read_terms
from pybroker.config.sections.access import FileSource
from pybroker.errors import ConfigError

MAX_FILE_BYTES = 10 << 20

_FIELDS = {"username": "username", "user": "username", "clientid": "clientid", "client": "clientid"}
_FIELDS |= {"zone": "zone", "listener": "listener"}


class RuleFile:
    """An ACL file that was read; implements `OpenSource`.

    Args:
        source: its configuration.
        rules: compiled.
    """

    status = "connected"

    def __init__(self, source: FileSource, rules: AccessRules) -> None:
        self.source = source
        self.rules = rules

    async def judge(self, question: Question) -> Answer:
        """Judge by the rules; the core does so itself where it can."""
        return self.rules.judge(*question)

    def forget(self) -> None:
        """Do nothing: no answer is kept."""

    async def close(self) -> None:
        """Do nothing: the file is not open."""


def read_file(path: str) -> str:
    """Return the text of an ACL file; blocks.

    Raises:
        ConfigError: it cannot be read.
    """
    key = "authorization.sources"
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or "error").lower()
        raise ConfigError(key, f"found path {path!r}, allowed: a file that can be read ({reason})") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(key, f"file must have at most {MAX_FILE_BYTES} bytes: {path!r}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(key, f"file must be UTF-8, but is not at byte {error.start}: {path!r}") from None


def compile_file(
    text: str,
    profile: Literal["legacy", "hardened"] = "legacy",
    template_allow: Sequence[Literal["plus", "hash", "slash"]] = (),
) -> AccessRules:
    """Compile the text of an ACL file.

    Raises:
        ConfigError: it is not valid; the message names the line.
    """
    try:
        terms = read_terms(text)
        rules = [_rule(line, term) for line, term in terms]
    except TermError as error:
        raise ConfigError("authorization.sources", f"rules of a file are not valid: {error}") from None
    try:
        return AccessRules.compile(
            [(None, "all", "", rules)],
            profile=profile,
            template_allow=template_allow,
            allows_partial_placeholders=True,
        )
    except RulesError as error:
        _, index, field, _, message = error.errors[0]
        line = terms[index or 0][0]
        raise ConfigError(
            "authorization.sources", f"rules of a file are not valid: line {line}: {field}: {message}"
        ) from None


def _rule(line: int, term: Term) -> dict[str, object]:
    if not isinstance(term, Tuple) or len(term.items) not in (2, 4):
        raise TermError(line, "a rule must be a tuple of two or four")
    permission = _atom(line, term.items[0], "permission", ("allow", "deny"))
    if len(term.items) == 2:
        rule: dict[str, object] = {"permission": permission, "action": "all", "topics": "all"}
        who = _everyone_of_profile(line, term.items[1])
    else:
        rule = {"permission": permission, **_action(line, term.items[2]), **_topics(line, term.items[3])}
        who = _who(line, term.items[1])
    if who is not None:
        rule["who"] = who
    return rule


def _everyone_of_profile(line: int, term: Term) -> dict[str, object] | None:
    if term == Atom("all"):
        return None
    if isinstance(term, Tuple) and len(term.items) == 2 and term.items[0] == Atom("security_profile"):
        return {"profile": _atom(line, term.items[1], "security_profile", ("legacy", "hardened"))}
    raise TermError(line, f"a short rule is for all or a security_profile, not: {_show(term)}")


def _who(line: int, term: Term) -> dict[str, object] | None:
    """Return a clause of the core; `None` for everyone."""
    if term == Atom("all"):
        return None
    if not isinstance(term, Tuple) or len(term.items) < 2 or not isinstance(term.items[0], Atom):
        raise TermError(line, f"not a description of clients: {_show(term)}")
    kind, value = term.items[0].name, term.items[1]
    if kind == "client_attr" and len(term.items) == 3:
        key = "re" if _is_expression(term.items[2]) else "is"
        return {"client_attr": {"name": _text(line, value, kind), key: _plain(line, term.items[2], kind)}}
    if len(term.items) != 2:
        raise TermError(line, f"not a description of clients: {_show(term)}")
    if kind in ("and", "or"):
        return {kind: [_who(line, one) or {"and": []} for one in _list(line, value, kind)]}
    if kind == "ipaddr":
        return {"ipaddr": _text(line, value, kind)}
    if kind == "ipaddrs":
        return {"ipaddr": [_text(line, one, kind) for one in _list(line, value, kind)]}
    if kind in _FIELDS:
        return {_FIELDS[kind] + ("_re" if _is_expression(value) else ""): _plain(line, value, kind)}
    raise TermError(line, f"not a description of clients: {_show(term)}")


def _action(line: int, term: Term) -> dict[str, object]:
    words = ("publish", "subscribe", "all")
    if isinstance(term, Atom):
        return {"action": _atom(line, term, "action", words)}
    if not isinstance(term, Tuple) or len(term.items) != 2:
        raise TermError(line, f"action must be publish, subscribe or all: {_show(term)}")
    rule: dict[str, object] = {"action": _atom(line, term.items[0], "action", words)}
    for option in _list(line, term.items[1], "action"):
        if not isinstance(option, Tuple) or len(option.items) != 2:
            raise TermError(line, f"option of an action must be qos or retain: {_show(option)}")
        name, value = option.items
        if name == Atom("qos"):
            levels = value if isinstance(value, list) else [value]
            if not levels or any(level not in (0, 1, 2) for level in levels):
                raise TermError(line, f"qos must be 0, 1, 2 or a list of them: {_show(value)}")
            rule["qos"] = levels
        elif name == Atom("retain"):
            word = _atom(line, value, "retain", ("true", "false", "all"))
            rule["retain"] = "all" if word == "all" else word == "true"
        else:
            raise TermError(line, f"option of an action must be qos or retain: {_show(option)}")
    return rule


def _topics(line: int, term: Term) -> dict[str, object]:
    if term == Atom("all"):
        return {"topics": "all"}
    topics = []
    for one in _list(line, term, "topics"):
        if isinstance(one, Tuple) and len(one.items) == 2 and one.items[0] == Atom("eq"):
            topics.append(f"eq {_text(line, one.items[1], 'eq')}")
        else:
            topics.append(_text(line, one, "topic"))
    return {"topics": topics}


def _is_expression(term: Term) -> bool:
    return isinstance(term, Tuple) and len(term.items) == 2 and term.items[0] == Atom("re")


def _plain(line: int, term: Term, what: str) -> str:
    """Return the text of `S` or `{re, S}`."""
    return _text(line, term.items[1] if isinstance(term, Tuple) and _is_expression(term) else term, what)


def _text(line: int, term: Term, what: str) -> str:
    if not isinstance(term, str):
        raise TermError(line, f"{what} must be a text: {_show(term)}")
    return term


def _list(line: int, term: Term, what: str) -> list[Term]:
    if not isinstance(term, list):
        raise TermError(line, f"{what} must be a list: {_show(term)}")
    return term


def _atom(line: int, term: Term, what: str, allowed: Sequence[str]) -> str:
    if not isinstance(term, Atom) or term.name not in allowed:
        raise TermError(line, f"{what} must be {' or '.join(allowed)}: {_show(term)}")
    return term.name


def _show(term: Term) -> str:
    """Return a term as it is written, cut short."""
    if isinstance(term, Atom):
        return term.name
    if isinstance(term, Tuple):
        return f"{{{', '.join(map(_show, term.items))}}}"[:80]
    if isinstance(term, list):
        return f"[{', '.join(map(_show, term))}]"[:80]
    return repr(term)[:80]
