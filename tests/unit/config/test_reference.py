"""The reference page: committed as generated, and complete."""

from pathlib import Path

import pytest

from pybroker.config.reference import PAGE, main, page
from tests.unit.config.test_schema import every_key

ROOT = Path(__file__).parents[3]


def test_committed_page_is_what_the_schema_says() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(), "stale: run make docs"


def test_page_has_every_key() -> None:
    text = page()
    for path, key in every_key():
        endings = (f"| `{key.name}` |", f"`{path}`", f"`{path}.NAME`", f".{key.name}`")
        assert any(ending in text for ending in endings), path


@pytest.mark.parametrize(
    "row",
    [
        "| `max_inflight` | integer | `32` | integer 1..65535 | Unacknowledged QoS 1 and 2 messages towards a",
        '| `sndbuf` | size | `"default"` | size 1KB..1GB or "default" |',
        '| `secret` | text | `""` | text | Secret of HMAC. | secret |',
        "| `bind` | address | must be set |",
    ],
)
def test_row_shows_type_default_range_and_notes(row: str) -> None:
    assert row in page()


def test_page_is_written_where_it_is_asked(tmp_path: Path) -> None:
    target = tmp_path / "new" / "config.md"
    main([str(target)])
    assert target.read_text(encoding="utf-8") == page()
