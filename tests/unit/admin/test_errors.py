"""From errors to replies."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from admin import resource
from admin.codes import CODES
from admin.middleware.errors import ApiError, render
from admin.routes import login
from admin.table import Row
from pybroker.errors import BrokerError, ConfigError, NotAuthorized, QuotaExceeded, Refused, StoreError


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Refused("USER_NOT_FOUND", "x"), 404, "USER_NOT_FOUND"),
        (ApiError(400, "NOT_FOUND", "x"), 400, "NOT_FOUND"),
        (NotAuthorized("kick"), 403, "FORBIDDEN"),
        (QuotaExceeded("max_traces", 30), 400, "EXCEED_LIMIT"),
        (ConfigError("mqtt.max_inflight", "found 0"), 400, "BAD_REQUEST"),
        (StoreError("disk is full"), 500, "INTERNAL_ERROR"),
    ],
)
def test_each_error_has_its_status_and_code(error: BrokerError, status: int, code: str) -> None:
    response, body = render(error)
    assert (response.status_code, body["code"]) == (status, code)
    assert msgspec.json.decode(response.body) == body


@pytest.mark.parametrize("code", list(CODES))
def test_every_code_renders_with_its_status(code: str) -> None:
    response, _ = render(Refused(code, "x"))
    assert response.status_code == CODES[code].status
    assert ("www-authenticate" in response.headers) == (
        code in ("AUTHORIZATION_HEADER_ERROR", "BAD_API_KEY_OR_SECRET", "API_KEY_NOT_ALLOW")
    )


def test_further_fields_stand_beside_code_and_message() -> None:
    assert render(ApiError(401, "BAD_TOKEN", {"a": 1}, {"reason": "r"}))[1] == {
        "code": "BAD_TOKEN",
        "message": {"a": 1},
        "reason": "r",
    }


def _row(body_limit: int) -> Row:
    return msgspec.structs.replace(login.ROWS[0], body_limit=body_limit)


class _Request:
    """A request whose body comes as a test likes; the transport of the tests would read it whole first."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self.headers: dict[str, str] = {}
        self._body = body

    def stream(self) -> AsyncIterator[bytes]:
        return self._body


async def test_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "BODY_TIMEOUT_S", 0.01)

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    with pytest.raises(Refused) as caught:
        await resource._read(_Request(never()), _row(10))  # type: ignore[arg-type]  # a double
    assert caught.value.code == "REQUEST_TIMEOUT"


async def test_body_without_a_length_is_counted() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100

    with pytest.raises(Refused) as caught:
        await resource._read(_Request(endless()), _row(1_000))  # type: ignore[arg-type]  # a double
    assert caught.value.code == "PAYLOAD_TOO_LARGE"
