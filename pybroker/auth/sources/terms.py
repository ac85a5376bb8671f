"""Reader of Erlang terms, as far as an ACL file has them: atoms, texts, numbers, tuples and lists, each ending in `.`.

Nothing is evaluated; an atom is a name and nothing else. Cost: linear in the text.
"""

import re
from typing import NamedTuple, TypeAlias

MAX_DEPTH = 32
"""Tuples and lists that may stand inside each other."""


class Atom(NamedTuple):
    """A name, such as `allow` or `'and'`."""

    name: str


class Tuple(NamedTuple):
    """Terms in braces."""

    items: "tuple[Term, ...]"


Term: TypeAlias = "Atom | Tuple | str | int | list[Term]"


class TermError(ValueError):
    """A text that is no sequence of terms.

    Args:
        line: where, counted from 1.
        message: what is wrong, the value last.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line


_TOKEN = re.compile(
    r"(?P<space>(?:\s|%[^\n]*)+)"
    r'|(?P<text><<"(?:[^"\\]|\\.)*"(?:/utf8)?>>|"(?:[^"\\]|\\.)*")'
    r"|(?P<quoted>'(?:[^'\\\n]|\\.)*')"
    r"|(?P<atom>[a-z][A-Za-z0-9_@]*)"
    r"|(?P<number>[0-9]+)"
    r"|(?P<mark>[{}\[\],.])",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "s": " ", "e": "\x1b", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}
_CLOSING = {"{": "}", "[": "]"}


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0

    @property
    def next(self) -> _Token:
        return self._tokens[self._at]

    def take(self) -> _Token:
        token = self.next
        self._at += token.kind != "end"
        return token

    def demand(self, mark: str) -> None:
        token = self.take()
        if token.text != mark or token.kind != "mark":
            raise TermError(token.line, f"{mark!r} is missing before: {token.text!r}")

    def term(self, depth: int = 0) -> Term:
        token = self.take()
        if token.kind == "text":
            inner = token.text.removeprefix("<<").removesuffix(">>").removesuffix("/utf8")
            return _unescape(inner[1:-1])
        if token.kind == "quoted":
            return Atom(_unescape(token.text[1:-1]))
        if token.kind == "atom":
            return Atom(token.text)
        if token.kind == "number":
            return int(token.text[:20])
        if token.text in _CLOSING:
            if depth == MAX_DEPTH:
                raise TermError(token.line, f"terms are nested deeper than allowed: {MAX_DEPTH}")
            items = self.items(_CLOSING[token.text], depth + 1)
            return Tuple(tuple(items)) if token.text == "{" else items
        raise TermError(token.line, f"a term is expected, not: {token.text!r}")

    def items(self, closing: str, depth: int) -> list[Term]:
        items: list[Term] = []
        if self.next.text == closing:
            self.take()
            return items
        while True:
            items.append(self.term(depth))
            token = self.take()
            if token.kind == "mark" and token.text == closing:
                return items
            if token.kind != "mark" or token.text != ",":
                raise TermError(token.line, f"',' or {closing!r} is missing before: {token.text!r}")


def read_terms(text: str) -> list[tuple[int, Term]]:
    """Return the terms of a text, each with the line where it begins.

    Raises:
        TermError: it is no sequence of terms.
    """
    reader = _Reader(text)
    terms: list[tuple[int, Term]] = []
    while reader.next.kind != "end":
        line = reader.next.line
        terms.append((line, reader.term()))
        reader.demand(".")
    return terms


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise TermError(line, f"not expected: {text[at : at + 20]!r}")
        if found.lastgroup != "space":
            tokens.append(_Token(found.lastgroup or "", found[0], line))
        line += found[0].count("\n")
        at = found.end()
    tokens.append(_Token("end", "", line))
    return tokens


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text)
