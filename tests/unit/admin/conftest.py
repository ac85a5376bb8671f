"""Fixtures of the API's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.admin import Api, config_with, open_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """Give the API with the default administrator and the managed namespaces `a` and `b`."""
    async with open_api(config_with(tmp_path)) as opened:
        await opened.control.namespaces.add("a")
        await opened.control.namespaces.add("b")
        yield opened
