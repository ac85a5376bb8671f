"""Hiding secrets in what is kept about a request: by the name of the field, or whole where there are no names."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

MASK = "******"
MAX_BODY = 1_024
"""Characters of a request's body that are kept."""

MAX_READ = 65_536
"""Bytes of a body that is looked into; a larger one, such as 100,000 rules, would hold up the loop."""

_SECRET = re.compile(
    r"passw|pwd|passphrase|secret|token|authorization|cookie|credential|api_?key$|private_?key|^sso_code$|^key$",
    re.IGNORECASE,
)


def mask_fields(value: Any) -> Any:
    """Return plain data with the value of every field that sounds like a secret replaced."""
    if isinstance(value, Mapping):
        return {
            name: MASK if _SECRET.search(str(name)) and part not in (None, "") else mask_fields(part)
            for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask_fields(part) for part in value]
    return value


def mask_body(body: bytes) -> str:
    """Return a request's body as it may be kept: masked JSON of at most 1,024 characters, else only the mask."""
    if not body:
        return ""
    if len(body) > MAX_READ:
        return MASK
    try:
        return msgspec.json.encode(mask_fields(msgspec.json.decode(body))).decode()[:MAX_BODY]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return MASK
