"""The table of functions: name, numbers of arguments, what runs.

A name that is not in a table does not exist; nothing is looked up by any other way. The forms that choose which of
their arguments run (`coalesce`, `iif`, `is_empty`) only have their numbers of arguments here; `closures.py` has them.
"""

import sys
from collections.abc import Callable, Container, Mapping
from typing import NamedTuple

from pybroker.variform import comparisons, digests, encodings, lists, patterns, texts, topics
from pybroker.variform.patterns import PatternCall
from pybroker.variform.surroundings import Surroundings
from pybroker.variform.values import Value, to_text

BUILT_IN_MODULE = "emqx_variform_bif"
"""The module under which the built-in functions can be called too."""


class Function(NamedTuple):
    """One row of the table.

    Args:
        arities: allowed numbers of arguments.
        make: returns what runs, called once for each call in an expression; it takes the values of the arguments.
    """

    arities: Container[int]
    make: Callable[[], Callable[..., Value]]


def _row(arities: Container[int], implementation: Callable[..., Value]) -> Function:
    return Function(arities, lambda: implementation)


def _refuse() -> Callable[..., Value]:
    raise TypeError("a form that chooses its arguments is not called")


COALESCE = Function(range(1, sys.maxsize), _refuse)
"""The form that stops at the first argument that is not empty."""

IIF = Function((3,), _refuse)
"""The form that runs one of two."""

IS_EMPTY = Function((1,), _refuse)
"""The form that takes an unbound variable for an empty one."""

_BUILT_IN: Mapping[str, Function] = {
    "is_empty_val": _row((1,), comparisons.is_empty_value),
    "not": _row((1,), comparisons.negate),
    "nth": _row((2,), lists.nth),
    "concat": _row((1, 2), texts.concat),
    "join_to_string": _row((1, 2), texts.join_to_string),
    "split": _row((2, 3), texts.split),
    "tokens": _row((2, 3), texts.tokens),
    "find": _row((2, 3), texts.find),
    "substr": _row((2, 3), texts.substr),
    "replace": _row((3, 4), texts.replace),
    "rm_prefix": _row((2,), texts.rm_prefix),
    "trim": _row((1, 2), texts.trim),
    "ltrim": _row((1, 2), texts.ltrim),
    "rtrim": _row((1, 2), texts.rtrim),
    "lower": _row((1,), texts.lower),
    "upper": _row((1,), texts.upper),
    "reverse": _row((1,), texts.reverse),
    "strlen": _row((1,), texts.strlen),
    "pad": _row((2, 3, 4), texts.pad),
    "sprintf_s": _row((2,), texts.sprintf_s),
    "regex_match": Function((2,), lambda: PatternCall(patterns.match)),
    "regex_replace": Function((3,), lambda: PatternCall(patterns.replace)),
    "regex_extract": Function((2,), lambda: PatternCall(patterns.extract)),
    "ascii": _row((1,), texts.ascii_code),
    "unescape": _row((1,), texts.unescape),
    "any_to_str": _row((1,), to_text),
    "topic_join": _row((1, 2), topics.topic_join),
    "topic_split": _row((1,), topics.topic_split),
    "topic_match": _row((2,), topics.topic_match),
    "hash": _row((2,), digests.hash_text),
    "hash_to_range": _row((3,), digests.hash_to_range),
    "map_to_range": _row((3,), digests.map_to_range),
    "int2hexstr": _row((1,), encodings.int2hexstr),
    "bin2hexstr": _row((1,), encodings.bin2hexstr),
    "hexstr2bin": _row((1,), encodings.hexstr2bin),
    "base64_encode": _row((1, 2, 3), encodings.base64_encode),
    "base64_decode": _row((1, 2, 3), encodings.base64_decode),
    "json_value": _row((2,), encodings.json_value),
    "jwt_value": _row((2,), encodings.jwt_value),
    "str_comp": _row((2,), comparisons.str_comp),
    "str_eq": _row((2,), comparisons.str_eq),
    "str_neq": _row((2,), comparisons.str_neq),
    "str_lt": _row((2,), comparisons.str_lt),
    "str_lte": _row((2,), comparisons.str_lte),
    "str_gt": _row((2,), comparisons.str_gt),
    "str_gte": _row((2,), comparisons.str_gte),
    "num_comp": _row((2,), comparisons.num_comp),
    "num_eq": _row((2,), comparisons.num_eq),
    "num_neq": _row((2,), comparisons.num_neq),
    "num_lt": _row((2,), comparisons.num_lt),
    "num_lte": _row((2,), comparisons.num_lte),
    "num_gt": _row((2,), comparisons.num_gt),
    "num_gte": _row((2,), comparisons.num_gte),
}

_LISTS: Mapping[str, Function] = {
    "nth": _row((2,), lists.list_nth),
    "last": _row((1,), lists.list_last),
    "sort": _row((1,), lists.list_sort),
    "reverse": _row((1,), lists.list_reverse),
    "sum": _row((1,), lists.list_sum),
}

_MAPS: Mapping[str, Function] = {
    "new": _row((0,), lists.map_new),
    "size": _row((1,), lists.map_size),
    "get": _row((2, 3), lists.map_get),
    "keys": _row((1,), lists.map_keys),
    "values": _row((1,), lists.map_values),
}

FORBIDDEN_MODULES = frozenset(
    {
        "application", "base64", "binary", "calendar", "code", "crypto", "erlang", "ets", "file", "gen_server",
        "gen_tcp", "httpc", "init", "inet", "io", "io_lib", "json", "math", "net_kernel", "os", "persistent_term",
        "proplists", "rand", "re", "rpc", "sets", "ssl", "string", "supervisor", "sys", "timer", "unicode",
        "uri_string",
    }
)  # fmt: skip
"""Modules that EMQX has but does not let an expression use; any other one is unknown."""


def make_tables(surroundings: Surroundings) -> dict[str, Mapping[str, Function]]:
    """Return the functions of each module that may be named; those without a module stand under the empty name."""
    outward: dict[str, Function] = {
        "rand_str": _row((1,), surroundings.rand_str),
        "rand_int": _row((1,), surroundings.rand_int),
        "getenv": _row((1,), surroundings.getenv),
        "timestamp_s": _row((0,), surroundings.timestamp_s),
        "timestamp_ms": _row((0,), surroundings.timestamp_ms),
    }
    forms = {"coalesce": COALESCE, "iif": IIF, "is_empty": IS_EMPTY}
    built_in = {**forms, **_BUILT_IN, **outward}
    return {"": built_in, BUILT_IN_MODULE: built_in, "lists": _LISTS, "maps": _MAPS}
