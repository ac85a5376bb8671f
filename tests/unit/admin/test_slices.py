"""Long arrays, some elements at a time."""

import asyncio

import msgspec
import pytest

from admin.schemas.authorization_rules import ClientRules
from admin.slices import PIECE, decode_rows


def _body(count: int, last: object = "c") -> bytes:
    rows: list[object] = [{"clientid": f"c{number}", "rules": []} for number in range(count - 1)]
    return msgspec.json.encode([*rows, {"clientid": last, "rules": []}])


@pytest.mark.parametrize("count", [3, 5_000])
async def test_array_is_decoded_whole_however_long_it_is(count: int) -> None:
    rows = await decode_rows(_body(count), ClientRules)
    assert [row.clientid for row in rows] == [*(f"c{number}" for number in range(count - 1)), "c"]


@pytest.mark.parametrize("count", [3, 5_000])
async def test_error_names_the_element(count: int) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        await decode_rows(_body(count, last=7), ClientRules)
    assert str(caught.value) == f"Expected `str`, got `int` - at `$[{count - 1}].clientid`"


async def test_error_without_a_path_names_the_element() -> None:
    body = _body(5_000).replace(b'"rules":[]}]', b'"other":[]}]')
    with pytest.raises(msgspec.ValidationError, match=r"at `\$\[4999\]`$"):
        await decode_rows(body, ClientRules)


async def test_others_have_their_turn_while_a_long_array_is_decoded() -> None:
    body, turns = _body(20_000), 0
    decoding = asyncio.create_task(decode_rows(body, ClientRules))
    while not decoding.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= len(body) // (2 * PIECE)
