"""Long lists in slices: rows are made, encoded and sent some at a time, and the loop gets its turn in between."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response, StreamingResponse

from admin.middleware.errors import json_response

SLICE = 500
"""Rows that are made or sent at a time: some 2 ms of making, and 600 KB of the longest rows."""

PIECE = 65_536
"""Bytes of a body that are decoded at a time: about a millisecond."""

T = TypeVar("T")
R = TypeVar("R")


async def in_slices(items: Sequence[T], make: Callable[[T], R]) -> list[R]:
    """Return what `make` returns for each item."""
    made: list[R] = []
    for start in range(0, len(items), SLICE):
        made += map(make, items[start : start + SLICE])
        await asyncio.sleep(0)
    return made


async def decode_rows(body: bytes, kind: Any) -> list[Any]:
    """Decode an array, some elements at a time.

    Args:
        kind: type of an element.

    Raises:
        msgspec.MsgspecError, UnicodeDecodeError: it cannot be decoded; the message says where.
        RecursionError: it is nested too deeply.
    """
    if len(body) <= PIECE:
        decoded: list[Any] = msgspec.json.decode(body, type=list[kind])
        return decoded
    decode, made, taken = msgspec.json.Decoder(kind).decode, list[Any](), 0
    # Finding the elements is one step of 10 ms at 10 MiB; it stands alone.
    await asyncio.sleep(0)
    raws = msgspec.json.decode(body, type=list[msgspec.Raw])
    await asyncio.sleep(0)
    # Each goes as it is decoded, so that they are not freed all at once.
    raws.reverse()
    while raws:
        raw = raws.pop()
        try:
            made.append(decode(raw))
        except msgspec.ValidationError as error:
            head, said, path = str(error).partition(" - at `$")
            raise msgspec.ValidationError(f"{head} - at `$[{len(made)}]{path if said else '`'}") from None
        taken += len(raw)
        if taken > PIECE:
            taken = 0
            await asyncio.sleep(0)
    return made


def rows_response(rows: Sequence[Any], meta: object, status: int = 200) -> Response:
    """Return `{"data": rows, "meta": meta}`, of long lists as a stream."""
    if len(rows) <= SLICE:
        return json_response({"data": rows, "meta": meta}, status)
    return StreamingResponse(_parts(rows, meta), status, media_type="application/json")


async def _parts(rows: Sequence[Any], meta: object) -> AsyncIterator[bytes]:
    lead = b'{"data":['
    for start in range(0, len(rows), SLICE):
        # The brackets of the slice go: it is a part of one array.
        yield lead + msgspec.json.encode(rows[start : start + SLICE])[1:-1]
        lead = b","
        await asyncio.sleep(0)
    yield b'],"meta":' + msgspec.json.encode(meta) + b"}"
