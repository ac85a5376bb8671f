"""The check that schemathesis makes of every reply beside its own; it loads this module by name.

A 5xx is a defect unless its code is one that the contract has for a request: an unknown node is answered with a 500.
"""

from typing import Any

import schemathesis

ALLOWED = {"NODE_DOWN": 500, "SERVICE_UNAVAILABLE": 503}
"""Codes of replies that are no defect, and their status."""


@schemathesis.check
def no_defect(ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]) -> None:
    """Fail on every 5xx that the contract does not have."""
    if response.status_code < 500:
        return
    found = response.json() if response.content else {}
    code = found.get("code", "") if isinstance(found, dict) else ""
    assert ALLOWED.get(code) == response.status_code, f"{response.status_code} {code}"
