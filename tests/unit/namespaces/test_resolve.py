"""From a client to its namespace and client id: what expressions see, and what they cannot do."""

import pytest

from pybroker.namespaces import resolve
from pybroker.plane.attributes import can_be_mountpoint
from pybroker.ports import Verdict
from pybroker.types import ClientId, Namespace
from tests.unit.namespaces.conftest import SUGGESTED, USERNAME_PREFIX, Bench, by_username


def attribute(expression: str, name: str = "tns") -> dict[str, str]:
    return {"expression": expression, "set_as_attr": name}


def test_without_settings_nobody_has_a_namespace() -> None:
    bench = Bench()
    applicant = bench.resolve(username="a-1")
    assert (applicant.namespace, applicant.client_id, applicant.attributes) == (None, "c", None)
    assert bench.namespaces.judge(applicant) == bench.namespaces.judge_again(applicant) == 0
    assert bench.namespaces.mountpoint(applicant) == ""


def test_without_settings_a_connect_builds_nothing_for_expressions(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(applicant: object) -> None:
        raise AssertionError("nobody asks for it")

    monkeypatch.setattr(resolve, "facts_of", fail)
    bench = Bench()
    assert bench.enter(username="a-1") == 0
    assert bench.tenants.names() == []
    assert bench.namespaces._held == {}


def test_namespace_is_the_attribute_tns(bench: Bench) -> None:
    applicant = bench.resolve(username="a-1")
    assert applicant.namespace == "a"
    assert applicant.attributes == {"tns": "a"}


def test_attributes_are_set_in_their_order_and_an_empty_one_erases_nothing() -> None:
    bench = Bench(
        {
            "mqtt.client_attrs_init": [
                attribute("'first'"),
                attribute("username"),
                attribute("''"),
                attribute("concat([missing])"),
                attribute("user_property.site", "site"),
            ]
        }
    )
    applicant = bench.resolve(username="a", user_properties=[("site", "x"), ("site", "y")])
    assert applicant.attributes == {"tns": "a", "site": "y"}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("clientid", "c"),
        ("password", "secret"),
        ("zone", "default"),
        ("listener", "tcp:default"),
        ("peerhost", "127.0.0.1"),
        ("peername", "127.0.0.1:40000"),
        ("sockport", "1883"),
        ("protocol", "mqtt"),
        ("peersni", "t.example"),
        ("ws_cookie.t", "v"),
        ("ws_cookie.u", "w=x"),
        ("cn", "dev"),
        ("cert_common_name", "dev"),
        ("dn", "CN=dev"),
        ("cert_subject", "CN=dev"),
        ("nth(1, cert_san.dns)", "a.example"),
        ("nth(1, cert_san.ip)", "10.0.0.1"),
        ("nth(1, cert_san.email)", "m@example"),
        ("nth(1, cert_san.uri)", "urn:x"),
    ],
)
def test_expressions_see_what_is_known_of_the_client(expression: str, value: str) -> None:
    applicant = Bench({"mqtt.client_attrs_init": [attribute(expression)]}).resolve(
        password=b"secret",
        server_name="t.example",
        websocket_path="/mqtt",
        websocket_cookie="t=v; u=w=x; t=second; odd",
        certificate_common_name="dev",
        certificate_subject="CN=dev",
        certificate_sans=["DNS:a.example", "IP:10.0.0.1", "email:m@example", "URI:urn:x", "DirName:CN=x"],
    )
    assert applicant.namespace == value


@pytest.mark.parametrize("expression", ["cn", "dn", "peersni", "ws_cookie.t", "user_property.no", "username"])
def test_what_the_connection_does_not_have_sets_nothing(expression: str) -> None:
    applicant = Bench({"mqtt.client_attrs_init": [attribute(expression)]}).resolve()
    assert applicant.namespace is None


def test_failing_override_keeps_the_client_id() -> None:
    bench = Bench({"mqtt.clientid_override": SUGGESTED})
    assert bench.resolve("c").client_id == "c"
    assert bench.enter("c") == 0


@pytest.mark.parametrize("expression", ["''", "unescape('a\\x0')", "nth(9, tokens(clientid, '-'))"])
def test_override_without_a_usable_result_keeps_the_client_id(expression: str) -> None:
    assert Bench({"mqtt.clientid_override": expression}).resolve("c").client_id == "c"


def test_override_sees_attributes_and_keeps_what_the_client_called_itself() -> None:
    applicant = by_username(mqtt__clientid_override=SUGGESTED).resolve("c", username="a-1")
    assert applicant.client_id == "a-c"
    assert applicant.declared_client_id == "c"


def test_each_zone_has_its_own_expressions() -> None:
    bench = Bench(
        {"zones": {"z": {"mqtt": {"client_attrs_init": [attribute("'zoned'")], "namespace_as_mountpoint": True}}}}
    )
    assert bench.resolve().namespace is None
    applicant = bench.applicant(zone="z")
    bench.namespaces.resolve(applicant)
    assert applicant.namespace == "zoned"
    assert bench.namespaces.mountpoint(applicant) == "zoned/"


# The prefix


def test_namespace_and_a_slash_is_the_mountpoint_where_that_is_on(bench: Bench) -> None:
    applicant = bench.resolve(username="a-1")
    assert bench.namespaces.mountpoint(applicant) == ""
    bench.change(mqtt__namespace_as_mountpoint=True)
    assert bench.namespaces.mountpoint(applicant) == "a/"
    assert bench.namespaces.mountpoint(bench.resolve()) == ""


@pytest.mark.parametrize("name", ["+", "#", "a+", "a#b", "a/b", "/", "$SYS", "$share", "$delayed"])
def test_hostile_name_is_no_mountpoint(name: str) -> None:
    bench = Bench({"mqtt.client_attrs_init": [attribute("username")], "mqtt.namespace_as_mountpoint": True})
    applicant = bench.resolve(username=name)
    assert applicant.namespace == name
    assert bench.namespaces.mountpoint(applicant) is None
    assert not can_be_mountpoint(name)


def test_name_is_no_template() -> None:
    bench = Bench({"mqtt.client_attrs_init": [attribute("username")], "mqtt.namespace_as_mountpoint": True})
    assert bench.namespaces.mountpoint(bench.resolve(username="t${clientid}")) == "t${clientid}/"


# Isolation of client ids


def test_one_client_id_is_two_sessions_with_the_suggested_expression() -> None:
    bench = by_username(mqtt__clientid_override=SUGGESTED)
    assert bench.enter("c", username="a-1") == bench.enter("c", username="b-1") == 0
    assert {session.client_id for session in bench.registry} == {"a-c", "b-c"}


def test_without_override_a_client_id_is_one_session_for_all(bench: Bench) -> None:
    assert bench.enter("c", username="a-1") == bench.enter("c", username="b-1") == 0
    assert bench.session("c").namespace == "b"
    assert [tenant.session_count for tenant in (bench.manage("a"), bench.manage("b"))] == [0, 1]


def test_two_pairs_with_one_result_do_not_share_a_session() -> None:
    bench = Bench(
        {"mqtt.client_attrs_init": [attribute("username")], "mqtt.clientid_override": SUGGESTED},
    )
    assert bench.enter("b-c", username="a") == 0
    assert bench.enter("c", username="a-b") == 0x85
    assert bench.enter("b-c", username="a") == 0
    assert bench.session("a-b-c").namespace == "a"


def test_no_namespace_is_a_namespace_of_its_own() -> None:
    bench = by_username(mqtt__clientid_override=SUGGESTED)
    assert bench.enter("c", username="a-1") == 0
    assert bench.enter("a-c") == 0x85
    assert bench.enter("b-c") == 0
    assert bench.enter("c", username="b-1") == 0x85


def test_result_that_ignores_the_client_id_is_not_shared_inside_a_namespace() -> None:
    bench = by_username(mqtt__clientid_override="client_attrs.tns")
    assert bench.enter("c", username="a-1") == 0
    assert bench.enter("d", username="a-1") == 0x85


def test_client_id_of_an_overridden_session_is_not_to_be_had_from_a_zone_without_override() -> None:
    bench = by_username(zones={"z": {"mqtt": {"clientid_override": SUGGESTED}}})
    applicant = bench.applicant("c", zone="z", username="a-1")
    bench.namespaces.resolve(applicant)
    bench.sessions.open(applicant)
    assert bench.enter("a-c", username="a-1") == 0x85


def test_isolation_holds_for_sessions_that_are_older_than_its_end() -> None:
    bench = by_username(mqtt__clientid_override=SUGGESTED)
    assert bench.enter("c", username="a-1") == 0
    bench.change(mqtt__clientid_override=None)
    assert bench.enter("a-c", username="a-1") == 0x85


def test_client_id_from_authentication_is_isolated_too() -> None:
    bench = Bench()
    assert bench.enter("boss") == 0
    applicant = bench.resolve("thief")
    applicant.client_id = ClientId("boss")
    assert bench.namespaces.judge_again(applicant) == 0x85


# After authentication


def settle(bench: Bench, verdict: Verdict, client_id: str = "c", **connect: object) -> tuple[int, str | None, str]:
    """Let a client pass with a verdict; return reason, namespace and client id."""
    applicant = bench.resolve(client_id, **connect)
    before = applicant.namespace
    reason = bench.namespaces.judge(applicant)
    if not reason:
        if verdict.namespace is not None:
            applicant.namespace = verdict.namespace
            applicant.attributes = {**(applicant.attributes or {}), "tns": verdict.namespace}
        if verdict.client_id is not None:
            applicant.client_id = verdict.client_id
        reason = bench.namespaces.resolve_again(applicant, before, verdict.client_id is not None)
        reason = reason or bench.namespaces.judge_again(applicant)
    bench.namespaces.let_go(applicant)
    return reason, applicant.namespace, applicant.client_id


def test_changed_namespace_changes_the_overridden_client_id() -> None:
    bench = by_username(mqtt__clientid_override=SUGGESTED)
    assert settle(bench, Verdict(0, namespace=Namespace("b")), username="a-1") == (0, "b", "b-c")


def test_client_id_of_the_verdict_stays_when_the_namespace_changes() -> None:
    bench = by_username(mqtt__clientid_override=SUGGESTED)
    verdict = Verdict(0, namespace=Namespace("b"), client_id=ClientId("own"))
    assert settle(bench, verdict, username="a-1") == (0, "b", "own")


def test_expression_after_authentication_gives_the_namespace() -> None:
    bench = by_username(multi_tenancy__post_auth_tns_expression="concat([client_attrs.tns, '2'])")
    bench.change(mqtt__clientid_override=SUGGESTED)
    assert settle(bench, Verdict(0), username="a-1") == (0, "a2", "a2-c")


@pytest.mark.parametrize("expression", ["''", "cn", "nth(0, tokens(clientid, '-'))", "unescape('a\\x1b')"])
def test_empty_result_after_authentication_strips_the_namespace(expression: str) -> None:
    bench = by_username(multi_tenancy__post_auth_tns_expression=expression, mqtt__clientid_override=SUGGESTED)
    assert settle(bench, Verdict(0), username="a-1") == (0, None, "c")
    bench.change(multi_tenancy__allow_only_managed_namespaces=True)
    bench.manage("a")
    assert settle(bench, Verdict(0), username="a-1")[0] == 0x87


def test_empty_result_after_authentication_refuses_a_denied_name() -> None:
    bench = by_username(multi_tenancy__post_auth_tns_expression="''")
    assert settle(bench, Verdict(0), username="global-1")[0] == 0x87


def test_unmanaged_namespace_before_authentication_does_not_matter_with_an_expression_after_it() -> None:
    bench = by_username(
        multi_tenancy__post_auth_tns_expression="'known'", multi_tenancy__allow_only_managed_namespaces=True
    )
    bench.manage("known")
    assert settle(bench, Verdict(0), username="stranger-1") == (0, "known", "c")


def test_expression_after_authentication_sees_what_it_found() -> None:
    bench = Bench({"multi_tenancy.post_auth_tns_expression": "iif(is_superuser, 'boss', 'all')"})
    applicant = bench.resolve()
    applicant.is_superuser = True
    assert bench.namespaces.resolve_again(applicant, None, False) == 0
    assert applicant.namespace == "boss"


def test_expressions_are_compiled_once() -> None:
    bench = Bench({"mqtt.client_attrs_init": [attribute(USERNAME_PREFIX)]})
    before = bench.namespaces.settings.general.attributes[0][1]
    bench.enter("c", username="a-1")
    assert bench.namespaces.settings.general.attributes[0][1] is before
