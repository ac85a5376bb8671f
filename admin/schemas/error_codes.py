"""Codes of errors."""

import msgspec


class ErrorCode(msgspec.Struct, frozen=True, kw_only=True):
    """A code and what it means."""

    code: str
    description: str
