"""What the core offers for texts, topics and patterns, through Python."""

import pytest

from pybroker import _core

LARGE = 1 << 20


def test_pattern_is_searched_not_anchored() -> None:
    regex = _core.Regex("b+", LARGE)
    assert (regex.is_match("abbc"), regex.is_match("ac")) == (True, False)


def test_groups_exclude_the_whole_match() -> None:
    assert _core.Regex("(a)(b)?", LARGE).groups("xa") == ["a", ""]
    assert _core.Regex("a", LARGE).groups("a") == []
    assert _core.Regex("(a)", LARGE).groups("b") is None


def test_replacement_may_name_groups() -> None:
    assert _core.Regex("([0-9])", LARGE).replace("a1b2", "<${1}|${0}|$$>", LARGE, 1_000) == "a<1|1|$>b<2|2|$>"


@pytest.mark.parametrize(("pattern", "why"), [("(", "unclosed group"), ("(?=a)", "look-around"), (r"\1", "backref")])
def test_broken_pattern_is_explained_on_one_line(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^pattern is not valid: ") as caught:
        _core.Regex(pattern, LARGE)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pattern_above_its_size_is_refused() -> None:
    with pytest.raises(ValueError, match="size limit"):
        _core.Regex(r"\w{200}", 65_536)


def test_text_and_result_are_bounded() -> None:
    regex = _core.Regex("a", LARGE)
    assert regex.is_match("b" * 4_095 + "a")
    for search in (regex.is_match, regex.groups, lambda text: regex.replace(text, "b", LARGE, 1_000)):
        with pytest.raises(OverflowError, match="4096"):
            search("a" * 4_097)
    assert regex.replace("aaa", "bb", 6, 1_000) == "bbbbbb"
    with pytest.raises(OverflowError, match="replaced text"):
        regex.replace("aaa", "bb", 5, 1_000)


def test_replacing_stops_when_its_time_is_over() -> None:
    regex = _core.Regex(".*[^A-Z]|[A-Z]", LARGE)
    with pytest.raises(TimeoutError, match="1 ms"):
        regex.replace("A" * 4_096, "b", LARGE, 1)


def test_graphemes_keep_what_belongs_together() -> None:
    assert _core.graphemes("ae\u0301\r\n") == ["a", "e\u0301", "\r\n"]
    assert _core.graphemes("") == []


def test_md4_is_that_of_rfc_1320() -> None:
    assert _core.md4(b"message digest").hex() == "d9130a8164549fe818874806e1c7014b"


def test_topic_matches_as_subscriptions_do() -> None:
    assert _core.topic_matches("a/+/#", "a/b")
    assert not _core.topic_matches("#", "$SYS/x")
    assert not _core.topic_matches("#", "a/+")
    with pytest.raises(ValueError, match="wildcard"):
        _core.topic_matches("a#", "a")
