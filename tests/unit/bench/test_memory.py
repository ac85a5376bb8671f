"""Memory over time: from which sample growth counts."""

import pytest

from bench import memory


def test_growth_counts_from_the_end_of_the_first_minute() -> None:
    samples = [(30.0, 10), (60.0, 100), (90.0, 150), (600.0, 130)]
    assert memory.growth(samples) == {"rss_growth_bytes": 30.0}


def test_growth_of_a_shorter_run_counts_from_its_first_sample() -> None:
    assert memory.growth([(12.0, 10), (24.0, 15)]) == {"rss_growth_bytes": 5.0}


@pytest.mark.parametrize("samples", [[], [(60.0, 10)]])
def test_fewer_than_two_samples_say_nothing(samples: list[tuple[float, int]]) -> None:
    assert memory.growth(samples) == {}


def test_resident_set_is_read_from_the_status_of_a_process() -> None:
    assert memory.resident_bytes("Name:\tx\nVmRSS:\t  12 kB\n") == 12 * 1024
    assert memory.resident_bytes("Name:\tx\n") == 0
