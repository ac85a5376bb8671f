"""The gate: who is let into a namespace, and that its quota holds exactly."""

import pytest

from pybroker.events import QuotaCrossing
from pybroker.namespaces import registry
from pybroker.namespaces.rate import TokenBucket
from pybroker.types import Namespace
from tests.unit.namespaces.conftest import Bench, by_username


def test_client_of_an_unknown_namespace_makes_it_known(bench: Bench) -> None:
    assert bench.tenants.known("a") is None
    assert bench.enter("c", username="a-1") == 0
    tenant = bench.tenants.known("a")
    assert tenant is not None
    assert not tenant.is_managed
    assert tenant.created_at_ms == bench.clock.wall_ms()
    assert bench.tenants.names() == ["a"]


def test_refused_client_makes_no_namespace_known(bench: Bench) -> None:
    applicant = bench.resolve(username="a-1")
    assert bench.namespaces.judge(applicant) == 0
    bench.namespaces.let_go(applicant)
    assert bench.tenants.find(Namespace("a")) is None


@pytest.mark.parametrize("name", ["global", "undefined", "null", "none"])
def test_denied_names_are_refused_before_and_after_authentication(bench: Bench, name: str) -> None:
    assert bench.enter("c", username=f"{name}-1") == 0x87
    applicant = bench.resolve(username="a-1")
    applicant.namespace = Namespace(name)
    assert bench.namespaces.judge_again(applicant) == 0x87
    bench.change(multi_tenancy__deny_namespaces=[])
    assert bench.enter("c", username=f"{name}-1") == 0


def test_only_managed_namespaces_are_open_where_that_is_asked_for(bench: Bench) -> None:
    assert bench.enter("early", username="implicit-1") == 0
    bench.manage("created")
    bench.change(multi_tenancy__allow_only_managed_namespaces=True)
    assert bench.enter("c", username="created-1") == 0
    assert bench.enter("c2", username="implicit-1") == 0x87
    # Also one that would only come back.
    assert bench.enter("early", username="implicit-1") == 0x87
    assert bench.enter("c3") == 0x87
    # Nobody was disconnected.
    assert bench.session("early").is_online
    assert bench.tenants.unmanaged_sessions() == 1


def test_broken_configuration_closes_a_namespace(bench: Bench) -> None:
    tenant = bench.manage("a")
    tenant.is_broken = True
    assert bench.enter("c", username="a-1") == 0x88
    tenant.is_broken = False
    assert bench.enter("c", username="a-1") == 0


# Quota


def test_new_client_beyond_the_quota_is_refused_and_an_old_one_comes_back(bench: Bench) -> None:
    bench.manage("a", 1)
    assert bench.enter("c", username="a-1") == 0
    assert bench.enter("d", username="a-1") == 0x97
    assert bench.enter("c", username="a-1") == 0
    bench.leave("c", expiry_s=60)
    assert bench.enter("d", username="a-1") == 0x97
    assert bench.enter("c", username="a-1") == 0
    bench.leave("c")
    assert bench.enter("d", username="a-1") == 0


def test_quota_of_zero_admits_nobody(bench: Bench) -> None:
    bench.manage("a", 0)
    assert bench.enter("c", username="a-1") == 0x97


def test_default_quota_holds_for_namespaces_that_nobody_created() -> None:
    bench = by_username(multi_tenancy__default_max_sessions=1)
    bench.manage("created")
    assert bench.enter("c1", username="a-1") == bench.enter("c2", username="created-1") == 0
    assert bench.enter("c3", username="created-1") == 0
    assert bench.enter("c4", username="a-1") == 0x97
    bench.change(multi_tenancy__default_max_sessions=2)
    assert bench.enter("c4", username="a-1") == 0


def test_applicants_who_wait_count(bench: Bench) -> None:
    bench.manage("a", 10)
    waiting = [bench.resolve(f"c{number}", username="a-1") for number in range(1_000)]
    passed = [applicant for applicant in waiting if bench.namespaces.judge(applicant) == 0]
    assert len(passed) == 10
    for applicant in passed:
        assert bench.namespaces.judge_again(applicant) == 0
        bench.sessions.open(applicant)
        bench.namespaces.let_go(applicant)
    assert bench.manage("a", 10).session_count == 10


def test_applicants_of_one_client_id_share_a_place(bench: Bench) -> None:
    bench.manage("a", 1)
    first, second = (bench.resolve("c", username="a-1") for _ in range(2))
    assert bench.namespaces.judge(first) == bench.namespaces.judge(second) == 0
    bench.namespaces.let_go(first)
    assert bench.enter("d", username="a-1") == 0x97
    bench.namespaces.let_go(second)
    assert bench.enter("d", username="a-1") == 0


def test_session_that_ends_while_its_client_waits_keeps_the_place(bench: Bench) -> None:
    tenant = bench.manage("a", 1)
    assert bench.enter("c", username="a-1") == 0
    again = bench.resolve("c", username="a-1")
    assert bench.namespaces.judge(again) == 0
    bench.leave("c")
    assert tenant.session_count == 0
    assert bench.enter("d", username="a-1") == 0x97
    bench.sessions.open(again)
    bench.namespaces.let_go(again)
    assert (tenant.session_count, len(tenant.places)) == (1, 1)


def test_place_of_the_first_namespace_is_given_back_when_another_is_settled(bench: Bench) -> None:
    bench.manage("a", 1)
    bench.manage("b", 0)
    applicant = bench.resolve(username="a-1")
    assert bench.namespaces.judge(applicant) == 0
    applicant.namespace = Namespace("b")
    assert bench.namespaces.judge_again(applicant) == 0x97
    assert bench.enter("d", username="a-1") == 0


def test_clean_start_keeps_one_place(bench: Bench) -> None:
    tenant = bench.manage("a", 1)
    for is_clean in (False, True, True, False):
        assert bench.enter("c", username="a-1", is_clean_start=is_clean) == 0
        assert (tenant.session_count, len(tenant.places)) == (1, 1)


def test_reaching_the_quota_is_told_once_until_it_is_kept_again(bench: Bench) -> None:
    bench.manage("a", 1)
    bench.enter("c", username="a-1")
    for _ in range(3):
        bench.enter("d", username="a-1")
    assert bench.crossings == [QuotaCrossing(Namespace("a"), "max_sessions", True)]
    bench.leave("c")
    bench.enter("d", username="a-1")
    assert bench.crossings[1:] == [QuotaCrossing(Namespace("a"), "max_sessions", False)]


# Rate of connects


def test_connects_beyond_the_rate_are_refused_until_the_bucket_has_filled(bench: Bench) -> None:
    bench.manage("a").connect_rate = TokenBucket(2, 1_000, bench.clock.now_ms())
    assert [bench.enter("c", username="a-1") for _ in range(3)] == [0, 0, 0x97]
    assert bench.enter("c", username="b-1") == 0
    bench.clock.advance(499)
    assert bench.enter("c", username="a-1") == 0x97
    bench.clock.advance(1)
    assert bench.enter("c", username="a-1") == 0
    assert [crossing.is_exceeded for crossing in bench.crossings] == [True, False]


def test_strangers_who_are_not_let_in_do_not_use_up_the_rate(bench: Bench) -> None:
    bench.manage("a").connect_rate = TokenBucket(2, 1_000, bench.clock.now_ms())
    for number in range(5):
        stranger = bench.resolve(f"s{number}", username="a-1")
        assert bench.namespaces.judge(stranger) == 0
        # Refused by the authenticators.
        bench.namespaces.let_go(stranger)
    assert [bench.enter("c", username="a-1") for _ in range(3)] == [0, 0, 0x97]


def test_rate_holds_for_those_whose_logins_end_together(bench: Bench) -> None:
    bench.manage("a").connect_rate = TokenBucket(2, 1_000, bench.clock.now_ms())
    applicants = [bench.resolve(f"c{number}", username="a-1") for number in range(4)]
    assert [bench.namespaces.judge(applicant) for applicant in applicants] == [0] * 4
    assert [bench.namespaces.judge_again(applicant) for applicant in applicants] == [0, 0, 0x97, 0x97]
    assert [crossing.is_exceeded for crossing in bench.crossings] == [True]


def test_bucket_never_holds_more_than_its_count() -> None:
    rate = TokenBucket(3, 1_000, 0)
    assert [rate.take(3_600_000) for _ in range(4)] == [True, True, True, False]


# What is known


def test_namespace_without_an_operator_is_forgotten_when_nobody_is_in_it(bench: Bench) -> None:
    bench.manage("a", 1)
    bench.tenants.unmanage(Namespace("a"))
    assert bench.tenants.names() == []
    bench.manage("b", 1)
    bench.enter("c", username="b-1")
    bench.tenants.unmanage(Namespace("b"))
    assert bench.tenants.names() == ["b"]
    assert bench.enter("d", username="b-1") == 0
    bench.tenants.unmanage(Namespace("nobody"))


def test_namespaces_that_clients_make_up_do_not_fill_the_memory(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MAX_IDLE", 2)
    bench.manage("created")
    assert bench.enter("stays", username="busy-1") == 0
    for number in range(5):
        assert bench.enter("c", username=f"made{number}-1") == 0
        bench.leave("c")
    assert bench.tenants.names() == ["busy", "created", "made3", "made4"]
    # Who is in use again is not the oldest any more.
    assert bench.enter("c", username="made3-1") == 0
    for number in range(5, 7):
        assert bench.enter("d", username=f"made{number}-1") == 0
        bench.leave("d")
    assert bench.tenants.names() == ["busy", "created", "made3", "made5", "made6"]


def test_idle_namespace_that_an_applicant_waits_for_is_not_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "MAX_IDLE", 1)
    assert bench.enter("c", username="a-1") == 0
    bench.leave("c")
    waiting = bench.resolve("c", username="a-1")
    assert bench.namespaces.judge(waiting) == 0
    for name in ("b", "d"):
        assert bench.enter("c2", username=f"{name}-1") == 0
        bench.leave("c2")
    bench.sessions.open(waiting)
    bench.namespaces.let_go(waiting)
    assert "a" in bench.tenants.names()


def test_namespace_that_a_refused_applicant_was_the_last_in_is_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "MAX_IDLE", 0)
    assert bench.enter("c", username="a-1") == 0
    waiting = bench.resolve("c", username="a-1")
    assert bench.namespaces.judge(waiting) == 0
    bench.leave("c")
    bench.namespaces.let_go(waiting)
    assert bench.tenants.find(Namespace("a")) is None


def test_long_name_is_not_remembered_when_nobody_is_in_it(bench: Bench) -> None:
    for length in (256, 257):
        assert bench.enter("c", username="n" * length) == 0
        bench.leave("c")
    assert bench.tenants.names() == ["n" * 256]


def test_deleted_namespace_goes_with_the_last_applicant(bench: Bench) -> None:
    bench.manage("a")
    waiting = bench.resolve("c", username="a-1")
    assert bench.namespaces.judge(waiting) == 0
    bench.tenants.unmanage(Namespace("a"))
    bench.namespaces.let_go(waiting)
    assert bench.tenants.find(Namespace("a")) is None


def test_namespace_that_is_closed_while_an_applicant_waits_is_closed_to_it(bench: Bench) -> None:
    bench.manage("a")
    bench.change(multi_tenancy__allow_only_managed_namespaces=True)
    waiting = bench.resolve("c", username="a-1")
    assert bench.namespaces.judge(waiting) == 0
    assert bench.namespaces.judge_again(waiting) == 0
    bench.tenants.unmanage(Namespace("a"))
    assert bench.namespaces.judge_again(waiting) == 0x87


def test_names_are_in_byte_order(bench: Bench) -> None:
    for name in ("é", "b", "\U0001f600", "a", "B", "\uffee"):
        bench.manage(name)
    assert bench.tenants.names() == ["B", "a", "b", "é", "\uffee", "\U0001f600"]
