"""The name of a client: its client id and user name, from CONNECT, from each other, from its certificate."""

import pytest

from pybroker.config.sections.mqtt import CertificateField
from pybroker.plane.certificate import certificate_text
from pybroker.plane.connect import new_client_id
from tests.support.fake_core import FakeConnect
from tests.support.spec import spec
from tests.unit.plane.conftest import Plane, plane_with


@spec("MQTT3-3.1.3-8", row=25)
@pytest.mark.parametrize(("version", "clean"), [(4, False), (3, False), (3, True)])
def test_empty_client_id_is_refused_in_3x(plane: Plane, version: int, clean: bool) -> None:
    plane.connect(1, FakeConnect(version=version, client_id="", is_clean_start=clean))
    assert plane.answer == ("refuse", 1, 0x85, 2)
    assert plane.heard == ["client_refused"]


@spec("MQTT3-3.1.3-6", row=24)
def test_empty_client_id_is_replaced_silently_in_311(plane: Plane) -> None:
    plane.connect(1, FakeConnect(version=4, client_id="", is_clean_start=True))
    assert plane.is_admitted
    assert plane.answer[5] is None


@spec("MQTT5-3.1.3-6", "MQTT5-3.1.3-7", "MQTT5-3.2.2-16", row=24)
@pytest.mark.parametrize("clean", [True, False])
def test_empty_client_id_is_replaced_and_told_in_5(plane: Plane, clean: bool) -> None:
    plane.connect(1, FakeConnect(client_id="", is_clean_start=clean))
    assert plane.answer[5] is not None
    (session,) = list(plane.registry)
    assert len(session.client_id) == 22


def test_assigned_client_ids_differ() -> None:
    ids = {new_client_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all(client_id.isalnum() and len(client_id) == 22 for client_id in ids)


@spec("MQTT5-3.1.3-8", "MQTT3-3.1.3-9", row=26)
@pytest.mark.parametrize(
    ("client_id", "is_accepted"), [("x" * 30, True), ("x" * 31, False), ("é" * 15, True), ("é" * 16, False)]
)
def test_client_id_is_measured_in_bytes(client_id: str, is_accepted: bool) -> None:
    plane = plane_with(max_client_id_bytes=30)
    plane.connect(1, FakeConnect(client_id=client_id))
    assert plane.is_admitted == is_accepted
    if not is_accepted:
        assert plane.answer == ("refuse", 1, 0x85, 2)


def test_username_may_be_the_client_id() -> None:
    plane = plane_with(takes_username_as_client_id=True)
    plane.connect(1, FakeConnect(client_id="", username="ann"))
    assert plane.has_session("ann")
    plane.connect(2, FakeConnect(client_id="x", username="bob"))
    assert plane.has_session("bob")
    assert not plane.has_session("x")


@pytest.mark.parametrize("username", [None, ""])
def test_username_as_client_id_must_not_be_empty(username: str | None) -> None:
    plane = plane_with(takes_username_as_client_id=True)
    plane.connect(1, FakeConnect(client_id="x", username=username))
    assert plane.answer == ("refuse", 1, 0x85, 2)


def test_certificate_may_be_user_name_and_client_id() -> None:
    plane = plane_with(certificate_as_username="cn", certificate_as_client_id="dn", takes_username_as_client_id=True)
    plane.connect(
        1, FakeConnect(client_id="x", username="y", certificate_common_name="ann", certificate_subject="CN=ann")
    )
    assert plane.session("CN=ann").username == "ann"


def test_without_a_certificate_the_packet_counts() -> None:
    plane = plane_with(certificate_as_username="cn", certificate_as_client_id="cn")
    plane.connect(1, FakeConnect(client_id="x", username="y"))
    assert plane.session("x").username == "y"


def test_client_id_from_a_certificate_is_measured_too() -> None:
    plane = plane_with(max_client_id_bytes=30, certificate_as_client_id="cn")
    plane.connect(1, FakeConnect(client_id="x", certificate_common_name="n" * 31))
    assert plane.answer == ("refuse", 1, 0x85, 2)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("cn", "ann"),
        ("dn", "CN=ann,O=x"),
        ("md5", "900150983cd24fb0d6963f7d28e17f72"),
        ("crt", "YWJj"),
        ("pem", "YWJj"),
    ],
)
def test_fields_of_a_certificate(field: CertificateField, text: str) -> None:
    connect = FakeConnect(certificate_common_name="ann", certificate_subject="CN=ann,O=x", certificate_der=b"abc")
    assert certificate_text(connect.as_core(), field) == text
    assert certificate_text(FakeConnect().as_core(), field) == ""
