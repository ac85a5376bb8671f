"""Showing a configuration: secrets masked, and TOML that reads back to the same."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pybroker.config.load import load
from pybroker.config.render import leaves, nest, render, split, to_toml
from pybroker.config.schema import Config

SETS = [
    "dashboard.default_password=hunter2",
    "mqtt.mqueue_priorities={'a/b' = 3}",
    "authentication=[{mechanism='jwt', secret='hunter3', headers={x='hunter4'}}]",
    "zones.z.mqtt.retry_interval=5s",
    "listeners.unix.u.bind=/run/x",
]


def test_rendered_toml_loads_to_the_same(tmp_path: Any) -> None:
    config = load(sets=SETS).config
    file = tmp_path / "all.toml"
    file.write_text(to_toml(render(config, masks_secrets=False)))
    assert load(file).config == config


def test_secrets_are_masked_wherever_they_are() -> None:
    text = to_toml(render(load(sets=SETS).config, masks_secrets=True))
    assert "hunter" not in text
    assert text.count("******") == 3


def test_unset_secret_is_not_masked() -> None:
    assert render(Config(), masks_secrets=True)["dashboard"] == render(Config(), masks_secrets=False)["dashboard"]


def test_leaves_nest_back() -> None:
    config = load(sets=SETS).config
    nested = nest(leaves(config, masks_secrets=False))
    assert nested["mqtt"] == render(config, masks_secrets=False)["mqtt"]


def test_dotted_path_is_split_at_dots_outside_quotes() -> None:
    assert split('mqtt.mqueue_priorities."a.b/c"') == ["mqtt", "mqueue_priorities", "a.b/c"]


def test_comment_stands_behind_its_key() -> None:
    assert to_toml({"a": {"b": 1, "c": 2}}, {"a.b": "here"}) == "[a]\nb = 1  # here\nc = 2\n"


VALUES = st.recursive(
    st.booleans() | st.integers(-(1 << 53), 1 << 53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(min_size=1), st.dictionaries(st.text(min_size=1), VALUES, max_size=3), max_size=3))
def test_toml_text_reads_back(values: dict[str, object]) -> None:
    assert tomllib.loads(to_toml(values)) == values
