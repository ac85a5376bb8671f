"""What holds while there are no authenticators and rules."""

from pybroker.ports import Applicant, ListenerTraits, render_peer
from pybroker.types import ListenerId
from tests.support.fake_core import FakeConnect


def applicant(connect: FakeConnect | None = None) -> Applicant:
    return Applicant(1, (connect or FakeConnect()).as_core(), ListenerTraits(id=ListenerId("tcp:default")))


def test_method_of_a_3x_client_does_not_exist() -> None:
    assert applicant(FakeConnect(version=4, authentication_method="m")).method is None
    assert applicant(FakeConnect(version=5, authentication_method="m")).method == "m"


def test_peers_are_written_as_people_do() -> None:
    assert render_peer(("192.0.2.7", 1)) == "192.0.2.7:1"
    assert render_peer(("2001:db8::1", 2)) == "[2001:db8::1]:2"
    assert render_peer(("", 0)) == ""
