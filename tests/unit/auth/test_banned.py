"""The list of bans: who is covered by which kind of entry, and until when."""

import pytest

from pybroker.auth.banned import BanKind, BanList, normalize
from pybroker.ports import Applicant, ListenerTraits
from pybroker.types import ListenerId
from tests.support.fake_core import FakeConnect

NOW_S = 1_000

ENTRIES: list[tuple[BanKind, str]] = [
    ("clientid", "c1"),
    ("username", "ann"),
    ("peerhost", "192.0.2.7"),
    ("clientid_re", "^c[0-9]$"),
    ("username_re", "nn$"),
    ("peerhost_net", "192.0.2.0/24"),
]


def list_with(kind: BanKind, who: str, until_s: int | None = None) -> BanList:
    bans = BanList(lambda: NOW_S)
    bans.add(kind, who, until_s)
    return bans


@pytest.mark.parametrize(("kind", "who"), ENTRIES)
def test_every_kind_covers_whom_it_names_and_nobody_else(kind: BanKind, who: str) -> None:
    bans = list_with(kind, who)
    assert bans.covers("c1", "ann", "192.0.2.7")
    assert not bans.covers("other", "bob", "198.51.100.1")
    assert not bans.covers("other", None, "")


@pytest.mark.parametrize(("kind", "who"), ENTRIES)
def test_ban_ends_at_its_time_and_when_it_is_lifted(kind: BanKind, who: str) -> None:
    assert not list_with(kind, who, NOW_S).covers("c1", "ann", "192.0.2.7")
    assert list_with(kind, who, NOW_S + 1).covers("c1", "ann", "192.0.2.7")
    bans = list_with(kind, who)
    bans.remove(kind, who)
    assert not bans.covers("c1", "ann", "192.0.2.7")


def test_address_is_the_same_in_every_spelling() -> None:
    assert list_with("peerhost", "192.0.2.7").covers("c", None, "::ffff:192.0.2.7")
    assert list_with("peerhost", normalize("peerhost", "2001:DB8:0::1")).covers("c", None, "2001:db8::1")


def test_name_that_is_too_long_for_a_pattern_is_banned_by_it() -> None:
    assert list_with("clientid_re", "^never$").covers("x" * 5_000, None, "")


def test_applicant_is_judged_by_what_it_says_and_where_it_comes_from() -> None:
    connect = FakeConnect(client_id="c1", username="ann", peer=("192.0.2.7", 1)).as_core()
    applicant = Applicant(1, connect, ListenerTraits(id=ListenerId("tcp:default")))
    assert not BanList(lambda: NOW_S).is_banned(applicant)
    assert all(list_with(kind, who).is_banned(applicant) for kind, who in ENTRIES)


@pytest.mark.parametrize(("kind", "who"), ENTRIES)
def test_entry_holds_while_others_come_and_go(kind: BanKind, who: str) -> None:
    connect = FakeConnect(client_id="c1", username="ann", peer=("192.0.2.7", 1)).as_core()
    applicant = Applicant(1, connect, ListenerTraits(id=ListenerId("tcp:default")))
    bans = list_with(kind, who)
    for other in ("clientid", "username"):
        bans.add(other, "somebody", None)
        bans.remove(other, "somebody")
    assert bans.is_banned(applicant)
    bans.remove(kind, who)
    assert not bans.is_banned(applicant)


@pytest.mark.parametrize(
    ("kind", "who"),
    [
        ("clientid", ""),
        ("peerhost", "example"),
        ("peerhost", "10.0.0.0/8"),
        ("peerhost_net", "x"),
        ("username_re", "("),
    ],
)
def test_entry_that_cannot_be_read_is_refused(kind: BanKind, who: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normalize(kind, who)
