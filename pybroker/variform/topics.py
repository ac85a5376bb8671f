"""Functions on topics; what matches is decided by the core."""

from pybroker import _core
from pybroker.variform.errors import Mistake
from pybroker.variform.values import Value, join, need_list, need_text, to_text


def topic_join(first: Value, *word: Value) -> str:
    """Join levels of a list by slashes, or put a word behind a parent."""
    if not word:
        return join("/", [to_text(level) for level in need_list(first)])
    parent = need_text(first)
    if not parent:
        raise Mistake("badarg")
    return join("", [parent, "" if parent.endswith("/") else "/", to_text(word[0])])


def topic_split(value: Value) -> list[Value]:
    """Return the levels of a topic."""
    return list(need_text(value).split("/"))


def topic_match(topic: Value, filter: Value) -> bool:
    """Whether a filter matches a topic, as a subscription would."""
    name, asked = need_text(topic), need_text(filter)
    try:
        return _core.topic_matches(asked, name)
    except ValueError:
        raise Mistake("exception", "filter is not valid") from None
