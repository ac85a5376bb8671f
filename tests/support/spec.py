"""The mark that ties a test to the statements of the standard which it checks."""

import pytest

__all__ = ["spec"]


def spec(*statements: str, row: int | tuple[int, ...] = ()) -> pytest.MarkDecorator:
    """Tag a test.

    Args:
        statements: ids like `MQTT5-3.3.1-4` or `MQTT3-3.3.1-4`, or `MQTT5-§4.9` for a section whose rule has no id.
        row: numbers of the behaviours in `spec_rows.ROWS` that the test covers.
    """
    return pytest.mark.spec(*statements, row=row)
