"""Functions on text: cutting, searching, replacing, padding, formatting.

Lengths and positions count grapheme clusters where the contract says so. Every function takes time linear in its texts,
also for hostile ones: `str.rfind` is not used because it can be quadratic.
"""

import re
from collections.abc import Iterator, Sequence

from pybroker import _core
from pybroker.variform.errors import Mistake
from pybroker.variform.values import Value, check_size, join, need_integer, need_list, need_text, to_json, to_text

# Unicode's Pattern_White_Space.
_WHITESPACE = "\t\n\v\f\r \x85\u200e\u200f\u2028\u2029"

# A set of trimmed or separating characters that is longer has its repetitions removed first.
_LONG_SET = 64

_SPLIT_MODES = {
    "notrim": ("all", True),
    "leading": ("leading", False),
    "leading_notrim": ("leading", True),
    "trailing": ("trailing", False),
    "trailing_notrim": ("trailing", True),
}

_FORMAT = re.compile(r"~(ts|s|b|p|~|.?)", re.DOTALL)

_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]+)|(.?))", re.DOTALL)
_ESCAPES = {
    "\\": "\\",
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "'": "'",
    '"': '"',
    "?": "?",
    "a": "\a",
}


def _clusters(text: str) -> Sequence[str]:
    """Return the grapheme clusters; in ASCII only CR LF is one of two characters."""
    return text if text.isascii() and "\r\n" not in text else _core.graphemes(text)


def _find_last(text: str, pattern: str) -> int:
    """Return where the last occurrence begins, -1 for none."""
    at = text[::-1].find(pattern[::-1])
    return -1 if at < 0 else len(text) - at - len(pattern)


def _find(text: str, pattern: str, direction: str) -> int:
    if direction == "leading":
        return text.find(pattern)
    if direction == "trailing":
        return _find_last(text, pattern)
    raise Mistake("exception", "unknown direction")


def _character_set(value: Value) -> str:
    characters = need_text(value)
    return "".join(dict.fromkeys(characters)) if len(characters) > _LONG_SET else characters


def concat(first: Value, *second: Value) -> str:
    """Join the items of one list, or two values."""
    items = (first, *second) if second else need_list(first)
    return join("", [to_text(item) for item in items])


def join_to_string(first: Value, *second: Value) -> str:
    """Join the items of a list, the last argument, by a separator, the first of two."""
    separator, items = (need_text(first), second[0]) if second else (", ", first)
    return join(separator, [to_text(item) for item in need_list(items)])


def split(value: Value, by: Value, *mode: Value) -> list[Value]:
    """Split at a substring; the mode says where, and whether empty pieces stay."""
    text, separator = need_text(value), need_text(by)
    if not mode:
        where, keeps_empty = "all", False
    elif (named := _SPLIT_MODES.get(need_text(mode[0]))) is not None:
        where, keeps_empty = named
    else:
        raise Mistake("exception", "unknown mode")
    return [piece for piece in _pieces(text, separator, where) if piece or keeps_empty]


def _pieces(text: str, separator: str, where: str) -> list[str]:
    if not separator:
        return [text]
    if where == "all":
        return text.split(separator)
    at = _find(text, separator, where)
    return [text] if at < 0 else [text[:at], text[at + len(separator) :]]


def tokens(value: Value, separators: Value, *option: Value) -> list[Value]:
    """Split at any of a set of characters; runs of them count once."""
    text, characters = need_text(value), _character_set(separators)
    if option:
        if option[0] != "nocrlf":
            raise Mistake("exception", "unknown option")
        characters += "\r\n"
    if not characters:
        return [text] if text else []
    if len(characters) > 1:
        text = text.translate(dict.fromkeys(map(ord, characters[1:]), characters[0]))
    return [piece for piece in text.split(characters[0]) if piece]


def find(value: Value, part: Value, direction: Value = "leading") -> str:
    """Return the rest of a text from an occurrence on; nothing if there is none."""
    text, pattern = need_text(value), need_text(part)
    at = _find(text, pattern, need_text(direction))
    if not pattern:
        return text
    return "" if at < 0 else text[at:]


def substr(value: Value, start: Value, *length: Value) -> str:
    """Return the part from a position, counted from 0, to the end or of a length."""
    text, first = need_text(value), need_integer(start)
    count = need_integer(length[0]) if length else len(text)
    if first < 0 or count < 0:
        raise Mistake("exception", "negative position or length")
    return "".join(_clusters(text)[first : first + count])


def replace(value: Value, part: Value, by: Value, where: Value = "all") -> str:
    """Replace one or all occurrences of a substring."""
    text, pattern, replacement = need_text(value), need_text(part), need_text(by)
    if where == "all":
        if not pattern:
            return text
        check_size(len(text) + text.count(pattern) * max(len(replacement) - len(pattern), 0))
        return text.replace(pattern, replacement)
    at = _find(text, pattern, need_text(where))
    if at < 0 or not pattern:
        return text
    return text[:at] + replacement + text[at + len(pattern) :]


def rm_prefix(value: Value, prefix: Value) -> str:
    """Remove a prefix once, if it is there."""
    return need_text(value).removeprefix(need_text(prefix))


def trim(value: Value, characters: Value = _WHITESPACE) -> str:
    """Remove characters of a set at both ends."""
    return need_text(value).strip(_character_set(characters))


def ltrim(value: Value, characters: Value = _WHITESPACE) -> str:
    """Remove characters of a set at the beginning."""
    return need_text(value).lstrip(_character_set(characters))


def rtrim(value: Value, characters: Value = _WHITESPACE) -> str:
    """Remove characters of a set at the end."""
    return need_text(value).rstrip(_character_set(characters))


def lower(value: Value) -> str:
    """Return the text in lower case."""
    return need_text(value).lower()


def upper(value: Value) -> str:
    """Return the text in upper case."""
    return need_text(value).upper()


def reverse(value: Value) -> str:
    """Return the grapheme clusters in reverse order."""
    return "".join(reversed(_clusters(need_text(value))))


def strlen(value: Value) -> int:
    """Return the number of grapheme clusters."""
    return len(_clusters(need_text(value)))


def pad(value: Value, width: Value, where: Value = "trailing", character: Value = " ") -> str:
    """Fill up to a length; of an odd filling for both sides the end gets one more."""
    text, filling = need_text(value), need_text(character)
    missing = max(need_integer(width) - len(_clusters(text)), 0)
    if len(_clusters(filling)) != 1:
        raise Mistake("exception", "the padding is not one character")
    before = {"trailing": 0, "leading": missing, "both": missing // 2}.get(need_text(where))
    if before is None:
        raise Mistake("exception", "unknown direction")
    check_size(len(text) + missing * len(filling))
    return filling * before + text + filling * (missing - before)


def sprintf_s(form: Value, values: Value) -> str:
    """Fill `~s`, `~ts`, `~b`, `~p` of a format with the items of a list, one each."""
    text, items = need_text(form), iter(need_list(values))
    parts: list[str] = []
    done = 0
    for mark in _FORMAT.finditer(text):
        parts.append(text[done : mark.start()])
        parts.append(_fill(mark[1], items))
        done = mark.end()
    parts.append(text[done:])
    if any(True for _ in items):
        raise Mistake("exception", "more values than the format has places")
    return join("", parts)


def _fill(directive: str, items: Iterator[Value]) -> str:
    if directive == "~":
        return "~"
    for value in items:
        if directive in {"s", "ts"} and isinstance(value, (str, bool)):
            return to_text(value)
        if directive == "b":
            return str(need_integer(value))
        if directive == "p":
            return to_json(value)
        break
    raise Mistake("exception", "format and values do not fit")


def ascii_code(value: Value) -> int:
    """Return the first byte as a number."""
    text = need_text(value)
    if not text:
        raise Mistake("exception", "empty text")
    return text[0].encode("utf-8", "surrogateescape")[0]


def unescape(value: Value) -> str:
    """Replace backslash escapes by what they stand for."""
    return _ESCAPE.sub(_unescaped, need_text(value))


def _unescaped(escape: re.Match[str]) -> str:
    digits, letter = escape[1], escape[2]
    if digits is None:
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        raise Mistake("unrecognized_escape_sequence")
    significant = digits.lstrip("0")
    code = int(significant or "0", 16) if len(significant) <= 6 else -1
    if not 0 <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise Mistake("unrecognized_escape_sequence", "no such code point")
    return chr(code)
