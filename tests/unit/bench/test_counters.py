"""Counters in the text format of Prometheus."""

import pytest

from bench import counters

_TEXT = """\
# HELP emqx_delivery_dropped Messages
# TYPE emqx_delivery_dropped counter
emqx_delivery_dropped 12
emqx_delivery_dropped_too_large 5
emqx_shared{name="a"} 1
emqx_shared{name="b"} 2
"""


def test_counter_is_read_by_its_whole_name_and_over_its_labels() -> None:
    assert counters.sum_of(_TEXT, ["emqx_delivery_dropped"]) == 12
    assert counters.sum_of(_TEXT, ["emqx_delivery_dropped", "emqx_shared"]) == 15


def test_missing_counter_is_no_zero() -> None:
    with pytest.raises(counters.CounterError, match="no such counter: emqx_delivery"):
        counters.sum_of(_TEXT, ["emqx_delivery"])
