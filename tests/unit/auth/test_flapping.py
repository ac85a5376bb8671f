"""Clients that connect too often: counted in windows, by zone, with bounded memory."""

from typing import Any

import pytest

from pybroker.auth.banned import BanList
from pybroker.auth.flapping import FlappingDetector
from pybroker.config import patch
from pybroker.config.schema import Config
from tests.support.applicant import applicant
from tests.support.clock import FakeClock

ON = {"flapping_detect": {"enable": True, "max_count": 3, "window_time": "10s", "ban_time": "1m"}}


class Counted:
    """A detector, and what it bans."""

    def __init__(self, config: dict[str, Any], capacity: int = 100) -> None:
        self.clock = FakeClock()
        self.detector = FlappingDetector(self.clock, capacity)
        self.detector.apply(patch.apply(Config(), config).config)
        self.banned: list[tuple[str, int]] = []
        self.detector.on_flapping = lambda client_id, ban_ms: self.banned.append((client_id, ban_ms))

    def connect(self, client_id: str = "c", zone: str = "default") -> bool:
        one = applicant(client_id=client_id)
        one.zone = zone
        return self.detector.count(one)


def test_client_is_banned_when_it_has_connected_as_often_as_allowed() -> None:
    counted = Counted(ON)
    assert [counted.connect() for _ in range(3)] == [False, False, True]
    assert counted.banned == [("c", 60_000)]
    assert not counted.connect()


def test_window_that_has_passed_restarts_the_count() -> None:
    counted = Counted(ON)
    counted.connect()
    counted.connect()
    counted.clock.advance(10_000)
    assert [counted.connect() for _ in range(3)] == [False, False, True]


def test_clients_are_counted_apart() -> None:
    counted = Counted(ON)
    assert not any(counted.connect(f"c{number}") for number in range(9))
    assert counted.banned == []


def test_zone_counts_by_its_own_settings() -> None:
    counted = Counted({"zones": {"strict": {"flapping_detect": {"enable": True, "max_count": 1}}}})
    assert not counted.connect()
    assert counted.connect(zone="strict")
    assert counted.banned == [("c", 300_000)]


def test_detector_that_is_off_remembers_nobody() -> None:
    counted = Counted(ON)
    counted.connect()
    counted.detector.apply(Config())
    assert not any(counted.connect() for _ in range(20))
    assert len(counted.detector) == 0


def test_memory_is_bounded_by_time_and_number() -> None:
    counted = Counted(ON, capacity=10)
    for number in range(50):
        counted.connect(f"c{number}")
    assert len(counted.detector) == 10
    counted.clock.advance(10_000)
    for number in range(8):
        counted.connect(f"d{number}")
    assert len(counted.detector) <= 10


@pytest.mark.parametrize("flapping", [True, False])
def test_list_of_bans_counts_where_it_has_a_detector(flapping: bool) -> None:
    counted = Counted({"flapping_detect": {"enable": True, "max_count": 1}})
    bans = BanList(lambda: 0, counted.detector if flapping else None)
    assert bans.count_connect(applicant()) is flapping
