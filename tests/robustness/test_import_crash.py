"""An import of access rules and `kill -9` at any moment: all of it is there afterwards, or nothing."""

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_admin_identity import call, free_port, log_in, settings
from tests.support.broker import Broker

_IMPORT = "/authorization/sources/built_in_database/rules/import"
_ROWS = 10_000


def _import(port: int, token: str, access: str, answers: list[tuple[int, Any]]) -> None:
    """Import one rule for each of many clients; nothing is added if the broker dies."""
    rows = [{"clientid": f"c{at}", "topic": "t", "action": "pub", "access": access} for at in range(_ROWS)]
    with contextlib.suppress(OSError):
        answers.append(call(port, "POST", _IMPORT, rows, token))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_import_is_there_whole_or_not_at_all(tmp_path: Path, share: float) -> None:
    port = free_port()
    keys = settings(port, **{"dashboard.default_password": "Secret-123"})
    broker = Broker.start(tmp_path, keys)
    answers: list[tuple[int, Any]] = []
    started = time.monotonic()
    _import(port, log_in(port, "Secret-123"), "allow", answers)
    patience = (time.monotonic() - started) * share
    assert answers.pop()[1]["success"] == _ROWS
    thread = threading.Thread(target=_import, args=(port, log_in(port, "Secret-123"), "deny", answers))
    thread.start()
    thread.join(patience)
    broker.kill()
    thread.join()
    after = Broker.start(tmp_path, keys)
    try:
        token = log_in(port, "Secret-123")
        path = f"/authorization/sources/built_in_database/records?limit={_ROWS}"
        _, found = call(port, "GET", path, auth=token)
        assert found["meta"]["count"] == _ROWS
        denied = sum(row["permission"] == "deny" for row in found["data"])
        assert denied in (0, _ROWS)
        if answers:
            assert denied == _ROWS
    finally:
        after.stop()
