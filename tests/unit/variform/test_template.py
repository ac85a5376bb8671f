"""Templates: what the vectors do not show, and placeholders of access rules."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.variform.template import MOUNTPOINT, RULE_TOPIC, Missing, Template, TemplateValues

VALUES = TemplateValues({"clientid": "c1", "username": None, "cert_common_name": "dev"}, {"a": ""})


def test_constant_template_is_known_as_such() -> None:
    assert Template("n1/${$}${nope}", MOUNTPOINT).is_constant
    assert not Template("${clientid}", MOUNTPOINT).is_constant


def test_names_are_in_the_order_of_the_text() -> None:
    assert Template("${zone}/${clientid}/${zone}", MOUNTPOINT).names == ("zone", "clientid", "zone")


def test_mountpoint_and_rule_have_different_placeholders() -> None:
    assert Template("${peerhost}", RULE_TOPIC).unknown == ("peerhost",)
    assert Template("${cert_common_name}", MOUNTPOINT).unknown == ("cert_common_name",)
    assert Template("${cert_common_name}", RULE_TOPIC).render(VALUES) == "dev"


def test_null_is_missing_and_the_empty_text_is_not() -> None:
    assert Template("a/${username}/${client_attrs.x}", RULE_TOPIC).render_all(VALUES) == Missing("username")
    assert Template("a/${client_attrs.a}/b", RULE_TOPIC).render_all(VALUES) == "a//b"


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("a/${username}/c", ()),
        ("a/b${username}c/d", (1,)),
        ("${username}", ()),
        ("${username}/${clientid}", ()),
        ("${username}${clientid}/x/y${zone}", (0, 2)),
        ("${$}{username}/x", ()),
        ("${$}${username}/x", (0,)),
        ("/${username}/", ()),
    ],
)
def test_partial_levels_are_found(text: str, levels: tuple[int, ...]) -> None:
    assert Template(text, RULE_TOPIC).partial_levels == levels


@given(st.text(alphabet="${}clientid.atrs/a \n", max_size=60))
@settings(deadline=None)
def test_template_without_values_differs_from_its_text_by_dollars_only(text: str) -> None:
    template = Template(text, MOUNTPOINT)
    assert template.render(TemplateValues({}, {})) == text.replace("${$}", "$")


@given(st.text(max_size=30))
@settings(deadline=None)
def test_value_is_never_parsed(value: str) -> None:
    values = TemplateValues({"clientid": value}, {})
    assert Template("a/${clientid}/b", MOUNTPOINT).render(values) == f"a/{value}/b"
