"""Which protocol versions a test runs with; a test without one of these speaks 5.0."""

import pytest

from tests.support.packets import Version

__all__ = ["every_version", "v3_only", "v311_and_v5"]

every_version = pytest.mark.parametrize("version", list(Version), ids=lambda version: version.name)
v3_only = pytest.mark.parametrize("version", [Version.V31, Version.V311], ids=lambda version: version.name)
v311_and_v5 = pytest.mark.parametrize("version", [Version.V311, Version.V5], ids=lambda version: version.name)
