"""The bootstrap file of API keys."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from pybroker.config.sections.access import ApiKeySettings
from pybroker.control.scopes import GENERIC
from pybroker.persistence.records import ApiKeyRecord
from tests.support.admin import basic, config_with, open_api


async def _load(folder: Path, text: str) -> dict[str, ApiKeyRecord]:
    file = folder / "keys.txt"
    file.write_text(text, encoding="utf-8")
    config = msgspec.structs.replace(config_with(folder), api_key=ApiKeySettings(bootstrap_file=str(file)))
    async with open_api(config) as api:
        return {record.api_key: record for record in api.control.api_keys.table}


async def test_lines_become_keys(tmp_path: Path) -> None:
    keys = await _load(
        tmp_path, "k1:s1\n\nk2:s2:viewer\nk3:s3:viewer:Monitoring, connections\nk4:s4:publisher\nk5:s5:viewer:\n"
    )
    assert {name: (key.role, key.scopes) for name, key in keys.items()} == {
        "k1": ("administrator", GENERIC),
        "k2": ("viewer", GENERIC),
        "k3": ("viewer", ("monitoring", "connections")),
        "k4": ("publisher", ("publish",)),
        "k5": ("viewer", ()),
    }
    digest = hashlib.sha512(b"k1").hexdigest()[:16]
    assert keys["k1"].name == f"from_bootstrap_file_{digest}"
    assert keys["k1"].description == "Bootstrapped From File"


async def test_key_of_the_file_opens(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("k1:secret\n", encoding="utf-8")
    config = msgspec.structs.replace(config_with(tmp_path), api_key=ApiKeySettings(bootstrap_file=str(file)))
    async with open_api(config) as api:
        assert (await api.call("GET", "/user_scopes", auth=basic("k1", "secret"))).status_code == 200


@pytest.mark.parametrize("line", ["nonsense", ":s", "k:", "k:s:boss", "k:s:ns:zz::viewer"])
async def test_bad_line_loads_none(tmp_path: Path, line: str) -> None:
    assert await _load(tmp_path, f"good:secret\n{line}\n") == {}


async def test_unknown_scopes_are_dropped_and_a_mix_keeps_the_rest(tmp_path: Path) -> None:
    keys = await _load(tmp_path, "a:s:viewer:nonsense,audit\nb:s:viewer:system,audit\nc:s:publisher:audit,publish\n")
    assert {name: key.scopes for name, key in keys.items()} == {"a": ("audit",), "b": ("audit",), "c": ("publish",)}


async def test_last_line_of_a_key_wins(tmp_path: Path) -> None:
    keys = await _load(tmp_path, "a:s:viewer\na:s2:publisher\n")
    assert {name: key.role for name, key in keys.items()} == {"a": "publisher"}


async def test_missing_file_loads_none_and_starts(tmp_path: Path) -> None:
    config = msgspec.structs.replace(
        config_with(tmp_path), api_key=ApiKeySettings(bootstrap_file=str(tmp_path / "none"))
    )
    async with open_api(config) as api:
        assert len(api.control.api_keys.table) == 0
        assert api.control.bootstrap_failure == "file cannot be read: FileNotFoundError"


async def test_failure_names_the_line_and_not_its_content(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("k1:s3cret\nk2:s3cret:boss\n", encoding="utf-8")
    config = msgspec.structs.replace(config_with(tmp_path), api_key=ApiKeySettings(bootstrap_file=str(file)))
    async with open_api(config) as api:
        assert api.control.bootstrap_failure == "line 2 is wrong: Role does not exist"
    assert "s3cret" not in caplog.text
