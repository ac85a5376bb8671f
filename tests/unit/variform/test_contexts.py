"""The places of expressions: which names they bind, and that what is bound is what they know."""

from collections.abc import Callable

import pytest

from pybroker.variform import contexts
from pybroker.variform.compile import Compiler
from pybroker.variform.contexts import AlternativeNames, ClientFacts, Context
from pybroker.variform.errors import Failure
from pybroker.variform.values import Bindings

PLAIN = ClientFacts("c1", None, "default", "tcp:default", "10.0.0.1", "10.0.0.1:5000", 1883)
FULL = ClientFacts(
    "c1",
    "u1",
    "default",
    "wss:default",
    "10.0.0.1",
    "10.0.0.1:5000",
    8084,
    server_name="a.example",
    websocket_cookies={"k": "v"},
    common_name="dev",
    subject="CN=dev",
)
ATTRIBUTES = {"tns": "n1"}

PLACES: dict[str, tuple[Context, Callable[[ClientFacts], Bindings]]] = {
    "client_attrs_init": (
        contexts.CLIENT_ATTRS_INIT,
        lambda facts: contexts.bind_client_attrs_init(facts, b"pw", [("a", "1"), ("a", "2")]),
    ),
    "clientid_override": (
        contexts.CLIENTID_OVERRIDE,
        lambda facts: contexts.bind_clientid_override(facts, ATTRIBUTES),
    ),
    "post_auth": (
        contexts.POST_AUTH_TNS_EXPRESSION,
        lambda facts: contexts.bind_post_auth(facts, ATTRIBUTES, is_superuser=True),
    ),
    "authenticator": (
        contexts.AUTHENTICATOR_PRECONDITION,
        lambda facts: contexts.bind_authenticator(facts, ATTRIBUTES, b"pw"),
    ),
    "authorization": (
        contexts.AUTHORIZATION_PRECONDITION,
        lambda facts: contexts.bind_authorization(facts, ATTRIBUTES, "publish", "a/b"),
    ),
}


def names_of(bindings: Bindings, context: Context) -> set[str]:
    names: set[str] = set()
    for name, value in bindings.items():
        if name in context.maps or not isinstance(value, dict):
            names.add(name)
        else:
            names.update(f"{name}.{inner}" for inner in value)
    return names


@pytest.mark.parametrize("place", PLACES)
def test_place_binds_exactly_what_it_knows(place: str) -> None:
    context, bind = PLACES[place]
    assert names_of(bind(FULL), context) == context.names | context.maps


@pytest.mark.parametrize("place", PLACES)
def test_plain_tcp_leaves_tls_and_websocket_names_unbound(place: str) -> None:
    _, bind = PLACES[place]
    absent = {"cn", "dn", "peersni", "ws_cookie", "cert_common_name", "cert_subject"}
    assert absent & bind(PLAIN).keys() == set()


@pytest.mark.parametrize("place", PLACES)
def test_anonymous_client_has_an_empty_username_not_an_unbound_one(compiler: Compiler, place: str) -> None:
    _, bind = PLACES[place]
    assert compiler.compile("username").evaluate(bind(PLAIN)) == ""


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("password", "pw"),
        ("user_property.a", "2"),
        ("user_property.b", Failure("var_unbound", "user_property.b")),
        ("cn", "dev"),
        ("cert_common_name", "dev"),
        ("dn", "CN=dev"),
        ("ws_cookie.k", "v"),
        ("peerhost", "10.0.0.1"),
        ("sockport", "8084"),
        ("protocol", "mqtt"),
        ("coalesce(cert_san.dns, 'none')", "none"),
        ("client_attrs.tns", Failure("var_unbound", "client_attrs.tns")),
    ],
)
def test_attributes_see_the_connect(compiler: Compiler, text: str, result: str | Failure) -> None:
    bindings = PLACES["client_attrs_init"][1](FULL)
    assert compiler.compile(text).evaluate(bindings) == result


def test_alternative_names_are_lists(compiler: Compiler) -> None:
    names = AlternativeNames(dns=("a.example", "b.example"))
    bindings = contexts.bind_client_attrs_init(PLAIN, None, alternative_names=names)
    assert compiler.compile("nth(2, cert_san.dns)").evaluate(bindings) == "b.example"
    assert compiler.compile("password").evaluate(bindings) == ""


def test_password_that_is_not_utf8_does_not_break_the_others(compiler: Compiler) -> None:
    bindings = contexts.bind_client_attrs_init(PLAIN, b"\xff")
    assert compiler.compile("clientid").evaluate(bindings) == "c1"
    assert compiler.compile("password").evaluate(bindings) == Failure("bad_return", "not UTF-8")


def test_override_sees_attributes_but_no_secret(compiler: Compiler) -> None:
    bindings = PLACES["clientid_override"][1](FULL)
    assert compiler.compile("concat([client_attrs.tns, '-', clientid])").evaluate(bindings) == "n1-c1"
    assert "password" not in bindings


def test_precondition_sees_action_and_topic(compiler: Compiler) -> None:
    bindings = PLACES["authorization"][1](FULL)
    text = "iif(str_eq(action, 'publish'), topic_match(topic, 'a/+'), false)"
    assert compiler.compile(text).evaluate(bindings) == "true"
