"""Fixtures of the command line's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from pybroker.config.sections.observe import LogAudit, LogSettings
from tests.support.admin import config_with
from tests.support.commands import Console, open_console


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    """Give a shell on a broker whose audit log is on."""
    log = LogSettings(audit=LogAudit(enable=True))
    # Log lines do not stand between what commands print.
    with structlog.testing.capture_logs():
        async with open_console(config_with(tmp_path, log=log)) as opened:
            yield opened
