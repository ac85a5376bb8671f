"""Publishing."""

from functools import partial

from starlette.responses import Response

from admin.middleware.errors import json_response
from admin.schemas.publish import Message, NotPublished, Published
from admin.slices import in_slices
from admin.table import Access, Call, NoQuery, Row
from pybroker.control.door import Control
from pybroker.control.publish import IMPLEMENTATION_ERROR, NO_MATCHING_SUBSCRIBERS, Outcome
from pybroker.errors import Refused

BODY_LIMIT = 16 << 20
"""Bytes of a request: the largest payload of the default configuration in base64 several times over."""

_BAD_ENCODING = Outcome(reason=IMPLEMENTATION_ERROR, text="bad_base64_payload")


async def publish(call: Call[Message, NoQuery]) -> Response:
    """Publish one message."""
    outcome = (await _publish(call.control, [call.body]))[0]
    return json_response(_shown(outcome), _status(outcome))


async def publish_many(call: Call[list[Message], NoQuery]) -> Response:
    """Publish many messages, or none if one of them is wrong."""
    if not call.body:
        raise Refused("BAD_REQUEST", "there is no message")
    outcomes = await _publish(call.control, call.body)
    statuses = {_status(outcome) for outcome in outcomes}
    if 400 in statuses:
        bad = [outcome for outcome in outcomes if _status(outcome) == 400]
        return json_response(await in_slices(bad, _shown), 400)
    return json_response(await in_slices(outcomes, _shown), 200 if statuses == {200} else 202)


async def _publish(control: Control, messages: list[Message]) -> list[Outcome]:
    outgoing = await in_slices(messages, Message.outgoing)
    decoded = [message for message in outgoing if message is not None]
    if len(decoded) < len(messages):
        return [_BAD_ENCODING if message is None else Outcome() for message in outgoing]
    return await control.publisher.publish(decoded)


def _status(outcome: Outcome) -> int:
    if outcome.reason == 0:
        return 200
    return 202 if outcome.reason == NO_MATCHING_SUBSCRIBERS else 400


def _shown(outcome: Outcome) -> Published | NotPublished:
    if outcome.reason == 0:
        return Published(id=outcome.message_id)
    return NotPublished(reason_code=outcome.reason, message=outcome.text)


_post = partial(
    Row,
    method="POST",
    tag="Publish",
    query=NoQuery,
    status=200,
    access=Access.PUBLISHER,
    scope="publish",
    audit="unless_frequent",
    errors=("BAD_REQUEST",),
    body_limit=BODY_LIMIT,
)

ROWS = (
    _post(
        path="/publish",
        handler=publish,
        summary="Publish a message",
        request=Message,
        reply=Published,
        others={202: NotPublished, 400: NotPublished},
    ),
    _post(
        path="/publish/bulk",
        handler=publish_many,
        summary="Publish many messages",
        request=list[Message],
        reply=list[Published],
        others={202: list[NotPublished], 400: list[NotPublished]},
    ),
)
